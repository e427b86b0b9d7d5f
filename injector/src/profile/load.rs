//! From a file, a pipe or a name to a profile.

use std::fs::{self, File, FileType};
use std::io::{self, Read};
use std::path::Path;

use super::error::Diagnostic;
use super::issue::{Issue, Key};
use super::resolve::{Conflict, resolve};
use super::yaml::{self, FieldPath, Located};
use super::{Profile, ProfileError, builtin, guard};

/// What standard input is called in errors, as on the command line.
const STDIN: &str = "-";

/// Reads the profile that a command line names: `-` is standard input, and what is no file (see
/// [`file_of`]) is the name of a built-in profile.
///
/// # Errors
///
/// See [`ProfileError`].
pub fn load(argument: &str) -> Result<Profile, ProfileError> {
    if argument == STDIN {
        return read_stdin();
    }
    if let Some(path) = file_of(argument) {
        return read(path);
    }
    let builtin = builtin::find(argument)?;
    parse(builtin.name, builtin.text)
}

/// The file that a command line names: a path that leads to a file, contains a `/`, or ends in
/// `.yaml` or `.yml`.
pub fn file_of(argument: &str) -> Option<&Path> {
    if argument == STDIN {
        return None;
    }
    let path = Path::new(argument);
    let is_yaml = path
        .extension()
        .is_some_and(|extension| extension == "yaml" || extension == "yml");
    // A directory that happens to be called like a built-in profile is not meant.
    let is_there = path.exists() && !path.is_dir();
    (argument.contains('/') || is_yaml || is_there).then_some(path)
}

/// Reads a profile from a regular file of at most [`guard::SIZE_MAX`] bytes.
///
/// # Errors
///
/// See [`ProfileError`].
pub fn read(path: &Path) -> Result<Profile, ProfileError> {
    let name = path.display().to_string();
    let unreadable = |source| ProfileError::Unreadable {
        name: name.clone(),
        source,
    };
    // Opening a FIFO would wait for a writer, so look before opening, and again after.
    let before = fs::metadata(path).map_err(unreadable)?;
    check_is_file(&name, before.file_type())?;
    let file = File::open(path).map_err(unreadable)?;
    check_is_file(&name, file.metadata().map_err(unreadable)?.file_type())?;
    read_from(&name, file)
}

/// Reads a profile from standard input, up to [`guard::SIZE_MAX`] bytes.
///
/// # Errors
///
/// See [`ProfileError`].
pub fn read_stdin() -> Result<Profile, ProfileError> {
    read_from(STDIN, io::stdin().lock())
}

fn check_is_file(name: &str, file_type: FileType) -> Result<(), ProfileError> {
    use std::os::unix::fs::FileTypeExt;

    let found = match file_type {
        regular if regular.is_file() => return Ok(()),
        directory if directory.is_dir() => "a directory",
        fifo if fifo.is_fifo() => "a pipe",
        device if device.is_char_device() || device.is_block_device() => "a device",
        socket if socket.is_socket() => "a socket",
        _ => "no regular file",
    };
    Err(ProfileError::NotAFile {
        name: name.to_owned(),
        found,
    })
}

/// Reads at most one byte more than a profile may have.
fn read_from(name: &str, reader: impl Read) -> Result<Profile, ProfileError> {
    let mut bytes = Vec::new();
    let limit = guard::SIZE_MAX as u64 + 1;
    reader
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(|source| ProfileError::Unreadable {
            name: name.to_owned(),
            source,
        })?;
    if bytes.len() > guard::SIZE_MAX {
        return Err(refused(name, "", guard::too_large(), None));
    }
    match str::from_utf8(&bytes) {
        Ok(text) => parse(name, text),
        Err(error) => Err(not_utf8(name, &bytes, error.valid_up_to())),
    }
}

fn not_utf8(name: &str, bytes: &[u8], offset: usize) -> ProfileError {
    let issue = Issue::new(format!("byte {offset} is not UTF-8")).expected("text in UTF-8");
    let utf16 = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
    let encoding = if utf16 {
        "it looks like UTF-16"
    } else {
        "it may be Latin-1"
    };
    let issue = issue.hint(format!("save the file as UTF-8: {encoding}"));
    refused(name, &String::from_utf8_lossy(bytes), issue, Some(offset))
}

/// Parses the text of a profile; errors call it `source_name`.
///
/// # Errors
///
/// [`ProfileError::Invalid`], with the place.
pub fn parse(source_name: &str, text: &str) -> Result<Profile, ProfileError> {
    let text = guard::without_bom(text);
    guard::check(text).map_err(|(issue, offset)| refused(source_name, text, issue, offset))?;
    let raw = yaml::read(text).map_err(|located| Diagnostic::new(source_name, text, *located))?;
    let conflict = |conflict: Box<_>| Diagnostic::new(source_name, text, place(text, *conflict));
    Ok(resolve(raw).map_err(conflict)?)
}

fn refused(name: &str, text: &str, issue: Issue, offset: Option<usize>) -> ProfileError {
    Diagnostic::new(name, text, Located::new(issue, offset)).into()
}

/// Finds the values of a conflict in the text.
fn place(text: &str, conflict: Conflict) -> Located {
    let Conflict {
        issue,
        path,
        against,
    } = conflict;
    let found = yaml::locate(text, &path);
    let steps = match &issue.key {
        Some(Key::Missing(_)) => path.0.len(),
        _ => found.map_or(0, |(_, steps)| steps),
    };
    Located {
        issue,
        offset: found.map(|(offset, _)| offset),
        path: FieldPath(path.0[..steps].to_vec()).shown(),
        also: against.and_then(|(against, why)| Some((yaml::locate(text, &against)?.0, why))),
    }
}
