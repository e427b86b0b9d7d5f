//! What is aimed at, and whether it is reached.

use std::fmt;

use serde::Serialize;

use super::Report;
use crate::record::Table::{self, Cost, Packets, Proxy, Seeing, Startup, Throughput};

/// Where a target holds. Times are not those of a machine when they are emulated.
#[derive(Clone, Copy)]
enum Places {
    Native,
    Guests,
    All,
}

/// A median, or how much it exceeds that of another contestant in the row.
#[derive(Clone, Copy)]
struct Quantity {
    table: Table,
    row: &'static str,
    contestant: &'static str,
    less: Option<&'static str>,
}

#[derive(Clone, Copy)]
enum Limit {
    AtLeast(f64),
    AtMost(f64),
}

struct Target {
    what: &'static str,
    places: Places,
    quantity: Quantity,
    /// What it is divided by, if anything.
    of: Option<Quantity>,
    limit: Limit,
}

const fn median(table: Table, row: &'static str, contestant: &'static str) -> Quantity {
    Quantity {
        table,
        row,
        contestant,
        less: None,
    }
}

/// How much longer ours takes than an empty program.
const fn program(row: &'static str) -> Quantity {
    Quantity {
        less: Some("empty program"),
        ..median(Cost, row, "injector")
    }
}

/// What is added to a round trip, beside the delay asked for.
const fn added(contestant: &'static str) -> Quantity {
    Quantity {
        less: Some("bare"),
        ..median(Proxy, "round trip", contestant)
    }
}

/// What counters, or a listener, add to a packet.
const fn seen(row: &'static str, contestant: &'static str, less: &'static str) -> Quantity {
    Quantity {
        less: Some(less),
        ..median(Seeing, row, contestant)
    }
}

const fn ratio(
    what: &'static str,
    places: Places,
    row: &'static str,
    to: &'static str,
    limit: f64,
) -> Target {
    Target {
        what,
        places,
        quantity: median(Throughput, row, "injector"),
        of: Some(median(Throughput, row, to)),
        limit: Limit::AtLeast(limit),
    }
}

const fn absolute(what: &'static str, quantity: Quantity, at_most: f64) -> Target {
    Target {
        what,
        places: Places::Native,
        quantity,
        of: None,
        limit: Limit::AtMost(at_most),
    }
}

const fn relative(what: &'static str, quantity: Quantity, of: Quantity, limit: Limit) -> Target {
    Target {
        what,
        places: Places::All,
        quantity,
        of: Some(of),
        limit,
    }
}

const SINGLE: &str = "gso_max_segs 1";
const NETEM_SINGLE: &str = "netem + gso_max_segs 1";

const TARGETS: [Target; 24] = [
    ratio(
        "unmatched: throughput of bare",
        Places::All,
        "unmatched",
        "bare",
        0.98,
    ),
    absolute(
        "unmatched: ns a packet",
        program("egress, no match, 1 rule"),
        40.0,
    ),
    ratio(
        "delay only: throughput of netem",
        Places::Guests,
        "delay 50 ms",
        "netem",
        1.0,
    ),
    ratio(
        "delay only: throughput of bare",
        Places::All,
        "delay 10 µs",
        "bare",
        0.8,
    ),
    ratio(
        "exact loss 0.1 %: of gso_max_segs 1",
        Places::Native,
        "loss 0.1 %",
        SINGLE,
        15.0,
    ),
    ratio(
        "exact loss 1 %: of gso_max_segs 1",
        Places::Native,
        "loss 1 %",
        SINGLE,
        8.0,
    ),
    ratio(
        "exact loss 0.1 %: of netem as exact",
        Places::Guests,
        "loss 0.1 %",
        NETEM_SINGLE,
        2.0,
    ),
    ratio(
        "exact loss 1 %: of netem as exact",
        Places::Guests,
        "loss 1 %",
        NETEM_SINGLE,
        2.0,
    ),
    absolute(
        "XDP drop: ns over an empty program",
        program("xdp, drop"),
        15.0,
    ),
    relative(
        "1 ms: throughput of fault-cli",
        median(Proxy, "throughput", "injector"),
        median(Proxy, "throughput", "fault-cli"),
        Limit::AtLeast(1.5),
    ),
    relative(
        "1 ms: added round trip, of fault-cli's",
        added("injector"),
        added("fault-cli"),
        Limit::AtMost(0.2),
    ),
    relative(
        "256 rules: cost of 1 rule",
        program("egress, last matches, 256 rules"),
        program("egress, last matches, 1 rule"),
        Limit::AtMost(2.0),
    ),
    relative(
        "1024 rules: cost of 1 rule",
        program("egress, last matches, 1024 rules"),
        program("egress, last matches, 1 rule"),
        Limit::AtMost(3.0),
    ),
    absolute(
        "counters and histograms, drop: ns a packet",
        seen("counters, drop", "injector", "nothing counted"),
        10.0,
    ),
    absolute(
        "counters and histograms, delay: ns a packet",
        seen("counters, delay", "injector", "nothing counted"),
        10.0,
    ),
    absolute(
        "trace, drop: ns a packet told",
        seen("trace, drop", "every packet", "nobody listens"),
        100.0,
    ),
    absolute(
        "trace, delay: ns a packet told",
        seen("trace, delay", "every packet", "nobody listens"),
        100.0,
    ),
    Target {
        what: "with metrics: packets of those without",
        places: Places::Native,
        quantity: median(Packets, "egress, exact, with metrics", "injector, metrics"),
        of: Some(median(Packets, "egress, exact, with metrics", "injector")),
        limit: Limit::AtLeast(0.98),
    },
    absolute(
        "faults on: ms",
        median(Startup, "faults on", "injector"),
        150.0,
    ),
    absolute("stop: ms", median(Startup, "stop", "injector"), 100.0),
    absolute(
        "swap of 256 rules: ms",
        median(Startup, "swap, 256 rules", "injector"),
        5.0,
    ),
    absolute(
        "swap of 1024 rules: ms",
        median(Startup, "swap, 1024 rules", "injector"),
        20.0,
    ),
    absolute(
        "peak memory: MB",
        median(Startup, "peak memory", "injector"),
        12.0,
    ),
    absolute(
        "stripped binary: MB",
        median(Startup, "stripped binary", "injector"),
        6.0,
    ),
];

/// How a target fares in one place.
#[derive(Serialize)]
pub struct Verdict {
    pub place: String,
    pub what: &'static str,
    pub limit: String,
    /// Nothing where the row could not run, or not all of it.
    pub value: Option<f64>,
    pub met: Option<bool>,
}

/// Judges every target in every place where its row was tried.
pub fn judge(report: &Report) -> Vec<Verdict> {
    let places = report.machines.iter().map(|machine| &machine.place);
    places
        .flat_map(|place| {
            TARGETS
                .iter()
                .filter_map(|target| target.judge(report, place))
        })
        .collect()
}

impl Target {
    fn judge(&self, report: &Report, place: &str) -> Option<Verdict> {
        let here = match self.places {
            Places::Native => place == "native",
            Places::Guests => place != "native",
            Places::All => true,
        };
        let Quantity { table, row, .. } = self.quantity;
        if !here || !report.tried(place, table, row) {
            return None;
        }
        let value = self.value(report, place);
        Some(Verdict {
            place: place.into(),
            what: self.what,
            limit: self.limit.to_string(),
            value,
            met: value.map(|value| self.limit.allows(value)),
        })
    }

    fn value(&self, report: &Report, place: &str) -> Option<f64> {
        let value = self.quantity.value(report, place)?;
        match self.of {
            Some(of) => Some(value / of.value(report, place)?),
            None => Some(value),
        }
    }
}

impl Quantity {
    fn value(&self, report: &Report, place: &str) -> Option<f64> {
        let row = report.row(place, self.table, self.row)?;
        let value = row.median(self.contestant)?;
        match self.less {
            Some(less) => Some(value - row.median(less)?),
            None => Some(value),
        }
    }
}

impl Limit {
    fn allows(self, value: f64) -> bool {
        match self {
            Self::AtLeast(limit) => value >= limit,
            Self::AtMost(limit) => value <= limit,
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(limit) => write!(f, ">= {limit}"),
            Self::AtMost(limit) => write!(f, "<= {limit}"),
        }
    }
}
