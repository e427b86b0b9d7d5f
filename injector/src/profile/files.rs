//! The files that a profile names: tables of a distribution, and recordings.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer};

use super::conflict::{Conflict, Line};
use super::file::{self, FileError};
use super::issue::Issue;
use super::lines::Flaw;
use super::quantiles;
use super::replay::{self, Recorded};
use super::yaml::FieldPath;
use crate::units::scalar::{self, Scalar};
use crate::units::{Reason, UnitError};

/// Largest table of a distribution, in bytes: 1 MiB, several times what its values take.
const TABLE_BYTES_MAX: usize = 1 << 20;
/// Largest recording, in bytes: 64 MiB.
const RECORDING_BYTES_MAX: usize = 1 << 26;
/// Most lines of the recordings of a profile, together.
pub const RECORDED_LINES_MAX: usize = 1_000_000;
/// Most characters of a line that an error shows.
const SHOWN_CHARS_MAX: usize = 200;

/// The name of a file, as the profile has it: never empty.
pub(super) struct FileName(String);

impl Scalar for FileName {
    const EXPECTED: &'static str = "the name of a file";
}

impl FromStr for FileName {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        // A terminal obeys control characters, and errors show the name.
        if text.is_empty() || text.contains(char::is_control) {
            let reason = Reason::Malformed("the name of a file");
            return Err(UnitError::new(text, reason, Self::EXPECTED));
        }
        Ok(Self(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for FileName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        scalar::deserialize(deserializer)
    }
}

/// Reads what one profile names, and nothing twice.
pub(crate) struct Files<'a> {
    /// Where relative names start.
    directory: &'a Path,
    tables: HashMap<PathBuf, Arc<[i16]>>,
    recordings: HashMap<PathBuf, Recorded>,
    /// How many lines of recordings may still come: a short profile could name many long ones.
    lines_left: usize,
}

impl<'a> Files<'a> {
    pub(crate) fn new(directory: &'a Path) -> Self {
        Self {
            directory,
            tables: HashMap::new(),
            recordings: HashMap::new(),
            lines_left: RECORDED_LINES_MAX,
        }
    }

    /// Reads the table of a distribution, which the field at `at` names.
    pub(super) fn table(
        &mut self,
        name: &FileName,
        at: FieldPath,
    ) -> Result<Arc<[i16]>, Box<Conflict>> {
        let path = self.directory.join(&name.0);
        if let Some(table) = self.tables.get(&path) {
            return Ok(table.clone());
        }
        let text = match read_text(&path, TABLE_BYTES_MAX) {
            Ok(text) => text,
            Err(issue) => return Err(Conflict::new(issue, at)),
        };
        let table = quantiles::parse(&text).map_err(|flaw| blame(*flaw, &path, &text, at))?;
        self.tables.insert(path, table.clone());
        Ok(table)
    }

    /// Reads a recording, which the field at `at` names.
    pub(super) fn recording(
        &mut self,
        name: &FileName,
        at: FieldPath,
    ) -> Result<Recorded, Box<Conflict>> {
        let path = self.directory.join(&name.0);
        if let Some(recorded) = self.recordings.get(&path) {
            return Ok(recorded.clone());
        }
        let text = match read_text(&path, RECORDING_BYTES_MAX) {
            Ok(text) => text,
            Err(issue) => return Err(Conflict::new(issue, at)),
        };
        let Some(left) = self.lines_left.checked_sub(text.lines().count()) else {
            let issue = Issue::new(format!("{} is too long", path.display()));
            let expected = format!("at most {RECORDED_LINES_MAX} lines in all recordings together");
            return Err(Conflict::new(issue.expected(expected), at));
        };
        let recorded = replay::parse(&text).map_err(|flaw| blame(*flaw, &path, &text, at))?;
        self.lines_left = left;
        self.recordings.insert(path, recorded.clone());
        Ok(recorded)
    }
}

/// Reads a file of text.
fn read_text(path: &Path, max: usize) -> Result<String, Issue> {
    let name = path.display();
    let expected = "a file; a relative name starts at the directory of the profile";
    let bytes = file::read(path, max).map_err(|error| match error {
        FileError::Io(error) => {
            Issue::new(format!("cannot read {name}: {error}")).expected(expected)
        }
        FileError::NotAFile(found) => Issue::new(format!("{name} is {found}")).expected(expected),
        FileError::TooLarge => {
            let expected = format!("at most {} MiB", max >> 20);
            Issue::new(format!("{name} is too large")).expected(expected)
        }
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        Issue::new(format!("{name} is not text: byte {offset} is not UTF-8"))
            .expected("text in UTF-8")
    })
}

/// Shows the line at fault, or where there is none, the field that names the file.
fn blame(flaw: Flaw, path: &Path, text: &str, at: FieldPath) -> Box<Conflict> {
    let Flaw { mut issue, place } = flaw;
    let file = path.display().to_string();
    let Some((number, span)) = place else {
        issue.message = format!("{file}: {}", issue.message);
        return Conflict::new(issue, at);
    };
    let line = text.lines().nth(number - 1).unwrap_or_default();
    let shown = line.char_indices().nth(SHOWN_CHARS_MAX);
    let end = shown.map_or(line.len(), |(end, _)| end);
    Conflict::new(issue, at).in_line(Line {
        file,
        number,
        text: line[..end].to_owned(),
        span: span.start.min(end)..span.end.min(end),
    })
}

#[cfg(test)]
scalar::schema_of!(FileName as "File", {
    "type": ["number", "string"],
    "pattern": r"^[^\u0000-\u001f\u007f-\u009f]+$",
});
