//! What a run has changed, on disk before it is changed: one locked file per device under
//! `/run/injector`, from which `clear` and `status` learn of runs, living and killed.

use std::{
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

use super::{Error, Result, netlink::Netlink, netns::NetnsId, undo::Undo};

mod record;

pub use record::{Attached, Record, RecordedRule, SCHEMA, Via};

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

impl Journal {
    /// Claims the device of `record`, which is written unless something is there already.
    pub fn claim(record: Record) -> Result<Claim> {
        /// How long to look again where the lock's holder is no run: `status` reads under a lock.
        const PATIENCE: Duration = Duration::from_secs(1);
        let give_up = Instant::now() + PATIENCE;
        create_directory()?;
        let path = path_of(record.netns, record.ifindex);
        loop {
            let failed = |source| Error::File {
                action: "open",
                path: path.clone(),
                source,
            };
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)
                .map_err(failed)?;
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(file) if is_current(&file, &path) => return Self::claimed(file, path, record),
                // Its last owner deleted it between our opening and locking it.
                Ok(_) => {}
                Err((file, nix::Error::EWOULDBLOCK)) => {
                    match read_record(&file) {
                        Some(holder) if exists(holder.pid) || Instant::now() > give_up => {
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
        match read_record(&file) {
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
        let text = serde_json::to_vec_pretty(&self.record).unwrap_or_default();
        let mut write = || -> io::Result<()> {
            self.file.rewind()?;
            self.file.write_all(&text)?;
            self.file.set_len(text.len() as u64)
        };
        write().map_err(|source| Error::File {
            action: "write",
            path: self.path.clone(),
            source,
        })
    }

    /// Undoes every change, the last first, and deletes the file if all succeeded. Returns what
    /// was there to undo.
    pub fn undo(mut self, netlink: &Netlink) -> Result<Vec<Undo>> {
        let undone = self.undo_changes(netlink)?;
        self.delete()?;
        Ok(undone)
    }

    fn undo_changes(&mut self, netlink: &Netlink) -> Result<Vec<Undo>> {
        let (mut undone, mut failures) = (Vec::new(), Vec::new());
        let mut left = Vec::new();
        for undo in std::mem::take(&mut self.record.undo).into_iter().rev() {
            match undo.apply(netlink) {
                Ok(true) => undone.push(undo),
                Ok(false) => {}
                Err(error) => {
                    failures.push(error.to_string());
                    left.insert(0, undo);
                }
            }
        }
        if failures.is_empty() {
            return Ok(undone);
        }
        self.record.undo = left;
        self.save()?;
        Err(Error::Undo { failures })
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
pub fn records(netns: NetnsId) -> Vec<(Record, bool)> {
    let Ok(entries) = fs::read_dir(DIRECTORY) else {
        return Vec::new();
    };
    let mut records: Vec<_> = entries
        .filter_map(|entry| {
            let file = File::open(entry.ok()?.path()).ok()?;
            let record = read_record(&file)?;
            let alive = Flock::lock(file, FlockArg::LockSharedNonblock).is_err();
            record.netns.may_be(&netns).then_some((record, alive))
        })
        .collect();
    records.sort_by_key(|(record, _)| record.ifindex);
    records
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

fn path_of(netns: NetnsId, ifindex: u32) -> PathBuf {
    Path::new(DIRECTORY).join(format!("{}-{ifindex}.json", netns.inode))
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

fn read_record(mut file: &File) -> Option<Record> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}
