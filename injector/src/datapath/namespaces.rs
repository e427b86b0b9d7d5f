//! The network namespaces of this machine, found by what keeps them alive.

use std::{
    collections::{HashMap, HashSet},
    ffi::OsStr,
    fs::{self, File},
    os::{fd::AsRawFd as _, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use super::{Netns, netns::NetnsId};

/// Every namespace that a thread is in, a descriptor refers to, or a file is mounted from: the ways to it.
#[derive(Debug)]
pub struct Namespaces(HashMap<u64, Vec<PathBuf>>);

/// A namespace that stays for as long as this lives, whatever becomes of the way on which it was found.
#[derive(Debug)]
pub struct Found {
    /// The namespace.
    pub netns: Netns,
    _handle: File,
}

impl Namespaces {
    /// Looks at every process.
    pub fn of_this_machine() -> Self {
        let mut found = Self(HashMap::new());
        let mut seen = HashSet::new();
        for process in children(Path::new("/proc")).filter(|path| is_number(path)) {
            // A table of mounts is long, and most processes share one.
            let mounts = inode_of(&process.join("ns/mnt"));
            let is_new = mounts.is_some_and(|mounts| seen.insert(mounts));
            for (inode, way) in ways_of(&process, is_new) {
                found.0.entry(inode).or_default().push(way);
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
    pub fn find(&self, id: &NetnsId) -> Option<Found> {
        let mut ways = self.0.get(&id.inode)?.iter();
        // Threads end, and descriptors are closed, while we look.
        ways.find_map(|way| open(way, id))
    }
}

/// The namespace of that identity, if this is a way to it.
pub(super) fn open(way: &Path, id: &NetnsId) -> Option<Found> {
    let handle = File::open(way).ok()?;
    let path = format!("/proc/self/fd/{}", handle.as_raw_fd());
    let netns = Netns::at(Path::new(&path));
    // Inode numbers are used again.
    netns.id().ok()?.may_be(id).then_some(Found {
        netns,
        _handle: handle,
    })
}

/// A way to each namespace that a process knows.
fn ways_of(process: &Path, with_mounts: bool) -> HashMap<u64, PathBuf> {
    let threads = children(&process.join("task")).map(|thread| thread.join("ns/net"));
    let descriptors = children(&process.join("fd"));
    let links = threads.chain(descriptors);
    let mut ways: HashMap<_, _> = links
        .filter_map(|link| Some((inode_in(fs::read_link(&link).ok()?.as_os_str())?, link)))
        .collect();
    if with_mounts {
        ways.extend(mounts_of(process));
    }
    ways
}

/// What is mounted where a process sees it.
fn mounts_of(process: &Path) -> Vec<(u64, PathBuf)> {
    let mounts = fs::read_to_string(process.join("mountinfo")).unwrap_or_default();
    let way = |line: &str| {
        let mut fields = line.split(' ').skip(3);
        let (root, place) = (fields.next()?, fields.next()?);
        let place = place.trim_start_matches('/');
        Some((
            inode_in(OsStr::new(root))?,
            process.join("root").join(place),
        ))
    };
    mounts.lines().filter_map(way).collect()
}

fn children(directory: &Path) -> impl Iterator<Item = PathBuf> + use<> {
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
