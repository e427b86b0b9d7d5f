//! What is wrong with a profile whose every value is right by itself.

use std::ops::Range;

use super::Contradiction;
use super::issue::{Issue, Key};
use super::yaml::FieldPath;

/// Something that shows only when values are seen together, or in a file that the profile names.
pub(crate) struct Conflict {
    pub issue: Issue,
    /// The value at fault.
    pub path: FieldPath,
    /// The value it conflicts with, if there is one, and what to say there.
    pub against: Option<(FieldPath, String)>,
    /// Where the fault is, when it is in a file that the value names.
    pub line: Option<Line>,
}

/// A place in a file that a profile names.
#[derive(Debug)]
pub(crate) struct Line {
    /// The file.
    pub file: String,
    /// Which line, from 1.
    pub number: usize,
    /// Its text.
    pub text: String,
    /// Bytes of the text.
    pub span: Range<usize>,
}

impl Conflict {
    pub(crate) fn new(issue: Issue, path: FieldPath) -> Box<Self> {
        Box::new(Self {
            issue,
            path,
            against: None,
            line: None,
        })
    }

    /// A key that should be in the mapping at `mapping`.
    pub(crate) fn missing(mapping: &FieldPath, key: &str, expected: &str) -> Box<Self> {
        let issue = Issue::new(format!("missing key `{key}`"));
        let issue = issue.expected(format!("{expected} here"));
        Self::new(issue.key(Key::Missing(key.to_owned())), mapping.key(key))
    }

    /// What a rule at `rule` cannot have.
    pub(crate) fn contradiction(rule: &FieldPath, contradiction: &Contradiction) -> Box<Self> {
        let issue = Issue::new(contradiction.to_string()).expected(contradiction.expected());
        let conflict = Self::new(issue, rule.keys(&contradiction.field()));
        match contradiction.against() {
            Some(against) => conflict.because_of(rule.keys(&against)),
            None => conflict,
        }
    }

    /// Names the other value.
    pub(crate) fn against(self: Box<Self>, path: FieldPath, what: &str) -> Box<Self> {
        let against = Some((path, what.to_owned()));
        Box::new(Self { against, ..*self })
    }

    /// Names the other value, in the usual words.
    pub(crate) fn because_of(self: Box<Self>, path: FieldPath) -> Box<Self> {
        self.against(path, "because of this")
    }

    /// Of a mapping that is itself at `outer`.
    pub(crate) fn inside(self: Box<Self>, outer: &FieldPath) -> Box<Self> {
        let moved = |path: FieldPath| FieldPath([outer.0.clone(), path.0].concat());
        let against = self.against.map(|(path, what)| (moved(path), what));
        Box::new(Self {
            path: moved(self.path),
            against,
            ..*self
        })
    }

    /// Moves the fault into the file that the value names.
    pub(crate) fn in_line(self: Box<Self>, line: Line) -> Box<Self> {
        let line = Some(line);
        Box::new(Self { line, ..*self })
    }
}
