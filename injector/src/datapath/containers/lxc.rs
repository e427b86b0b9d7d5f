//! LXC, LXD and Incus, which note nothing but by the control groups that they make.

use std::path::{Path, PathBuf};

use super::{First, Noted, Runtime, files};

pub(super) const RUNTIME: Runtime = Runtime {
    name: "LXC",
    places: &["/sys/fs/cgroup/lxc.payload.*"],
    read,
};

const PREFIX: &str = "lxc.payload.";

fn read(root: &Path) -> Vec<Noted> {
    let groups = root.join("sys/fs/cgroup");
    // Where both versions of control groups are.
    let hybrid = groups.join("unified");
    let root = if hybrid.exists() { hybrid } else { groups };
    payloads(root)
        .iter()
        .map(|payload| noted(payload))
        .collect()
}

/// A user's are deeper than the root's.
fn payloads(directory: PathBuf) -> Vec<PathBuf> {
    if files::name(&directory).starts_with(PREFIX) {
        return vec![directory];
    }
    let inner = files::entries(&directory)
        .into_iter()
        .filter(|entry| entry.is_dir());
    inner.flat_map(payloads).collect()
}

fn noted(payload: &Path) -> Noted {
    let group = files::name(payload);
    let id = group[PREFIX.len()..].to_owned();
    Noted {
        names: vec![id.clone()],
        id,
        first: member(payload).and_then(|pid| First::new(pid, None)),
        group: Some(group),
        ..Noted::default()
    }
}

/// A process of the container: systemd in it moves itself into a group of its own.
fn member(payload: &Path) -> Option<i32> {
    let groups = [payload.join("init.scope"), payload.to_owned()];
    groups.iter().find_map(|group| {
        let processes = std::fs::read_to_string(group.join("cgroup.procs")).ok()?;
        processes.lines().next()?.parse().ok()
    })
}
