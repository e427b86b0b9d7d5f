//! Acting inside a network namespace.

use std::{
    fmt,
    fs::File,
    io,
    os::unix::fs::MetadataExt as _,
    panic,
    path::{Path, PathBuf},
    str::FromStr,
    thread,
};

use nix::sched::{CloneFlags, setns};

use super::{Error, Result};

/// A network namespace, as the user named it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Netns {
    /// The one that the process started in.
    #[default]
    Current,
    /// One behind a file: `/run/netns/NAME`, `/proc/PID/ns/net` or any other.
    Path {
        /// As the user named it.
        name: String,
        /// The file.
        path: PathBuf,
    },
}

impl FromStr for Netns {
    type Err = String;

    /// `NAME` of `ip netns`, a path, or `pid:N`.
    fn from_str(name: &str) -> std::result::Result<Self, String> {
        let path = if let Some(pid) = name.strip_prefix("pid:") {
            let pid: u32 = pid
                .parse()
                .map_err(|_| format!("`{pid}` is not a process id"))?;
            PathBuf::from(format!("/proc/{pid}/ns/net"))
        } else if name.contains('/') {
            PathBuf::from(name)
        } else if name.is_empty() {
            return Err("expected a name, a path or pid:N".into());
        } else {
            Path::new("/run/netns").join(name)
        };
        Ok(Self::Path {
            name: name.into(),
            path,
        })
    }
}

impl fmt::Display for Netns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Current => write!(f, "this network namespace"),
            Self::Path { name, .. } => write!(f, "network namespace `{name}`"),
        }
    }
}

impl Netns {
    /// Runs `work` inside the namespace, on a thread of its own that ends with it: neither a file
    /// nor a socket of ours keeps the namespace alive afterwards.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        thread::scope(|scope| {
            scope
                .spawn(|| {
                    self.enter()?;
                    work()
                })
                .join()
                .unwrap_or_else(|panic| panic::resume_unwind(panic))
        })
    }

    /// Moves the calling thread into the namespace, for good.
    pub fn enter(&self) -> Result<()> {
        let Self::Path { path, .. } = self else {
            return Ok(());
        };
        let refused = |source| Error::NoNetns {
            netns: format!("`{self}`"),
            source,
        };
        let file = File::open(path).map_err(|error| self.missing(error))?;
        setns(file, CloneFlags::CLONE_NEWNET).map_err(|errno| match errno {
            nix::Error::EPERM => Error::NotPermitted {
                missing: "CAP_SYS_ADMIN (to enter a namespace)".into(),
            },
            errno => refused(errno.into()),
        })
    }

    /// The namespace's inode number, by which the kernel tells namespaces apart.
    pub fn inode(&self) -> Result<u64> {
        let path = match self {
            Self::Current => Path::new("/proc/self/ns/net"),
            Self::Path { path, .. } => path,
        };
        let metadata = std::fs::metadata(path).map_err(|error| self.missing(error))?;
        Ok(metadata.ino())
    }

    fn missing(&self, source: io::Error) -> Error {
        let netns = match self {
            Self::Current => "of this process".to_owned(),
            Self::Path { name, .. } => format!("`{name}`"),
        };
        Error::NoNetns { netns, source }
    }
}
