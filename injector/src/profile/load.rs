//! From a file, a pipe or a name to a profile.

use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::conflict::Conflict;
use super::error::Diagnostic;
use super::file::{self, FileError};
use super::files::Files;
use super::issue::{Issue, Key};
use super::resolve::resolve;
use super::strict::Vocabulary;
use super::yaml::{self, FieldPath, Located};
use super::{Profile, ProfileError, builtin, guard};

/// What standard input is called in errors, as on the command line.
const STDIN: &str = "-";

/// The text of a profile, and where it is from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Source {
    /// What errors call it.
    name: String,
    /// Where the files that it names are looked for.
    directory: PathBuf,
    text: String,
}

impl Source {
    /// Reads what a command line names: `-` is standard input, and what is no file (see [`file_of`]) is
    /// the name of a built-in profile.
    ///
    /// # Errors
    ///
    /// See [`ProfileError`].
    pub fn open(argument: &str) -> Result<Self, ProfileError> {
        if argument == STDIN {
            let bytes = file::read_at_most(io::stdin().lock(), guard::SIZE_MAX);
            return Self::new(Path::new(""), STDIN, bytes);
        }
        if let Some(path) = file_of(argument) {
            return Self::file(path);
        }
        let builtin = builtin::find(argument)?;
        Self::new(Path::new(""), builtin.name, Ok(builtin.text.into()))
    }

    /// Reads a regular file of at most [`guard::SIZE_MAX`] bytes.
    ///
    /// # Errors
    ///
    /// See [`ProfileError`].
    pub fn file(path: &Path) -> Result<Self, ProfileError> {
        Self::file_as(path, &path.display().to_string())
    }

    /// Likewise, where errors call it by another name.
    ///
    /// # Errors
    ///
    /// See [`ProfileError`].
    pub fn file_as(path: &Path, name: &str) -> Result<Self, ProfileError> {
        let directory = path.parent().unwrap_or(Path::new(""));
        Self::new(directory, name, file::read(path, guard::SIZE_MAX))
    }

    /// What somebody else has read from standard input.
    pub fn of_stdin(text: String) -> Self {
        Self {
            name: STDIN.into(),
            directory: PathBuf::new(),
            text,
        }
    }

    /// A text that somebody has made; errors call it `name`.
    pub(crate) fn of_text(name: &str, directory: &Path, text: String) -> Self {
        Self {
            name: name.to_owned(),
            directory: directory.to_owned(),
            text,
        }
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text as values, whatever they mean.
    pub(crate) fn value(&self) -> Result<serde_yaml::Value, (Box<Issue>, Option<usize>)> {
        let text = guard::without_bom(&self.text);
        guard::check(text).map_err(|(issue, offset)| (Box::new(issue), offset))?;
        yaml::value(text).map_err(|located| (Box::new(located.issue), located.offset))
    }

    /// Each of the documents in the text, blanks being where the others are.
    pub(crate) fn documents(&self) -> Vec<Self> {
        let mut documents = vec![String::new()];
        let mut blank = String::new();
        for line in self.text.split_inclusive('\n') {
            let end = if line.ends_with('\n') { "\n" } else { "" };
            let blanks = " ".repeat(line.len() - end.len()) + end;
            let is_separator = line.trim_end() == "---" || line.starts_with("--- ");
            for document in documents.iter_mut().rev().skip(usize::from(!is_separator)) {
                document.push_str(&blanks);
            }
            match (is_separator, documents.last_mut()) {
                (false, Some(document)) => document.push_str(line),
                _ => documents.push(blank.clone() + &blanks),
            }
            blank.push_str(&blanks);
        }
        let is_comment = |line: &str| line.trim().is_empty() || line.starts_with('#');
        documents.retain(|document| !document.lines().all(is_comment));
        let document = |text| Self::of_text(&self.name, &self.directory, text);
        documents.into_iter().map(document).collect()
    }

    /// Shows what is wrong at a byte, or with the text as a whole.
    pub(crate) fn refuse(&self, issue: Issue, offset: Option<usize>) -> ProfileError {
        refused(&self.name, &self.text, issue, offset)
    }

    /// Shows what is wrong at a field.
    pub(crate) fn refuse_field(&self, issue: Issue, path: FieldPath) -> ProfileError {
        let located = place(&self.text, *Conflict::new(issue, path));
        Diagnostic::new(&self.name, &self.text, located).into()
    }

    /// What the text says.
    ///
    /// # Errors
    ///
    /// [`ProfileError::Invalid`], with the place.
    pub fn parse(&self) -> Result<Profile, ProfileError> {
        self.understand(resolve)
    }

    /// What the text says, by `resolve`, which makes of what was typed what it means.
    pub(crate) fn understand<T: Vocabulary + DeserializeOwned, U>(
        &self,
        resolve: impl FnOnce(T, &mut Files<'_>) -> Result<U, Box<Conflict>>,
    ) -> Result<U, ProfileError> {
        let (name, text) = (&self.name, guard::without_bom(&self.text));
        guard::check(text).map_err(|(issue, offset)| refused(name, text, issue, offset))?;
        let raw = yaml::read(text).map_err(|located| Diagnostic::new(name, text, *located))?;
        let diagnostic = |mut conflict: Box<Conflict>| {
            let line = conflict.line.take();
            let located = place(text, *conflict);
            match line {
                Some(line) => Diagnostic::in_line(line, located),
                None => Diagnostic::new(name, text, located),
            }
        };
        Ok(resolve(raw, &mut Files::new(&self.directory)).map_err(diagnostic)?)
    }

    /// Where the files that it names are looked for.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn new(
        directory: &Path,
        name: &str,
        bytes: Result<Vec<u8>, FileError>,
    ) -> Result<Self, ProfileError> {
        let file = name.to_owned();
        let bytes = bytes.map_err(|error| match error {
            FileError::Io(source) => ProfileError::Unreadable { name: file, source },
            FileError::NotAFile(found) => ProfileError::NotAFile { name: file, found },
            FileError::TooLarge => refused(name, "", guard::too_large(), None),
        })?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let offset = error.utf8_error().valid_up_to();
            not_utf8(name, error.as_bytes(), offset)
        })?;
        Ok(Self {
            name: name.to_owned(),
            directory: directory.to_owned(),
            text,
        })
    }
}

/// Reads the profile that a command line names.
///
/// # Errors
///
/// See [`ProfileError`].
pub fn load(argument: &str) -> Result<Profile, ProfileError> {
    Source::open(argument)?.parse()
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

/// Reads a profile from a regular file of at most [`guard::SIZE_MAX`] bytes. The files that it names
/// are looked for from its directory.
///
/// # Errors
///
/// See [`ProfileError`].
pub fn read(path: &Path) -> Result<Profile, ProfileError> {
    Source::file(path)?.parse()
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

/// Parses the text of a profile; errors call it `source_name`. The files that it names are looked for
/// from the current directory.
///
/// # Errors
///
/// [`ProfileError::Invalid`], with the place.
pub fn parse(source_name: &str, text: &str) -> Result<Profile, ProfileError> {
    let source = Source {
        name: source_name.to_owned(),
        directory: PathBuf::new(),
        text: text.to_owned(),
    };
    source.parse()
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
        line: _,
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
