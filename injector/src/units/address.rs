//! Addresses that may have names.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use super::error::Reason;
use super::scalar::{self, Scalar};
use super::{Network, UnitError};

/// The name of a host, in small letters: labels of letters, digits, hyphens and underscores, separated by dots.
/// What it stands for is looked up when faults start.
///
/// The last label is no number, so that no misspelt address is taken for a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct HostName(String);

impl HostName {
    /// Longest name, in characters (RFC 1035).
    pub const CHARS_MAX: usize = 253;
    /// Longest label.
    const LABEL_MAX: usize = 63;

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads a name, if it is one.
    pub fn new(text: &str) -> Option<Self> {
        let labels: Vec<&str> = text.strip_suffix('.').unwrap_or(text).split('.').collect();
        // For YAML 1e5 and .7e-8 are numbers, too.
        let is_number = |label: &str| label.chars().all(|c| c.is_ascii_digit());
        let is_yaml_number =
            text.starts_with(|c: char| c.is_ascii_digit()) && text.parse::<f64>().is_ok();
        let is_name = text.len() <= Self::CHARS_MAX
            && labels.iter().all(|label| is_label(label))
            && labels.last().is_some_and(|label| !is_number(label))
            && !is_yaml_number;
        is_name.then(|| Self(text.to_ascii_lowercase()))
    }
}

fn is_label(label: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let is_inside = |c: char| c == '-';
    (1..=HostName::LABEL_MAX).contains(&label.len())
        && label.chars().all(is_plain)
        && !label.starts_with(is_inside)
        && !label.ends_with(is_inside)
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// An address, a network, or a name of addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// As it is.
    Network(Network),
    /// All that it stands for.
    Name(HostName),
}

impl Scalar for Address {
    const EXPECTED: &'static str = "an IPv4 or IPv6 address such as 10.1.2.3, a network such as 10.0.0.0/8, or the \
                                    name of a host such as db.example.com";
}

impl FromStr for Address {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        match HostName::new(text) {
            Some(name) => Ok(Self::Name(name)),
            None if is_almost_name(text) => {
                let error = UnitError::new(
                    text,
                    Reason::Malformed("the name of a host"),
                    Self::EXPECTED,
                );
                Err(error.hint("labels have 1 to 63 letters, digits, hyphens and underscores, and all has at most 253"))
            }
            None => text
                .parse()
                .map(Self::Network)
                .map_err(|error: UnitError| error.expecting(Self::EXPECTED)),
        }
    }
}

/// Whether a text was meant to be a name.
fn is_almost_name(text: &str) -> bool {
    text.contains(|c: char| c.is_ascii_alphabetic()) && !text.contains([':', '/', '%'])
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) => network.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        scalar::deserialize(deserializer)
    }
}

#[cfg(test)]
scalar::schema_of!(Address as "Address", {
    "type": "string",
    "pattern": concat!(
        r"^([0-9]{1,3}(\.[0-9]{1,3}){3}(/0*([12]?[0-9]|3[0-2]))?",
        r"|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*(/0*([1-9]?[0-9]|1[01][0-9]|12[0-8]))?",
        r"|(?![0-9]+(\.[0-9]+)?[eE][+-]?[0-9]+$)([0-9A-Za-z_]([0-9A-Za-z_-]{0,61}[0-9A-Za-z_])?\.)*",
        r"(?![0-9]+\.?$)[0-9A-Za-z_]([0-9A-Za-z_-]{0,61}[0-9A-Za-z_])?\.?)$"
    ),
    "examples": ["10.1.2.3", "10.0.0.0/8", "2001:db8::/32", "db.example.com"],
});

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_and_addresses_are_told_apart() {
        for name in [
            "db",
            "db.example.com",
            "DB.example.com.",
            "_sip._tcp.a-b.example",
            "xn--bcher-kva.example",
            "1.2.3.4x",
        ] {
            let expected = Address::Name(HostName(name.to_ascii_lowercase()));
            assert_eq!(name.parse(), Ok(expected), "{name}");
        }
        for network in ["10.1.2.3", "10.0.0.0/8", "2001:db8::1", "fe80::/10", "::"] {
            let expected = Address::Network(network.parse().unwrap());
            assert_eq!(network.parse(), Ok(expected), "{network}");
        }
    }

    #[test]
    fn what_is_neither_is_refused() {
        let long = format!("{}.example", "a".repeat(64));
        let longer = ["a".repeat(60).as_str(); 5].join(".");
        for text in [
            "",
            ".",
            "a..b",
            "-a.b",
            "a-.b",
            "a b",
            "db.example.com/24",
            "10.0.0",
            "10.0.0.256",
            "é.fr",
            "*",
            &long,
            &longer,
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
        let error = "10.0.0".parse::<Address>().unwrap_err();
        assert!(format!("{error:#}").contains("db.example.com"), "{error:#}");
    }

    proptest! {
        #[test]
        fn display_parses_back(text in "[a-z0-9_.:/-]{1,40}") {
            if let Ok(address) = text.parse::<Address>() {
                prop_assert_eq!(address.to_string().parse(), Ok(address));
            }
        }
    }
}
