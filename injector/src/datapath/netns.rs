//! Acting inside a network namespace.

use std::{
    fmt,
    fs::{self, File},
    io,
    os::{fd::AsRawFd as _, unix::fs::MetadataExt as _},
    panic,
    path::{Path, PathBuf},
    str::FromStr,
    thread,
};

use nix::{
    libc,
    sched::{CloneFlags, setns},
    sys::socket::{AddressFamily, SockFlag, SockType, socket},
};
use serde::{Deserialize, Serialize};

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
            // A run in the background is in no directory.
            std::path::absolute(name).map_err(|error| error.to_string())?
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

/// What tells a namespace from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetnsId {
    /// The inode number of its file. Used again once the namespace is gone.
    pub inode: u64,
    /// The kernel's cookie (Linux 5.14), never used again until the next boot.
    pub cookie: Option<u64>,
}

impl NetnsId {
    /// Whether both may be the same namespace: where one cookie is unknown, inodes decide.
    pub fn may_be(&self, other: &Self) -> bool {
        let cookies_agree = match (self.cookie, other.cookie) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => true,
        };
        self.inode == other.inode && cookies_agree
    }
}

/// The cookie of the calling thread's namespace.
fn cookie() -> Result<Option<u64>> {
    /// asm-generic/socket.h; libc has no constant for it.
    const SO_NETNS_COOKIE: libc::c_int = 71;
    let refused = |errno| Error::refused("open a socket", errno);
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Unix, SockType::Datagram, flags, None).map_err(refused)?;
    let (mut cookie, mut len) = (0u64, size_of::<u64>() as libc::socklen_t);
    // SAFETY: the pointers are to an integer of the length given, which outlive the call.
    let code = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut len,
        )
    };
    Ok((code == 0).then_some(cookie))
}

impl Netns {
    /// The one behind a file.
    pub fn at(path: &Path) -> Self {
        Self::Path {
            name: path.display().to_string(),
            path: path.to_owned(),
        }
    }

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

    /// What tells the namespace from all others.
    pub fn id(&self) -> Result<NetnsId> {
        let inode = self.inode()?;
        // Being told needs entering, and so more privileges than some commands have.
        let cookie = self.run(cookie).unwrap_or(None);
        Ok(NetnsId { inode, cookie })
    }

    fn inode(&self) -> Result<u64> {
        let path = match self {
            Self::Current => Path::new("/proc/self/ns/net"),
            Self::Path { path, .. } => path,
        };
        let metadata = fs::metadata(path).map_err(|error| self.missing(error))?;
        Ok(metadata.ino())
    }

    /// That it is not there.
    pub(super) fn missing(&self, source: io::Error) -> Error {
        let netns = match self {
            Self::Current => "of this process".to_owned(),
            Self::Path { name, .. } => format!("`{name}`"),
        };
        Error::NoNetns { netns, source }
    }
}
