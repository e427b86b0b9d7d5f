//! The YAML parser, behind a few functions: no other module knows which one it is.

mod locate;
mod path;
mod translate;

use serde::de::DeserializeOwned;
use serde_yaml::Value;

use super::issue::Issue;
use super::strict::{Table, Vocabulary};

pub(crate) use self::locate::locate;
pub(crate) use self::path::{FieldPath, Step};

/// An issue and where it shows.
#[derive(Debug)]
pub(crate) struct Located {
    pub issue: Issue,
    /// Byte of the text.
    pub offset: Option<usize>,
    /// Field, such as `rules[1].delay.jitter`.
    pub path: Option<String>,
    /// Byte of something that explains the issue, and the explanation.
    pub also: Option<(usize, String)>,
}

impl Located {
    pub(crate) fn new(issue: Issue, offset: Option<usize>) -> Self {
        Self {
            issue,
            offset,
            path: None,
            also: None,
        }
    }
}

/// Reads a mapping from a text that the guard has passed.
pub(crate) fn read<T: Vocabulary + DeserializeOwned>(text: &str) -> Result<T, Box<Located>> {
    match serde_yaml::from_str(text) {
        Ok(Table(raw)) => Ok(raw),
        Err(error) => Err(Box::new(translate::translate(&error, text))),
    }
}

/// Reads whatever values there are in a text that the guard has passed.
pub(crate) fn value(text: &str) -> Result<Value, Box<Located>> {
    serde_yaml::from_str(text).map_err(|error| {
        let offset = error
            .location()
            .map(|location| byte_offset(text, &location));
        Box::new(Located::new(Issue::new(error.to_string()), offset))
    })
}

/// Returns the mapping at `path` as a text of its own, with one more key; `None` where there is none.
pub(crate) fn extract(text: &str, path: &FieldPath, key: &str, value: &str) -> Option<String> {
    let mut whole: Value = serde_yaml::from_str(text).ok()?;
    let part = path.0.iter().try_fold(&mut whole, |at, step| match step {
        Step::Key(key) => at.get_mut(key.as_str()),
        Step::Index(index) => at.get_mut(*index),
    })?;
    part.as_mapping_mut()?.insert(key.into(), value.into());
    serde_yaml::to_string(part).ok()
}

/// Returns a byte of the text that the parser pointed at; never inside a character.
fn byte_offset(text: &str, location: &serde_yaml::Location) -> usize {
    let index = location.index().min(text.len());
    (0..=index)
        .rev()
        .find(|index| text.is_char_boundary(*index))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::guard;
    use super::*;

    fn depth(value: &Value) -> usize {
        match value {
            Value::Sequence(elements) => 1 + elements.iter().map(depth).max().unwrap_or(0),
            Value::Mapping(pairs) => {
                let inside = pairs
                    .iter()
                    .map(|(key, value)| depth(key).max(depth(value)));
                1 + inside.max().unwrap_or(0)
            }
            _ => 0,
        }
    }

    /// Pieces that texts are made of; those that open, close, quote and hide.
    const PIECES: &[&str] = &[
        "[", "[[", "{", "]", "}", ",", ":", ": ", "- ", "-", "? ", "?", "\n", "\n  ", "\n    ",
        "\n ", " ", "  ", "a", "b: ", "'", "''", "\"", "\\", "\\\"", "#", " # ", "&a ", "*a",
        "|\n", ">-\n", "|2\n", "a: [", "- [", "x\n y", "\r\n", "\t", "é", "%", "@", "!", "---\n",
        "...\n", "{a: ",
    ];

    fn noise(pieces: usize) -> impl Strategy<Value = String> {
        let pieces = prop::collection::vec(prop::sample::select(PIECES), 0..pieces);
        pieces.prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn the_guard_sees_the_nesting_that_the_parser_sees(text in noise(40)) {
            let parsed = serde_yaml::from_str::<Value>(&text);
            if let (Ok(value), Ok(())) = (parsed, guard::check(&text)) {
                // A pair inside of `[]` and a list at the column of its key open no token.
                prop_assert!(depth(&value) <= 2 * guard::deepest(&text) + 1, "{text:?}");
            }
        }

        #[test]
        fn no_text_before_it_hides_a_deep_list(before in noise(8), after in noise(4)) {
            let text = format!("{before}{}{}{after}", "[".repeat(70), "]".repeat(70));
            if let Ok(value) = serde_yaml::from_str::<Value>(&text) && depth(&value) >= 70 {
                prop_assert!(guard::check(&text).is_err(), "{text:?}");
            }
        }
    }
}
