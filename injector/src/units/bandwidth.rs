//! Rates of bits.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use super::UnitError;
use super::error::Reason;
use super::quantity::{Notation, decimal};
use super::scalar::{self, Scalar};

/// How fast a link is, in bits a second; never 0.
///
/// Written in bits (`20mbit`) or in bytes (`2.5MB/s`), from 1kbit to 1000gbit; prefixes are powers of
/// 1000. `20mbps` is refused, because `tc` takes it for bytes and everybody else for bits.
///
/// ```
/// use injector::units::Bandwidth;
///
/// let link: Bandwidth = "20mbit".parse().unwrap();
/// assert_eq!(link.bits_per_second(), 20_000_000);
/// assert_eq!("2.5MB/s".parse(), Ok(link));
/// assert!("20mbps".parse::<Bandwidth>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bandwidth(u64);

impl Bandwidth {
    /// Returns a bandwidth of `bits` a second, or `None` of 0.
    pub const fn from_bits_per_second(bits: u64) -> Option<Self> {
        if bits == 0 { None } else { Some(Self(bits)) }
    }

    /// Returns the bits a second.
    pub const fn bits_per_second(self) -> u64 {
        self.0
    }
}

const NOTATION: Notation = Notation {
    what: "a bandwidth",
    expected: Bandwidth::EXPECTED,
    units: &[
        ("bit", 1),
        ("kbit", 1_000),
        ("mbit", 1_000_000),
        ("gbit", 1_000_000_000),
        ("B/s", 8),
        ("kB/s", 8_000),
        ("MB/s", 8_000_000),
        ("GB/s", 8_000_000_000),
    ],
    usual: &["mbit"],
    // Less than any modem had: a full packet takes 12 s.
    least: ("1kbit", 1_000),
    most: ("1000gbit", 1_000_000_000_000),
    step: "one bit a second",
    respell,
};

/// Units to display, largest first, each in bits a second.
const DISPLAYED: [(&str, u64); 4] = [
    ("gbit", 1_000_000_000),
    ("mbit", 1_000_000),
    ("kbit", 1_000),
    ("bit", 1),
];

impl Scalar for Bandwidth {
    const EXPECTED: &'static str = "a bandwidth such as 20mbit, 384kbit or 2.5MB/s";
}

impl FromStr for Bandwidth {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        NOTATION.parse(text).map(Self)
    }
}

/// Tells what is only spelt otherwise from what may mean bits or bytes.
fn respell(number: &str, unit: &str) -> (Reason, String) {
    let lower = unit.to_lowercase();
    let (bits, bytes) = match lower.chars().next() {
        Some('k') => ("kbit", "kB/s"),
        Some('m') => ("mbit", "MB/s"),
        Some('g') => ("gbit", "GB/s"),
        _ => ("bit", "B/s"),
    };
    let malformed = Reason::Malformed(NOTATION.what);
    match lower.trim_start_matches(['k', 'm', 'g']) {
        "bit" | "bits" | "bit/s" | "bits/s" => (malformed, format!("write {number}{bits}")),
        "byte/s" | "bytes/s" => (malformed, format!("write {number}{bytes}")),
        "b/s" if unit.ends_with("B/s") => (malformed, format!("write {number}{bytes}")),
        "" | "b" | "bps" | "b/s" => (
            Reason::Ambiguous(NOTATION.what),
            format!("write {number}{bits} for bits a second, or {number}{bytes} for bytes"),
        ),
        _ => (
            malformed,
            "the units are bit, kbit, mbit and gbit, or B/s, kB/s, MB/s and GB/s".to_owned(),
        ),
    }
}

impl fmt::Display for Bandwidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, size): &&(&str, u64)| self.0 >= *size;
        let (unit, size) = DISPLAYED.iter().find(fits).unwrap_or(&("bit", 1));
        f.pad(&format!("{}{unit}", decimal(self.0, *size)))
    }
}

impl<'de> Deserialize<'de> for Bandwidth {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        scalar::deserialize(deserializer)
    }
}

#[cfg(test)]
scalar::schema_of!(Bandwidth as "Bandwidth", {
    "type": "string",
    "pattern": r"^(?![0.]+[a-zA-Z])[0-9]+(\.[0-9]+)?([kmg]?bit|[kMG]?B/s)$",
    "examples": ["20mbit", "2.5MB/s"],
});

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bits(text: &str) -> u64 {
        text.parse::<Bandwidth>().unwrap().bits_per_second()
    }

    fn refusal(text: &str) -> String {
        text.parse::<Bandwidth>().unwrap_err().to_string()
    }

    #[test]
    fn bits_and_bytes_are_both_decimal() {
        assert_eq!(bits("1000bit"), 1_000);
        assert_eq!(bits("384kbit"), 384_000);
        assert_eq!(bits("1.5mbit"), 1_500_000);
        assert_eq!(bits("1000gbit"), 1_000_000_000_000);
        assert_eq!(bits("125B/s"), 1_000);
        assert_eq!(bits("2.5MB/s"), 20_000_000);
    }

    #[test]
    fn what_may_be_bits_or_bytes_gets_both_readings() {
        for text in [
            "20mbps", "20Mbps", "20MBps", "20Mb", "20mb/s", "20MB", "20m", "20M",
        ] {
            assert_eq!(
                refusal(text),
                format!(
                    "`{text}` is ambiguous as a bandwidth: \
                     write 20mbit for bits a second, or 20MB/s for bytes"
                )
            );
        }
        assert!(
            refusal("9600bps").ends_with("write 9600bit for bits a second, or 9600B/s for bytes")
        );
    }

    #[test]
    fn another_spelling_gets_ours() {
        for text in ["20Mbit", "20MBIT", "20mbits", "20Mbit/s", "20 mbit"] {
            assert_eq!(
                refusal(text),
                format!("`{text}` is not a bandwidth: write 20mbit")
            );
        }
        assert!(refusal("20KB/s").ends_with("write 20kB/s"));
        assert_eq!(refusal("20"), "`20` has no unit: write 20mbit");
        for text in ["20MiB/s", "20tbit", "20ms", "20mbit burst 5"] {
            assert!(refusal(text).contains("the units are bit, kbit"), "{text}");
        }
    }

    #[test]
    fn what_no_link_has_is_refused_with_the_limit() {
        assert!(refusal("0mbit").starts_with("`0mbit` is below the minimum of 1kbit"));
        assert!(refusal("999bit").starts_with("`999bit` is below the minimum of 1kbit"));
        assert!(refusal("1001gbit").starts_with("`1001gbit` is above the limit of 1000gbit"));
        assert!(refusal("99999999999999999999gbit").contains("above the limit of 1000gbit"));
        assert!(refusal("1.00001kbit").contains("is finer than one bit a second"));
        assert!(refusal("-5mbit").starts_with("`-5mbit` is negative"));
        for text in [
            "",
            "mbit",
            "fast",
            "1.mbit",
            ".5mbit",
            "1.2.3mbit",
            "1e6bit",
            "inf",
        ] {
            assert!(refusal(text).contains("is not a bandwidth"), "{text}");
        }
    }

    #[test]
    fn display_is_short() {
        for text in ["1kbit", "384kbit", "1.5mbit", "20mbit", "1gbit", "1000gbit"] {
            assert_eq!(text.parse::<Bandwidth>().unwrap().to_string(), text);
        }
    }

    proptest! {
        #[test]
        fn display_parses_back_to_the_same_bandwidth(bits in 1_000..=NOTATION.most.1) {
            let bandwidth = Bandwidth(bits);
            prop_assert_eq!(bandwidth.to_string().parse(), Ok(bandwidth));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "[0-9.]{0,25} ?[bitkmgBKMG/sp]{0,7}\\PC{0,3}") {
            let _ = text.parse::<Bandwidth>();
        }
    }
}
