//! The one error of all quantities.

use std::fmt;

/// Longest piece of the user's text that an error repeats, in characters.
const QUOTE_CHARS_MAX: usize = 40;

/// A text that is not the quantity it should be.
///
/// `{}` is one line, as a flag's error wants it. `{:#}` is one line per part (what is wrong, what
/// was expected, what to write instead), which is how an error crosses a deserializer that carries
/// nothing but text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitError {
    text: String,
    reason: Reason,
    expected: &'static str,
    hint: Option<String>,
}

/// What is wrong with the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Reason {
    #[error("is not {0}")]
    Malformed(&'static str),
    #[error("is ambiguous as {0}")]
    Ambiguous(&'static str),
    #[error("has no unit")]
    NoUnit,
    #[error("is negative")]
    Negative,
    #[error("is above the limit of {0}")]
    TooLarge(&'static str),
    #[error("is not zero, yet below the smallest {0}")]
    TooSmall(&'static str),
    #[error("is finer than {0}")]
    TooFine(&'static str),
    #[error("is nothing")]
    Nothing,
    #[error("ends before it starts")]
    Backward,
    #[error("has host bits set")]
    HostBits,
    #[error("is below the minimum of {0}")]
    BelowMinimum(&'static str),
}

impl UnitError {
    pub(crate) fn new(text: &str, reason: Reason, expected: &'static str) -> Self {
        Self {
            text: quote(text),
            reason,
            expected,
            hint: None,
        }
    }

    /// Says that more than a single quantity would have been right.
    pub(crate) fn expecting(mut self, expected: &'static str) -> Self {
        self.expected = expected;
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for UnitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.text, self.reason)?;
        match (&self.hint, f.alternate()) {
            (Some(hint), false) => write!(f, ": {hint}"),
            (None, false) => write!(f, ": expected {}", self.expected),
            (Some(hint), true) => write!(f, "\nexpected: {}\nhint: {hint}", self.expected),
            (None, true) => write!(f, "\nexpected: {}", self.expected),
        }
    }
}

impl std::error::Error for UnitError {}

/// Returns `text` in backticks: on one line, without control characters, and not too long.
pub(crate) fn quote(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(QUOTE_CHARS_MAX)
        .flat_map(escape)
        .collect();
    if text.chars().nth(QUOTE_CHARS_MAX).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

fn escape(char: char) -> impl Iterator<Item = char> {
    let escaped = char.is_control().then(|| char.escape_default());
    let plain = escaped.is_none().then_some(char);
    escaped.into_iter().flatten().chain(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting_keeps_an_error_on_one_line_and_bounded() {
        assert_eq!(quote("a\nb"), "`a\\nb`");
        assert_eq!(
            quote(&"x".repeat(1000)).chars().count(),
            QUOTE_CHARS_MAX + 3
        );
    }

    #[test]
    fn the_plain_form_ends_with_the_hint_or_with_what_was_expected() {
        let error = UnitError::new("5", Reason::NoUnit, "a duration");
        assert_eq!(error.to_string(), "`5` has no unit: expected a duration");
        assert_eq!(
            error.hint("write 5ms").to_string(),
            "`5` has no unit: write 5ms"
        );
    }
}
