//! A share of all flows.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use super::error::Reason;
use super::scalar::{self, Scalar};
use super::{Probability, UnitError};

/// The flows from one share to another: `10%` are those from 0 to a tenth of all, `10%-30%` a fifth of all, none of
/// which is among those.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flows {
    from: Probability,
    to: Probability,
}

impl Flows {
    /// Returns the flows from one share to another, or `None` when these are none.
    pub fn new(from: Probability, to: Probability) -> Option<Self> {
        (from < to).then_some(Self { from, to })
    }

    /// Returns the share at which they begin.
    pub const fn from(self) -> Probability {
        self.from
    }

    /// Returns the share at which they end.
    pub const fn to(self) -> Probability {
        self.to
    }
}

impl Scalar for Flows {
    const EXPECTED: &'static str = "a share of all flows such as 10%, or a range such as 10%-30%";
}

impl FromStr for Flows {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let error = |reason| UnitError::new(text, reason, Self::EXPECTED);
        let share = |text: &str| {
            let share = text.parse::<Probability>();
            share.map_err(|error| error.expecting(Self::EXPECTED))
        };
        let (from, to) = match text.split_once("%-") {
            None => (Probability::NEVER, share(text)?),
            Some((from, to)) => (share(&format!("{from}%"))?, share(to)?),
        };
        match Self::new(from, to) {
            Some(flows) => Ok(flows),
            None if from == to => Err(error(Reason::Nothing)),
            None => Err(error(Reason::Backward)),
        }
    }
}

impl fmt::Display for Flows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.from {
            Probability::NEVER => self.to.fmt(f),
            from => f.pad(&format!("{from}-{}", self.to)),
        }
    }
}

impl<'de> Deserialize<'de> for Flows {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        scalar::deserialize(deserializer)
    }
}

#[cfg(test)]
scalar::schema_of!(Flows as "Flows", {
    "type": ["number", "string"],
    "minimum": 0,
    "maximum": 1,
    "pattern": "^[+-]?[0-9.]+([eE][+-]?[0-9]+)?(%(-[0-9.]+%)?)?$",
    "examples": ["10%", "10%-30%"],
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_or_a_range_of_shares() {
        let odds = |text: &str| {
            let flows = text.parse::<Flows>().unwrap();
            (flows.from().odds_q32(), flows.to().odds_q32())
        };
        assert_eq!(odds("25%"), (0, 1 << 30));
        assert_eq!(odds("0.25"), (0, 1 << 30));
        assert_eq!(odds("25%-100%"), (1 << 30, 1 << 32));
        for text in ["0%", "30%-10%", "5%-5%", "5", "x", "101%"] {
            assert!(text.parse::<Flows>().is_err(), "{text}");
        }
    }
}
