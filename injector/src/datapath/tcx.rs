//! What is attached by tcx.

use std::io;

use nix::libc;

use super::{Error, Result};
use crate::plan::Hook;

/// The front of `union bpf_attr` for `BPF_PROG_QUERY` (linux/bpf.h).
#[repr(C)]
#[derive(Default)]
struct Query {
    ifindex: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    programs: u64,
    count: u32,
    padding: u32,
    program_flags: u64,
    links: u64,
    link_flags: u64,
    revision: u64,
}

/// The kernel's numbers of the programs on a device of the calling thread's namespace, in the order in
/// which they run. aya tells the same, but opens each program, which takes `CAP_SYS_ADMIN`.
pub(super) fn programs(ifindex: u32, hook: Hook) -> Result<Vec<u32>> {
    const BPF_PROG_QUERY: libc::c_int = 16;
    const BPF_TCX_INGRESS: u32 = 46;
    const BPF_TCX_EGRESS: u32 = 47;
    /// More cannot be attached (`BPF_MPROG_MAX`).
    const COUNT_MAX: usize = 64;
    let mut programs = [0u32; COUNT_MAX];
    let mut query = Query {
        ifindex,
        attach_type: match hook {
            Hook::Egress => BPF_TCX_EGRESS,
            Hook::Ingress => BPF_TCX_INGRESS,
        },
        programs: programs.as_mut_ptr() as u64,
        count: COUNT_MAX as u32,
        ..Query::default()
    };
    // SAFETY: the kernel is told the structure's size, and writes no more numbers than there is room for.
    let failed = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_QUERY,
            &raw mut query,
            size_of::<Query>(),
        )
    };
    if failed < 0 {
        let error = io::Error::last_os_error();
        return match error.raw_os_error() {
            Some(libc::ENODEV) => Ok(Vec::new()),
            _ => Err(Error::refused(
                format!("list the programs on interface {ifindex}"),
                error,
            )),
        };
    }
    Ok(programs[..(query.count as usize).min(COUNT_MAX)].to_vec())
}
