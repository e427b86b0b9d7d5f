//! Numbers of a packet's header, and ranges of them.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use super::UnitError;
use super::error::Reason;
use super::quantity::is_digits;
use super::range::{range, write_range};
use super::scalar::{self, Scalar};

/// A field of headers, of which there are ranges.
pub trait Field: Copy {
    /// What a number of it is, with its article.
    const WHAT: &'static str;
    /// The largest number.
    const MOST: u32;
    /// The same in words.
    const MOST_NAMED: &'static str;
    /// What a correct text looks like, with its article.
    const EXPECTED: &'static str;
    /// Names of numbers.
    const WORDS: &'static [(&'static str, u32)] = &[];
    /// Whether a range may be without an end.
    const OPEN: bool = false;
    /// The name in the JSON Schema.
    const SCHEMA: &'static str;
}

/// An inclusive range of a field, never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Span<F> {
    first: u32,
    last: u32,
    of: PhantomData<F>,
}

impl<F: Field> Span<F> {
    /// Returns the range from `first` to `last`, or `None` when it ends before it starts, or beyond the field.
    pub fn new(first: u32, last: u32) -> Option<Self> {
        (first <= last && last <= F::MOST).then_some(Self {
            first,
            last,
            of: PhantomData,
        })
    }

    /// Returns the lowest number of the range.
    pub const fn first(&self) -> u32 {
        self.first
    }

    /// Returns the highest number of the range.
    pub const fn last(&self) -> u32 {
        self.last
    }

    /// Returns whether `number` lies in the range.
    pub const fn contains(&self, number: u32) -> bool {
        self.first <= number && number <= self.last
    }
}

impl<F: Field> Scalar for Span<F> {
    const EXPECTED: &'static str = F::EXPECTED;
}

impl<F: Field> FromStr for Span<F> {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let is_word = |(word, _): &&(&str, u32)| *word == text;
        let open = text.strip_suffix('-').filter(|_| F::OPEN);
        let (first, last) = if let Some((_, number)) = F::WORDS.iter().find(is_word) {
            (*number, *number)
        } else if let Some(first) = open.filter(|first| is_digits(first)) {
            let (first, _) = range(first, F::WHAT, F::MOST_NAMED, F::EXPECTED)?;
            (first, F::MOST.max(first))
        } else {
            range(text, F::WHAT, F::MOST_NAMED, F::EXPECTED)?
        };
        Self::new(first, last)
            .ok_or_else(|| UnitError::new(text, Reason::TooLarge(F::MOST_NAMED), F::EXPECTED))
    }
}

impl<F: Field> fmt::Display for Span<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_range(f, self.first, self.last)
    }
}

impl<'de, F: Field> Deserialize<'de> for Span<F> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        scalar::deserialize(deserializer)
    }
}

#[cfg(test)]
impl<F: Field> schemars::JsonSchema for Span<F> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        F::SCHEMA.into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let words: Vec<_> = F::WORDS.iter().map(|(word, _)| *word).collect();
        let end = if F::OPEN { "?" } else { "" };
        let number = schemars::json_schema!({
            "type": ["integer", "string"],
            "minimum": 0,
            "maximum": F::MOST,
            "pattern": format!("^[0-9]+(-([0-9]+){end})?$"),
        });
        let mut schema = if words.is_empty() {
            number
        } else {
            schemars::json_schema!({ "anyOf": [{ "enum": words }, number] })
        };
        schema.insert("description".into(), F::EXPECTED.into());
        schema
    }
}

/// The time to live of IPv4, the hop limit of IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ttl;

impl Field for Ttl {
    const WHAT: &'static str = "a time to live";
    const MOST: u32 = 255;
    const MOST_NAMED: &'static str = "255";
    const EXPECTED: &'static str = "a time to live such as 64, or a range such as 0-31";
    const SCHEMA: &'static str = "Ttl";
}

/// The differentiated services code point (RFC 2474).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Dscp;

impl Field for Dscp {
    const WHAT: &'static str = "a DSCP";
    const MOST: u32 = 63;
    const MOST_NAMED: &'static str = "63";
    const EXPECTED: &'static str =
        "a DSCP such as `ef`, `af41`, `cs1` or 46, or a range such as 8-15";
    /// RFC 2474, RFC 2597, RFC 3246, RFC 5865, RFC 8622.
    const WORDS: &'static [(&'static str, u32)] = &[
        ("default", 0),
        ("cs0", 0),
        ("cs1", 8),
        ("cs2", 16),
        ("cs3", 24),
        ("cs4", 32),
        ("cs5", 40),
        ("cs6", 48),
        ("cs7", 56),
        ("af11", 10),
        ("af12", 12),
        ("af13", 14),
        ("af21", 18),
        ("af22", 20),
        ("af23", 22),
        ("af31", 26),
        ("af32", 28),
        ("af33", 30),
        ("af41", 34),
        ("af42", 36),
        ("af43", 38),
        ("ef", 46),
        ("va", 44),
        ("le", 1),
    ];
    const SCHEMA: &'static str = "Dscp";
}

/// Bytes of an IP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Length;

impl Field for Length {
    const WHAT: &'static str = "a length in bytes";
    const MOST: u32 = 65535;
    const MOST_NAMED: &'static str = "65535";
    const EXPECTED: &'static str =
        "a length in bytes such as 40, or a range such as 0-100 or 1400-";
    const OPEN: bool = true;
    const SCHEMA: &'static str = "Length";
}

/// The number of a VLAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Vlan;

impl Field for Vlan {
    const WHAT: &'static str = "the number of a VLAN";
    const MOST: u32 = 4095;
    const MOST_NAMED: &'static str = "4095";
    const EXPECTED: &'static str = "the number of a VLAN such as 100, or a range such as 100-199";
    const SCHEMA: &'static str = "Vlan";
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal<F: Field + fmt::Debug>(text: &str) -> String {
        text.parse::<Span<F>>().unwrap_err().to_string()
    }

    #[test]
    fn numbers_ranges_and_names_are_told_apart() {
        assert_eq!("64".parse(), Ok(Span::<Ttl>::new(64, 64).unwrap()));
        assert_eq!("0-255".parse(), Ok(Span::<Ttl>::new(0, 255).unwrap()));
        assert_eq!("af41".parse(), Ok(Span::<Dscp>::new(34, 34).unwrap()));
        assert_eq!("8-15".parse(), Ok(Span::<Dscp>::new(8, 15).unwrap()));
        assert_eq!(
            "1400-".parse(),
            Ok(Span::<Length>::new(1400, 65535).unwrap())
        );
    }

    #[test]
    fn what_a_field_cannot_be_is_refused() {
        assert!(refusal::<Ttl>("256").contains("above the limit of 255"));
        assert!(refusal::<Dscp>("60-64").contains("above the limit of 63"));
        assert!(refusal::<Ttl>("9-3").ends_with("write 3-9"));
        for text in ["", "af44", "EF", "1-", "-"] {
            assert!(refusal::<Dscp>(text).contains("is not a DSCP"), "{text}");
        }
    }
}
