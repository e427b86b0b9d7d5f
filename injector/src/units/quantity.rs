//! Quantities that are one decimal number and one unit, without a float on the way.

use super::UnitError;
use super::error::Reason;

/// How a quantity is written.
pub(super) struct Notation {
    /// What it is, with its article.
    pub what: &'static str,
    /// What a correct text looks like.
    pub expected: &'static str,
    /// Units, each with what one is worth in steps.
    pub units: &'static [(&'static str, u64)],
    /// Units that a number without one may have meant.
    pub usual: &'static [&'static str],
    /// Smallest quantity, in words and in steps.
    pub least: (&'static str, u64),
    /// Largest quantity, in words and in steps.
    pub most: (&'static str, u64),
    /// One step, in words.
    pub step: &'static str,
    /// Says of a number and a unit that is none of `units` what is wrong, and what to write.
    pub respell: fn(&str, &str) -> (Reason, String),
}

impl Notation {
    /// Parses a text to a number of steps.
    pub(super) fn parse(&self, text: &str) -> Result<u64, UnitError> {
        let error = |reason| UnitError::new(text, reason, self.expected);
        let (number, unit) = match split_number(text) {
            ("", rest) if is_negative(rest) => return Err(error(Reason::Negative)),
            ("", _) => return Err(error(Reason::Malformed(self.what))),
            (number, "") => {
                let texts = self.usual.iter().map(|unit| format!("{number}{unit}"));
                let texts: Vec<String> = texts.collect();
                return Err(error(Reason::NoUnit).hint(format!("write {}", texts.join(" or "))));
            }
            parts => parts,
        };
        let size_of = |unit| self.units.iter().find(|(name, _)| *name == unit);
        let Some((_, size)) = size_of(unit) else {
            let (reason, hint) = match size_of(unit.trim()) {
                Some((unit, _)) => (
                    Reason::Malformed(self.what),
                    format!("write {number}{unit}"),
                ),
                None => (self.respell)(number, unit.trim()),
            };
            return Err(error(reason).hint(hint));
        };
        let (least, most) = (self.least, self.most);
        match product(number, *size) {
            Ok(steps) if steps < least.1 => Err(error(Reason::BelowMinimum(least.0))),
            Ok(steps) if steps <= most.1 => Ok(steps),
            Ok(_) | Err(Inexact::TooLarge) => Err(error(Reason::TooLarge(most.0))),
            Err(Inexact::TooFine) => Err(error(Reason::TooFine(self.step))),
            Err(Inexact::Malformed) => Err(error(Reason::Malformed(self.what))),
        }
    }
}

/// Splits off the leading digits and points.
pub(crate) fn split_number(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    text.split_at(end)
}

/// Whether a text is a number with a minus before it, whatever comes behind.
pub(super) fn is_negative(text: &str) -> bool {
    let positive = text.strip_prefix('-');
    positive.is_some_and(|positive| !split_number(positive).0.is_empty())
}

/// Why there is no whole number of steps.
enum Inexact {
    Malformed,
    TooFine,
    TooLarge,
}

/// Most decimals of a number; more mean something only to a computer.
const DECIMALS_MAX: usize = 12;

/// Returns `number` times `size`, exactly.
fn product(number: &str, size: u64) -> Result<u64, Inexact> {
    let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
    if !is_digits(whole) || !is_digits(decimals) {
        return Err(Inexact::Malformed);
    }
    let decimals = decimals.trim_end_matches('0');
    if decimals.len() > DECIMALS_MAX {
        return Err(Inexact::TooFine);
    }
    let whole: u64 = whole.parse().map_err(|_| Inexact::TooLarge)?;
    // At most 12 digits, or none at all.
    let fraction: u128 = decimals.parse().unwrap_or(0);
    let scale = 10u128.pow(decimals.len() as u32);
    let fraction = fraction * u128::from(size);
    if !fraction.is_multiple_of(scale) {
        return Err(Inexact::TooFine);
    }
    let steps = u128::from(whole) * u128::from(size) + fraction / scale;
    u64::try_from(steps).map_err(|_| Inexact::TooLarge)
}

/// Writes `steps` as a decimal number of units of `size`, which is a power of ten.
pub(super) fn decimal(steps: u64, size: u64) -> String {
    let digits = size.ilog10() as usize;
    let text = format!("{}.{:0digits$}", steps / size, steps % size);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Whether a text is digits and nothing else.
pub(crate) fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_digit())
}
