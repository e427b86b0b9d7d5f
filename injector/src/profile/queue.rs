//! How much may wait at a bottleneck.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use super::number::Count;
use crate::units::scalar::{self, Scalar};
use crate::units::{DurationNs, Reason, Size, UnitError, split_number};

/// How much may wait in a queue; what comes beyond that is dropped. Never nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueLimit {
    /// As much as leaves within this time.
    Time(DurationNs),
    /// So many bytes.
    Bytes(Size),
    /// So many packets of 1514 bytes, the full size on Ethernet.
    Packets(u64),
}

impl Default for QueueLimit {
    /// As many packets as netem holds where it is not told otherwise.
    fn default() -> Self {
        Self::Packets(1000)
    }
}

impl Scalar for QueueLimit {
    const EXPECTED: &'static str = "a time such as 100ms, a size such as 256kB, or `500 packets`";
}

impl FromStr for QueueLimit {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split_number(text);
        let limit = match unit.trim() {
            "" if !number.is_empty() => Err(UnitError::new(text, Reason::NoUnit, Self::EXPECTED)
                .hint(format!("write {number} packets, {number}ms or {number}kB"))),
            "packet" | "packets" => {
                let count = |Count(count)| Self::Packets(count);
                number.parse().map(count)
            }
            unit if unit.starts_with('p') => {
                let error = UnitError::new(text, Reason::Malformed("a queue"), Self::EXPECTED);
                Err(error.hint(format!("write {number} packets")))
            }
            unit if is_of_size(unit) => text.parse().map(Self::Bytes),
            _ => text.parse().map(Self::Time),
        };
        match limit.map_err(|error| error.expecting(Self::EXPECTED))? {
            Self::Time(DurationNs::ZERO) | Self::Bytes(Size::ZERO) => {
                let error = UnitError::new(text, Reason::Nothing, Self::EXPECTED);
                Err(error.hint("a packet that has to wait would always be lost"))
            }
            limit => Ok(limit),
        }
    }
}

/// Whether a unit was meant to be one of bytes: those of time have no `b`, and no capitals.
fn is_of_size(unit: &str) -> bool {
    unit.contains(['b', 'B', 'K', 'M', 'G']) || matches!(unit, "k" | "g")
}

impl fmt::Display for QueueLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(time) => time.fmt(f),
            Self::Bytes(size) => size.fmt(f),
            Self::Packets(1) => f.pad("1 packet"),
            Self::Packets(count) => f.pad(&format!("{count} packets")),
        }
    }
}

impl<'de> Deserialize<'de> for QueueLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        scalar::deserialize(deserializer)
    }
}

#[cfg(test)]
scalar::schema_of!(QueueLimit as "Queue", {
    "type": "string",
    "pattern": r"^(?![0.]+[a-zA-Z\u00b5])([0-9.]+[a-zA-Z\u00b5]+|0*[1-9][0-9]*\s*packets?\s*)$",
    "examples": ["100ms", "256kB", "500 packets"],
});

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refusal(text: &str) -> String {
        text.parse::<QueueLimit>().unwrap_err().to_string()
    }

    #[test]
    fn a_queue_is_a_time_or_a_size_or_a_count() {
        for (text, limit) in [
            ("100ms", QueueLimit::Time("100ms".parse().unwrap())),
            ("2m", QueueLimit::Time("2m".parse().unwrap())),
            ("256kB", QueueLimit::Bytes(Size::from_bytes(256_000))),
            ("1MiB", QueueLimit::Bytes(Size::from_bytes(1 << 20))),
            ("500 packets", QueueLimit::Packets(500)),
            ("1packet", QueueLimit::Packets(1)),
        ] {
            assert_eq!(text.parse(), Ok(limit), "{text}");
        }
    }

    #[test]
    fn a_queue_that_holds_nothing_is_refused() {
        for text in ["0ms", "0B"] {
            assert_eq!(
                refusal(text),
                format!("`{text}` is nothing: a packet that has to wait would always be lost")
            );
        }
        assert!(refusal("0 packets").starts_with("`0` is below the minimum of 1"));
    }

    #[test]
    fn anything_else_is_refused_with_all_forms() {
        assert_eq!(
            refusal("500"),
            "`500` has no unit: write 500 packets, 500ms or 500kB"
        );
        assert_eq!(
            refusal("500 pkts"),
            "`500 pkts` is not a queue: write 500 packets"
        );
        assert!(refusal("64KB").contains("is ambiguous as a size"));
        assert!(refusal("2h").contains("is above the limit of 1h"));
        assert!(refusal("1.5 packets").contains("is not a whole number"));
        assert!(refusal("-5ms").contains("is negative"));
        for text in ["", "long", "packets"] {
            let error = text.parse::<QueueLimit>().unwrap_err();
            assert!(
                format!("{error:#}").contains(QueueLimit::EXPECTED),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn display_parses_back_to_the_same_limit(number in 1..=DurationNs::MAX.nanos()) {
            for limit in [
                QueueLimit::Time(DurationNs::from_nanos(number).unwrap()),
                QueueLimit::Bytes(Size::from_bytes(number % 1_000_000_000_000 + 1)),
                QueueLimit::Packets(number),
            ] {
                prop_assert_eq!(limit.to_string().parse(), Ok(limit));
            }
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "-?[0-9.]{0,9} ?[a-zA-Z]{0,8}\\PC{0,3}") {
            let _ = text.parse::<QueueLimit>();
        }
    }
}
