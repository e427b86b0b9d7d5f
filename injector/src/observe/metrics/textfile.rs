//! The metrics in a file that node_exporter's textfile collector reads.

use std::{
    ffi::OsString,
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use nix::libc;

/// A file that is replaced as a whole, so that nobody reads a half of it. It goes with the run, so that nobody
/// takes its last state for the present one; after a SIGKILL the heartbeat tells.
#[derive(Debug)]
pub struct Textfile {
    path: PathBuf,
    /// Beside it; the collector reads no names that end so.
    temporary: PathBuf,
}

impl Textfile {
    /// Creates the file, empty.
    ///
    /// # Errors
    ///
    /// Where it cannot be written.
    pub fn create(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let mut temporary = OsString::from(&path);
        temporary.push(format!(".{}.tmp", std::process::id()));
        let file = Self {
            path,
            temporary: temporary.into(),
        };
        file.write("")?;
        Ok(file)
    }

    /// Replaces what it says.
    ///
    /// # Errors
    ///
    /// Where it cannot be written.
    pub fn write(&self, text: &str) -> io::Result<()> {
        // In a directory that others can write in, the name may be a link of theirs.
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&self.temporary)?;
        file.write_all(text.as_bytes())?;
        fs::rename(&self.temporary, &self.path)
    }

    /// Where it has to be possible to write.
    pub fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }
}

impl Drop for Textfile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.temporary);
        let _ = fs::remove_file(&self.path);
    }
}
