//! What a run has changed, on disk before it is changed: one locked file per device under
//! `/run/injector`, from which `clear` and `status` learn of runs, living and killed.

use std::{
    fmt::Display,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use nix::{
    fcntl::{Flock, FlockArg},
    sys::signal::kill,
    unistd::Pid,
};

use serde::Deserialize;

use super::{
    Error, Result, groups,
    netlink::Netlink,
    netns::NetnsId,
    undo::{Effect, Undo},
};

mod record;

pub use record::{Attached, NextPhase, Place, Record, RecordedRule, RunMaps, SCHEMA, Via};

/// Where the files are.
pub const DIRECTORY: &str = "/run/injector";

/// The locked file of a run. Dropping it releases the lock and leaves the file.
#[derive(Debug)]
pub struct Journal {
    file: Flock<File>,
    path: PathBuf,
    /// What it says.
    pub record: Record,
}

/// What is found in place of a free file.
pub enum Claim {
    /// The device is ours now.
    Free(Box<Journal>),
    /// A killed run left this; the file is locked by us.
    Stale(Box<Journal>),
    /// A living run has it.
    Held(Box<Record>),
}

/// What came of undoing a run's changes.
#[derive(Debug, Default)]
pub struct Undone {
    /// What was there to undo.
    pub undone: Vec<Undo>,
    /// What is no longer ours, and stays, each with the reason.
    pub kept: Vec<(Undo, String)>,
}

impl Journal {
    /// Claims the device of `record`, which is written unless something is there already.
    pub fn claim(record: Record) -> Result<Claim> {
        /// How long to look again where the lock's holder is no run of this namespace: `status` reads under
        /// a lock, and a run takes a second to notice that its namespace has ended.
        const PATIENCE: Duration = Duration::from_secs(3);
        let give_up = Instant::now() + PATIENCE;
        let path = path_of(record.netns, record.place(), "json");
        loop {
            create_directory()?;
            let failed = |source| Error::File {
                action: "open",
                path: path.clone(),
                source,
            };
            let opened = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path);
            let file = match opened {
                // The last run to end has just deleted the directory.
                Err(error)
                    if error.kind() == io::ErrorKind::NotFound && Instant::now() < give_up =>
                {
                    continue;
                }
                opened => opened.map_err(failed)?,
            };
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(file) if is_current(&file, &path) => return Self::claimed(file, path, record),
                // Its last owner deleted it between our opening and locking it.
                Ok(_) => {}
                Err((file, nix::Error::EWOULDBLOCK)) => {
                    match read_record(&file, &path)? {
                        Some(holder)
                            if exists(holder.pid) && holder.netns.may_be(&record.netns)
                                || Instant::now() > give_up =>
                        {
                            return Ok(Claim::Held(Box::new(holder)));
                        }
                        None if Instant::now() > give_up => {
                            return Err(failed(nix::Error::EWOULDBLOCK.into()));
                        }
                        // Just being written, about to be deleted, or only being read.
                        _ => thread::sleep(Duration::from_millis(5)),
                    }
                }
                Err((_, errno)) => return Err(failed(errno.into())),
            }
        }
    }

    fn claimed(file: Flock<File>, path: PathBuf, record: Record) -> Result<Claim> {
        match read_record(&file, &path)? {
            // If not, another namespace had the number before, and what it held is gone with it.
            Some(stale) if stale.netns.may_be(&record.netns) => Ok(Claim::Stale(Box::new(Self {
                file,
                path,
                record: stale,
            }))),
            _ => {
                let mut journal = Self { file, path, record };
                journal.save()?;
                Ok(Claim::Free(Box::new(journal)))
            }
        }
    }

    /// Undoes what the killed run left, and takes the file over for `record`.
    pub fn reuse(mut self, netlink: &Netlink, record: Record) -> Result<Self> {
        self.undo_changes(netlink)?;
        self.record = record;
        self.save()?;
        Ok(self)
    }

    /// Notes a change that is about to be made.
    pub fn note(&mut self, undo: Undo) -> Result<()> {
        self.record.undo.push(undo);
        self.save()
    }

    /// Writes the record.
    pub fn save(&mut self) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(&self.record).unwrap_or_default();
        let mut write = || -> io::Result<()> {
            // Blanks in place of cutting it off: whoever is killed in between leaves no file that nobody
            // can read.
            let len = self.file.metadata()?.len() as usize;
            text.resize(text.len().max(len), b' ');
            self.file.rewind()?;
            self.file.write_all(&text)
        };
        write().map_err(|source| Error::File {
            action: "write",
            path: self.path.clone(),
            source,
        })
    }

    /// Undoes every change, the last first, and deletes the file if all succeeded.
    pub fn undo(mut self, netlink: &Netlink) -> Result<Undone> {
        let undone = self.undo_changes(netlink)?;
        self.delete()?;
        Ok(undone)
    }

    fn undo_changes(&mut self, netlink: &Netlink) -> Result<Undone> {
        let mut done = Undone::default();
        let (mut left, mut failures) = (Vec::new(), Vec::new());
        for undo in std::mem::take(&mut self.record.undo).into_iter().rev() {
            match undo.apply(netlink) {
                Ok(Effect::Undone) => done.undone.push(undo),
                Ok(Effect::Kept(why)) => done.kept.push((undo, why)),
                Ok(Effect::Nothing) => {}
                Err(error) => {
                    failures.push(error.to_string());
                    left.insert(0, undo);
                }
            }
        }
        if failures.is_empty() {
            return Ok(done);
        }
        self.record.undo = left;
        self.save()?;
        Err(Error::Undo { failures })
    }

    /// Deletes the file of a run whose namespace is no more, and with it most that the run changed.
    pub fn forget(self) -> Result<()> {
        for undo in &self.record.undo {
            match undo {
                // Without its run it is of no use, and no harm.
                Undo::DeleteSocket { path } => drop(fs::remove_file(path)),
                Undo::DeleteGroup { path } => drop(groups::disband(path)?),
                _ => {}
            }
        }
        self.delete()
    }

    fn delete(self) -> Result<()> {
        fs::remove_file(&self.path).map_err(|source| Error::File {
            action: "delete",
            path: self.path.clone(),
            source,
        })?;
        // Fails where other runs have files there.
        let _ = fs::remove_dir(DIRECTORY);
        Ok(())
    }
}

/// The records of the namespace, with whether their run is alive.
pub fn records(netns: NetnsId) -> Result<Vec<(Record, bool)>> {
    let prefix = format!("{}-", netns.inode);
    let mut records = Vec::new();
    for path in files()? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(&prefix)
            && let Some((record, alive)) = read(&path)?
            && record.netns.may_be(&netns)
        {
            records.push((record, alive));
        }
    }
    records.sort_by_key(|(record, _)| record.ifindex);
    Ok(records)
}

/// The records of all namespaces, with whether their run is alive.
pub fn all_records() -> Result<Vec<(Record, bool)>> {
    let found = files()?.into_iter().map(|path| read(&path));
    let mut records = found
        .filter_map(Result::transpose)
        .collect::<Result<Vec<_>>>()?;
    records.sort_by_key(|(record, _)| (record.netns.inode, record.ifindex));
    Ok(records)
}

/// The record of the run in a place, with whether it is alive.
pub fn record_of(netns: NetnsId, place: impl Display) -> Result<Option<(Record, bool)>> {
    let found = read(&path_of(netns, place, "json"))?;
    Ok(found.filter(|(record, _)| record.netns.may_be(&netns)))
}

/// The files of all runs on this machine.
pub fn files() -> Result<Vec<PathBuf>> {
    let failed = |source| Error::File {
        action: "read",
        path: DIRECTORY.into(),
        source,
    };
    let entries = match fs::read_dir(DIRECTORY) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path()).map_err(failed));
    let is_record = |path: &PathBuf| {
        path.extension()
            .is_some_and(|extension| extension == "json")
    };
    paths
        .filter(|path| path.as_ref().map_or(true, is_record))
        .collect()
}

/// What a file says, with whether its run is alive; `None` where it is just being written or deleted.
pub fn read(path: &Path) -> Result<Option<(Record, bool)>> {
    let Ok(file) = File::open(path) else {
        return Ok(None);
    };
    let Some(record) = read_record(&file, path)? else {
        return Ok(None);
    };
    let alive = Flock::lock(file, FlockArg::LockSharedNonblock).is_err();
    Ok(Some((record, alive)))
}

/// Where the run on a device listens, if it is in the background.
pub fn socket_of(netns: NetnsId, ifindex: u32) -> PathBuf {
    path_of(netns, ifindex, "sock")
}

fn create_directory() -> Result<()> {
    match DirBuilder::new().mode(0o700).create(DIRECTORY) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other.map_err(|source| Error::File {
            action: "create",
            path: DIRECTORY.into(),
            source,
        }),
    }
}

fn path_of(netns: NetnsId, place: impl Display, extension: &str) -> PathBuf {
    Path::new(DIRECTORY).join(format!("{}-{place}.{extension}", netns.inode))
}

/// Whether there is a process of that number.
fn exists(pid: u32) -> bool {
    kill(Pid::from_raw(pid as i32), None) != Err(nix::Error::ESRCH)
}

fn is_current(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(ours), Ok(theirs)) => ours.ino() == theirs.ino(),
        _ => false,
    }
}

/// What the file says; `None` where it is no record.
fn read_record(mut file: &File, path: &Path) -> Result<Option<Record>> {
    #[derive(Deserialize)]
    struct Version {
        schema: String,
    }
    let mut text = String::new();
    if file.rewind().is_err() || file.read_to_string(&mut text).is_err() {
        return Ok(None);
    }
    match serde_json::from_str::<Version>(&text) {
        Ok(Version { schema }) if schema != SCHEMA => Err(Error::UnknownRecord {
            path: path.to_owned(),
            schema,
        }),
        _ => Ok(serde_json::from_str(&text).ok()),
    }
}
