//! Loading the object quickly.

use std::{panic, sync::OnceLock, thread};

use aya::{
    Ebpf, EbpfLoader,
    programs::{Program, ProgramError, ProgramType},
    sys::{BpfHelper, is_helper_supported},
};
use nix::{
    sched::{CloneFlags, unshare},
    unistd::chroot,
};

use super::{Error, Result};

/// A loader that knows nothing of the kernel's own types: no program of ours refers to them.
///
/// Whoever makes a loader has aya parse them, 5 MB in /sys/kernel/btf, which takes 20 ms and most
/// of the memory of a run; only aya 0.16 (Rust 1.98) waits until they are needed. So the loader is
/// made on a thread that does not see the file. Without `CAP_SYS_CHROOT` that thread sees it, and
/// all that is lost is time.
pub(super) fn new<'a>() -> EbpfLoader<'a> {
    let make = || {
        // Of this thread alone, which ends.
        let _ = unshare(CloneFlags::CLONE_FS).and_then(|()| chroot("/sys"));
        EbpfLoader::new()
    };
    thread::scope(|scope| joined(scope.spawn(make)))
}

/// Whether the kernel tells the control group of a packet's socket (`CONFIG_SOCK_CGROUP_DATA`).
pub(super) fn tells_senders() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        let helper = BpfHelper::BPF_FUNC_skb_cgroup_id;
        is_helper_supported(ProgramType::SchedClassifier, helper).unwrap_or(false)
    })
}

/// Has the kernel verify the programs named, all at the same time (Linux 5.2): each takes it tens
/// of milliseconds.
pub(super) fn load_programs(ebpf: &mut Ebpf, names: &[&str]) -> Result<()> {
    thread::scope(|scope| {
        let wanted = ebpf.programs_mut().filter(|(name, _)| names.contains(name));
        let loading: Vec<_> = wanted
            .map(|(name, program)| scope.spawn(move || load_program(name, program)))
            .collect();
        loading.into_iter().try_for_each(joined)
    })
}

fn load_program(name: &str, program: &mut Program) -> Result<()> {
    let loaded = match program {
        Program::SchedClassifier(program) => program.load(),
        Program::Xdp(program) => program.load(),
        Program::CgroupSock(program) => program.load(),
        _ => Err(ProgramError::UnexpectedProgramType),
    };
    loaded.map_err(|error| Error::ebpf(format!("load {name}"), &error))
}

fn joined<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread
        .join()
        .unwrap_or_else(|panic| panic::resume_unwind(panic))
}
