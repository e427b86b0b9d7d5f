//! Noticing that the profile was saved.

use std::{
    ffi::OsString,
    fs, io,
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent};
use tokio::{io::unix::AsyncFd, runtime::Runtime};

use crate::{
    error::{Code, Failure},
    profile,
};

/// Watches a profile's file. Many editors write another file and rename it over this one, which is
/// why it is the directory that is watched.
pub(in crate::command) struct Watch {
    inotify: Inotify,
    /// The same file description: tells when there is something to read.
    ready: AsyncFd<OwnedFd>,
    /// The file's name, and that of the file to which it links.
    names: Vec<OsString>,
}

impl Watch {
    /// Watches the file that the argument names.
    pub(super) fn new(argument: &str, runtime: &Runtime) -> Result<Self, Failure> {
        let path = profile::file_of(argument).ok_or_else(|| not_a_file(argument))?;
        let failed = |error: io::Error| {
            let message = format!("cannot watch {}: {error}", path.display());
            Failure::new(Code::Profile, message)
        };
        let _guard = runtime.enter();
        Self::open(path).map_err(failed)
    }

    fn open(path: &Path) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let mut names = Vec::new();
        for path in [path, &fs::canonicalize(path)?] {
            let directory = match path.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent,
                _ => Path::new("."),
            };
            let saved = AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_MOVED_TO;
            inotify.add_watch(directory, saved)?;
            names.extend(path.file_name().map(OsString::from));
        }
        let descriptor = inotify.as_fd().try_clone_to_owned()?;
        // SAFETY: the descriptor is owned, so that it stays open and the same while registered.
        let ready = unsafe { AsyncFd::register(descriptor)? };
        Ok(Self {
            inotify,
            ready,
            names,
        })
    }

    /// Waits until the file was saved.
    pub(super) async fn saved(&mut self) -> io::Result<()> {
        loop {
            let mut ready = self.ready.readable().await?;
            match self.inotify.read_events() {
                Ok(events) if events.iter().any(|event| self.concerns(event)) => return Ok(()),
                Ok(_) => {}
                Err(nix::Error::EAGAIN) => ready.clear_ready(),
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn concerns(&self, event: &InotifyEvent) -> bool {
        match &event.name {
            Some(name) => self.names.contains(name),
            // Without a name: events were lost, and ours may be among them.
            None => event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW),
        }
    }
}

fn not_a_file(argument: &str) -> Failure {
    let (message, hint) = match argument {
        "-" => (
            "standard input cannot be watched".to_owned(),
            "save the profile, and name the file".to_owned(),
        ),
        name => (
            format!("`{name}` is a built-in profile, which cannot be watched"),
            format!("make it a file: `injector profiles show {name} > {name}.yaml`"),
        ),
    };
    Failure::new(Code::Usage, message).hint(hint)
}
