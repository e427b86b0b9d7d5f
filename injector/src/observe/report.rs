//! What the rules asked for, and what they achieved.

use std::{collections::BTreeMap, ops::AddAssign};

use injector_common::abi::RuleCounters;
use serde::Serialize;

use super::{
    confidence::Interval,
    format::{count, duration, margin, percent, table},
    histogram::Histogram,
};
use crate::{
    datapath::{counters::Snapshot, journal::RecordedRule},
    plan::{Asked, Hook},
    profile::Share,
};

/// The achievement of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Achieved {
    /// Per rule, in order of precedence.
    pub rules: Vec<AchievedRule>,
    /// Outside the rules.
    pub path: Path,
}

/// Packets outside the rules.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Path {
    /// Passed: no rule matched.
    pub unmatched: u64,
    /// Passed: protected from every rule, and not matched with any.
    pub protected: u64,
    /// Passed: headers that could not be read.
    pub unparseable: u64,
    /// Passed although a rule matched: the lease had run out.
    pub lapsed: u64,
    /// Passed although a rule matched: the private pair could not take them.
    pub failed_open: u64,
    /// Lifted with a stamp of another clock, such as the time when a packet that is forwarded was received;
    /// it was taken off, because fq would have dropped the packet for it.
    pub unstamped: u64,
    /// A rule asks for the owner of the socket, and this machine has none for it: forwarded, for example.
    pub unowned: u64,
    /// Wire packets on their way at this moment: held, to be delivered later. Those that stay when
    /// traffic rests are lost.
    pub in_flight: u64,
    /// Wire packets lost by the private pairs, not by the profile; known when the run has ended.
    pub lost: u64,
    /// Packets that the private pair's fq dropped, which are lost, too; absent where there is no fq.
    pub qdisc_drops: Option<u64>,
}

/// The achievement of one rule, in wire packets.
#[derive(Clone, Debug, Serialize)]
pub struct AchievedRule {
    /// The interface, where the rules of several are listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// The phase, where the rules of several are listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// The rule's name.
    pub rule: String,
    /// Its direction.
    pub direction: Hook,
    /// Packets whose fate was decided.
    pub matched: u64,
    /// Their bytes, link-layer header included.
    pub bytes: u64,
    /// Packets dropped.
    pub dropped: u64,
    /// Packets with flipped bits.
    pub corrupted: u64,
    /// Copies made.
    pub duplicated: u64,
    /// Packets that were not delayed, to overtake others.
    pub reordered: u64,
    /// Packets given a delay.
    pub delayed: u64,
    /// Packets marked "congestion experienced", and not dropped.
    pub marked: u64,
    /// Packets dropped because the rate's queue was full.
    pub overlimit: u64,
    /// What was asked.
    pub asked: Asked,
    /// Where the chances lie, by what was achieved.
    #[serde(skip_serializing_if = "Chances::is_empty")]
    pub chances: Chances,
    /// Bytes of the packets, link-layer header included.
    #[serde(skip_serializing_if = "Histogram::is_empty")]
    pub size: Histogram,
    /// For how long they were delayed, in µs.
    #[serde(skip_serializing_if = "Histogram::is_empty")]
    pub delay_us: Histogram,
    /// How many packets later than the one before each that was hit came: 1 is the very next.
    #[serde(skip_serializing_if = "Histogram::is_empty")]
    pub gap: Histogram,
}

/// Where the chances of a rule lie, with 95 % confidence; absent where there are no packets, and where what
/// happens to one depends on others, or changes over time: then chance strays further, and nobody knows how
/// far.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Chances(BTreeMap<&'static str, Interval>);

impl Chances {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Achieved {
    /// Of a run that has ended: what is still in flight will not come any more.
    pub fn of_ended(rules: &[RecordedRule], snapshot: &Snapshot) -> Self {
        let mut achieved = Self::new(rules, snapshot);
        achieved.path.lost += achieved.path.in_flight;
        achieved.path.in_flight = 0;
        achieved
    }

    /// Of interfaces together: the rules of each, and the sums of what is outside them.
    pub fn together(mut each: Vec<(String, Self)>) -> Self {
        if let [(_, only)] = &mut each[..] {
            return std::mem::take(only);
        }
        let mut all = Self::default();
        for (at, achieved) in each {
            let rules = achieved.rules.into_iter();
            all.rules.extend(rules.map(|rule| AchievedRule {
                at: Some(at.clone()),
                ..rule
            }));
            all.path += achieved.path;
        }
        all
    }

    /// Puts what was asked beside what was counted.
    pub fn new(rules: &[RecordedRule], snapshot: &Snapshot) -> Self {
        let rules = rules
            .iter()
            .zip(&snapshot.rules)
            .map(|(rule, counters)| AchievedRule::new(rule, counters));
        Self {
            rules: rules.collect(),
            path: Path {
                unmatched: snapshot.path.unmatched,
                protected: snapshot.path.protected,
                unparseable: snapshot.path.unparseable,
                lapsed: snapshot.path.lapsed,
                unstamped: snapshot.path.unstamped,
                unowned: snapshot.path.unowned,
                failed_open: snapshot.rules.iter().map(|rule| rule.failed_open).sum(),
                in_flight: snapshot.in_flight,
                lost: snapshot.rules.iter().map(|rule| rule.lost).sum(),
                qdisc_drops: snapshot.qdisc_drops,
            },
        }
    }
}

impl AddAssign for Path {
    fn add_assign(&mut self, other: Self) {
        self.unmatched += other.unmatched;
        self.protected += other.protected;
        self.unparseable += other.unparseable;
        self.lapsed += other.lapsed;
        self.failed_open += other.failed_open;
        self.unstamped += other.unstamped;
        self.unowned += other.unowned;
        self.in_flight += other.in_flight;
        self.lost += other.lost;
        let drops = self.qdisc_drops.into_iter().chain(other.qdisc_drops);
        self.qdisc_drops = drops.reduce(|one, more| one + more);
    }
}

impl AchievedRule {
    fn new(rule: &RecordedRule, counters: &RuleCounters) -> Self {
        let mut achieved = Self {
            at: None,
            phase: None,
            rule: rule.name.clone(),
            direction: rule.hook,
            matched: counters.matched,
            bytes: counters.bytes,
            dropped: counters.dropped,
            corrupted: counters.corrupted,
            duplicated: counters.duplicated,
            reordered: counters.reordered,
            delayed: counters.delayed,
            marked: counters.marked,
            overlimit: counters.overlimit,
            asked: rule.asked,
            chances: Chances::default(),
            size: (&counters.size).into(),
            delay_us: (&counters.delay_us).into(),
            gap: (&counters.gap).into(),
        };
        let chance = |share: &Share| {
            let (hits, of) = achieved.share(*share);
            Some((share.word(), Interval::wilson(hits, of)?))
        };
        achieved.chances = Chances(rule.independent.iter().filter_map(chance).collect());
        achieved
    }

    /// How many packets a fault has hit, and of how many: dropped ones are not there to be corrupted or
    /// copied.
    pub fn share(&self, of: Share) -> (u64, u64) {
        let left = self.matched - self.dropped;
        match of {
            Share::Drop => (self.dropped, self.matched),
            Share::Corrupt => (self.corrupted, left),
            Share::Duplicate => (self.duplicated, left),
            Share::Reorder => (self.reordered, left),
        }
    }

    /// `0.980% ± 0.19%`: the share, and how far the chance may be from it, where that is known.
    pub(super) fn achieved(&self, of: Share) -> Option<String> {
        let (hits, packets) = self.share(of);
        let share = (packets != 0).then(|| hits as f64 / packets as f64)?;
        let reach = self.chances.0.get(of.word());
        let reach = reach.map(|chance| format!(" ± {}", margin(chance.reach(share))));
        Some(percent(share) + &reach.unwrap_or_default())
    }
}

/// What no rule touches, in a line.
pub fn protected(names: &[String]) -> String {
    match names {
        [] => "nothing".into(),
        names => names.join(", "),
    }
}

/// What a run goes without, in a line; `None` where that is nothing.
pub fn left_out(keys: &[String]) -> Option<String> {
    let keys = (!keys.is_empty()).then(|| keys.join(", "))?;
    Some(format!("left out: {keys}: this kernel has no fq"))
}

/// What is told of a rule beside how many packets it matched: the word for it, whether it is of concern, and
/// what is told.
type Column = (
    &'static str,
    fn(&AchievedRule) -> bool,
    fn(&AchievedRule) -> String,
);

const COLUMNS: [Column; 7] = [
    (
        "dropped",
        |rule| rule.asked.drop.is_some(),
        |rule| share(rule, Share::Drop),
    ),
    (
        "corrupted",
        |rule| rule.asked.corrupt.is_some(),
        |rule| share(rule, Share::Corrupt),
    ),
    (
        "duplicated",
        |rule| rule.asked.duplicate.is_some(),
        |rule| share(rule, Share::Duplicate),
    ),
    (
        "reordered",
        |rule| rule.asked.reorder.is_some(),
        |rule| share(rule, Share::Reorder),
    ),
    ("delayed", |rule| rule.asked.delay_ns.is_some(), delayed),
    ("marked", |rule| rule.marked != 0, |rule| count(rule.marked)),
    (
        "overlimit",
        |rule| rule.asked.rate_bps.is_some() || rule.overlimit != 0,
        |rule| count(rule.overlimit),
    ),
];

/// A line per rule, with the columns that any rule asks for.
pub fn text(achieved: &Achieved) -> String {
    let used: Vec<_> = COLUMNS
        .iter()
        .filter(|(_, asks, _)| achieved.rules.iter().any(asks))
        .collect();
    let has_places = achieved.rules.iter().any(|rule| rule.at.is_some());
    let has_phases = achieved.rules.iter().any(|rule| rule.phase.is_some());
    let names: Vec<_> = used.iter().map(|(name, ..)| name.to_uppercase()).collect();
    let header: Vec<_> = (has_places.then_some("AT").into_iter())
        .chain(has_phases.then_some("PHASE"))
        .chain(["RULE", "DIRECTION", "MATCHED"])
        .chain(names.iter().map(String::as_str))
        .collect();
    let rows = achieved.rules.iter().map(|rule| {
        let mut row: Vec<_> = rule.at.iter().chain(&rule.phase).cloned().collect();
        row.extend([
            rule.rule.clone(),
            rule.direction.to_string(),
            count(rule.matched),
        ]);
        row.extend(used.iter().map(|(_, _, cell)| cell(rule)));
        row
    });
    table(&header, rows.collect()) + &path(&achieved.path)
}

/// The same of one rule, in words: what was achieved beside what was asked.
pub fn words(rule: &AchievedRule) -> Vec<String> {
    let told = COLUMNS.iter().filter(|(_, asks, _)| asks(rule));
    told.map(|(name, _, cell)| format!("{name} {}", cell(rule)))
        .collect()
}

/// The histograms of each rule.
pub fn histograms(achieved: &Achieved) -> String {
    achieved.rules.iter().map(histograms_of).collect()
}

/// The histograms of a rule.
pub fn histograms_of(rule: &AchievedRule) -> String {
    type Kind = (
        &'static str,
        fn(&AchievedRule) -> &Histogram,
        fn(u64) -> String,
    );
    const KINDS: [Kind; 3] = [
        (
            "delay",
            |rule| &rule.delay_us,
            |us| duration(us.saturating_mul(1000)),
        ),
        ("size in bytes", |rule| &rule.size, count),
        ("packets from hit to hit", |rule| &rule.gap, count),
    ];
    let mut text = String::new();
    for (what, histogram, value) in KINDS {
        let histogram = histogram(rule);
        if !histogram.is_empty() {
            let at = rule.at.iter().map(|at| format!("{at}: "));
            let at: String = at.collect();
            let title = format!("{at}{} {}: {what}", rule.rule, rule.direction);
            text += &histogram.text(&title, value);
        }
    }
    text
}

/// `98 (0.980% ± 0.19%, asked 1.00%)`: counted, achieved, how far the chance may be from that, asked.
fn share(rule: &AchievedRule, of: Share) -> String {
    let (hits, _) = rule.share(of);
    match (rule.asked.share(of), rule.achieved(of)) {
        (None, _) => "-".into(),
        (Some(0.0), _) => count(hits),
        (Some(asked), achieved) => {
            let achieved = achieved.unwrap_or_else(|| "-".into());
            format!("{} ({achieved}, asked {})", count(hits), percent(asked))
        }
    }
}

fn delayed(rule: &AchievedRule) -> String {
    let Some(delay_ns) = rule.asked.delay_ns else {
        return "-".into();
    };
    match rule.asked.jitter_ns {
        Some(jitter_ns) => {
            format!(
                "{} by {} ± {}",
                count(rule.delayed),
                duration(delay_ns),
                duration(jitter_ns)
            )
        }
        None => format!("{} by {}", count(rule.delayed), duration(delay_ns)),
    }
}

/// What happened outside the rules, in a line; only what did happen.
pub(super) fn path(path: &Path) -> String {
    let parts = outside(path);
    if parts.is_empty() {
        String::new()
    } else {
        format!("{}\n", parts.join("; "))
    }
}

/// The same in parts.
pub(super) fn outside(path: &Path) -> Vec<String> {
    [
        ("not matched", path.unmatched),
        ("protected", path.protected),
        ("not parseable", path.unparseable),
        ("in flight", path.in_flight),
        ("passed after the lease ran out", path.lapsed),
        ("without their stamp of another clock", path.unstamped),
        ("without a socket here", path.unowned),
        ("passed because the private pair failed", path.failed_open),
        ("lost by the private pair, not by the profile", path.lost),
        (
            "dropped by the private pair's fq",
            path.qdisc_drops.unwrap_or(0),
        ),
    ]
    .into_iter()
    .filter(|(_, value)| *value != 0)
    .map(|(what, value)| format!("{} {what}", count(value)))
    .collect()
}
