//! Loss.

use std::{collections::BTreeSet, time::Duration};

use injector::plan::Hook;
use injector_tests::{
    Family, Injector, Lab, echo::Echoes, predict::Oracle, stats, tcp::Transfer, udp::Flow,
};

const UDP_1_PERCENT: &str = "
name: one-percent
seed: 11
rules: [{name: udp, match: {protocol: udp, dst_port: 5000}, drop: 1%}]";

const UDP_30_PERCENT: &str = "
name: thirty-percent
seed: 30
rules: [{name: udp, match: {protocol: udp, dst_port: 5000}, drop: 30%}]";

/// Sends `count` datagrams through the profile: what is lost must be what was foretold, packet by
/// packet, and that must be as many as was asked for.
#[track_caller]
fn loses_what_was_foretold(profile: &str, family: Family, count: u64, p: f64) {
    let lab = Lab::new();
    let injector = Injector::start(&lab.a, profile);
    let report = Flow::new(count).family(family).send(&lab.a, &lab.b);
    let end = injector.stop();

    let lost = report.lost();
    assert_eq!(report.errors, Vec::<String>::new(), "errors at the sender");
    assert_eq!(report.damaged(), 0);
    assert_eq!(report.duplicated(), BTreeSet::new());
    assert!(
        lost == Oracle::new(profile).dropped(count),
        "lost, but not as foretold: {lost:?}"
    );
    stats::assert_share("lost", lost.len() as u64, count, p);
    let rule = end.achieved().only();
    assert_eq!((rule.matched, rule.dropped), (count, lost.len() as u64));
    end.achieved().assert_clean();
}

#[test]
fn one_percent_of_the_datagrams_is_lost_as_foretold() {
    loses_what_was_foretold(UDP_1_PERCENT, Family::V4, 20_000, 0.01);
}

#[test]
fn thirty_percent_of_the_datagrams_is_lost_as_foretold() {
    loses_what_was_foretold(UDP_30_PERCENT, Family::V4, 10_000, 0.3);
}

#[test]
fn thirty_percent_is_lost_over_ipv6_as_foretold() {
    loses_what_was_foretold(UDP_30_PERCENT, Family::V6, 10_000, 0.3);
}

#[test]
fn a_super_packet_of_datagrams_loses_single_ones() {
    const COUNT: u64 = 4000;
    let lab = Lab::new();
    let injector = Injector::start(&lab.a, UDP_30_PERCENT);
    for (first, family) in [(0, Family::V4), (COUNT, Family::V6)] {
        let flow = Flow::new(COUNT).family(family).len(500).batch(40);
        let report = flow.send(&lab.a, &lab.b);
        assert_eq!(
            (report.errors.len(), report.damaged()),
            (0, 0),
            "{:?}",
            report.errors
        );
        // Over IPv6 the rule goes on where it stopped over IPv4.
        let dropped = Oracle::new(UDP_30_PERCENT).dropped(first + COUNT);
        let expected = dropped
            .into_iter()
            .filter_map(|n| n.checked_sub(first))
            .collect();
        assert_eq!(report.lost(), expected, "{family:?}");
    }
    let end = injector.stop();
    assert_eq!(end.achieved().only().matched, 2 * COUNT);
    end.achieved().assert_clean();
}

#[test]
fn lost_echo_requests_are_not_told_to_their_sender() {
    let profile = "
name: echo
seed: 4
rules:
  - {name: v4, match: {protocol: icmp, dst: 10.77.0.2}, drop: 30%}
  - {name: v6, match: {protocol: icmp, dst: \"fd77::2\"}, drop: 30%}";
    let lab = Lab::new();
    let _injector = Injector::start(&lab.a, profile);
    for (family, rule) in [(Family::V4, "v4"), (Family::V6, "v6")] {
        let report = Echoes::new(1000).family(family).send(&lab.a, &lab.b);
        assert_eq!(report.errors, Vec::<String>::new(), "errors at the sender");
        let lost = Oracle::of(profile, rule, Hook::Egress).dropped(1000).len();
        assert_eq!(report.replies.len(), 1000 - lost, "replies over {family:?}");
    }
}

#[test]
fn tcp_loses_single_segments_and_resends_them() {
    const BYTES: u64 = 16 << 20;
    let profile = "
name: tcp
seed: 5
rules: [{match: {protocol: tcp, dst_port: 5001}, drop: 1%}]";
    let lab = Lab::new();
    let injector = Injector::start(&lab.a, profile);
    let report = Transfer::new(BYTES).on_one_cpu().send(&lab.a, &lab.b);
    let end = injector.stop();
    let rule = end.achieved().only();

    report.assert_intact(BYTES);
    end.achieved().assert_clean();
    // Besides full segments: a handshake, the last segment, tails of single writes.
    let segments = BYTES / u64::from(report.info.mss);
    let decided = segments + rule.dropped..=segments * 11 / 10 + rule.dropped;
    assert!(
        decided.contains(&rule.matched),
        "{} decided of {segments} segments",
        rule.matched
    );
    stats::assert_share("dropped", rule.dropped, rule.matched, 0.01);
    assert_eq!(
        rule.dropped,
        Oracle::new(profile).dropped(rule.matched).len() as u64
    );
    // Each lost segment is sent again; not, as after the loss of super-packets, a dozen for each.
    let resent = u64::from(report.info.retransmits);
    // One of them may be the last acknowledgement, or sent again after the sender was asked.
    let expected = rule.dropped - 2..=rule.dropped * 2;
    assert!(
        expected.contains(&resent),
        "{resent} resent, {} dropped",
        rule.dropped
    );
}

#[test]
fn everything_dropped_is_silence() {
    let profile = "{name: silence, seed: 1, rules: [{direction: both, drop: 100%}]}";
    let lab = Lab::new();
    let injector = Injector::start(&lab.a, profile);
    for family in Family::ALL {
        let flow = Flow::new(100).family(family);
        assert_eq!(
            flow.send(&lab.a, &lab.b).arrivals.len(),
            0,
            "{family:?} out"
        );
        assert_eq!(flow.send(&lab.b, &lab.a).arrivals.len(), 0, "{family:?} in");
        let echoes = Echoes::new(20).family(family).send(&lab.a, &lab.b);
        assert_eq!(echoes.replies.len(), 0, "{family:?} echoes");
    }
    injector.stop();
    Flow::new(100).send(&lab.a, &lab.b).assert_untouched();
}

#[test]
fn the_opposite_direction_loses_nothing() {
    for (direction, lossy) in [("egress", true), ("ingress", false)] {
        let profile =
            format!("{{name: one-way, seed: 1, rules: [{{direction: {direction}, drop: 100%}}]}}");
        let lab = Lab::new();
        let _injector = Injector::start(&lab.a, &profile);
        let flow = Flow::new(1000).gap(Duration::from_micros(20));
        let (out, back) = (flow.send(&lab.a, &lab.b), flow.send(&lab.b, &lab.a));
        let (silent, free) = if lossy { (out, back) } else { (back, out) };
        assert_eq!(silent.arrivals.len(), 0, "{direction}");
        free.assert_untouched();
    }
}

#[test]
fn a_port_without_a_rule_loses_nothing() {
    let lab = Lab::new();
    let injector = Injector::start(&lab.a, UDP_30_PERCENT);
    let (lossy, free) = std::thread::scope(|scope| {
        let lossy = scope.spawn(|| Flow::new(2000).port(5000).send(&lab.a, &lab.b));
        let free = scope.spawn(|| Flow::new(2000).port(5002).send(&lab.a, &lab.b));
        (
            lossy.join().expect("one flow"),
            free.join().expect("the other flow"),
        )
    });
    let end = injector.stop();

    free.assert_untouched();
    assert_eq!(lossy.lost(), Oracle::new(UDP_30_PERCENT).dropped(2000));
    assert!(
        end.achieved().path.unmatched >= 2000,
        "{:?}",
        end.achieved().path
    );
}

#[test]
fn two_processors_neither_lose_nor_repeat_a_step_of_a_chain() {
    const COUNT: u64 = 20_000;
    let profile = "
name: bursts
seed: 8
rules: [{match: {protocol: udp}, drop: {model: gemodel, p: 2%, r: 30%, one_minus_h: 80%}}]";
    let lab = Lab::new();
    let injector = Injector::start(&lab.a, profile);
    let send = |port| Flow::new(COUNT).port(port).send(&lab.a, &lab.b);
    let lost = std::thread::scope(|scope| {
        let flows = [5000, 5001].map(|port| scope.spawn(move || send(port)));
        flows.map(|flow| flow.join().expect("a flow").lost().len() as u64)
    });
    let end = injector.stop();

    // Which flow gets which fate is chance; that each fate is met once is not.
    let foretold = Oracle::new(profile).dropped(2 * COUNT).len() as u64;
    let rule = end.achieved().only();
    assert_eq!(rule.matched, 2 * COUNT);
    assert_eq!(lost.iter().sum::<u64>(), foretold);
    assert_eq!(rule.dropped, foretold);
    end.achieved().assert_clean();
}
