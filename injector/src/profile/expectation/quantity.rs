//! What can be expected of.

use serde::{Deserialize, Serialize};

use crate::units::{Probability, UnitError, whole_number};

/// Declares names of what is counted, each with its word.
macro_rules! words {
    ($(#[$attr:meta])* $name:ident { $($variant:ident $word:literal,)* }) => {
        $(#[$attr])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[expect(missing_docs, reason = "they are the fields of the same name of the report")]
        pub enum $name { $($variant,)* }

        impl $name {
            pub(super) fn find(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// The word for it.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }
    };
}

words! {
    /// A count of what happened to the packets of a rule.
    Count {
        Matched "matched",
        Bytes "bytes",
        Dropped "dropped",
        Corrupted "corrupted",
        Duplicated "duplicated",
        Reordered "reordered",
        Delayed "delayed",
        Marked "marked",
        Overlimit "overlimit",
    }
}

words! {
    /// A share of the packets of a rule.
    Share {
        Drop "drop",
        Corrupt "corrupt",
        Duplicate "duplicate",
        Reorder "reorder",
    }
}

words! {
    /// A count of packets outside the rules.
    PathCount {
        Unmatched "unmatched",
        Protected "protected",
        Unparseable "unparseable",
        Lapsed "lapsed",
        FailedOpen "failed_open",
        Unstamped "unstamped",
        Unowned "unowned",
        Lost "lost",
    }
}

/// Something that a run counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    /// Of rules.
    Count(Count),
    /// Of rules.
    Share(Share),
    /// Of no rule.
    Path(PathCount),
}

impl Quantity {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Count(count) => count.word(),
            Self::Share(share) => share.word(),
            Self::Path(count) => count.word(),
        }
    }

    /// Reads a value of it.
    pub(super) fn number(self, text: &str) -> Result<u64, UnitError> {
        match self {
            Self::Share(_) => text.parse().map(Probability::odds_q32),
            Self::Count(_) | Self::Path(_) => {
                const BOUNDS: [&str; 2] = ["0", "2^64 - 1"];
                let number = whole_number(
                    text,
                    &(0..=u64::MAX.into()),
                    BOUNDS,
                    "a whole number such as 1000",
                );
                number.map(|number| number as u64)
            }
        }
    }

    /// Likewise. That of a share is rounded up, so that what lies on the edge is within.
    pub(super) fn tolerance(self, text: &str) -> Result<u64, UnitError> {
        let number = self.number(text)?;
        let rounds = matches!(self, Self::Share(_)) && number > 0;
        Ok(number + u64::from(rounds))
    }

    /// Writes a value of it.
    pub(super) fn show(self, number: u64) -> String {
        match (self, Probability::from_odds_q32(number)) {
            (Self::Share(_), Some(share)) => share.to_string(),
            _ => number.to_string(),
        }
    }
}
