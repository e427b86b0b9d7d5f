//! What is wrong with a text of another tool, and where.

use crate::profile::{ProfileError, Source, issue::Issue, yaml::FieldPath};

/// What reading yields.
pub(super) type Parsed<T> = Result<T, Box<Flaw>>;

/// One thing wrong.
#[derive(Debug)]
pub(super) struct Flaw {
    pub issue: Issue,
    pub place: Place,
}

/// Where it is.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// At this byte of the text.
    Byte(usize),
    /// At this field of a YAML or JSON document.
    Field(FieldPath),
    /// In the text as a whole.
    Text,
}

impl Flaw {
    pub(super) fn new(issue: Issue, place: Place) -> Box<Self> {
        Box::new(Self { issue, place })
    }

    /// Shows the place in the text.
    pub(super) fn in_text(self, source: &Source) -> ProfileError {
        match self.place {
            Place::Byte(offset) => source.refuse(self.issue, Some(offset)),
            Place::Field(path) => source.refuse_field(self.issue, path),
            Place::Text => source.refuse(self.issue, None),
        }
    }
}
