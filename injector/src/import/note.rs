//! What there is to say about a translation.

use std::fmt;

use serde::Serialize;

/// What kind of note it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Something is left out, or only approximated.
    NoEquivalent,
    /// The profile says it; what comes of it is a little different.
    Differs,
}

/// Something of the other tool's that is not the same here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    /// How much is lost.
    pub kind: Kind,
    /// What was asked, as it was written.
    pub what: String,
    /// What becomes of it.
    pub why: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::NoEquivalent => "no equivalent",
            Kind::Differs => "differs",
        };
        write!(f, "{kind}: {}: {}", self.what, self.why)
    }
}

/// Notes, in the order in which they were made; none twice.
#[derive(Debug, Default)]
pub(super) struct Notes(Vec<Note>);

impl Notes {
    /// What is left out, or only approximated.
    pub(super) fn missing(&mut self, what: impl fmt::Display, why: impl fmt::Display) {
        self.push(Kind::NoEquivalent, &what, &why);
    }

    /// What is a little different.
    pub(super) fn differs(&mut self, what: impl fmt::Display, why: impl fmt::Display) {
        self.push(Kind::Differs, &what, &why);
    }

    fn push(&mut self, kind: Kind, what: &dyn fmt::Display, why: &dyn fmt::Display) {
        let note = Note {
            kind,
            what: on_one_line(&what.to_string()),
            why: on_one_line(&why.to_string()),
        };
        if !self.0.contains(&note) {
            self.0.push(note);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Note> {
        self.0.iter()
    }

    pub(super) fn into_list(self) -> Vec<Note> {
        self.0
    }
}

/// Most characters of a note's half.
const CHARS_MAX: usize = 240;

/// Escapes what a terminal obeys, or YAML takes for the end of a comment.
fn on_one_line(text: &str) -> String {
    let is_plain = |c: char| {
        !c.is_control()
            && !matches!(
                c,
                '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
            )
    };
    let escaped = text
        .chars()
        .take(CHARS_MAX)
        .flat_map(|c| match is_plain(c) {
            true => vec![c],
            false => c.escape_default().collect(),
        });
    escaped.collect()
}
