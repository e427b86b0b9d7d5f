//! The network namespaces of this machine, found by what keeps them alive.

use std::{
    collections::{HashMap, HashSet},
    ffi::OsStr,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::{Netns, netns::NetnsId};

/// Every namespace that a thread is in, a descriptor refers to, or a file is mounted from.
#[derive(Debug)]
pub struct Namespaces(HashMap<u64, PathBuf>);

impl Namespaces {
    /// Looks at every process.
    pub fn of_this_machine() -> Self {
        let mut found = Self(HashMap::new());
        let mut seen = HashSet::new();
        for process in children(Path::new("/proc")).filter(|path| is_number(path)) {
            for thread in children(&process.join("task")) {
                found.insert_link(&thread.join("ns/net"));
            }
            for descriptor in children(&process.join("fd")) {
                found.insert_link(&descriptor);
            }
            // A table of mounts is long, and most processes share one.
            if let Some(mounts) = inode_of(&process.join("ns/mnt"))
                && seen.insert(mounts)
            {
                found.insert_mounts(&process);
            }
        }
        found
    }

    /// Whether nothing can have been missed: in a PID namespace of its own a process sees but some others.
    pub fn are_complete() -> bool {
        /// include/linux/proc_ns.h
        const PROC_PID_INIT_INO: u64 = 0xefff_fffc;
        inode_of(Path::new("/proc/self/ns/pid")) == Some(PROC_PID_INIT_INO)
    }

    /// The namespace of that identity; `None` where it is no more.
    pub fn find(&self, id: &NetnsId) -> Option<Netns> {
        let path = self.0.get(&id.inode)?;
        let netns = Netns::at(path);
        // Inode numbers are used again.
        netns.id().ok()?.may_be(id).then_some(netns)
    }

    /// Notes a link such as `net:[4026531840]`.
    fn insert_link(&mut self, link: &Path) {
        let target = fs::read_link(link).ok();
        if let Some(inode) = target.and_then(|target| inode_in(target.as_os_str())) {
            self.0.entry(inode).or_insert_with(|| link.to_owned());
        }
    }

    /// Notes what is mounted where a process sees it.
    fn insert_mounts(&mut self, process: &Path) {
        let mounts = fs::read_to_string(process.join("mountinfo")).unwrap_or_default();
        for line in mounts.lines() {
            let mut fields = line.split(' ').skip(3);
            let (Some(root), Some(place)) = (fields.next(), fields.next()) else {
                continue;
            };
            if let Some(inode) = inode_in(OsStr::new(root)) {
                let place = place.trim_start_matches('/');
                let path = process.join("root").join(place);
                self.0.entry(inode).or_insert(path);
            }
        }
    }
}

fn children(directory: &Path) -> impl Iterator<Item = PathBuf> {
    // Processes end while we look, and some are none of our business.
    let entries = fs::read_dir(directory).into_iter().flatten();
    entries.flatten().map(|entry| entry.path())
}

fn is_number(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    name.iter().all(u8::is_ascii_digit)
}

fn inode_of(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|metadata| metadata.ino())
}

/// The number in `net:[4026531840]`.
fn inode_in(link: &OsStr) -> Option<u64> {
    let number = link.to_str()?.strip_prefix("net:[")?.strip_suffix(']')?;
    number.parse().ok()
}
