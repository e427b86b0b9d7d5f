//! Network namespaces without names, which end with their last handle.

use std::{
    fs::File,
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
    thread,
};

use nix::sched::{CloneFlags, setns, unshare};

use crate::tool;

/// A network namespace.
#[derive(Debug)]
pub struct Netns(File);

impl Netns {
    /// A new one, with the loopback device up.
    pub fn new() -> Self {
        let file = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("create a network namespace");
            File::open("/proc/thread-self/ns/net").expect("open the new namespace")
        })
        .join()
        .expect("the thread that creates a namespace");
        let netns = Self(file);
        netns.run(|| tool::ip("link set dev lo up"));
        netns
    }

    /// The one behind a file.
    pub fn open(path: &Path) -> Self {
        Self(File::open(path).expect("open a network namespace"))
    }

    /// A path to it, for other processes, good while this handle lives.
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd()).into()
    }

    /// Runs `work` inside, on a thread of its own. Sockets and children that it makes stay inside.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                self.enter();
                work()
            });
            inside
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Moves the calling thread inside, for good.
    pub fn enter(&self) {
        setns(&self.0, CloneFlags::CLONE_NEWNET).expect("enter a network namespace");
    }
}

impl Default for Netns {
    fn default() -> Self {
        Self::new()
    }
}
