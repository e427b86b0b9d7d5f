//! What this process may do.

use std::io;

use caps::{CapSet, CapsHashSet};
use nix::unistd::getuid;

use super::{Error, Result};

pub use caps::Capability;

/// What a run needs to start: devices and hooks; maps and programs; programs that subtract pointers,
/// as ours do to learn how long a frame is.
pub const RUN: [Capability; 3] = [
    Capability::CAP_NET_ADMIN,
    Capability::CAP_BPF,
    Capability::CAP_PERFMON,
];

/// Whether the process has `capability` in its effective set, or what implies it.
pub fn has(capability: Capability) -> bool {
    let is_effective =
        |capability| caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false);
    // Linux 5.8 made them out of it.
    let is_part_of_sys_admin = matches!(capability, Capability::CAP_BPF | Capability::CAP_PERFMON);
    is_effective(capability) || is_part_of_sys_admin && is_effective(Capability::CAP_SYS_ADMIN)
}

/// Fails early, and by name, where capabilities are missing.
pub fn require(wanted: &[Capability]) -> Result<()> {
    let missing = wanted.iter().filter(|capability| !has(**capability));
    let missing: Vec<_> = missing.map(Capability::to_string).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::NotPermitted {
        missing: missing.join(" and "),
    })
}

/// Gives up every other capability, for the calling thread and those that it will start.
pub fn keep_only(kept: &[Capability]) -> Result<()> {
    let give_up = || {
        let permitted = caps::read(None, CapSet::Permitted)?;
        let kept: CapsHashSet = kept.iter().copied().collect();
        let kept = permitted.intersection(&kept).copied().collect();
        // Ambient ones go with the inheritable ones.
        caps::clear(None, CapSet::Inheritable)?;
        caps::set(None, CapSet::Effective, &kept)?;
        caps::set(None, CapSet::Permitted, &kept)
    };
    give_up().map_err(|error| Error::refused("give up capabilities", io::Error::other(error)))
}

/// Refuses privileges that the file lends to whoever runs it: a profile names files, which would then be
/// read for anybody.
pub fn refuse_lent() -> Result<()> {
    // SAFETY: reads what the kernel passed to the process.
    let is_secure = unsafe { nix::libc::getauxval(nix::libc::AT_SECURE) } != 0;
    // Root is lent nothing: SELinux sets it too where a service is started.
    if is_secure && !getuid().is_root() {
        return Err(Error::LentPrivileges);
    }
    Ok(())
}
