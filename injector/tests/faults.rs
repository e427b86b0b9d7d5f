//! Every fault of a rule, in all the forms that a profile may give it.

use std::str::FromStr;

use injector::profile::{
    self, Chance, Checksum, Corrupt, Course, Delay, Distribution, Drop, Duplicate, FourStates,
    Gemodel, Loss, Place, QueueLimit, Rate, Reorder, Rule, Slot,
};
use injector::units::{DurationNs, Probability, Size};
use proptest::prelude::*;

/// The rule of a profile that has no other.
fn rule(text: &str) -> Rule {
    let text = format!("name: x\nrules: [{{{text}}}]");
    let profile = profile::parse("profile.yaml", &text).unwrap_or_else(|error| panic!("{error}"));
    match profile.course {
        Course::Steady(mut rules) => rules.remove(0),
        Course::Phased(timeline) => panic!("{timeline:?}"),
    }
}

fn parsed<T: FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

fn loss(text: &str) -> Loss {
    rule(&format!("drop: {{{text}}}")).drop.unwrap().loss
}

#[test]
fn packets_are_hit_by_chance_or_by_number() {
    let chance = |text| match loss(text) {
        Loss::Chance(chance) => chance,
        model => panic!("{model:?}"),
    };
    let correlated = Chance::Random {
        probability: parsed("1%"),
        correlation: parsed("25%"),
    };
    assert_eq!(chance("probability: 1%, correlation: 25%"), correlated);
    assert_eq!(chance("every: 100"), Chance::Every(100));
    assert_eq!(chance("first: 3"), Chance::First(3));
    assert_eq!(chance("packets: 3"), Chance::Packets(vec![3..=3]));
    let packets = Chance::Packets(vec![1..=1, 3..=9]);
    assert_eq!(chance("packets: [7-9, 1, 3-5, 4-6]"), packets);
}

#[test]
fn every_fault_by_chance_may_be_by_number() {
    let rule = rule(
        "delay: 5ms, corrupt: {every: 2}, duplicate: {first: 3}, reorder: {packets: 4, gap: 5}",
    );
    assert_eq!(rule.corrupt.unwrap().chance, Chance::Every(2));
    assert_eq!(rule.duplicate.unwrap().chance, Chance::First(3));
    let reorder = Reorder {
        chance: Chance::Packets(vec![4..=4]),
        gap: 5,
    };
    assert_eq!(rule.reorder, Some(reorder));
}

#[test]
fn models_of_loss_have_the_defaults_of_netem() {
    let gemodel = Gemodel {
        p: parsed("1%"),
        r: parsed("99%"),
        one_minus_h: Probability::ALWAYS,
        one_minus_k: Probability::NEVER,
    };
    assert_eq!(loss("model: gemodel, p: 1%"), Loss::Gemodel(gemodel));
    let all = Gemodel {
        p: parsed("1%"),
        r: parsed("20%"),
        one_minus_h: parsed("60%"),
        one_minus_k: parsed("0.1%"),
    };
    let text = "model: gemodel, p: 1%, r: 20%, one_minus_h: 60%, one_minus_k: 0.1%";
    assert_eq!(loss(text), Loss::Gemodel(all));
    let state = FourStates {
        p13: parsed("1%"),
        p31: parsed("99%"),
        p32: Probability::NEVER,
        p23: Probability::ALWAYS,
        p14: Probability::NEVER,
    };
    assert_eq!(loss("model: state, p13: 1%"), Loss::State(state));
    let all = FourStates {
        p13: parsed("1%"),
        p31: parsed("30%"),
        p32: parsed("70%"),
        p23: parsed("50%"),
        p14: parsed("99%"),
    };
    let text = "model: state, p13: 1%, p31: 30%, p32: 70%, p23: 50%, p14: 99%";
    assert_eq!(loss(text), Loss::State(all));
}

#[test]
fn any_loss_may_mark_instead() {
    for loss in [
        "probability: 1%",
        "every: 5",
        "model: gemodel, p: 1%",
        "model: state, p13: 1%",
    ] {
        let drop = |ecn| rule(&format!("drop: {{{loss}, ecn: {ecn}}}")).drop.unwrap();
        assert!(drop("true").ecn && !drop("false").ecn);
    }
}

#[test]
fn delays_are_spread_as_the_profile_says() {
    let delay = |text: &str| {
        rule(&format!("delay: {{time: 5ms, jitter: 1ms{text}}}"))
            .delay
            .unwrap()
    };
    let uniform = Delay::uniform(parsed("5ms"), parsed("1ms"));
    for (text, distribution) in [
        ("uniform", Distribution::Uniform),
        ("normal", Distribution::Normal),
        ("pareto", Distribution::Pareto),
        ("paretonormal", Distribution::ParetoNormal),
    ] {
        let expected = Delay {
            distribution,
            ..uniform.clone()
        };
        assert_eq!(delay(&format!(", distribution: {text}")), expected);
    }
    let expected = Delay {
        correlation: parsed("25%"),
        keep_order: true,
        ..uniform
    };
    assert_eq!(delay(", correlation: 25%, keep_order: true"), expected);
}

#[test]
fn jitter_may_exceed_the_delay_where_it_is_a_standard_deviation() {
    let delay = rule("delay: {time: 5ms, jitter: 20ms, distribution: pareto}")
        .delay
        .unwrap();
    assert_eq!(delay.jitter, parsed("20ms"));
}

#[test]
fn corruption_and_duplication_have_an_extent() {
    let all = Corrupt {
        chance: Chance::independent(parsed("1%")),
        bits: 8,
        checksum: Checksum::Stale,
        place: Place::Any,
    };
    assert_eq!(
        rule("corrupt: {probability: 1%, bits: 8, where: any}").corrupt,
        Some(all)
    );
    let header = rule("corrupt: {probability: 1%, where: header}")
        .corrupt
        .unwrap();
    assert_eq!(header.place, Place::Header);
    let all = Duplicate {
        chance: Chance::independent(parsed("1%")),
        copies: 8,
    };
    assert_eq!(
        rule("duplicate: {probability: 1%, copies: 8}").duplicate,
        Some(all)
    );
}

#[test]
fn a_rate_is_that_of_a_link() {
    let all = Rate {
        bandwidth: parsed("20mbit"),
        burst: parsed("10kB"),
        queue: QueueLimit::Time(parsed("100ms")),
        overhead: -14,
        cell_size: 53,
        ecn: true,
    };
    let text =
        "bandwidth: 2.5MB/s, burst: 10kB, queue: 100ms, overhead: -14, cell_size: 53, ecn: true";
    assert_eq!(rule(&format!("rate: {{{text}}}")).rate, Some(all));
    let queue = |text: &str| {
        rule(&format!("rate: {{bandwidth: 1mbit{text}}}"))
            .rate
            .unwrap()
            .queue
    };
    assert_eq!(queue(""), QueueLimit::Packets(1000));
    assert_eq!(queue(", queue: 500 packets"), QueueLimit::Packets(500));
    assert_eq!(
        queue(", queue: 256kB"),
        QueueLimit::Bytes(Size::from_bytes(256_000))
    );
}

#[test]
fn slots_are_as_long_as_they_are_short_unless_told_otherwise() {
    let slot = Slot {
        min: parsed("800us"),
        max: parsed("10ms"),
        packets: Some(42),
        bytes: Some(parsed("64KiB")),
    };
    assert_eq!(
        rule("slot: {min: 800us, max: 10ms, packets: 42, bytes: 64KiB}").slot,
        Some(slot)
    );
    let slot = rule("slot: {min: 5ms, bytes: 1500B}").slot.unwrap();
    assert_eq!((slot.max, slot.packets), (slot.min, None));
}

#[test]
fn json_gives_faults_too() {
    let json = r#"{"name": "x", "rules": [{"drop": {"packets": [3, "7-9"], "ecn": true},
        "rate": {"bandwidth": "1mbit", "overhead": 14}, "delay": {"time": "5ms", "jitter": "1ms",
        "distribution": "normal", "correlation": 0.25}}]}"#;
    profile::parse("profile.json", json).unwrap_or_else(|error| panic!("{error}"));
}

/// Words and punctuation that rules are made of.
const PIECES: &[&str] = &[
    "drop",
    "delay",
    "corrupt",
    "duplicate",
    "reorder",
    "rate",
    "slot",
    "replay",
    "probability",
    "correlation",
    "every",
    "first",
    "packets",
    "model",
    "gemodel",
    "state",
    "p",
    "r",
    "one_minus_h",
    "p13",
    "p14",
    "p31",
    "p32",
    "ecn",
    "time",
    "jitter",
    "distribution",
    "table",
    "normal",
    "keep_order",
    "gap",
    "copies",
    "bits",
    "checksum",
    "valid",
    "where",
    "header",
    "bandwidth",
    "burst",
    "queue",
    "overhead",
    "cell_size",
    "min",
    "max",
    "bytes",
    "file",
    "loop",
    "interpolation",
    "step",
    "true",
    "1%",
    "0.5",
    "100%",
    "0",
    "3",
    "-1",
    "7-9",
    "5ms",
    "0ms",
    "20mbit",
    "20mbps",
    "64kB",
    "500 packets",
    "no-such-file",
    ": ",
    ": ",
    ": ",
    ", ",
    ", ",
    "{",
    "}",
    "[",
    "]",
    "''",
];

proptest! {
    #[test]
    fn no_words_of_a_rule_make_the_parser_panic(
        pieces in prop::collection::vec(prop::sample::select(PIECES), 0..30),
    ) {
        let text = format!("name: x\nrules: [{{{}}}]", pieces.concat());
        if let Err(error) = profile::parse("profile.yaml", &text) {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    /// Well-formed mappings get further into the checks than noise does.
    #[test]
    fn no_faults_make_the_checks_panic(
        faults in prop::collection::vec((0..8usize, prop::collection::vec((0..60usize, 0..60usize), 0..5)), 0..4),
    ) {
        let word = |index: usize| PIECES[index % PIECES.len()];
        let fault = |(fault, pairs): &(usize, Vec<(usize, usize)>)| {
            let pair = |(key, value): &(usize, usize)| format!("{}: {}", word(8 + key % 42), word(22 + value % 40));
            let pairs: Vec<String> = pairs.iter().map(pair).collect();
            format!("{}: {{{}}}", word(*fault), pairs.join(", "))
        };
        let faults: Vec<String> = faults.iter().map(fault).collect();
        let text = format!("name: x\nrules: [{{{}}}]", faults.join(", "));
        if let Err(error) = profile::parse("profile.yaml", &text) {
            prop_assert!(error.report().path.is_some(), "{text}\n{error}");
        }
    }

    #[test]
    fn what_a_rule_says_of_delays_it_means(
        time in 0..=DurationNs::MAX.nanos(), jitter: u64, kept: bool,
    ) {
        let (time, jitter) = (DurationNs::from_nanos(time).unwrap(), jitter % (time + 1));
        let jitter = DurationNs::from_nanos(jitter).unwrap();
        prop_assume!(jitter > DurationNs::ZERO);
        let rule = rule(&format!("delay: {{time: {time}, jitter: {jitter}, keep_order: {kept}}}"));
        let expected = Delay { keep_order: kept, ..Delay::uniform(time, jitter) };
        prop_assert_eq!(rule.delay, Some(expected));
    }

    #[test]
    fn what_a_rule_says_of_loss_it_means(odds in 0..=Probability::ALWAYS.odds_q32()) {
        let probability = Probability::from_odds_q32(odds).unwrap();
        prop_assert_eq!(rule(&format!("drop: {probability}")).drop, Some(Drop::independent(probability)));
    }
}
