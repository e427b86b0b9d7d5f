//! The answer, as people read it.

use super::{
    Answer,
    asked::{Added, AskedOfDatagrams},
    datagrams::{self, Datagrams},
    echo::RoundTrips,
    measure::Measured,
};
use crate::{
    observe::{
        format::{count, duration, percent, table},
        report,
    },
    plan::Hook,
};

/// What to do with what was seen; `builtin` is a profile that works here.
pub(super) fn next(builtin: &str) -> String {
    let lines = [
        ("profiles", "networks to imitate"),
        (&format!("demo {builtin}"), "one of them, measured"),
        ("doctor -i eth0", "is a real interface fit for it?"),
        ("run -i eth0 --drop 1% --for 60s", "degrade it for a minute"),
    ];
    let lines = lines.map(|(command, what)| format!("  injector {command:<33}{what}"));
    format!("\nNext:\n{}", lines.join("\n"))
}

/// The whole answer.
pub(super) fn text(answer: &Answer) -> String {
    let removed = match answer.removed {
        true => "\nremoved again: no interface, qdisc, program or record of the run is left\n",
        false => "",
    };
    let achieved = report::text(&answer.achieved);
    let measured = measurements(answer);
    format!("{measured}\nduring, as the kernel counted:\n{achieved}{removed}")
}

/// One row per measurement, with what was asked in the last column.
fn measurements(answer: &Answer) -> String {
    let added = answer.asked.round_trip;
    let p50 = |m: &Measured| time(&m.round_trips, m.round_trips.p50_ns);
    let p95 = |m: &Measured| time(&m.round_trips, m.round_trips.p95_ns);
    let mut rows = vec![
        row(answer, "round trip, median", p50, median(added)),
        row(answer, "round trip, 95 of 100", p95, most(added)),
    ];
    for (i, asked) in answer.asked.datagrams.iter().enumerate() {
        rows.extend(fates(answer, i, asked));
    }
    rows.push(row(
        answer,
        "TCP throughput",
        throughput,
        "what the faults leave".into(),
    ));
    rows.push(row(answer, "TCP content", content, "intact".into()));
    table(&["", "BEFORE", "DURING", "AFTER", "ASKED"], rows)
}

fn row(
    answer: &Answer,
    name: &str,
    cell: impl Fn(&Measured) -> String,
    asked: String,
) -> Vec<String> {
    let [before, during, after] = answer.phases().map(cell);
    vec![name.into(), before, during, after, asked]
}

/// Rows for the datagrams of one direction, the `i`-th: fates that were asked for, or met.
fn fates(answer: &Answer, i: usize, asked: &AskedOfDatagrams) -> Vec<Vec<String>> {
    let is_shown = |fate: &Fate| {
        let met = |m: &Measured| (fate.count)(&m.datagrams[i]) > 0;
        fate.name == LOST || fate.asked.is_some() || answer.phases().into_iter().any(met)
    };
    let shown = Fate::all(asked).into_iter().filter(is_shown);
    let directions = answer.asked.datagrams.len();
    shown
        .map(|fate| {
            let name = label(fate.name, asked.direction, directions);
            let cell = |m: &Measured| share(&m.datagrams[i], fate.count);
            row(answer, &name, cell, expected(asked, &fate))
        })
        .collect()
}

fn time(round_trips: &RoundTrips, time_ns: Option<u64>) -> String {
    match time_ns {
        Some(time_ns) => duration(time_ns),
        None => format!("0 of {} returned", round_trips.sent),
    }
}

fn median(added: Option<Added>) -> String {
    added.map_or_else(
        || "-".into(),
        |added| format!("{} more", duration(added.delay_ns)),
    )
}

fn most(added: Option<Added>) -> String {
    match added {
        Some(Added {
            delay_ns,
            jitter_ns,
        }) if jitter_ns > 0 => {
            format!("up to {} more", duration(delay_ns + jitter_ns))
        }
        other => median(other),
    }
}

/// The fate that is always shown; others only where they are asked, or met.
const LOST: &str = "lost";

/// What may become of a datagram.
struct Fate {
    name: &'static str,
    /// How often it was met.
    count: fn(&Datagrams) -> u32,
    /// The odds that were asked.
    asked: Option<f64>,
    /// The share of datagrams that are there to meet it.
    of: f64,
}

impl Fate {
    fn all(asked: &AskedOfDatagrams) -> [Self; 4] {
        let (drop, corrupt) = (asked.faults.drop, asked.faults.corrupt);
        let (caught, delivered) = match asked.checksum_valid {
            false => (corrupt, None),
            true => (None, corrupt),
        };
        // What is dropped is not there to be corrupted or copied.
        let of = 1.0 - drop.unwrap_or(0.0);
        let fate = |name, count, asked| Self {
            name,
            count,
            asked,
            of,
        };
        [
            Self {
                of: 1.0,
                ..fate(LOST, |d| d.lost, drop)
            },
            fate("damaged, bad checksum", |d| d.caught, caught),
            fate("damaged, delivered", |d| d.delivered_damaged, delivered),
            fate("duplicated", |d| d.duplicates, asked.faults.duplicate),
        ]
    }
}

/// The direction is told where there are two.
fn label(what: &str, direction: Hook, directions: usize) -> String {
    if directions > 1 {
        format!("{direction}: {what}")
    } else {
        what.into()
    }
}

/// `21 (2.10%)`, or `0 of 1,000`.
fn share(datagrams: &Datagrams, part: fn(&Datagrams) -> u32) -> String {
    let share = |hits: u32| percent(f64::from(hits) / f64::from(datagrams.sent));
    match part(datagrams) {
        0 => format!("0 of {}", count(datagrams.sent.into())),
        hits => format!("{} ({})", count(hits.into()), share(hits)),
    }
}

/// `20 ± 9 (2%)`: the mean, twice the standard deviation, and what was asked.
fn expected(asked: &AskedOfDatagrams, fate: &Fate) -> String {
    let Some(odds) = fate.asked else {
        return if asked.rule.is_some() {
            "-"
        } else {
            "no rule matches"
        }
        .into();
    };
    let n = f64::from(datagrams::PACKETS) * fate.of;
    let (mean, spread) = (n * odds, 2.0 * (n * odds * (1.0 - odds)).sqrt());
    format!("{mean:.0} ± {spread:.0} ({})", short(percent(odds)))
}

/// Without zeros at the end: as it was written.
fn short(percent: String) -> String {
    match percent.trim_end_matches('%') {
        number if number.contains('.') => {
            format!("{}%", number.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => percent,
    }
}

fn throughput(measured: &Measured) -> String {
    measured
        .tcp
        .rate()
        .map_or_else(|| "no connection".into(), rate)
}

fn content(measured: &Measured) -> String {
    match (measured.tcp.bytes, measured.tcp.intact) {
        (0, _) => "-",
        (_, true) => "intact",
        (_, false) => "damaged",
    }
    .into()
}

/// A rate to three significant digits.
fn rate(bits_per_s: f64) -> String {
    let (value, unit) = match bits_per_s {
        rate if rate >= 1e9 => (rate / 1e9, "Gbit/s"),
        rate if rate >= 1e6 => (rate / 1e6, "Mbit/s"),
        rate => (rate / 1e3, "kbit/s"),
    };
    let digits = if value < 10.0 {
        2
    } else {
        usize::from(value < 100.0)
    };
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Asked;

    #[test]
    fn rates_keep_three_digits() {
        assert_eq!(
            [0.0, 12_345.0, 1_234_567.0, 987_654_321.0, 12_345_678_901.0].map(rate),
            [
                "0.00 kbit/s",
                "12.3 kbit/s",
                "1.23 Mbit/s",
                "988 Mbit/s",
                "12.3 Gbit/s"
            ]
        );
    }

    #[test]
    fn a_share_is_told_with_its_count() {
        let datagrams = Datagrams {
            direction: Hook::Egress,
            sent: 1000,
            received: 979,
            lost: 21,
            caught: 0,
            delivered_damaged: 0,
            duplicates: 0,
        };
        assert_eq!(share(&datagrams, |d| d.lost), "21 (2.10%)");
        assert_eq!(share(&datagrams, |d| d.caught), "0 of 1,000");
    }

    #[test]
    fn what_is_expected_follows_from_what_survives() {
        let faults = Asked {
            drop: Some(0.5),
            duplicate: Some(1.0),
            ..Asked::default()
        };
        let asked = AskedOfDatagrams {
            direction: Hook::Egress,
            rule: Some("half".into()),
            checksum_valid: false,
            faults,
        };
        let cells = Fate::all(&asked).map(|fate| expected(&asked, &fate));
        assert_eq!(cells, ["500 ± 32 (50%)", "-", "-", "500 ± 0 (100%)"]);
    }
}
