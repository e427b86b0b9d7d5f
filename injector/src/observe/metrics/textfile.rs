//! The metrics in a file that node_exporter's textfile collector reads.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

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
        fs::write(&self.temporary, text)?;
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
