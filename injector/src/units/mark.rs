//! Marks of packets.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use super::UnitError;
use super::error::Reason;
use super::quantity::is_digits;
use super::scalar::{self, Scalar};

/// A mark that packets have in the kernel, and the bits of it that count.
///
/// Written as iptables has it: `16`, `0x10`, or with a mask `0x10/0xff`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mark {
    value: u32,
    mask: u32,
}

impl Mark {
    /// Returns the mark, or `None` when it has bits that do not count.
    pub const fn new(value: u32, mask: u32) -> Option<Self> {
        if value & !mask == 0 {
            Some(Self { value, mask })
        } else {
            None
        }
    }

    /// Returns what the bits are that count.
    pub const fn value(self) -> u32 {
        self.value
    }

    /// Returns the bits that count.
    pub const fn mask(self) -> u32 {
        self.mask
    }
}

impl Scalar for Mark {
    const EXPECTED: &'static str =
        "a mark such as 16 or 0x10, or one with a mask such as 0x10/0xff";
}

impl FromStr for Mark {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (value, mask) = match text.split_once('/') {
            None => (number(text, text)?, u32::MAX),
            Some((value, mask)) => (number(value, text)?, number(mask, text)?),
        };
        Self::new(value, mask).ok_or_else(|| {
            let error = UnitError::new(text, Reason::Malformed("a mark"), Self::EXPECTED);
            error.hint(format!(
                "it has bits beside its mask: write {:#x}/{mask:#x}",
                value & mask
            ))
        })
    }
}

/// Parses a part of `text`, decimal or hexadecimal.
fn number(part: &str, text: &str) -> Result<u32, UnitError> {
    let error = |reason| UnitError::new(text, reason, Mark::EXPECTED);
    let (digits, radix) = match part.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None => (part, 10),
    };
    let is_number = match radix {
        16 => !digits.is_empty() && digits.chars().all(|c| c.is_ascii_hexdigit()),
        _ => is_digits(digits),
    };
    if !is_number {
        return Err(error(Reason::Malformed("a mark")));
    }
    u32::from_str_radix(digits, radix).map_err(|_| error(Reason::TooLarge("0xffffffff")))
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mask {
            u32::MAX => f.pad(&format!("{:#x}", self.value)),
            mask => f.pad(&format!("{:#x}/{mask:#x}", self.value)),
        }
    }
}

impl<'de> Deserialize<'de> for Mark {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        scalar::deserialize(deserializer)
    }
}

#[cfg(test)]
scalar::schema_of!(Mark as "Mark", {
    "type": ["integer", "string"],
    "minimum": 0,
    "maximum": u32::MAX,
    "pattern": "^(0x[0-9a-fA-F]+|[0-9]+)(/(0x[0-9a-fA-F]+|[0-9]+))?$",
    "examples": [16, "0x10", "0x10/0xff"],
});

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refusal(text: &str) -> String {
        text.parse::<Mark>().unwrap_err().to_string()
    }

    #[test]
    fn a_mark_is_decimal_or_hexadecimal() {
        assert_eq!("16".parse::<Mark>(), "0x10".parse());
        assert_eq!("0x10/255".parse(), Ok(Mark::new(0x10, 0xff).unwrap()));
    }

    #[test]
    fn what_is_no_mark_is_refused() {
        assert!(refusal("0x110/0xff").ends_with("write 0x10/0xff"));
        assert!(refusal("0x100000000").contains("above the limit of 0xffffffff"));
        for text in ["", "0x", "x", "1/", "/1", "0x1/0x1/1", "-1", "+1"] {
            assert!(refusal(text).contains("is not a mark"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn display_parses_back_to_the_same_mark(value: u32, mask: u32) {
            let mark = Mark::new(value & mask, mask).unwrap();
            prop_assert_eq!(mark.to_string().parse(), Ok(mark));
        }
    }
}
