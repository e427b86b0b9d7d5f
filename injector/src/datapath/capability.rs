//! What this process may do.

use std::fs;

use super::{Error, Result};

/// A capability that some part of a run needs, by its number in linux/capability.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Devices, queueing disciplines, attaching programs.
    NetAdmin = 12,
    /// Entering namespaces; on kernels before 5.8 also all of eBPF.
    SysAdmin = 21,
    /// Loading programs, creating maps.
    Bpf = 39,
}

/// Whether the process has `capability` in its effective set.
pub fn has(capability: Capability) -> bool {
    effective().is_some_and(|set| set & (1 << capability as u32) != 0)
}

/// Fails early, and by name, where a run could not succeed.
pub fn require_for_run() -> Result<()> {
    let mut missing = Vec::new();
    if !has(Capability::NetAdmin) {
        missing.push("CAP_NET_ADMIN");
    }
    if !has(Capability::Bpf) && !has(Capability::SysAdmin) {
        missing.push("CAP_BPF");
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::NotPermitted {
        missing: missing.join(" and "),
    })
}

fn effective() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}
