//! What is wrong, apart from where.

use std::fmt;

use crate::units::{UnitError, quote};

/// One thing wrong with a profile.
///
/// Errors cross the deserializer as plain text, and come out with a path put before them and a
/// position behind. So an issue displays as one line per part, and [`Issue::decode`] reads that
/// back. [`crate::units::UnitError`] writes the same form.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Issue {
    /// What is wrong, in a few words.
    pub message: String,
    /// What should be there instead.
    pub expected: Option<String>,
    /// What to write.
    pub hint: Option<String>,
    /// The key at fault, when it is a key and not its value.
    pub key: Option<Key>,
}

/// A key at fault, inside the mapping that the position is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Key {
    /// Should not be there.
    Unknown(String),
    /// Should be there.
    Missing(String),
    /// Is there a second time.
    Repeated(String),
}

impl Issue {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            ..Self::default()
        }
    }

    pub(crate) fn expected(self, expected: impl Into<String>) -> Self {
        Self {
            expected: Some(expected.into()),
            ..self
        }
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    pub(crate) fn key(self, key: Key) -> Self {
        Self {
            key: Some(key),
            ..self
        }
    }

    /// Reads back what [`fmt::Display`] wrote.
    pub(crate) fn decode(text: &str) -> Self {
        let mut lines = text.lines();
        let mut issue = Self::new(lines.next().unwrap_or_default());
        for line in lines {
            let (part, value) = line.split_once(": ").unwrap_or((line, ""));
            match part {
                "expected" => issue.expected = Some(value.to_owned()),
                "hint" => issue.hint = Some(value.to_owned()),
                "unknown" => issue.key = Some(Key::Unknown(value.to_owned())),
                "repeated" => issue.key = Some(Key::Repeated(value.to_owned())),
                _ => {}
            }
        }
        issue
    }
}

impl From<UnitError> for Issue {
    fn from(error: UnitError) -> Self {
        Self::decode(&format!("{error:#}"))
    }
}

impl fmt::Display for Issue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(expected) = &self.expected {
            write!(f, "\nexpected: {expected}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\nhint: {hint}")?;
        }
        match &self.key {
            Some(Key::Unknown(key)) => write!(f, "\nunknown: {}", one_line(key)),
            Some(Key::Repeated(key)) => write!(f, "\nrepeated: {}", one_line(key)),
            // Found only on this side of the deserializer.
            Some(Key::Missing(_)) | None => Ok(()),
        }
    }
}

/// Makes a key of the user's safe to put on a line of its own.
fn one_line(key: &str) -> String {
    quote(key).trim_matches('`').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issue_survives_being_text() {
        let issue = Issue::new("`dealy` is not a key")
            .expected("a key: one of these")
            .hint("did you mean `delay`?")
            .key(Key::Unknown("dealy".to_owned()));
        assert_eq!(Issue::decode(&issue.to_string()), issue);
        assert_eq!(
            Issue::decode("only a message"),
            Issue::new("only a message")
        );
    }

    #[test]
    fn a_key_cannot_forge_a_line() {
        let issue = Issue::new("no").key(Key::Unknown("x\nhint: run this".to_owned()));
        assert_eq!(Issue::decode(&issue.to_string()).hint, None);
    }
}
