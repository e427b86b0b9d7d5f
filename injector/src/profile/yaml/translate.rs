//! From an error of the parser to an issue with a place.
//!
//! The parser reports an error as a sentence, with the path of the field before it and a position
//! behind. The sentence is ours where the schema refused, that of derived code where the type was
//! wrong or a key missing, and the parser's own where the text is not YAML.

use super::super::issue::{Issue, Key};
use super::{FieldPath, Located, byte_offset, locate};

/// Longest piece of the user's text that a message repeats, in characters.
const VALUE_CHARS_MAX: usize = 60;

/// Turns an error of the parser into an issue with a place.
pub(super) fn translate(error: &serde_yaml::Error, text: &str) -> Located {
    let location = error.location();
    let offset = location
        .as_ref()
        .map(|location| byte_offset(text, location));
    let sentence = without_position(error.to_string(), location.as_ref());
    let (path, sentence) = split_path(&sentence);
    let issue = Issue::decode(sentence);
    if issue.expected.is_some() {
        return of_the_schema(issue, path, offset, text);
    }
    let issue = missing_key(sentence).or_else(|| wrong_type(sentence, &path));
    match issue.or_else(|| bad_alias(sentence)) {
        Some(issue) => of_the_schema(issue, path, offset, text),
        None => syntax(sentence, offset, text),
    }
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

/// Places an issue with a field; when the field is a key, the path leads to it.
fn of_the_schema(issue: Issue, path: FieldPath, offset: Option<usize>, text: &str) -> Located {
    let (path, also) = match &issue.key {
        None => (path, None),
        Some(Key::Unknown(key) | Key::Missing(key)) => (path.key(key), None),
        Some(Key::Repeated(key)) => {
            let path = path.key(key);
            let first = locate(text, &path);
            (
                path,
                first.map(|(offset, _)| (offset, "first given here".to_owned())),
            )
        }
    };
    Located {
        path: path.shown(),
        also,
        ..Located::new(issue, offset)
    }
}

fn missing_key(sentence: &str) -> Option<Issue> {
    let key = sentence
        .strip_prefix("missing field `")?
        .strip_suffix('`')?;
    let issue = Issue::new(format!("missing key `{key}`")).expected(format!("`{key}` here"));
    Some(issue.key(Key::Missing(key.to_owned())))
}

/// Rewords `invalid type: X, expected Y`.
fn wrong_type(sentence: &str, path: &FieldPath) -> Option<Issue> {
    let found = sentence.strip_prefix("invalid type: ");
    let found = found.or_else(|| sentence.strip_prefix("invalid value: "))?;
    let (found, expected) = found.rsplit_once(", expected ")?;
    let expected = match expected {
        "a boolean" => "`true` or `false`",
        expected => expected,
    };
    let (kind, value) = found.split_once(' ').unwrap_or((found, ""));
    let value = value
        .trim_start_matches("point ")
        .trim_end_matches(" as u128");
    let message = match kind {
        "unit" | "Option" => "there is no value".to_owned(),
        "map" => "unexpected mapping".to_owned(),
        "sequence" => "unexpected list".to_owned(),
        "integer" | "floating" => format!("unexpected number {value}"),
        "string" => format!("unexpected text {}", clip(value)),
        other => format!("unexpected {other} {value}"),
    };
    let issue = Issue::new(message).expected(expected);
    let wants_text = expected.starts_with("a name") || expected.starts_with("a text");
    Some(match kind {
        "unit" if !path.0.is_empty() => issue.hint("write a value, or leave the key out"),
        "integer" | "floating" | "boolean" if wants_text => issue.hint("put it in quotes"),
        _ => issue,
    })
}

/// Shortens a text in quotes.
fn clip(quoted: &str) -> String {
    match quoted.char_indices().nth(VALUE_CHARS_MAX) {
        Some((end, _)) => format!("{}…\"", &quoted[..end]),
        None => quoted.to_owned(),
    }
}

fn bad_alias(sentence: &str) -> Option<Issue> {
    match sentence {
        "repetition limit exceeded" | "recursion limit exceeded" => {
            Some(Issue::new("the aliases repeat too much").expected("fewer aliases"))
        }
        "unknown anchor" => Some(
            Issue::new("an alias without an anchor")
                .expected("a name that an `&` before it gave")
                .hint("put a text that starts with `*` in quotes"),
        ),
        _ => None,
    }
}

/// Names an error of syntax, and shows where what the parser was in the middle of began.
fn syntax(sentence: &str, offset: Option<usize>, text: &str) -> Located {
    let (problem, context) = sentence.split_once(", ").unwrap_or((sentence, ""));
    let next = offset.and_then(|offset| text[offset..].chars().next());
    let issue = match (problem, next) {
        ("found character that cannot start any token", Some(c)) => bad_start(c),
        ("mapping values are not allowed in this context", _) => {
            Issue::new("a `key: value` pair inside a value")
                .expected("one value")
                .hint("check the indentation, or put a text with a colon in quotes")
        }
        _ => Issue::new(format!("invalid YAML: {problem}")),
    };
    Located {
        also: began(context, text),
        ..Located::new(issue, offset)
    }
}

fn bad_start(c: char) -> Issue {
    match c {
        '\t' => Issue::new("a tab in the indentation").expected("spaces"),
        _ => Issue::new(format!("a value cannot start with `{c}`"))
            .expected("a value")
            .hint("put the value in quotes"),
    }
}

/// Reads `while parsing a flow sequence at line 3 column 8`.
fn began(context: &str, text: &str) -> Option<(usize, String)> {
    let (what, position) = context.split_once(" at line ")?;
    let (line, column) = position.split_once(" column ")?;
    let (line, column): (usize, usize) = (line.parse().ok()?, column.parse().ok()?);
    let lines_before = text.split_inclusive('\n').take(line.checked_sub(1)?);
    let line_start = lines_before.map(str::len).sum::<usize>();
    let mut characters = text.get(line_start..)?.char_indices();
    let (in_line, _) = characters.nth(column.checked_sub(1)?)?;
    Some((line_start + in_line, what.to_owned()))
}
