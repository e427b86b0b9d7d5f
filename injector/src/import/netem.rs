//! netem, as `tc` is told, and as it shows it.
//!
//! The form is that of iproute2's `tc/q_netem.c` and `tc/tc_qdisc.c`; what the options do is
//! `net/sched/sch_netem.c` of Linux and tc-netem(8). Other tools only write such command lines, so that they
//! come through here, too. What is the same by another name, and what is not, is in docs/netem.md and
//! docs/models.md.

mod command;
mod json;
mod rule;
mod table;

use super::{
    draft::{self, Draft, DraftRule},
    flaw::{Flaw, Parsed, Place},
    note::Notes,
};
use crate::{
    profile::{Direction, Match, Source, issue::Issue},
    units::quote,
};

pub(super) use self::command::show_begins;

/// What one netem does.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Netem {
    pub delay: Option<Delay>,
    /// The name of a table of iproute2's.
    pub distribution: Option<String>,
    pub loss: Option<Loss>,
    pub ecn: bool,
    pub corrupt: Option<Chance>,
    pub duplicate: Option<Chance>,
    pub reorder: Option<Chance>,
    pub gap: Option<u64>,
    pub rate: Option<Rate>,
    pub slot: Option<Slot>,
    pub seed: Option<u64>,
    /// How many packets it holds at most.
    pub limit: Option<u64>,
}

/// Fractions of 1.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(super) struct Chance {
    pub share: f64,
    pub correlation: f64,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(super) struct Delay {
    pub time_ns: u64,
    pub jitter_ns: u64,
    pub correlation: f64,
}

/// Fractions of 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Loss {
    Random(Chance),
    State {
        p13: f64,
        p31: f64,
        p32: f64,
        p23: f64,
        p14: f64,
    },
    Gemodel {
        p: f64,
        r: f64,
        one_minus_h: f64,
        one_minus_k: f64,
    },
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(super) struct Rate {
    pub bits: u64,
    pub packet_overhead: i64,
    pub cell_size: u64,
    pub cell_overhead: i64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Slot {
    pub min_ns: u64,
    pub max_ns: u64,
    pub packets: u64,
    pub bytes: u64,
}

/// A netem, and where it is.
#[derive(Debug)]
struct Found {
    /// Its device; empty where that is not said.
    device: String,
    /// The class that it stands in; absent at the root.
    parent: Option<String>,
    netem: Netem,
    place: Place,
}

/// Reads command lines, or what `tc qdisc show` prints. A profile is about one device: that of `only`, where
/// there are several.
pub(super) fn read(source: &Source, only: Option<&str>) -> Parsed<Draft> {
    let mut notes = Notes::default();
    let found = match source.text().trim_start().starts_with('[') {
        true => json::read(source, &mut notes)?,
        false => command::read(source.text(), &mut notes)?,
    };
    let chosen = choose(found, only)?;
    let device = chosen.device;
    if let Some(parent) = chosen.parent {
        let why = "which packets come there is said by classes and filters; the rule is about all";
        notes.missing(format!("parent {parent}"), why);
    }
    let direction = direction(&device, &mut notes);
    let base = draft::rule("netem", direction, Match::default());
    let rule: DraftRule = chosen.netem.rule(base, &mut notes);
    let name = format!("netem-{device}");
    let mut draft = Draft::steady(&name, vec![rule], notes);
    draft.seed = chosen.netem.seed;
    Ok(draft)
}

fn choose(found: Vec<Found>, only: Option<&str>) -> Parsed<Found> {
    let named = |found: &Found| only.is_none_or(|only| found.device == only);
    let devices: Vec<String> = found.iter().map(|found| found.device.clone()).collect();
    let mut fitting = found.into_iter().filter(named);
    let expected = "`tc qdisc add dev DEV root netem …`, or what `tc qdisc show` prints of one";
    match (fitting.next(), fitting.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => {
            let issue = Issue::new(match only {
                Some(only) => format!("there is no netem on {}", quote(only)),
                None => "there is no netem in it".to_owned(),
            });
            Err(Flaw::new(issue.expected(expected), Place::Text))
        }
        (Some(_), Some(second)) => {
            let list = devices.join(", ");
            let issue = Issue::new("a second netem, and a profile is about one interface");
            let issue = issue.expected(format!("one of those on {list}"));
            Err(Flaw::new(
                issue.hint("choose with `--only DEV`"),
                second.place,
            ))
        }
    }
}

/// What arrives is commonly redirected to an ifb device, to be delayed there.
fn direction(device: &str, notes: &mut Notes) -> Direction {
    if !device.starts_with("ifb") {
        return Direction::Egress;
    }
    let why = "taken for what arrives on the device whose packets are redirected there; name that one with -i";
    notes.differs(format!("dev {device}"), why);
    Direction::Ingress
}
