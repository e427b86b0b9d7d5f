//! Files, read only where they are plain and small.

use std::fs::{self, File, FileType};
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// Why a file was not read.
#[derive(Debug)]
pub(super) enum FileError {
    /// The system refused.
    Io(io::Error),
    /// It is no regular file but this, with its article.
    NotAFile(&'static str),
    /// It has more bytes than it may have.
    TooLarge,
}

impl From<io::Error> for FileError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads a regular file of at most `max` bytes.
pub(super) fn read(path: &Path, max: usize) -> Result<Vec<u8>, FileError> {
    // Opening a FIFO would wait for a writer, so look before opening, and again after.
    check_is_file(fs::metadata(path)?.file_type())?;
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    check_is_file(metadata.file_type())?;
    if metadata.len() > max as u64 {
        return Err(FileError::TooLarge);
    }
    // Where the length is not known beforehand, as in /proc, it is 0.
    read_at_most(file, max)
}

/// Reads at most `max` bytes, and looks at no more than one beyond.
pub(super) fn read_at_most(reader: impl Read, max: usize) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    reader.take(max as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > max {
        return Err(FileError::TooLarge);
    }
    Ok(bytes)
}

fn check_is_file(file_type: FileType) -> Result<(), FileError> {
    Err(FileError::NotAFile(match file_type {
        regular if regular.is_file() => return Ok(()),
        directory if directory.is_dir() => "a directory",
        fifo if fifo.is_fifo() => "a pipe",
        device if device.is_char_device() || device.is_block_device() => "a device",
        socket if socket.is_socket() => "a socket",
        _ => "no regular file",
    }))
}
