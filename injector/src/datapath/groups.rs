//! Control groups (version 2).

mod names;

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use nix::libc;
use procfs::process::Process;

use super::{Error, Result, undo::Effect};

pub use self::names::Names;

/// Where the processes of a group are listed, and join it.
const PROCESSES: &str = "cgroup.procs";

/// Where control groups are.
pub(super) struct Groups {
    root: PathBuf,
}

impl Groups {
    pub(super) fn find() -> Result<Self> {
        let mounts = procfs::mounts()
            .map_err(|error| Error::refused("read /proc/mounts", io::Error::other(error)))?;
        let mount = mounts
            .into_iter()
            .find(|mount| mount.fs_vfstype == "cgroup2");
        let root = mount.map(|mount| PathBuf::from(mount.fs_file));
        root.map(|root| Self { root }).ok_or(Error::NoCgroups)
    }

    /// The root of them.
    pub(super) fn open(&self) -> Result<File> {
        File::open(&self.root).map_err(|source| Error::File {
            action: "open",
            path: self.root.clone(),
            source,
        })
    }

    /// The number of a group: of its directory's inode (`cgroup_id()` in include/linux/cgroup.h).
    pub(super) fn id(&self, path: &str) -> Result<u64> {
        let metadata = fs::metadata(self.directory(path));
        let metadata = metadata.map_err(|_| Error::NoOwner {
            what: "control group",
            name: path.to_owned(),
        })?;
        Ok(metadata.ino())
    }

    fn directory(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }
}

/// The group of a process, by its path below the root; `None` where the process has ended, or is in none.
pub(super) fn group_of(process: &Process) -> Option<String> {
    let groups = process.cgroups().ok()?.0.into_iter();
    let mut groups = groups.filter(|group| group.hierarchy == 0);
    groups.next().map(|group| group.pathname)
}

/// The group of this run's command. It lies below that of this process, so that the limits of that hold for
/// the command, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CommandGroup {
    /// Its path below the root.
    pub path: String,
    pub directory: PathBuf,
}

impl CommandGroup {
    /// As it will be, or is.
    pub(super) fn of_this_process() -> Result<Self> {
        let groups = Groups::find()?;
        let own = Process::myself().ok().as_ref().and_then(group_of);
        let own = own.ok_or(Error::NoCgroups)?;
        let path = format!(
            "{}/injector-{}",
            own.trim_end_matches('/'),
            std::process::id()
        );
        let directory = groups.directory(&path);
        Ok(Self { path, directory })
    }

    pub(super) fn create(&self) -> Result<()> {
        fs::create_dir(&self.directory).map_err(|source| Error::NoCommandGroup {
            path: self.directory.clone(),
            source,
        })
    }

    /// Where a process joins it.
    pub(super) fn entry(&self) -> PathBuf {
        self.directory.join(PROCESSES)
    }
}

/// Deletes a group and those below it. The processes in them live on, in the group above.
pub(super) fn disband(directory: &Path) -> Result<Effect> {
    /// How often to look again for processes that have come into being meanwhile.
    const TRIES: usize = 100;
    const STEP: Duration = Duration::from_millis(1);
    let failed = |source| Error::File {
        action: "delete",
        path: directory.to_owned(),
        source,
    };
    let above = directory.parent().unwrap_or(directory).join(PROCESSES);
    let mut above = match File::options().write(true).open(&above) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Effect::Nothing),
        opened => opened.map_err(failed)?,
    };
    if !directory.exists() {
        return Ok(Effect::Nothing);
    }
    for _ in 0..TRIES {
        match remove(directory, &mut above) {
            Ok(()) => return Ok(Effect::Undone),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => thread::sleep(STEP),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Effect::Undone),
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(Effect::Kept(
        "processes keep coming into being in it".into(),
    ))
}

fn remove(directory: &Path, above: &mut File) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove(&entry.path(), above)?;
        }
    }
    for process in fs::read_to_string(directory.join(PROCESSES))?.lines() {
        match above.write_all(process.as_bytes()) {
            // It has ended.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            moved => moved?,
        }
    }
    fs::remove_dir(directory)
}
