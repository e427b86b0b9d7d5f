//! The tables of distributions that come with iproute2, or that somebody put beside them.

use std::path::{Path, PathBuf};

/// Where `tc` looks, by distribution, unless `TC_LIB_DIR` says otherwise.
const PLACES: [&str; 4] = ["/usr/lib/tc", "/usr/share/tc", "/lib/tc", "/usr/lib64/tc"];

/// The file of a table, where there is one.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    // A name that `tc` would take for a path to anywhere is none of a table.
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let name = name.chars().all(is_name).then(|| format!("{name}.dist"))?;
    let files = directories()
        .into_iter()
        .map(|directory| directory.join(&name));
    files.into_iter().find(|file| file.is_file())
}

/// Where it was looked for, in words.
pub(super) fn places() -> String {
    let shown: Vec<_> = directories()
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    shown.join(", ")
}

fn directories() -> Vec<PathBuf> {
    match std::env::var_os("TC_LIB_DIR") {
        Some(directory) => vec![directory.into()],
        None => PLACES.iter().map(Path::new).map(PathBuf::from).collect(),
    }
}
