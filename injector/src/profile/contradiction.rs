//! Rules that are well written and yet make no sense.

mod faults;
mod matching;

use super::{Fragments, Rule};

/// Why a rule could not do what it says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Contradiction {
    message: String,
    field: [&'static str; 2],
    against: Option<[&'static str; 2]>,
    expected: String,
}

impl Contradiction {
    fn new(
        field: [&'static str; 2],
        message: impl Into<String>,
        expected: impl Into<String>,
    ) -> Self {
        Self {
            message: message.into(),
            field,
            against: None,
            expected: expected.into(),
        }
    }

    fn because_of(self, against: [&'static str; 2]) -> Self {
        Self {
            against: Some(against),
            ..self
        }
    }

    /// Returns where in the rule the contradiction shows, as keys from the outside in.
    pub fn field(&self) -> [&'static str; 2] {
        self.field
    }

    /// Returns the other half of the contradiction, as keys from the outside in.
    pub fn against(&self) -> Option<[&'static str; 2]> {
        self.against
    }

    /// Returns what would make sense in place of [`Self::field`].
    pub fn expected(&self) -> &str {
        &self.expected
    }
}

impl Rule {
    /// Finds what the rule asks for and cannot have, in a profile that takes fragments so.
    ///
    /// # Errors
    ///
    /// The first contradiction: between faults, or between conditions that no packet could meet.
    pub fn check(&self, fragments: Fragments) -> Result<(), Contradiction> {
        faults::check(self)?;
        matching::check(&self.matching, fragments)
    }
}
