//! Control groups (version 2), by name and by number.

use std::{
    collections::HashMap,
    fs, io,
    os::unix::fs::DirEntryExt as _,
    path::{Path, PathBuf},
};

use super::{Error, Result};

/// Where they are.
fn root() -> Result<PathBuf> {
    let mounts = procfs::mounts()
        .map_err(|error| Error::refused("read /proc/mounts", io::Error::other(error)))?;
    let mut mounts = mounts.into_iter();
    let mount = mounts.find(|mount| mount.fs_vfstype == "cgroup2");
    mount
        .map(|mount| PathBuf::from(mount.fs_file))
        .ok_or(Error::NoCgroups)
}

/// The paths of groups that the programs know by their numbers: of their directories' inodes (`cgroup_id()` in
/// include/linux/cgroup.h), which are not used again.
#[derive(Default)]
pub struct Names(HashMap<u64, Option<String>>);

impl Names {
    /// The path of a group below the root; `None` where it is gone, or out of sight.
    pub fn path(&mut self, number: u64) -> Option<String> {
        if number == 0 {
            return None;
        }
        let path = || root().ok().and_then(|root| find(&root, number));
        self.0.entry(number).or_insert_with(path).clone()
    }
}

/// Looks through the tree: opening a file by its handle would take another capability.
fn find(root: &Path, number: u64) -> Option<String> {
    use std::os::unix::fs::MetadataExt as _;
    if fs::metadata(root).is_ok_and(|root| root.ino() == number) {
        return Some("/".into());
    }
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        // It may be gone already.
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            let path = entry.path();
            if entry.ino() == number {
                let below = path.strip_prefix(root).ok()?;
                return Some(format!("/{}", below.display()));
            }
            directories.push(path);
        }
    }
    None
}
