//! Flags of TCP.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use super::UnitError;
use super::error::Reason;
use super::scalar::{self, Scalar};

/// The flags, from the lowest bit on, by the names that nft has for them.
const NAMES: [&str; 8] = ["fin", "syn", "rst", "psh", "ack", "urg", "ecn", "cwr"];

/// Flags that are set, and flags that are not.
///
/// Written as a list with commas, in which `!` stands before what is not set: `syn,!ack`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TcpFlags {
    set: u8,
    looked_at: u8,
}

impl TcpFlags {
    /// Returns the flags that have to be set.
    pub const fn set(self) -> u8 {
        self.set
    }

    /// Returns the flags that count.
    pub const fn looked_at(self) -> u8 {
        self.looked_at
    }
}

impl Scalar for TcpFlags {
    const EXPECTED: &'static str =
        "flags of `fin`, `syn`, `rst`, `psh`, `ack`, `urg`, `ecn` and `cwr`, such as \"syn,!ack\"";
}

impl FromStr for TcpFlags {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let error = |reason| UnitError::new(text, reason, Self::EXPECTED);
        let (mut set, mut looked_at) = (0, 0);
        for part in text.split(',') {
            let name = part.strip_prefix('!').unwrap_or(part);
            let bit = NAMES.iter().position(|known| *known == name);
            let bit = 1 << bit.ok_or_else(|| error(Reason::Malformed("a list of TCP flags")))?;
            if looked_at & bit != 0 {
                let error = error(Reason::Malformed("a list of TCP flags"));
                return Err(error.hint(format!("name `{name}` once")));
            }
            looked_at |= bit;
            if name.len() == part.len() {
                set |= bit;
            }
        }
        Ok(Self { set, looked_at })
    }
}

impl fmt::Display for TcpFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let looked_at = (0..8).filter(|bit| self.looked_at >> bit & 1 != 0);
        let names = looked_at.map(|bit| {
            let not = if self.set >> bit & 1 == 0 { "!" } else { "" };
            format!("{not}{}", NAMES[bit])
        });
        f.pad(&names.collect::<Vec<_>>().join(","))
    }
}

impl<'de> Deserialize<'de> for TcpFlags {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        scalar::deserialize(deserializer)
    }
}

#[cfg(test)]
scalar::schema_of!(TcpFlags as "TcpFlags", {
    "type": "string",
    "pattern": format!("^!?({names})(,!?({names}))*$", names = NAMES.join("|")),
    "examples": ["syn", "syn,!ack", "rst"],
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_counts() {
        let flags: TcpFlags = "syn,!ack".parse().unwrap();
        assert_eq!((flags.set(), flags.looked_at()), (0x02, 0x12));
        assert_eq!(flags.to_string(), "syn,!ack");
        assert_eq!("!fin".parse::<TcpFlags>().unwrap().set(), 0);
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "SYN", "syn,", "syn ack", "!!syn", "syn/ack"] {
            let refusal = text.parse::<TcpFlags>().unwrap_err().to_string();
            assert!(refusal.contains("is not a list of TCP flags"), "{text}");
        }
        let twice = "syn,!syn".parse::<TcpFlags>().unwrap_err().to_string();
        assert!(twice.ends_with("name `syn` once"));
    }
}
