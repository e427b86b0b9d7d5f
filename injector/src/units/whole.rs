//! Whole numbers within bounds.

use std::ops::RangeInclusive;

use super::UnitError;
use super::error::Reason;
use super::quantity::is_digits;

/// Parses a whole number within `bounds`, which `named` says in words.
pub(crate) fn whole_number(
    text: &str,
    bounds: &RangeInclusive<i128>,
    named: [&'static str; 2],
    expected: &'static str,
) -> Result<i128, UnitError> {
    let error = |reason| UnitError::new(text, reason, expected);
    let [least, most] = named;
    let digits = text.strip_prefix('-').unwrap_or(text);
    if !is_digits(digits) {
        return Err(error(Reason::Malformed("a whole number")));
    }
    let is_negative = digits.len() < text.len();
    match text.parse() {
        Ok(number) if bounds.contains(&number) => Ok(number),
        _ if is_negative && *bounds.start() >= 0 => Err(error(Reason::Negative)),
        Ok(number) if number < *bounds.start() => Err(error(Reason::BelowMinimum(least))),
        Err(_) if is_negative => Err(error(Reason::BelowMinimum(least))),
        _ => Err(error(Reason::TooLarge(most))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str, bounds: RangeInclusive<i128>) -> String {
        let error = whole_number(text, &bounds, ["least", "most"], "a number").unwrap_err();
        error.to_string()
    }

    #[test]
    fn bounds_are_inclusive() {
        for text in ["-64", "-0", "0", "1500"] {
            assert!(
                whole_number(text, &(-64..=1500), ["", ""], "").is_ok(),
                "{text}"
            );
        }
        assert!(refusal("-65", -64..=1500).starts_with("`-65` is below the minimum of least"));
        assert!(refusal("1501", -64..=1500).starts_with("`1501` is above the limit of most"));
        assert!(refusal("0", 1..=8).starts_with("`0` is below the minimum of least"));
        assert!(refusal("-1", 1..=8).starts_with("`-1` is negative"));
    }

    #[test]
    fn no_number_is_too_long() {
        let long = "9".repeat(99);
        assert!(refusal(&long, 1..=8).contains("is above the limit of most"));
        assert!(refusal(&format!("-{long}"), -64..=8).contains("is below the minimum of least"));
        for text in ["", "-", "+1", "1.0", "1e3", "many"] {
            assert!(
                refusal(text, 1..=8).contains("is not a whole number"),
                "{text}"
            );
        }
    }
}
