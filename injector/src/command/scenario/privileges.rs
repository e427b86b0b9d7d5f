//! What scenarios need: privileges, and programs.

use std::{env, fs, path::Path};

use nix::{
    sched::{CloneFlags, unshare},
    unistd::{getgid, getuid},
};

use crate::{
    datapath::capability::{self, Capability},
    error::{Code, Failure},
};

/// Sees to it that namespaces can be created, in a user namespace where nothing else allows it; says whether
/// it is so. To be called before there are threads.
pub(super) fn obtain(has_faults: bool) -> Result<bool, Failure> {
    if capability::has(Capability::CAP_SYS_ADMIN) {
        return Ok(false);
    }
    if has_faults {
        let message = "not permitted: faults are eBPF programs, which no user namespace may load";
        return Err(Failure::new(Code::Unsupported, message)
            .hint("run it as root; scenarios without `faults` need no privileges"));
    }
    let (user, group) = (getuid(), getgid());
    unshare(CloneFlags::CLONE_NEWUSER).map_err(|errno| {
        let message = format!("cannot create a user namespace: {errno}");
        Failure::new(Code::Unsupported, message)
            .hint("run it as root, or allow user namespaces (sysctl user.max_user_namespaces)")
    })?;
    for (file, text) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("0 {user} 1")),
        ("gid_map", format!("0 {group} 1")),
    ] {
        fs::write(Path::new("/proc/self").join(file), text).map_err(|error| {
            Failure::new(
                Code::Unsupported,
                format!("cannot write /proc/self/{file}: {error}"),
            )
            .hint("run it as root")
        })?;
    }
    Ok(true)
}

/// Fails, by name, where programs are not installed.
pub(super) fn require_programs(programs: &[String]) -> Result<(), Failure> {
    let path = env::var_os("PATH").unwrap_or_default();
    let is_there =
        |program: &&String| env::split_paths(&path).any(|there| there.join(program).is_file());
    let missing: Vec<_> = programs
        .iter()
        .filter(|program| !is_there(program))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let missing: Vec<_> = missing
        .iter()
        .map(|program| format!("`{program}`"))
        .collect();
    let message = format!("not installed: {}", missing.join(", "));
    Err(Failure::new(Code::Unsupported, message)
        .hint("install what it `requires`, or put it into PATH"))
}
