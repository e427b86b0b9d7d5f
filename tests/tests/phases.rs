//! Profiles that change over time.

use std::{collections::BTreeSet, time::Duration};

use injector_tests::{
    Injector, Lab,
    injector::{self, Phase},
    kernel,
    predict::Oracle,
    tool,
    udp::{Flow, Report},
};

/// How long a phase lasts: one during which the run cannot do anything is left out, and emulated processors stand still
/// for tenths of a second.
fn phase_time() -> Duration {
    Duration::from_millis(if kernel::is_guest() { 1000 } else { 300 })
}

/// What a busy machine may take to begin with the phases.
const DELAY: Duration = Duration::from_secs(3);
/// A datagram every so often.
const GAP: Duration = Duration::from_millis(1);
/// Repetitions, of which the first two may be over before a busy machine sends anything.
const REPETITIONS: usize = 5;
const JUDGED: usize = 3;
/// How late a phase may come on an idle machine.
const LATE_MAX: Duration = Duration::from_millis(10);

const OUTAGES: &str = "
name: outages
seed: 1
repeat: 5
phases:
  - {name: good, for: 300ms, rules: [{match: {protocol: udp}, drop: 0%}]}
  - {name: outage, for: 300ms, rules: [{name: all, match: {protocol: udp}, drop: 100%}]}
  - {name: well, for: 300ms, rules: []}";

/// Sends datagrams at a known rate for as long as the run lasts, and ends it.
fn stream(lab: &Lab, injector: Injector, duration: Duration) -> (Report, injector::End) {
    let count = duration.as_micros() / GAP.as_micros();
    let flow = Flow::new(count as u64).gap(GAP);
    let report = flow.send(&lab.a, &lab.b);
    (report, injector.wait())
}

/// The time in which a change between a packet's fate and the next one's came: a packet passes the
/// hook between its own sending and that of the one after it.
#[derive(Debug)]
struct Change {
    to_lost: bool,
    from: Duration,
    to: Duration,
}

fn changes(report: &Report) -> Vec<Change> {
    let lost = report.lost();
    let is_lost = |n: usize| lost.contains(&(n as u64));
    let since = |n: usize| report.sent[n.min(report.sent.len() - 1)] - report.sent[0];
    (1..report.sent.len())
        .filter(|&n| is_lost(n) != is_lost(n - 1))
        .map(|n| Change {
            to_lost: is_lost(n),
            from: since(n - 1),
            to: since(n + 1),
        })
        .collect()
}

/// When each phase began, by its schedule and by how late the run says it was.
fn edges(phases: &[Phase]) -> Vec<Duration> {
    let edge = |(n, phase): (u32, &Phase)| n * phase_time() + Duration::from_micros(phase.late_us);
    (0..).zip(phases).map(edge).collect()
}

#[test]
fn losses_fall_exactly_into_the_outages() {
    let lab = Lab::new();
    if !kernel::has_tcx() {
        // Adding the qdisc to a busy device, and removing it, loses packets.
        let device = &lab.a.device;
        lab.a
            .run(|| tool::tc(&format!("qdisc add dev {device} clsact")));
    }
    let time = format!("{}ms", phase_time().as_millis());
    let injector = Injector::start(&lab.a, &OUTAGES.replace("300ms", &time));
    let (report, end) = stream(
        &lab,
        injector,
        3 * REPETITIONS as u32 * phase_time() + DELAY,
    );
    assert_eq!(report.errors, Vec::<String>::new());
    end.achieved().assert_clean();

    let names: Vec<_> = end.phases().iter().map(|phase| &*phase.phase).collect();
    assert_eq!(names, ["good", "outage", "well"].repeat(REPETITIONS));
    let repetitions = end.phases().iter().map(|phase| phase.repetition);
    assert!(repetitions.eq((1..=5).flat_map(|repetition| [repetition; 3])));

    // Whole runs of losses, one for each outage, and nothing lost elsewhere.
    let mut changes = changes(&report);
    changes.drain(..changes.len().saturating_sub(2 * JUDGED));
    let kinds: Vec<_> = changes.iter().map(|change| change.to_lost).collect();
    let pause = report.sent.windows(2).map(|sent| sent[1] - sent[0]).max();
    assert_eq!(
        kinds,
        [true, false].repeat(JUDGED),
        "{changes:?}, pause {pause:?}"
    );
    let edges: Vec<_> = (edges(end.phases()).into_iter().enumerate())
        .filter_map(|(n, edge)| (n % 3 != 0).then_some(edge))
        .skip(2 * (REPETITIONS - JUDGED))
        .collect();
    // The run's clock began at some time after the first datagram, or before. All six changes have
    // to agree about it.
    let began = |change: &Change, edge: &Duration| {
        let since = |at: Duration| at.as_secs_f64() - edge.as_secs_f64();
        (since(change.from), since(change.to))
    };
    let began: Vec<_> = changes
        .iter()
        .zip(&edges)
        .map(|(c, e)| began(c, e))
        .collect();
    let latest_from = began.iter().map(|b| b.0).fold(f64::MIN, f64::max);
    let earliest_to = began.iter().map(|b| b.1).fold(f64::MAX, f64::min);
    eprintln!("late by {:?} µs", late(end.phases()));
    eprintln!("the run began between {latest_from:.6} s and {earliest_to:.6} s");
    // An emulated processor stands still now and then, for longer than what is to be measured.
    if !kernel::is_guest() {
        // What the run may take from putting a phase into force to looking at the clock.
        const SLACK: f64 = 0.002;
        assert!(latest_from <= earliest_to + SLACK, "{began:?}");
        // Half of them: others may work on the machine.
        let in_time = |phase: &&Phase| Duration::from_micros(phase.late_us) <= LATE_MAX;
        let in_time = end.phases().iter().filter(in_time).count();
        assert!(in_time > end.phases().len() / 2, "{:?}", late(end.phases()));
    }

    let outage = end.achieved().rule("all");
    assert_eq!(outage.phase.as_deref(), Some("outage"));
    assert_eq!(outage.matched, report.lost().len() as u64);
    assert_eq!(outage.dropped, outage.matched);
    assert_eq!(end.code(), 0);
}

fn late(phases: &[Phase]) -> Vec<u64> {
    phases.iter().map(|phase| phase.late_us).collect()
}

#[test]
fn a_phase_does_the_same_to_the_same_packets_in_every_repetition() {
    const COUNT: u64 = 200;
    const HALF: &str = "
name: half
seed: 9
repeat: 2
phases:
  - {name: first, for: 2s, rules: [{name: half, match: {protocol: udp}, drop: 50%}]}
  - {name: second, for: 2s, rules: [{name: half, match: {protocol: udp}, drop: 50%}]}";
    let lab = Lab::new();
    let injector = Injector::start(&lab.a, HALF);
    let mut lost = Vec::new();
    for _ in 0..4 {
        injector.phase();
        lost.push(Flow::new(COUNT).send(&lab.a, &lab.b).lost());
    }
    let end = injector.wait();
    let foretold = |phase| Oracle::of_phase(HALF, phase).dropped(COUNT);
    let (first, second): (BTreeSet<_>, BTreeSet<_>) = (foretold("first"), foretold("second"));
    assert_ne!(first, second);
    assert_eq!(lost, [&first, &second, &first, &second].map(Clone::clone));
    // Counters are summed over the repetitions, and kept apart by phase.
    for (rule, dropped) in end.achieved().rules.iter().zip([first.len(), second.len()]) {
        assert_eq!(
            (rule.matched, rule.dropped),
            (2 * COUNT, 2 * dropped as u64)
        );
    }
}

#[test]
fn a_run_starts_where_it_is_told_and_status_names_the_phase() {
    let lab = Lab::new();
    for (args, phase) in [
        (["--phase", "outage"], "outage"),
        (["--start-at", "9s"], "well"),
    ] {
        let profile = OUTAGES
            .replace("300ms", "4s")
            .replace("repeat: 5", "repeat: forever");
        let injector = Injector::start_with(&lab.a, &profile, &args);
        assert_eq!(injector.phase().phase, phase);
        let status = injector::call(&lab.a.netns, &["status"]);
        let status = String::from_utf8_lossy(&status.stdout).into_owned();
        assert!(
            status.contains(&format!("outages, phase {phase}")),
            "{status}"
        );
        let next = if phase == "outage" { "well" } else { "good" };
        assert_eq!(injector.phase().phase, next);
        assert_eq!(injector.stop().code(), 0);
    }
}

#[test]
fn the_time_and_the_command_end_a_run_before_its_phases_do() {
    let lab = Lab::new();
    let forever = OUTAGES.replace("repeat: 5", "repeat: forever");
    for (args, reason) in [
        (&["--for", "400ms"][..], "time elapsed"),
        (&["--", "sleep", "0.4"][..], "command exited"),
    ] {
        let end = Injector::start_with(&lab.a, &forever, args).wait();
        assert_eq!(end.code(), 0, "{}", end.stderr);
        let names: Vec<_> = end.phases().iter().map(|phase| &*phase.phase).collect();
        assert_eq!(names[..2], ["good", "outage"]);
        assert_eq!(end.ended.expect("the event `ended`").reason, reason);
    }
}

#[test]
fn packets_that_are_held_longer_than_phases_last_are_delivered() {
    if !kernel::can_delay() {
        return;
    }
    const HELD: &str = "
name: held
seed: 1
phases:
  - {name: slow, for: 1500ms, rules: [{match: {protocol: udp}, delay: 2s}]}
  - {name: outage, for: 300ms, rules: [{match: {protocol: udp}, drop: 100%}]}
  - {name: last, for: 300ms, rules: [{match: {protocol: udp}, drop: 100%}]}";
    let lab = Lab::new();
    let injector = Injector::start(&lab.a, HELD);
    let flow = Flow::new(20).linger(Duration::from_secs(4));
    flow.send(&lab.a, &lab.b).assert_untouched();
    let end = injector.wait();
    assert_eq!(end.achieved().rules[0].delayed, 20);
    end.achieved().assert_clean();
}

#[test]
fn what_needs_phases_is_refused_without_and_the_other_way_round() {
    let lab = Lab::new();
    let refused = |profile: &str, args: &[&str], words: &str| {
        let output = injector::call_run(&lab.a.netns, &lab.a.device, profile, args);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(
            stderr.contains(words) && stderr.contains("hint:"),
            "{stderr}"
        );
    };
    let steady = "name: steady\nrules: [{drop: 1%}]";
    refused(steady, &["--phase", "good"], "has no phases");
    refused(steady, &["--start-at", "1s"], "has no phases");
    refused(
        OUTAGES,
        &["--phase", "god"],
        "its phases: good, outage, well",
    );
    refused(OUTAGES, &["--start-at", "4500ms"], "which take 4s 500ms");
    let output = injector::call(&lab.a.netns, &["run", "-i", "eth0", "--watch", "handover"]);
    assert_eq!(output.status.code(), Some(2));
}
