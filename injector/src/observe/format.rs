//! Numbers and tables as people read them.

use std::time::Duration;

/// A duration in its natural unit, to three or four significant digits.
pub fn duration(nanos: u64) -> String {
    let ns = nanos as f64;
    let (value, unit) = match nanos {
        0 => return "0".into(),
        1..1_000 => (ns, "ns"),
        1_000..1_000_000 => (ns / 1e3, "µs"),
        1_000_000..1_000_000_000 => (ns / 1e6, "ms"),
        _ => (ns / 1e9, "s"),
    };
    let digits = if value < 10.0 {
        2
    } else {
        usize::from(value < 100.0)
    };
    let text = format!("{value:.digits$}");
    let trimmed = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        &text
    };
    format!("{trimmed}{unit}")
}

/// A time that passes meanwhile: whole seconds, if there are any.
pub fn remaining(millis: u64) -> String {
    let rounded = match millis {
        0..10_000 => millis.next_multiple_of(100),
        _ => millis.next_multiple_of(1_000),
    };
    humantime::format_duration(Duration::from_millis(rounded)).to_string()
}

/// A rate in its natural unit, as a profile may say it.
pub fn rate(bits_per_second: u64) -> String {
    let bits = bits_per_second as f64;
    let (value, unit) = match bits_per_second {
        0..1_000 => (bits, "bit"),
        1_000..1_000_000 => (bits / 1e3, "kbit"),
        1_000_000..1_000_000_000 => (bits / 1e6, "mbit"),
        _ => (bits / 1e9, "gbit"),
    };
    // The rate was worked out from the time of a byte.
    let text = format!("{value:.2}");
    format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
}

/// A count with separators between thousands.
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// How many there are in a second.
pub fn per_second(rate: f64) -> String {
    match rate {
        0.0 => "0".into(),
        ..10.0 => format!("{rate:.1}"),
        ..1e6 => count(rate.round() as u64),
        ..1e9 => format!("{:.2}M", rate / 1e6),
        _ => format!("{:.2}G", rate / 1e9),
    }
}

/// A share in percent, to three significant digits.
pub fn percent(share: f64) -> String {
    significant(share * 100.0, 3)
}

/// How far a share may stray, in percent, to two significant digits.
pub fn margin(share: f64) -> String {
    significant(share * 100.0, 2)
}

fn significant(percent: f64, digits: i32) -> String {
    if percent == 0.0 || percent >= 99.95 {
        return format!("{percent:.0}%");
    }
    // Of three: 10.0 has one digit behind the point, 1.00 two, 0.100 three, 0.0100 four.
    let behind = (digits - 1 - percent.log10().floor() as i32).max(0) as usize;
    format!("{percent:.behind$}%")
}

/// A table: the first column flush left, the others too, two spaces between.
pub fn table(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let header = header.iter().map(|cell| (*cell).to_owned()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(header).chain(rows).collect();
    let columns = rows[0].len();
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
    };
    let widths: Vec<_> = (0..columns)
        .map(|column| width(column).unwrap_or(0))
        .collect();
    rows.iter()
        .map(|row| {
            let cells: Vec<_> = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:width$}"))
                .collect();
            format!("{}\n", cells.join("  ").trim_end())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_naturally() {
        let cases = [
            (0, "0"),
            (7, "7ns"),
            (1_500, "1.5µs"),
            (50_000_000, "50ms"),
            (81_234_567, "81.2ms"),
            (1_500_000_000, "1.5s"),
            (600_000_000, "600ms"),
        ];
        for (nanos, text) in cases {
            assert_eq!(duration(nanos), text);
        }
    }

    #[test]
    fn counts_have_separators() {
        assert_eq!(
            [0, 999, 1_000, 12_345_678].map(count),
            ["0", "999", "1,000", "12,345,678"]
        );
    }

    #[test]
    fn rates_take_few_columns() {
        assert_eq!(
            [
                0.0,
                0.25,
                9.94,
                10.4,
                123_456.7,
                1_234_567.8,
                12_345_678_901.0
            ]
            .map(per_second),
            ["0", "0.2", "9.9", "10", "123,457", "1.23M", "12.35G"]
        );
    }

    #[test]
    fn shares_keep_three_digits() {
        assert_eq!(
            [0.0, 1e-8, 0.00123, 0.0123, 0.123, 1.0].map(percent),
            ["0%", "0.00000100%", "0.123%", "1.23%", "12.3%", "100%"]
        );
        assert_eq!(
            [0.0, 0.000_49, 0.0019, 0.28, 1.0].map(margin),
            ["0%", "0.049%", "0.19%", "28%", "100%"]
        );
    }
}
