//! Directories for the files of a test.

use std::{fs, path::PathBuf};

/// A directory that is deleted with the test.
#[derive(Debug)]
pub struct Directory(PathBuf);

impl Directory {
    /// A new one. No two of a test executable that exist at the same time may have the same name.
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("injector-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }

    /// The path that a file in it has, or would have.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
