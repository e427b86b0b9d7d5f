//! Numbers as other tools write them, and what a profile can say of them.
//!
//! tc's are those of `lib/utils.c` and `lib/utils_math.c` of iproute2: units in any case, rates in bits with
//! powers of 1000 (`mbit`), of 1024 (`mibit`), or in bytes (`mbps`); sizes in powers of 1024. Go's durations
//! (pumba, Chaos Mesh) are sums such as `1h30m`.

use super::note::Notes;
use crate::{
    profile::issue::Issue,
    units::{Bandwidth, DurationNs, Probability, quote, split_number},
};

const TIMES_NS: &[(&str, f64)] = &[
    ("s", 1e9),
    ("sec", 1e9),
    ("secs", 1e9),
    ("ms", 1e6),
    ("msec", 1e6),
    ("msecs", 1e6),
    ("us", 1e3),
    ("usec", 1e3),
    ("usecs", 1e3),
    ("ns", 1.0),
    ("nsec", 1.0),
    ("nsecs", 1.0),
    ("", 1.0),
];

const KI: f64 = 1024.0;

const RATES_BITS: &[(&str, f64)] = &[
    ("bit", 1.0),
    ("kibit", KI),
    ("kbit", 1e3),
    ("mibit", KI * KI),
    ("mbit", 1e6),
    ("gibit", KI * KI * KI),
    ("gbit", 1e9),
    ("tibit", KI * KI * KI * KI),
    ("tbit", 1e12),
    ("bps", 8.0),
    ("kibps", 8.0 * KI),
    ("kbps", 8e3),
    ("mibps", 8.0 * KI * KI),
    ("mbps", 8e6),
    ("gibps", 8.0 * KI * KI * KI),
    ("gbps", 8e9),
    ("tibps", 8.0 * KI * KI * KI * KI),
    ("tbps", 8e12),
    ("", 1.0),
];

const SIZES: &[(&str, f64)] = &[
    ("b", 1.0),
    ("", 1.0),
    ("kb", KI),
    ("k", KI),
    ("mb", KI * KI),
    ("m", KI * KI),
    ("gb", KI * KI * KI),
    ("g", KI * KI * KI),
    ("kbit", KI / 8.0),
    ("mbit", KI * KI / 8.0),
    ("gbit", KI * KI * KI / 8.0),
];

/// tc's times, in ns.
pub(super) fn time_ns(text: &str) -> Result<u64, Issue> {
    in_units(text, "a time", "a time such as 100ms", TIMES_NS)
}

/// tc's rates, in bits a second.
pub(super) fn rate_bits(text: &str) -> Result<u64, Issue> {
    let expected = "a rate such as 1mbit, or 1mbps for bytes";
    // tc keeps whole bytes.
    in_units(text, "a rate", expected, RATES_BITS).map(|bits| bits / 8 * 8)
}

/// tc's sizes, in bytes.
pub(super) fn size(text: &str) -> Result<u64, Issue> {
    in_units(text, "a size", "a size such as 1500 or 64kb", SIZES)
}

/// A percentage, with or without its sign, as a fraction.
pub(super) fn percent(text: &str) -> Result<f64, Issue> {
    let number = text.strip_suffix('%').unwrap_or(text);
    let percent = decimal(number).ok_or_else(|| malformed(text, "a percentage", "1% or 0.5%"))?;
    let issue = || Issue::new(format!("{} is not between 0 and 100 %", quote(text)));
    match percent {
        0.0..=100.0 => Ok(percent / 100.0),
        _ => Err(issue().expected("a percentage such as 1%")),
    }
}

/// A fraction of 1.
pub(super) fn fraction(text: &str) -> Result<f64, Issue> {
    let expected = "a number from 0 to 1";
    let number = decimal(text).filter(|number| (0.0..=1.0).contains(number));
    number.ok_or_else(|| malformed(text, "a probability", expected))
}

/// A number of at least 0, which may have decimals.
pub(super) fn number(text: &str) -> Result<f64, Issue> {
    let number = decimal(text).filter(|number| *number >= 0.0);
    number.ok_or_else(|| malformed(text, "a number", "a number of 0 or more"))
}

/// Milliseconds, in ns.
pub(super) fn milliseconds(text: &str) -> Result<u64, Issue> {
    number(text).map(|ms| (ms * 1e6).round() as u64)
}

/// A whole number.
pub(super) fn integer(text: &str) -> Result<i64, Issue> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    number.ok_or_else(|| malformed(text, "a whole number", "a whole number"))
}

/// A whole number of at least 0.
pub(super) fn count(text: &str) -> Result<u64, Issue> {
    let expected = "a whole number of 0 or more";
    let number = text.parse().ok();
    number.ok_or_else(|| malformed(text, "a whole number", expected))
}

/// Go's durations, in ns.
pub(super) fn go_duration_ns(text: &str) -> Result<u64, Issue> {
    const UNITS: &[(&str, f64)] = &[
        ("ns", 1.0),
        ("us", 1e3),
        ("µs", 1e3),
        ("ms", 1e6),
        ("s", 1e9),
        ("m", 6e10),
        ("h", 3.6e12),
    ];
    let refuse = || malformed(text, "a duration", "a duration such as 90ms, 30s or 1h30m");
    let (mut rest, mut nanos) = (text, 0.0);
    if text == "0" {
        return Ok(0);
    }
    while !rest.is_empty() {
        let (number, behind) = split_number(rest);
        let end = behind.find(|c: char| c.is_ascii_digit() || c == '.');
        let (unit, behind) = behind.split_at(end.unwrap_or(behind.len()));
        let unit = UNITS.iter().find(|(name, _)| *name == unit);
        let number = decimal(number).filter(|_| !number.is_empty());
        let (Some((_, size)), Some(number)) = (unit, number) else {
            return Err(refuse());
        };
        nanos += number * size;
        rest = behind;
    }
    (!text.is_empty())
        .then_some(nanos.round() as u64)
        .ok_or_else(refuse)
}

fn in_units(text: &str, what: &str, expected: &str, units: &[(&str, f64)]) -> Result<u64, Issue> {
    let end = text.find(|c: char| c.is_ascii_alphabetic() && !matches!(c, 'e' | 'E'));
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let unit = unit.to_ascii_lowercase();
    let size = units.iter().find(|(name, _)| *name == unit);
    match (decimal(number), size) {
        (Some(number), Some((_, size))) if number >= 0.0 => Ok((number * size).round() as u64),
        _ => Err(malformed(text, what, expected)),
    }
}

/// Digits with an optional sign, point and exponent; the words `inf` and `nan` are none.
fn decimal(text: &str) -> Option<f64> {
    let numeric = |c: char| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-');
    let number: f64 = text.chars().all(numeric).then(|| text.parse().ok())??;
    number.is_finite().then_some(number)
}

fn malformed(text: &str, what: &str, expected: &str) -> Issue {
    Issue::new(format!("{} is not {what}", quote(text))).expected(expected)
}

/// The probability that is nearest; none where that is 0.
pub(super) fn probability(fraction: f64) -> Option<Probability> {
    let certain = Probability::ALWAYS.odds_q32();
    let most = if fraction < 1.0 { certain - 1 } else { certain };
    let odds = (fraction * certain as f64).round() as u64;
    Probability::from_odds_q32(odds.min(most)).filter(|chance| *chance != Probability::NEVER)
}

/// The same, where 0 is one, too.
pub(super) fn chance(fraction: f64) -> Probability {
    probability(fraction).unwrap_or(Probability::NEVER)
}

/// A time of at most an hour.
pub(super) fn duration(what: &str, nanos: u64, notes: &mut Notes) -> DurationNs {
    DurationNs::from_nanos(nanos).unwrap_or_else(|| {
        notes.missing(what, "it is longer than an hour, and is cut to that");
        DurationNs::MAX
    })
}

/// A bandwidth that a profile can have.
pub(super) fn bandwidth(what: &str, bits: u64, notes: &mut Notes) -> Option<Bandwidth> {
    const BITS: std::ops::RangeInclusive<u64> = 1_000..=1_000_000_000_000;
    if !BITS.contains(&bits) {
        notes.missing(
            what,
            "bandwidths are between 1kbit and 1000gbit; there is none here",
        );
    }
    Bandwidth::from_bits_per_second(bits).filter(|_| BITS.contains(&bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_tc() {
        for (text, nanos) in [
            ("100ms", 100_000_000),
            ("1.5s", 1_500_000_000),
            ("2.3MS", 2_300_000),
            ("800usecs", 800_000),
            ("10", 10),
            ("1e3us", 1_000_000),
        ] {
            assert_eq!(time_ns(text).unwrap(), nanos, "{text}");
        }
        assert!(time_ns("1m").is_err());
        assert!(time_ns("-1ms").is_err());
        assert!(time_ns("inf").is_err());
    }

    #[test]
    fn rates_are_bits_but_for_bps() {
        for (text, bits) in [
            ("1mbit", 1_000_000),
            ("1Mbit", 1_000_000),
            ("1mbps", 8_000_000),
            ("1MiBps", 8 << 20),
            ("64000", 64_000),
            ("2.5gbit", 2_500_000_000),
        ] {
            assert_eq!(rate_bits(text).unwrap(), bits, "{text}");
        }
        assert!(rate_bits("1mb/s").is_err());
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(size("64k").unwrap(), 65_536);
        assert_eq!(size("1Mb").unwrap(), 1 << 20);
        assert_eq!(size("1500b").unwrap(), 1500);
        assert!(size("1kib").is_err());
    }

    #[test]
    fn percentages_need_no_sign() {
        assert_eq!(percent("25").unwrap(), 0.25);
        assert_eq!(percent("0.1%").unwrap(), 0.001);
        assert!(percent("101%").is_err());
        assert!(percent("nan").is_err());
        assert_eq!(fraction("0.5").unwrap(), 0.5);
        assert!(fraction("5").is_err());
    }

    #[test]
    fn durations_of_go_are_sums() {
        assert_eq!(go_duration_ns("1h30m").unwrap(), 5_400_000_000_000);
        assert_eq!(go_duration_ns("1.5s").unwrap(), 1_500_000_000);
        assert_eq!(go_duration_ns("90ms").unwrap(), 90_000_000);
        for text in ["", "90", "1x", "s", "-1s"] {
            assert!(go_duration_ns(text).is_err(), "{text}");
        }
    }
}
