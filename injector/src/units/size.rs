//! Sizes in bytes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use super::UnitError;
use super::error::Reason;
use super::quantity::Notation;
use super::scalar::{self, Scalar};

/// A number of bytes.
///
/// Written with a unit whose prefix is a power of 1000 (`64kB`) or of 1024 (`64KiB`), up to 1000GB.
/// `64KB` is refused, because either may be meant.
///
/// ```
/// use injector::units::Size;
///
/// assert_eq!("64kB".parse(), Ok(Size::from_bytes(64_000)));
/// assert_eq!("64KiB".parse(), Ok(Size::from_bytes(65_536)));
/// assert!("64".parse::<Size>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(u64);

impl Size {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// Returns a size of `bytes`.
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// Returns the bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

const NOTATION: Notation = Notation {
    what: "a size",
    expected: Size::EXPECTED,
    // In the order in which they are tried for display.
    units: &[
        ("GB", 1_000_000_000),
        ("GiB", 1 << 30),
        ("MB", 1_000_000),
        ("MiB", 1 << 20),
        ("kB", 1_000),
        ("KiB", 1 << 10),
        ("B", 1),
    ],
    usual: &["B", "kB"],
    least: ("0B", 0),
    most: ("1000GB", 1_000_000_000_000),
    step: "one byte",
    respell,
};

impl Scalar for Size {
    const EXPECTED: &'static str = "a size such as 64kB, 1MiB or 1500B";
}

impl FromStr for Size {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        NOTATION.parse(text).map(Self)
    }
}

fn respell(number: &str, unit: &str) -> (Reason, String) {
    let lower = unit.to_lowercase();
    let (decimal, binary) = match lower.chars().next() {
        Some('k') => ("kB", "KiB"),
        Some('m') => ("MB", "MiB"),
        Some('g') => ("GB", "GiB"),
        _ => ("B", "B"),
    };
    let malformed = Reason::Malformed(NOTATION.what);
    match lower.trim_start_matches(['k', 'm', 'g']) {
        "b" | "byte" | "bytes" if decimal == binary => (malformed, format!("write {number}B")),
        "ib" => (malformed, format!("write {number}{binary}")),
        "" | "b" => (
            Reason::Ambiguous(NOTATION.what),
            format!("write {number}{decimal} for powers of 1000, or {number}{binary} for 1024"),
        ),
        "bit" | "bits" => (malformed, "a size is counted in bytes".to_owned()),
        _ => (
            malformed,
            "the units are B, kB, MB, GB, KiB, MiB and GiB".to_owned(),
        ),
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let divides = |(_, size): &&(&str, u64)| self.0 > 0 && self.0.is_multiple_of(*size);
        let (unit, size) = NOTATION.units.iter().find(divides).unwrap_or(&("B", 1));
        f.pad(&format!("{}{unit}", self.0 / size))
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        scalar::deserialize(deserializer)
    }
}

#[cfg(test)]
scalar::schema_of!(Size as "Size", {
    "type": "string",
    "pattern": r"^[0-9]+(\.[0-9]+)?([kMG]?B|[KMG]iB)$",
    "examples": ["64kB", "64KiB"],
});

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(text: &str) -> u64 {
        text.parse::<Size>().unwrap().bytes()
    }

    fn refusal(text: &str) -> String {
        text.parse::<Size>().unwrap_err().to_string()
    }

    #[test]
    fn prefixes_are_decimal_or_binary() {
        assert_eq!(bytes("1500B"), 1_500);
        assert_eq!(bytes("64kB"), 64_000);
        assert_eq!(bytes("1.5kB"), 1_500);
        assert_eq!(bytes("64KiB"), 65_536);
        assert_eq!(bytes("1MiB"), 1_048_576);
        assert_eq!(bytes("0B"), 0);
        assert_eq!(bytes("1000GB"), 1_000_000_000_000);
    }

    #[test]
    fn what_may_be_either_gets_both_readings() {
        for text in ["64KB", "64kb", "64k", "64K"] {
            assert_eq!(
                refusal(text),
                format!(
                    "`{text}` is ambiguous as a size: \
                     write 64kB for powers of 1000, or 64KiB for 1024"
                )
            );
        }
    }

    #[test]
    fn anything_else_is_refused_with_a_spelling() {
        assert_eq!(refusal("64"), "`64` has no unit: write 64B or 64kB");
        assert_eq!(refusal("1 MiB"), "`1 MiB` is not a size: write 1MiB");
        assert_eq!(refusal("1mib"), "`1mib` is not a size: write 1MiB");
        assert_eq!(refusal("9bytes"), "`9bytes` is not a size: write 9B");
        assert!(refusal("9kbit").ends_with("a size is counted in bytes"));
        assert!(refusal("9ms").contains("the units are B, kB"));
        assert!(refusal("0.5B").contains("is finer than one byte"));
        assert!(refusal("1001GB").contains("is above the limit of 1000GB"));
        assert!(refusal("-1B").starts_with("`-1B` is negative"));
        for text in ["", "kB", "much", "1.kB", "1,5kB"] {
            assert!(refusal(text).contains("is not a size"), "{text}");
        }
    }

    #[test]
    fn display_is_short() {
        for text in ["0B", "1514B", "64kB", "64KiB", "1MiB", "1500kB", "3GB"] {
            assert_eq!(text.parse::<Size>().unwrap().to_string(), text);
        }
    }

    proptest! {
        #[test]
        fn display_parses_back_to_the_same_size(bytes in 0..=NOTATION.most.1, zeros in 0..40u32) {
            for bytes in [bytes, bytes >> zeros << zeros] {
                let size = Size(bytes);
                prop_assert_eq!(size.to_string().parse(), Ok(size));
            }
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "[0-9.]{0,25} ?[bBiKkMmGg]{0,5}\\PC{0,3}") {
            let _ = text.parse::<Size>();
        }
    }
}
