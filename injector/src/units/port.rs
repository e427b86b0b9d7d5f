//! Ranges of transport ports.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use super::UnitError;
use super::range::{range, write_range};
use super::scalar::{self, Scalar};

/// An inclusive range of ports, never empty: `first <= last`.
///
/// Written as a port (`5432`) or as a range (`6432-6440`), each from 0 to 65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// Returns the range from `first` to `last`, or `None` when it ends before it starts.
    pub const fn new(first: u16, last: u16) -> Option<Self> {
        if first <= last {
            Some(Self { first, last })
        } else {
            None
        }
    }

    /// Returns the lowest port of the range.
    pub const fn first(self) -> u16 {
        self.first
    }

    /// Returns the highest port of the range.
    pub const fn last(self) -> u16 {
        self.last
    }

    /// Returns whether `port` lies in the range.
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

impl From<u16> for PortRange {
    fn from(port: u16) -> Self {
        Self {
            first: port,
            last: port,
        }
    }
}

impl Scalar for PortRange {
    const EXPECTED: &'static str = "a port such as 5432, or a range such as 6432-6440";
}

impl FromStr for PortRange {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (first, last) = range(text, "a port", "65535", Self::EXPECTED)?;
        Ok(Self { first, last })
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_range(f, self.first, self.last)
    }
}

impl<'de> Deserialize<'de> for PortRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        scalar::deserialize(deserializer)
    }
}

#[cfg(test)]
scalar::schema_of!(PortRange as "Port", {
    "type": ["integer", "string"],
    "minimum": 0,
    "maximum": 65535,
    "pattern": r"^0*[0-9]{1,5}(-0*[0-9]{1,5})?$",
    "examples": [5432, "6432-6440"],
});

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refusal(text: &str) -> String {
        text.parse::<PortRange>().unwrap_err().to_string()
    }

    #[test]
    fn a_port_is_a_range_of_one() {
        assert_eq!("5432".parse(), Ok(PortRange::from(5432)));
        assert_eq!(
            "0-65535".parse(),
            Ok(PortRange {
                first: 0,
                last: 65535
            })
        );
    }

    #[test]
    fn a_backward_range_is_refused_with_the_forward_one() {
        assert_eq!(
            refusal("6440-6432"),
            "`6440-6432` ends before it starts: write 6432-6440"
        );
    }

    #[test]
    fn numbers_out_of_range_are_named_as_such() {
        assert!(refusal("65536").contains("is above the limit of 65535"));
        assert!(refusal("1-99999999999999999999").contains("is above the limit of 65535"));
        assert!(refusal("-1").starts_with("`-1` is negative"));
    }

    #[test]
    fn anything_else_is_not_a_port() {
        for text in ["", "http", "-", "1-", "1-2-3", "+5", "54.32", "1,2"] {
            assert!(refusal(text).contains("is not a port"), "{text}");
        }
        assert!(refusal("1024:2048").ends_with("write 1024-2048"));
    }

    proptest! {
        #[test]
        fn display_parses_back_to_the_same_range(a: u16, b: u16) {
            let range = PortRange::new(a.min(b), a.max(b)).unwrap();
            prop_assert_eq!(range.to_string().parse(), Ok(range));
        }
    }
}
