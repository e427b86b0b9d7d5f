//! The YAML parser, behind one function: no other module knows which one it is.
//!
//! The parser reports an error as a sentence with the path of the field before it, and a position
//! beside it. Here that becomes an [`Issue`] at a [`Place`].

mod locate;

use std::fmt;

use super::issue::{Issue, Key};
use super::schema::RawProfile;
use super::strict::Table;

pub(super) use self::locate::locate;

/// An issue and where it shows.
#[derive(Debug)]
pub(super) struct Located {
    pub issue: Issue,
    /// Byte of the text.
    pub offset: Option<usize>,
    /// Field, such as `rules[1].delay.jitter`.
    pub path: Option<String>,
    /// Byte of something that explains the issue, and the explanation.
    pub also: Option<(usize, String)>,
}

/// The way to a value, from the outside in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct FieldPath(pub(super) Vec<Step>);

/// One step of the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

impl FieldPath {
    /// Reads what [`fmt::Display`] writes.
    fn parse(text: &str) -> Self {
        let steps = text.split(['.', '[']).filter(|step| !step.is_empty());
        Self(
            steps
                .map(|step| match step.trim_end_matches(']').parse() {
                    Ok(index) => Step::Index(index),
                    Err(_) => Step::Key(step.to_owned()),
                })
                .collect(),
        )
    }

    fn join(&self, key: &str) -> Self {
        let mut steps = self.0.clone();
        steps.push(Step::Key(key.to_owned()));
        Self(steps)
    }

    /// Returns the path as text; the whole profile has none.
    pub(super) fn shown(&self) -> Option<String> {
        (!self.0.is_empty()).then(|| self.to_string())
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if position == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// Reads the raw form of a profile from a text that the guard has passed.
pub(super) fn read(text: &str) -> Result<RawProfile, Box<Located>> {
    match serde_yaml::from_str(text) {
        Ok(Table(raw)) => Ok(raw),
        Err(error) => Err(Box::new(translate(&error, text))),
    }
}

/// Turns an error of the parser into an issue with a place.
fn translate(error: &serde_yaml::Error, text: &str) -> Located {
    let location = error.location();
    let offset = location
        .as_ref()
        .map(|location| byte_offset(text, location.index()));
    let sentence = without_position(error.to_string(), location.as_ref());
    let (path, sentence) = split_path(&sentence);
    let issue = Issue::decode(sentence);
    let (path, also) = match &issue.key {
        Some(Key::Unknown(key)) => (path.join(key), None),
        Some(Key::Repeated(key)) => (path.join(key), first_of(text, &path.join(key))),
        None => (path, None),
    };
    if issue.expected.is_some() {
        return Located {
            issue,
            offset,
            path: path.shown(),
            also,
        };
    }
    reword(&issue.message, text, offset, &path)
}

/// Cuts the position out of an error's sentence; it is known from elsewhere.
fn without_position(sentence: String, location: Option<&serde_yaml::Location>) -> String {
    let Some(location) = location else {
        return sentence;
    };
    let position = format!(" at line {} column {}", location.line(), location.column());
    match sentence.strip_suffix(&position) {
        Some(rest) => rest.to_owned(),
        // An error of syntax goes on to say what was being parsed.
        None => sentence.replacen(&position, "", 1),
    }
}

/// Splits off the field path that the parser puts before the sentence.
///
/// Paths are unmistakable: every key in one is a key of the schema, because an unknown key is
/// refused before its value is looked at.
fn split_path(sentence: &str) -> (FieldPath, &str) {
    let is_path = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_.[]".contains(c);
    match sentence.split_once(": ") {
        Some((path, rest)) if path.chars().all(is_path) => (FieldPath::parse(path), rest),
        _ => (FieldPath::default(), sentence),
    }
}

/// Finds the first value of a key that is given twice.
fn first_of(text: &str, path: &FieldPath) -> Option<(usize, String)> {
    locate(text, path).map(|(offset, _)| (offset, "first given here".to_owned()))
}

/// Puts the words of the parser and of derived code into those of a profile.
fn reword(sentence: &str, text: &str, offset: Option<usize>, path: &FieldPath) -> Located {
    let located = |issue| Located {
        issue,
        offset,
        path: path.shown(),
        also: None,
    };
    if let Some(key) = sentence.strip_prefix("missing field `") {
        let key = key.trim_end_matches('`');
        let issue = Issue::new(format!("missing key `{key}`")).expected(format!("`{key}` here"));
        return Located {
            path: path.join(key).shown(),
            ..located(issue)
        };
    }
    if let Some(issue) = wrong_type(sentence) {
        return located(issue);
    }
    match sentence {
        "repetition limit exceeded" | "recursion limit exceeded" => {
            located(Issue::new("the aliases repeat too much").expected("fewer aliases"))
        }
        "unknown anchor" => located(
            Issue::new("an alias without an anchor")
                .expected("a name that an `&` before it gave")
                .hint("put a text that starts with `*` in quotes"),
        ),
        _ => syntax(sentence, text, offset),
    }
}

/// Rewords `invalid type: X, expected Y`.
fn wrong_type(sentence: &str) -> Option<Issue> {
    let found = sentence
        .strip_prefix("invalid type: ")
        .or_else(|| sentence.strip_prefix("invalid value: "))
        .or_else(|| sentence.strip_prefix("invalid length "))?;
    let (found, expected) = found.rsplit_once(", expected ")?;
    let (kind, value) = found.split_once(' ').unwrap_or((found, ""));
    let kind = match kind {
        "unit" | "Option" => return Some(empty(expected)),
        "map" => "mapping",
        "sequence" => "list",
        "integer" | "floating" => "number",
        "string" => "text",
        other => other,
    };
    let value = value
        .trim_start_matches("point ")
        .trim_end_matches(" as u128");
    let issue = Issue::new(format!("unexpected {kind} {value}").trim_end()).expected(expected);
    let wants_text = expected.starts_with("a name") || expected.starts_with("a text");
    match kind {
        "number" | "boolean" if wants_text => Some(issue.hint("put it in quotes")),
        _ => Some(issue),
    }
}

fn empty(expected: &str) -> Issue {
    Issue::new("there is no value")
        .expected(expected)
        .hint("write a value, or leave the key out")
}

/// Names an error of syntax, and shows where what the parser was in the middle of began.
fn syntax(sentence: &str, text: &str, offset: Option<usize>) -> Located {
    let (problem, context) = sentence.split_once(", ").unwrap_or((sentence, ""));
    let next = offset.and_then(|offset| text[offset..].chars().next());
    let issue = match (problem, next) {
        ("found character that cannot start any token", Some('\t')) => {
            Issue::new("a tab in the indentation").expected("spaces")
        }
        ("found character that cannot start any token", Some(c)) => {
            Issue::new(format!("a value cannot start with `{c}`"))
                .expected("a value")
                .hint("put the value in quotes")
        }
        ("mapping values are not allowed in this context", _) => {
            Issue::new("a `key: value` pair inside a value")
                .expected("one value")
                .hint("check the indentation, or put a text with a colon in quotes")
        }
        _ => Issue::new(format!("invalid YAML: {problem}")),
    };
    Located {
        issue,
        offset,
        path: None,
        also: began(context, text),
    }
}

/// Reads `while parsing a flow sequence at line 3 column 8`.
fn began(context: &str, text: &str) -> Option<(usize, String)> {
    let (what, position) = context.split_once(" at line ")?;
    let (line, column) = position.split_once(" column ")?;
    let (line, column): (usize, usize) = (line.parse().ok()?, column.parse().ok()?);
    let line_start = text
        .split_inclusive('\n')
        .take(line - 1)
        .map(str::len)
        .sum::<usize>();
    let in_line = text.get(line_start..)?.char_indices().nth(column - 1)?.0;
    Some((line_start + in_line, what.to_owned()))
}

/// Returns a byte of the text that the parser pointed at; never inside a character.
fn byte_offset(text: &str, index: usize) -> usize {
    let index = index.min(text.len());
    (0..=index)
        .rev()
        .find(|index| text.is_char_boundary(*index))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_yaml::Value;

    use super::super::guard;

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
