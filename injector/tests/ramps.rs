//! Phases that ramp: which rule each of their rules moves from.

use injector::profile::{self, Profile, Timeline};

fn accepted(text: &str) -> Profile {
    profile::parse("profile.yaml", text).unwrap_or_else(|error| panic!("{error}"))
}

/// The timeline of phases with these rules, the last of which ramps.
fn timeline(phases: &[&str]) -> Timeline {
    let mut text = "name: x\nphases:\n".to_owned();
    for (index, rules) in phases.iter().enumerate() {
        let ramp = index + 1 == phases.len();
        text += &format!("  - {{for: 1s, ramp: {ramp}, rules: [{rules}]}}\n");
    }
    accepted(&text).timeline().unwrap().clone()
}

/// The names of the rules that those of the last phase move from.
fn from(phases: &[&str]) -> Vec<Option<String>> {
    let timeline = timeline(phases);
    let counterparts = timeline.ramp_from(phases.len() - 1);
    counterparts
        .into_iter()
        .map(|rule| rule.map(|rule| rule.name.clone()))
        .collect()
}

#[test]
fn the_example_of_the_manual_starts_from_nothing() {
    // What the outage does ends at once: it is another rule, for both directions.
    let found = from(&[
        "{delay: 40ms, drop: 0.1%}",
        "{direction: both, drop: 100%}",
        "{delay: 120ms}",
    ]);
    assert_eq!(found, [None]);
}

#[test]
fn a_rule_moves_from_the_one_that_had_its_packets() {
    let before = "{name: web, match: {dst_port: 80}, drop: 1%}, {name: rest, delay: 5ms}";
    let found = from(&[
        before,
        "{delay: 9ms}, {match: {dst_port: 80}, drop: 5%}, {match: {dst_port: 22}}",
    ]);
    assert_eq!(
        found,
        [Some("rest".to_owned()), Some("web".to_owned()), None]
    );
}

#[test]
fn another_name_is_no_obstacle_and_the_same_one_no_help() {
    let found = from(&["{name: good, drop: 1%}", "{name: bad, drop: 5%}"]);
    assert_eq!(found, [Some("good".to_owned())]);
}

#[test]
fn the_first_phase_moves_from_the_last() {
    let text = "name: x\nrepeat: forever\nphases:\n  - {for: 1s, ramp: true, rules: [{drop: 1%}]}\n  \
                - {for: 1s, rules: []}\n  - {for: 1s, rules: [{name: last, drop: 5%}]}\n";
    let profile = accepted(text);
    let counterparts = profile.timeline().unwrap().ramp_from(0);
    assert_eq!(counterparts[0].unwrap().name, "last");
}

#[test]
fn what_has_a_number_to_move_may_ramp() {
    for (from, to) in [
        ("drop: 1%", "drop: 5%"),
        ("drop: 1%", "delay: 5ms"),
        (
            "corrupt: {probability: 1%, bits: 3}",
            "corrupt: {probability: 2%, bits: 3}",
        ),
        ("duplicate: 1%", "duplicate: 100%"),
        ("delay: 9ms, reorder: 1%", "delay: 20ms, reorder: 5%"),
        (
            "delay: 9ms",
            "delay: {time: 20ms, jitter: 5ms, distribution: normal, keep_order: true}",
        ),
        (
            "delay: {time: 9ms, jitter: 1ms}",
            "delay: {time: 9ms, jitter: 3ms}",
        ),
        (
            "rate: {bandwidth: 1mbit, queue: 1s}",
            "rate: {bandwidth: 9mbit, queue: 1s}",
        ),
        // What is the same in both has nowhere to move.
        (
            "drop: {model: gemodel, p: 1%}",
            "drop: {model: gemodel, p: 1%}",
        ),
        ("drop: {every: 5}", "drop: {every: 5}"),
        (
            "slot: {min: 1ms, packets: 1}",
            "slot: {min: 1ms, packets: 1}, delay: 5ms",
        ),
    ] {
        timeline(&[&format!("{{{from}}}"), &format!("{{{to}}}")]);
        // In the other direction too.
        timeline(&[&format!("{{{to}}}"), &format!("{{{from}}}")]);
    }
}
