//! Types of ICMP.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use super::nearest::nearest;
use crate::units::scalar::{self, Scalar};
use crate::units::{Field, Span, UnitError};

/// A type of ICMP packets: a name, which stands for numbers that are different in ICMP and ICMPv6, or numbers, which
/// are what they are in both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IcmpType {
    /// In ICMP, first and last; `None` where it has no such type.
    v4: Option<(u8, u8)>,
    /// In ICMPv6.
    v6: Option<(u8, u8)>,
}

/// Names, and the numbers in ICMP and ICMPv6 (RFC 792, RFC 4443, RFC 4861).
const NAMES: &[(&str, Option<u8>, Option<u8>)] = &[
    ("echo-request", Some(8), Some(128)),
    ("echo-reply", Some(0), Some(129)),
    ("destination-unreachable", Some(3), Some(1)),
    ("packet-too-big", None, Some(2)),
    ("time-exceeded", Some(11), Some(3)),
    ("parameter-problem", Some(12), Some(4)),
    ("redirect", Some(5), Some(137)),
    ("router-solicitation", Some(10), Some(133)),
    ("router-advertisement", Some(9), Some(134)),
    ("neighbour-solicitation", None, Some(135)),
    ("neighbour-advertisement", None, Some(136)),
    ("timestamp-request", Some(13), None),
    ("timestamp-reply", Some(14), None),
];

impl IcmpType {
    /// Returns the first and the last number in ICMP.
    pub const fn v4(self) -> Option<(u8, u8)> {
        self.v4
    }

    /// Returns the first and the last number in ICMPv6.
    pub const fn v6(self) -> Option<(u8, u8)> {
        self.v6
    }
}

/// The number of a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Number;

impl Field for Number {
    const WHAT: &'static str = "a type of ICMP";
    const MOST: u32 = 255;
    const MOST_NAMED: &'static str = "255";
    const EXPECTED: &'static str = IcmpType::EXPECTED;
    const SCHEMA: &'static str = "IcmpTypeNumber";
}

impl Scalar for IcmpType {
    const EXPECTED: &'static str =
        "a type of ICMP such as `echo-request`, a number, or a range such as 133-137";
}

impl FromStr for IcmpType {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        if let Some((_, v4, v6)) = NAMES.iter().find(|(name, ..)| *name == text) {
            let alone = |number: u8| (number, number);
            return Ok(Self {
                v4: v4.map(alone),
                v6: v6.map(alone),
            });
        }
        let number = text.parse::<Span<Number>>().map_err(|error| {
            let names: Vec<_> = NAMES.iter().map(|(name, ..)| *name).collect();
            match nearest(text, &names) {
                Some(name) => error.hint(format!("did you mean `{name}`?")),
                None => error,
            }
        })?;
        let both = Some((number.first() as u8, number.last() as u8));
        Ok(Self { v4: both, v6: both })
    }
}

impl fmt::Display for IcmpType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let alone = |numbers: Option<(u8, u8)>| numbers.map(|(first, _)| first);
        let (v4, v6) = (alone(self.v4), alone(self.v6));
        let is_named = |(_, of_v4, of_v6): &&(&str, _, _)| (*of_v4, *of_v6) == (v4, v6);
        match (NAMES.iter().find(is_named), self.v4) {
            (Some((name, ..)), _) => f.pad(name),
            (None, Some((first, last))) if first != last => f.pad(&format!("{first}-{last}")),
            (None, _) => f.pad(&v4.unwrap_or_default().to_string()),
        }
    }
}

impl<'de> Deserialize<'de> for IcmpType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        scalar::deserialize(deserializer)
    }
}

#[cfg(test)]
scalar::schema_of!(IcmpType as "IcmpType", {
    "anyOf": [
        { "enum": NAMES.iter().map(|(name, ..)| *name).collect::<Vec<_>>() },
        { "type": ["integer", "string"], "minimum": 0, "maximum": 255, "pattern": "^[0-9]+(-[0-9]+)?$" },
    ],
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_numbers_of_its_own_in_each_version() {
        let numbers = |text: &str| {
            let kind = text.parse::<IcmpType>().unwrap();
            (kind.v4(), kind.v6())
        };
        assert_eq!(numbers("echo-request"), (Some((8, 8)), Some((128, 128))));
        assert_eq!(numbers("packet-too-big"), (None, Some((2, 2))));
        assert_eq!(numbers("8"), (Some((8, 8)), Some((8, 8))));
        assert_eq!(numbers("133-137"), (Some((133, 137)), Some((133, 137))));
        let refusal = |text: &str| text.parse::<IcmpType>().unwrap_err().to_string();
        assert!(refusal("echo-requst").ends_with("did you mean `echo-request`?"));
        assert!(refusal("256").contains("above the limit of 255"));
        for text in NAMES.iter().map(|(name, ..)| *name).chain(["7", "1-2"]) {
            assert_eq!(text.parse::<IcmpType>().unwrap().to_string(), text);
        }
    }
}
