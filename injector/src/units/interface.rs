//! Where interfaces are, and what they are called.

use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use super::UnitError;
use super::error::Reason;
use super::scalar::{self, Scalar};

/// The name of an interface, or a pattern that stands for several.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Interface(pub String);

/// A network namespace: a name of `ip netns`, a path, or `pid:N`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Namespace(pub String);

impl Scalar for Interface {
    const EXPECTED: &'static str =
        "the name of an interface such as eth0, or a pattern such as 'veth*'";
}

impl FromStr for Interface {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        // What the kernel takes (dev_valid_name), and what a terminal can show.
        let is_fit = |c: char| !(c.is_whitespace() || c.is_control() || matches!(c, '/' | ':'));
        if !text.is_empty() && text.chars().all(is_fit) {
            return Ok(Self(text.to_owned()));
        }
        let reason = Reason::Malformed("an interface");
        Err(UnitError::new(text, reason, Self::EXPECTED))
    }
}

impl Scalar for Namespace {
    const EXPECTED: &'static str = "a network namespace: a name of `ip netns`, a path, or pid:N";
}

impl FromStr for Namespace {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        if !text.is_empty() && !text.chars().any(char::is_control) {
            return Ok(Self(text.to_owned()));
        }
        let reason = Reason::Malformed("a network namespace");
        Err(UnitError::new(text, reason, Self::EXPECTED))
    }
}

impl<'de> Deserialize<'de> for Interface {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        scalar::deserialize(deserializer)
    }
}

impl<'de> Deserialize<'de> for Namespace {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        scalar::deserialize(deserializer)
    }
}

#[cfg(test)]
scalar::schema_of!(Interface as "Interface", {
    "type": ["string", "integer"],
    "pattern": r"^[^\s/:]+$",
    "examples": ["eth0", "veth*"],
});
#[cfg(test)]
scalar::schema_of!(Namespace as "Namespace", {
    "type": ["string", "integer"],
    "minLength": 1,
    "examples": ["blue", "/proc/123/ns/net", "pid:123"],
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_called_as_the_kernel_lets_them_be() {
        for name in ["eth0", "veth*", "wlp2s0.100", "br-0a", "7"] {
            assert_eq!(name.parse(), Ok(Interface(name.to_owned())));
        }
        for name in ["", "a b", "a/b", "a:b", "a\u{1b}"] {
            assert!(name.parse::<Interface>().is_err(), "{name:?}");
        }
    }
}
