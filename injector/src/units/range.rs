//! One number, or the first and the last of several.

use std::fmt;
use std::str::FromStr;

use super::UnitError;
use super::error::Reason;
use super::quantity::is_digits;

/// Parses `5432` or `6432-6440`; never a range that ends before it starts.
///
/// `what` names the quantity, with its article; `most` is the largest `T`.
pub(super) fn range<T: FromStr + PartialOrd + fmt::Display>(
    text: &str,
    what: &'static str,
    most: &'static str,
    expected: &'static str,
) -> Result<(T, T), UnitError> {
    let error = |reason| UnitError::new(text, reason, expected);
    if text.strip_prefix('-').is_some_and(is_digits) {
        return Err(error(Reason::Negative));
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    if !is_digits(first) || !is_digits(last) {
        let error = error(Reason::Malformed(what));
        return Err(match respelled::<T>(text, what, most, expected) {
            Some(range) => error.hint(format!("write {range}")),
            None => error,
        });
    }
    // A number that has only digits and does not fit is too large, however long it is.
    let (Ok(first), Ok(last)) = (first.parse(), last.parse()) else {
        return Err(error(Reason::TooLarge(most)));
    };
    if first <= last {
        return Ok((first, last));
    }
    Err(error(Reason::Backward).hint(format!("write {last}-{first}")))
}

/// Returns the range that was meant by other dashes, colons or spaces.
fn respelled<T: FromStr + PartialOrd + fmt::Display>(
    text: &str,
    what: &'static str,
    most: &'static str,
    expected: &'static str,
) -> Option<String> {
    let respelled = text.replace([':', '–'], "-").replace(' ', "");
    // Without the first condition the same text would be parsed again, for ever.
    let is_range = respelled != text && range::<T>(&respelled, what, most, expected).is_ok();
    is_range.then_some(respelled)
}

/// Writes what [`range`] parses.
pub(super) fn write_range<T: Copy + PartialEq + fmt::Display>(
    f: &mut fmt::Formatter<'_>,
    first: T,
    last: T,
) -> fmt::Result {
    if first == last {
        return f.pad(&first.to_string());
    }
    f.pad(&format!("{first}-{last}"))
}
