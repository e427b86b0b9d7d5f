//! Settings under `/proc/sys/net`, which show the namespace of the thread that opens them.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{Error, Result};

/// What lets packets in that look as if they came from elsewhere: the only value that we write.
pub(super) const OPEN: &str = "1";

/// Reads a setting; `None` where the kernel does not have it.
pub(super) fn read(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(value) => Ok(Some(value.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::File {
            action: "read",
            path: path.into(),
            source,
        }),
    }
}

/// Writes a setting.
pub(super) fn write(path: &Path, value: &str) -> Result<()> {
    fs::write(path, value).map_err(|source| Error::File {
        action: "write",
        path: path.into(),
        source,
    })
}

/// A device's setting, of `ipv4` or `ipv6`.
pub(super) fn device_path(family: &str, device: &str, setting: &str) -> PathBuf {
    Path::new("/proc/sys/net")
        .join(family)
        .join("conf")
        .join(device)
        .join(setting)
}
