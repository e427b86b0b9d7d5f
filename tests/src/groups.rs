//! Control groups (version 2).

use std::{fs, path::PathBuf};

/// Where they are mounted.
pub fn root() -> PathBuf {
    let mounts = fs::read_to_string("/proc/mounts").expect("mounts");
    let mut mounts = mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>());
    let mount = mounts.find(|mount| mount[2] == "cgroup2");
    PathBuf::from(mount.expect("control groups of version 2")[1])
}

/// The directory of a process's group.
pub fn of(pid: u32) -> PathBuf {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("a process's groups");
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"));
    root().join(path.expect("a group of version 2"))
}
