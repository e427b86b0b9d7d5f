//! Durations of delays.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::UnitError;
use super::error::Reason;
use super::quantity::{decimal, is_negative, split_number};
use super::scalar::{self, Scalar};

/// How long a packet is held back: nanoseconds, from 0 to one hour.
///
/// Written as one number and one unit: `10us`, `80ms`, `1.5s`, `2m`. The bound keeps every sum
/// with the kernel's clock far from overflow, and the queue of held packets within reason.
///
/// ```
/// use injector::units::DurationNs;
///
/// let delay: DurationNs = "1.5ms".parse().unwrap();
/// assert_eq!(delay.nanos(), 1_500_000);
/// assert!("80".parse::<DurationNs>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct DurationNs(u64);

/// Units to display whole multiples of, longest first, each in nanoseconds.
const LONG_UNITS: [(&str, u64); 2] = [("h", 3_600_000_000_000), ("m", 60_000_000_000)];
/// Units to display decimals of, longest first, each in nanoseconds.
const DECIMAL_UNITS: [(&str, u64); 4] = [
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

impl DurationNs {
    /// No time at all.
    pub const ZERO: Self = Self(0);
    /// The longest delay: one hour.
    pub const MAX: Self = Self(3_600_000_000_000);

    /// Returns a duration of `nanos` nanoseconds, or `None` above one hour.
    pub const fn from_nanos(nanos: u64) -> Option<Self> {
        if nanos <= Self::MAX.0 {
            Some(Self(nanos))
        } else {
            None
        }
    }

    /// Returns the number of nanoseconds, at most 3.6e12.
    pub const fn nanos(self) -> u64 {
        self.0
    }
}

impl From<DurationNs> for Duration {
    fn from(duration: DurationNs) -> Self {
        Self::from_nanos(duration.0)
    }
}

impl Scalar for DurationNs {
    const EXPECTED: &'static str = "a duration such as 80ms, 1.5s or 2m";
}

impl FromStr for DurationNs {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let error = |reason| UnitError::new(text, reason, Self::EXPECTED);
        match split_number(text) {
            ("", rest) if is_negative(rest) => Err(error(Reason::Negative)),
            ("", _) => Err(error(Reason::Malformed("a duration"))),
            (number, "") => Err(error(Reason::NoUnit).hint(format!("write {number}ms"))),
            (number, unit) if unit.chars().all(char::is_alphabetic) => single_term(number, unit),
            (number, unit) => Err(with_respelling(text, number, unit)),
        }
    }
}

/// Parses one number with one unit.
///
/// A sum of terms is not offered: nobody needs `1m 30s` for a delay, and in humantime 2.4 the
/// carry of such a sum can panic at the end of the range.
fn single_term(number: &str, unit: &str) -> Result<DurationNs, UnitError> {
    let text = format!("{number}{unit}");
    let error = |reason| UnitError::new(&text, reason, DurationNs::EXPECTED);
    match humantime::parse_duration(&text) {
        Ok(duration) => u64::try_from(duration.as_nanos())
            .ok()
            .and_then(DurationNs::from_nanos)
            .ok_or_else(|| error(Reason::TooLarge("1h"))),
        Err(humantime::DurationError::NumberOverflow) if is_fine(number) => {
            Err(error(Reason::TooFine("one nanosecond")))
        }
        Err(humantime::DurationError::NumberOverflow) => Err(error(Reason::TooLarge("1h"))),
        Err(humantime::DurationError::UnknownUnit { .. }) => {
            Err(error(Reason::Malformed("a duration")).hint("the units are ns, us, ms, s, m and h"))
        }
        Err(_) => Err(error(Reason::Malformed("a duration"))),
    }
}

/// Tells too many decimals from too many digits before the point: one error to the parser.
fn is_fine(number: &str) -> bool {
    number
        .find('.')
        .is_some_and(|whole_digits| whole_digits <= 13)
}

/// Refuses what has a unit and more; a space before the unit gets its right spelling.
fn with_respelling(text: &str, number: &str, unit: &str) -> UnitError {
    let error = UnitError::new(text, Reason::Malformed("a duration"), DurationNs::EXPECTED);
    let unit = unit.trim();
    if unit.chars().all(char::is_alphabetic) && single_term(number, unit).is_ok() {
        return error.hint(format!("write {number}{unit}"));
    }
    error.hint("write one number and one unit")
}

impl fmt::Display for DurationNs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_whole = |size: u64| self.0 > 0 && self.0.is_multiple_of(size);
        match LONG_UNITS.iter().find(|(_, size)| is_whole(*size)) {
            Some((unit, size)) => f.pad(&format!("{}{unit}", self.0 / size)),
            None => f.pad(&in_decimals(self.0)),
        }
    }
}

/// Writes `nanos` in the largest unit that leaves something before the point.
fn in_decimals(nanos: u64) -> String {
    let (unit, size) = DECIMAL_UNITS
        .iter()
        .find(|(_, size)| nanos >= *size)
        .unwrap_or(&("ms", 1));
    format!("{}{unit}", decimal(nanos, *size))
}

impl<'de> Deserialize<'de> for DurationNs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        scalar::deserialize(deserializer)
    }
}

#[cfg(test)]
scalar::schema_of!(DurationNs as "Duration", {
    "type": "string",
    "pattern": concat!(
        r"^0*([0-9]{1,13}(\.0+)?(ns|nsec|nanos)",
        r"|[0-9]{1,10}(\.[0-9]+)?(us|\u00b5s|usec)",
        r"|[0-9]{1,7}(\.[0-9]+)?(ms|msec|millis)",
        r"|[0-9]{1,4}(\.[0-9]+)?(s|secs?|seconds?)",
        r"|([0-5]?[0-9](\.[0-9]+)?|60(\.0+)?)(m|mins?|minutes?)",
        r"|([01]|0?\.[0-9]+|1\.0+)(h|hrs?|hours?)",
        r"|(0|0?\.[0-9]+)(d|days?|w|wks?|weeks?|M|months?|y|yrs?|years?))$"
    ),
    "examples": ["80ms", "1.5s"],
});

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nanos(text: &str) -> u64 {
        text.parse::<DurationNs>().unwrap().nanos()
    }

    fn refusal(text: &str) -> String {
        text.parse::<DurationNs>().unwrap_err().to_string()
    }

    #[test]
    fn one_number_and_one_unit() {
        assert_eq!(nanos("10us"), 10_000);
        assert_eq!(nanos("80ms"), 80_000_000);
        assert_eq!(nanos("1.5s"), 1_500_000_000);
        assert_eq!(nanos("2m"), 120_000_000_000);
        assert_eq!(nanos("1h"), DurationNs::MAX.nanos());
        assert_eq!(nanos("0ms"), 0);
        assert_eq!(nanos("0.000001ms"), 1);
    }

    #[test]
    fn a_bare_number_is_refused_with_a_spelling() {
        assert_eq!(refusal("80"), "`80` has no unit: write 80ms");
        assert_eq!(refusal("0"), "`0` has no unit: write 0ms");
        assert_eq!(refusal("1.5"), "`1.5` has no unit: write 1.5ms");
    }

    #[test]
    fn negatives_and_overflows_are_named_as_such() {
        assert!(refusal("-80ms").starts_with("`-80ms` is negative"));
        for text in [
            "61m",
            "2d",
            "1y",
            "18446744073709551615s",
            "99999999999999999999999s",
        ] {
            assert!(refusal(text).contains("is above the limit of 1h"), "{text}");
        }
        assert!(refusal("0.5ns").starts_with("`0.5ns` is finer than one nanosecond"));
    }

    #[test]
    fn anything_else_is_not_a_duration() {
        for text in [
            "", "ms", "fast", "80mss", "1.2.3s", ".s", "1e3s", "1m30s", "inf", "-", "8 0ms",
        ] {
            assert!(refusal(text).contains("is not a duration"), "{text}");
        }
        assert!(refusal("80 ms").ends_with("write 80ms"));
    }

    #[test]
    fn the_carry_of_the_parser_at_the_end_of_its_range_is_out_of_reach() {
        assert!(refusal("18446744073709551615s1000ms").contains("is not a duration"));
    }

    #[test]
    fn display_is_short() {
        for text in [
            "0ms",
            "1ns",
            "1.5us",
            "80ms",
            "1.5s",
            "90s",
            "2m",
            "1h",
            "1.000000001s",
        ] {
            assert_eq!(text.parse::<DurationNs>().unwrap().to_string(), text);
        }
    }

    proptest! {
        #[test]
        fn display_parses_back_to_the_same_duration(nanos in 0..=DurationNs::MAX.0) {
            let duration = DurationNs(nanos);
            prop_assert_eq!(duration.to_string().parse(), Ok(duration));
        }

        #[test]
        fn round_values_survive_display(count in 0..3600u64, exponent in 0..=9u32) {
            let duration = DurationNs(count * 10u64.pow(exponent));
            prop_assert_eq!(duration.to_string().parse(), Ok(duration));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "[0-9.]{0,25}[a-zµ]{0,7}[0-9a-z ]{0,9}") {
            let _ = text.parse::<DurationNs>();
        }
    }
}
