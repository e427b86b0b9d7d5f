//! Why a profile was refused, as a person and as a program reads it.

use std::fmt;
use std::io;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde::Serialize;

use super::nearest::list;
use super::yaml::Located;

/// A profile that cannot be used.
///
/// Displays as several lines, in the manner of rustc: what is wrong, an excerpt with the place
/// underlined, the field, and what to write instead.
#[derive(Debug)]
pub enum ProfileError {
    /// The profile says something it must not.
    Invalid(Box<Diagnostic>),
    /// The file or the standard input could not be read.
    Unreadable {
        /// File as the user named it.
        name: String,
        /// Reason.
        source: io::Error,
    },
    /// The path leads to something that is not a regular file.
    NotAFile {
        /// Path as the user named it.
        name: String,
        /// What it is, with its article.
        found: &'static str,
    },
    /// No built-in profile has the name.
    UnknownName {
        /// Name as the user wrote it.
        name: String,
        /// Names of built-in profiles, nearest first, at least one.
        nearest: Vec<&'static str>,
    },
}

/// A [`ProfileError`] in parts, for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// File as the user named it; `-` for standard input.
    pub file: String,
    /// Line of the place, from 1.
    pub line: Option<usize>,
    /// Column of the place, from 1, in characters.
    pub column: Option<usize>,
    /// Field, such as `rules[1].delay.jitter`.
    pub path: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What should be there instead.
    pub expected: Option<String>,
    /// What to write or do.
    pub hint: Option<String>,
}

/// A place in a profile, and what is wrong there.
#[derive(Debug)]
pub struct Diagnostic {
    report: Report,
    text: String,
    /// Bytes to underline.
    span: Option<Range<usize>>,
    /// Bytes that explain the issue, and the explanation.
    also: Option<(Range<usize>, String)>,
}

impl Diagnostic {
    pub(super) fn new(file: &str, text: &str, located: Located) -> Self {
        let Located {
            issue,
            offset,
            path,
            also,
        } = located;
        let offset = offset.map(|offset| visible(text, offset));
        let position = offset.map(|offset| line_and_column(text, offset));
        Self {
            report: Report {
                file: file.to_owned(),
                line: position.map(|(line, _)| line),
                column: position.map(|(_, column)| column),
                path,
                message: issue.message,
                expected: issue.expected,
                hint: issue.hint,
            },
            text: text.to_owned(),
            span: offset.map(|offset| token(text, offset)),
            also: also.map(|(offset, why)| (token(text, visible(text, offset)), why)),
        }
    }

    fn snippet(&self) -> Option<Snippet<'_, annotate_snippets::Annotation<'_>>> {
        let label = self
            .report
            .expected
            .as_ref()
            .map(|expected| format!("expected {expected}"));
        let primary = AnnotationKind::Primary
            .span(self.span.clone()?)
            .label(label);
        let also = self.also.as_ref().map(|(span, why)| {
            AnnotationKind::Context
                .span(span.clone())
                .label(why.as_str())
        });
        let snippet = Snippet::source(&self.text).path(&self.report.file);
        Some(snippet.annotation(primary).annotations(also))
    }
}

impl From<Diagnostic> for ProfileError {
    fn from(diagnostic: Diagnostic) -> Self {
        Self::Invalid(Box::new(diagnostic))
    }
}

impl ProfileError {
    /// Renders the error for a terminal, with or without colour.
    pub fn render(&self, color: bool) -> String {
        let report = self.report();
        let mut group = Group::with_title(Level::ERROR.primary_title(&report.message));
        let snippet = match self {
            Self::Invalid(diagnostic) => diagnostic.snippet(),
            _ => None,
        };
        if let Some(snippet) = snippet {
            group = group.element(snippet);
        } else {
            group = group.element(Origin::path(&report.file));
            let expected = report
                .expected
                .iter()
                .map(|e| Level::NOTE.message(format!("expected {e}")));
            group = group.elements(expected);
        }
        let field = report
            .path
            .iter()
            .map(|path| Level::NOTE.with_name("field").message(path));
        let hint = report.hint.iter().map(|hint| Level::HELP.message(hint));
        let group = group.elements(field).elements(hint);
        let renderer = if color {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        renderer.render(&[group])
    }

    /// Returns the error in parts.
    pub fn report(&self) -> Report {
        let unplaced = |file: &str, message: String, hint: Option<String>| Report {
            file: file.to_owned(),
            line: None,
            column: None,
            path: None,
            message,
            expected: None,
            hint,
        };
        match self {
            Self::Invalid(diagnostic) => diagnostic.report.clone(),
            Self::Unreadable { name, source } => {
                unplaced(name, format!("cannot read the profile: {source}"), None)
            }
            Self::NotAFile { name, found } => Report {
                expected: Some("a regular file".to_owned()),
                ..unplaced(
                    name,
                    format!("the profile is {found}"),
                    Some("to read from a pipe, write `-` and redirect standard input".to_owned()),
                )
            },
            Self::UnknownName { name, nearest } => unplaced(
                name,
                "there is no built-in profile of this name".to_owned(),
                Some(format!(
                    "did you mean {}? A file needs a `/` or ends in `.yaml`",
                    list(nearest, "or")
                )),
            ),
        }
    }
}

impl fmt::Display for ProfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for ProfileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Moves a place behind the last character back to it: there is nothing to underline at the end.
fn visible(text: &str, offset: usize) -> usize {
    let end = text.trim_end().len();
    if offset < end {
        offset
    } else {
        text[..end]
            .char_indices()
            .next_back()
            .map_or(0, |(at, _)| at)
    }
}

fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = &text[..offset];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}

/// Returns the bytes of the token at `offset`, as far as its line goes.
fn token(text: &str, offset: usize) -> Range<usize> {
    let rest = text[offset..].lines().next().unwrap_or_default();
    let first = rest.chars().next().map_or(0, char::len_utf8);
    let line_start = text[..offset].rfind('\n').map_or(0, |newline| newline + 1);
    let in_flow = text[line_start..offset].contains(['[', '{']);
    let length = match rest.chars().next() {
        Some(quote @ ('"' | '\'')) => rest[1..].find(quote).map_or(rest.len(), |end| end + 2),
        Some('[' | '{') => bracket_length(rest),
        _ => plain_length(rest, in_flow),
    };
    offset..offset + length.max(first)
}

fn bracket_length(rest: &str) -> usize {
    let mut open = 0;
    for (at, c) in rest.char_indices() {
        match c {
            '[' | '{' => open += 1,
            ']' | '}' => open -= 1,
            _ => {}
        }
        if open == 0 {
            return at + 1;
        }
    }
    rest.trim_end().len()
}

fn plain_length(rest: &str, in_flow: bool) -> usize {
    let delimiters: &[&str] = if in_flow {
        &[",", "]", "}", ": ", " #"]
    } else {
        &[": ", " #"]
    };
    let end = delimiters
        .iter()
        .filter_map(|delimiter| rest.find(delimiter))
        .min();
    let token = &rest[..end.unwrap_or(rest.len())];
    token.trim_end().trim_end_matches([':', ',']).len()
}
