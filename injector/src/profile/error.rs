//! Why a profile was refused, as a person and as a program reads it.

mod excerpt;

use std::fmt;
use std::io;
use std::ops::Range;

use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde::Serialize;

use self::excerpt::{line_and_column, token, visible};
use super::conflict::Line;
use super::issue::Issue;
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
    /// Line of the file that the text begins with, from 1.
    first_line: usize,
    /// Bytes to underline.
    span: Option<Range<usize>>,
    /// Bytes that explain the issue, and the explanation.
    also: Option<(Range<usize>, String)>,
}

impl Report {
    /// Starts a report that is about no place in the file.
    fn about(file: &str, message: impl Into<String>) -> Self {
        let (file, message) = (file.to_owned(), message.into());
        Self {
            file,
            line: None,
            column: None,
            path: None,
            message,
            expected: None,
            hint: None,
        }
    }
}

impl Diagnostic {
    pub(super) fn new(file: &str, text: &str, located: Located) -> Self {
        let Issue {
            message,
            expected,
            hint,
            ..
        } = located.issue;
        let offset = located.offset.map(|offset| visible(text, offset));
        let mut report = Report::about(file, message);
        (report.line, report.column) = offset.map(|at| line_and_column(text, at)).unzip();
        (report.path, report.expected, report.hint) = (located.path, expected, hint);
        let span = offset.map(|offset| token(text, offset));
        let also = located
            .also
            .map(|(offset, why)| (token(text, visible(text, offset)), why));
        Self {
            report,
            text: text.to_owned(),
            first_line: 1,
            span,
            also,
        }
    }

    /// A place in a file that the profile names, where `located` is.
    pub(super) fn in_line(line: Line, located: Located) -> Self {
        let located = Located {
            offset: Some(line.span.start),
            also: None,
            ..located
        };
        let mut diagnostic = Self::new(&line.file, &line.text, located);
        diagnostic.first_line = line.number;
        diagnostic.report.line = Some(line.number);
        if !line.span.is_empty() {
            diagnostic.span = Some(line.span);
        }
        diagnostic
    }

    /// Returns the excerpt, with what was expected under the place; `None` without a place.
    fn snippet(&self) -> Option<Snippet<'_, Annotation<'_>>> {
        let expected = self.report.expected.as_ref();
        let label = expected.map(|expected| format!("expected {expected}"));
        let place = AnnotationKind::Primary
            .span(self.span.clone()?)
            .label(label);
        let also = self.also.iter();
        let also = also.map(|(span, why)| AnnotationKind::Context.span(span.clone()).label(why));
        let snippet = Snippet::source(&self.text).line_start(self.first_line);
        let snippet = snippet.path(&self.report.file);
        Some(snippet.annotation(place).annotations(also))
    }
}

impl From<Diagnostic> for ProfileError {
    fn from(diagnostic: Diagnostic) -> Self {
        Self::Invalid(Box::new(diagnostic))
    }
}

impl ProfileError {
    /// Renders the error for a terminal, with or without colour; no line break at the end.
    pub fn render(&self, color: bool) -> String {
        let report = self.report();
        let title = Group::with_title(Level::ERROR.primary_title(&report.message));
        let group = match self.snippet() {
            Some(snippet) => title.element(snippet),
            None => {
                let expected = report
                    .expected
                    .iter()
                    .map(|text| format!("expected {text}"));
                let notes = expected.map(|text| Level::NOTE.message(text));
                title.element(Origin::path(&report.file)).elements(notes)
            }
        };
        let field = Level::NOTE.with_name("field");
        let field = report.path.iter().map(|path| field.clone().message(path));
        let hint = report.hint.iter().map(|hint| Level::HELP.message(hint));
        let renderer = if color {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        renderer.render(&[group.elements(field).elements(hint)])
    }

    fn snippet(&self) -> Option<Snippet<'_, Annotation<'_>>> {
        match self {
            Self::Invalid(diagnostic) => diagnostic.snippet(),
            _ => None,
        }
    }

    /// Returns the error in parts.
    pub fn report(&self) -> Report {
        match self {
            Self::Invalid(diagnostic) => diagnostic.report.clone(),
            Self::Unreadable { name, source } => {
                Report::about(name, format!("cannot read it: {source}"))
            }
            Self::NotAFile { name, found } => Report {
                expected: Some("a regular file".to_owned()),
                hint: Some("to read a pipe, write `-` and redirect standard input".to_owned()),
                ..Report::about(name, format!("this is {found}"))
            },
            Self::UnknownName { name, nearest } => Report {
                expected: Some("a file, whose name has a `/` or ends in `.yaml`".to_owned()),
                hint: Some(format!("did you mean {}?", list(nearest, "or"))),
                ..Report::about(name, "there is no built-in profile of this name")
            },
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
