//! Control groups by their numbers.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::{DirEntryExt as _, MetadataExt as _},
    path::Path,
};

use super::Groups;

/// The paths of groups that the programs know by their numbers, which are not used again.
#[derive(Default)]
pub struct Names(HashMap<u64, Option<String>>);

impl Names {
    /// The path of a group below the root; `None` where it is gone, or out of sight.
    pub fn path(&mut self, number: u64) -> Option<String> {
        if number == 0 {
            return None;
        }
        let path = || find(&Groups::find().ok()?.root, number);
        self.0.entry(number).or_insert_with(path).clone()
    }
}

/// Looks through the tree: opening a file by its handle would take another capability.
fn find(root: &Path, number: u64) -> Option<String> {
    if fs::metadata(root).is_ok_and(|root| root.ino() == number) {
        return Some("/".into());
    }
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        // It may be gone already.
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            let path = entry.path();
            if entry.ino() == number {
                let below = path.strip_prefix(root).ok()?;
                return Some(format!("/{}", below.display()));
            }
            directories.push(path);
        }
    }
    None
}
