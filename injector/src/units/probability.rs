//! Probabilities in fixed point.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use super::UnitError;
use super::error::Reason;
use super::scalar::{self, Scalar};

/// How likely a fault is: odds out of 2^32, so that 0 is never and 2^32 is always.
///
/// Written as a percentage (`5%`) or as a fraction (`0.05`). A bare number above 1 is refused, and
/// so is a bare integer `1`, because both readings are plausible.
///
/// ```
/// use injector::units::Probability;
///
/// let half: Probability = "50%".parse().unwrap();
/// assert_eq!(half.odds_q32(), 1 << 31);
/// assert_eq!("0.5".parse(), Ok(half));
/// assert!("5".parse::<Probability>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Probability(u64);

/// Odds of a certain event: 2^32.
const CERTAIN_Q32: u64 = 1 << 32;
/// The same as a float, exactly.
const CERTAIN: f64 = CERTAIN_Q32 as f64;
/// Decimals of a percentage that tell all 2^32 odds apart: one step is about 2.3e-8 %.
const PERCENT_DECIMALS_MAX: usize = 12;

impl Probability {
    /// Never happens.
    pub const NEVER: Self = Self(0);
    /// Always happens.
    pub const ALWAYS: Self = Self(CERTAIN_Q32);

    /// Returns the probability of `odds` in 2^32, or `None` above 2^32.
    pub const fn from_odds_q32(odds: u64) -> Option<Self> {
        if odds <= CERTAIN_Q32 {
            Some(Self(odds))
        } else {
            None
        }
    }

    /// Returns the odds out of 2^32, from 0 (never) to 2^32 (always).
    pub const fn odds_q32(self) -> u64 {
        self.0
    }
}

impl Scalar for Probability {
    const EXPECTED: &'static str = "a percentage such as 1%, or a fraction from 0 to 1";
}

impl FromStr for Probability {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let error = |reason| UnitError::new(text, reason, Self::EXPECTED);
        let (number, percent) = match text.strip_suffix('%') {
            Some(number) => (number, true),
            None => (text, false),
        };
        let Some(value) = decimal(number) else {
            return Err(malformed(text));
        };
        if value < 0.0 {
            return Err(error(Reason::Negative));
        }
        if !percent && (value > 1.0 || (value == 1.0 && is_integer(number))) {
            return Err(ambiguous(text, value));
        }
        let fraction = if percent { value / 100.0 } else { value };
        if fraction > 1.0 {
            return Err(error(Reason::TooLarge("100%")));
        }
        from_fraction(fraction)
            .ok_or_else(|| error(Reason::TooSmall("probability, 2^-32 (about 0.0000000233%)")))
    }
}

/// Rounds to the nearest odds; `None` when a possible event would get none.
fn from_fraction(fraction: f64) -> Option<Probability> {
    let odds = fraction * CERTAIN;
    if fraction > 0.0 && odds < 1.0 {
        return None;
    }
    // Only what was written as certain is certain: 99.9999999999% rounds down.
    let most = if fraction < 1.0 {
        CERTAIN_Q32 - 1
    } else {
        CERTAIN_Q32
    };
    Some(Probability((odds.round() as u64).min(most)))
}

/// Parses digits with an optional sign, point and exponent; the words `inf` and `nan` are refused.
fn decimal(text: &str) -> Option<f64> {
    let numeric = |c: char| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-');
    text.chars().all(numeric).then(|| text.parse().ok())?
}

fn is_integer(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_digit() || c == '+')
}

fn malformed(text: &str) -> UnitError {
    let error = UnitError::new(
        text,
        Reason::Malformed("a probability"),
        Probability::EXPECTED,
    );
    let respelled = text.replace(char::is_whitespace, "").replace(',', ".");
    // Without the first condition the same text would be parsed again, for ever.
    if respelled != text && respelled.parse::<Probability>().is_ok() {
        return error.hint(format!("write {respelled}"));
    }
    error
}

fn ambiguous(text: &str, value: f64) -> UnitError {
    if value > 100.0 {
        return UnitError::new(text, Reason::TooLarge("100%"), Probability::EXPECTED);
    }
    let error = UnitError::new(
        text,
        Reason::Ambiguous("a probability"),
        Probability::EXPECTED,
    );
    if value == 1.0 {
        return error.hint("write 1% or 100%");
    }
    let fraction = format!("{:.12}", value / 100.0);
    error.hint(format!(
        "write {value}% or {}",
        fraction.trim_end_matches('0').trim_end_matches('.')
    ))
}

impl fmt::Display for Probability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = self.0 as f64 * 100.0 / CERTAIN;
        let shortest = (0..=PERCENT_DECIMALS_MAX)
            .map(|decimals| format!("{percent:.decimals$}%"))
            .find(|text| text.parse() == Ok(*self));
        match shortest {
            Some(text) => f.pad(&text),
            None => write!(f, "{percent}%"),
        }
    }
}

impl<'de> Deserialize<'de> for Probability {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        scalar::deserialize(deserializer)
    }
}

#[cfg(test)]
scalar::schema_of!(Probability as "Probability", {
    "type": ["number", "string"],
    "minimum": 0,
    "maximum": 1,
    "pattern": concat!(
        // A percentage, a fraction, either with an exponent, nothing with a minus.
        r"^(\+?0*([0-9]{1,2}(\.[0-9]*)?|\.[0-9]+|100(\.0*)?)%",
        r"|\+?(0+\.?|0*\.[0-9]+|0*1\.0*)",
        r"|[+-]?[0-9.]+[eE][+-]?[0-9]+%?",
        r"|-[0.]+%?)$"
    ),
    "examples": ["1%", 0.01],
});

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn odds(text: &str) -> u64 {
        text.parse::<Probability>().unwrap().odds_q32()
    }

    fn refusal(text: &str) -> String {
        text.parse::<Probability>().unwrap_err().to_string()
    }

    #[test]
    fn percentages_and_fractions_mean_the_same() {
        assert_eq!(odds("5%"), odds("0.05"));
        assert_eq!(odds("0.05%"), odds("5e-4"));
        assert_eq!(odds("0"), 0);
        assert_eq!(odds("0%"), 0);
        assert_eq!(odds("1.0"), CERTAIN_Q32);
        assert_eq!(odds("100%"), CERTAIN_Q32);
    }

    #[test]
    fn only_certainty_is_certain() {
        assert_eq!(odds("99.99999999999%"), CERTAIN_Q32 - 1);
    }

    #[test]
    fn a_bare_number_gets_both_readings_as_a_hint() {
        assert_eq!(
            refusal("5"),
            "`5` is ambiguous as a probability: write 5% or 0.05"
        );
        assert_eq!(
            refusal("1.5"),
            "`1.5` is ambiguous as a probability: write 1.5% or 0.015"
        );
        assert_eq!(
            refusal("1"),
            "`1` is ambiguous as a probability: write 1% or 100%"
        );
        assert_eq!(
            refusal("7"),
            "`7` is ambiguous as a probability: write 7% or 0.07"
        );
    }

    #[test]
    fn what_cannot_be_a_probability_is_refused_with_the_limit() {
        assert!(refusal("101%").starts_with("`101%` is above the limit of 100%"));
        assert!(refusal("500").starts_with("`500` is above the limit of 100%"));
        assert!(refusal("1e400%").starts_with("`1e400%` is above the limit of 100%"));
        assert!(refusal("-5%").starts_with("`-5%` is negative"));
        assert!(refusal("0.00000001%").contains("2^-32"));
        for text in ["", "%", "nan", "inf", ".nan", "five", "5%%", "0x5", "1_0%"] {
            assert!(refusal(text).contains("is not a probability"), "{text}");
        }
    }

    #[test]
    fn a_space_or_a_decimal_comma_gets_the_right_spelling() {
        assert!(refusal("5 %").ends_with("write 5%"));
        assert!(refusal("0,5%").ends_with("write 0.5%"));
    }

    #[test]
    fn display_is_the_shortest_percentage() {
        for text in ["0%", "0.1%", "1%", "33.3%", "100%", "0.0000000233%"] {
            assert_eq!(text.parse::<Probability>().unwrap().to_string(), text);
        }
    }

    proptest! {
        #[test]
        fn display_parses_back_to_the_same_odds(odds in 0..=CERTAIN_Q32) {
            let probability = Probability(odds);
            prop_assert_eq!(probability.to_string().parse(), Ok(probability));
        }

        #[test]
        fn the_extremes_survive_display(near in 0..1000u64) {
            for odds in [near, CERTAIN_Q32 - near] {
                let probability = Probability(odds);
                prop_assert_eq!(probability.to_string().parse(), Ok(probability));
            }
        }
    }
}
