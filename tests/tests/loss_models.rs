//! Which packets are lost: by models whose packets depend on each other, by counting, and marked in place
//! of being lost.

use std::{collections::BTreeSet, fs};

use injector_tests::{
    Family, Host, Injector, Lab, kernel,
    predict::Oracle,
    snmp,
    stats::{self, Runs},
    tcp::Transfer,
    theory::Chain,
    udp::{ECT, Flow, Report},
};

/// Datagrams that are sent one by one, and then as many in super-packets.
const SINGLE: u64 = 5000;
const BATCHED: u64 = 2000;
/// Packets whose fates tell whether a model is right: those that are sent are the first of them.
const LONG: u64 = 200_000;

/// A profile that loses datagrams, leaving or arriving.
fn profile(direction: &str, drop: &str) -> String {
    format!(
        "{{name: model, seed: 17, rules: [{{direction: {direction}, match: {{protocol: udp}}, drop: {drop}}}]}}"
    )
}

/// The numbers from `first` to before `end`, counted from there.
fn part(numbers: &BTreeSet<u64>, first: u64, end: u64) -> BTreeSet<u64> {
    numbers.range(first..end).map(|n| n - first).collect()
}

#[track_caller]
fn assert_heard_of_nothing(report: &Report) {
    assert_eq!(report.errors, Vec::<String>::new(), "errors at the sender");
    assert_eq!(
        (report.damaged(), report.duplicated()),
        (0, BTreeSet::new())
    );
}

/// Sends datagrams one by one and in super-packets: those in `expected` must be lost, and no others.
#[track_caller]
fn loses(direction: &str, drop: &str, expected: &BTreeSet<u64>) {
    let lab = Lab::new();
    let host = if direction == "egress" {
        &lab.a
    } else {
        &lab.b
    };
    let injector = Injector::start(host, &profile(direction, drop));
    let single = Flow::new(SINGLE).send(&lab.a, &lab.b);
    let flow = Flow::new(BATCHED).family(Family::V6).len(500).batch(40);
    let batched = flow.send(&lab.a, &lab.b);
    let end = injector.stop();

    let mut first = 0;
    for (report, what) in [(single, "single"), (batched, "batched")] {
        let end = first + report.sent.len() as u64;
        assert_heard_of_nothing(&report);
        let lost = report.lost();
        assert!(
            lost == part(expected, first, end),
            "{what}, {drop}: {lost:?}"
        );
        first = end;
    }
    let rule = end.achieved().only();
    let dropped = expected.range(..SINGLE + BATCHED).count() as u64;
    assert_eq!((rule.matched, rule.dropped), (SINGLE + BATCHED, dropped));
    end.achieved().assert_clean();
}

/// What is lost must be what was foretold, and that must be what the model says.
#[track_caller]
fn loses_as_modelled(direction: &str, drop: &str, chain: &Chain) {
    let oracle = Oracle::new(&profile(direction, drop));
    // It is the same on every kernel, and an emulated CPU takes long for it.
    if kernel::is_guest() {
        return loses(direction, drop, &oracle.dropped(SINGLE + BATCHED));
    }
    let foretold = oracle.dropped(LONG);
    chain.assert_loss(drop, foretold.len() as u64, LONG);
    let Runs { bursts, gaps } = Runs::new(&foretold, LONG);
    stats::assert_plausible("bursts", chain.bursts().fit(&bursts));
    stats::assert_plausible("gaps", chain.gaps().fit(&gaps));
    loses(direction, drop, &foretold);
}

#[test]
fn a_correlation_of_a_quarter_makes_bursts() {
    let drop = "{probability: 10%, correlation: 25%}";
    loses_as_modelled("egress", drop, &Chain::bernoulli(0.1, 0.25));
}

#[test]
fn a_correlation_of_nine_tenths_makes_long_bursts() {
    let drop = "{probability: 10%, correlation: 90%}";
    loses_as_modelled("egress", drop, &Chain::bernoulli(0.1, 0.9));
}

#[test]
fn gilbert_elliott_has_a_good_and_a_bad_state() {
    let drop = "{model: gemodel, p: 2%, r: 15%, one_minus_h: 70%, one_minus_k: 1%}";
    let chain = Chain::gemodel(0.02, 0.15, 0.7, 0.01);
    for direction in ["egress", "ingress"] {
        loses_as_modelled(direction, drop, &chain);
    }
}

#[test]
fn gilbert_has_bursts_without_gaps() {
    let drop = "{model: gemodel, p: 2%, r: 25%}";
    loses_as_modelled("egress", drop, &Chain::gemodel(0.02, 0.25, 1.0, 0.0));
}

#[test]
fn four_states_have_bursts_with_gaps_and_single_losses() {
    let drop = "{model: state, p13: 2%, p31: 20%, p32: 30%, p23: 40%, p14: 1%}";
    loses_as_modelled(
        "egress",
        drop,
        &Chain::four_states(0.02, 0.2, 0.3, 0.4, 0.01),
    );
}

#[test]
fn packets_are_lost_by_counting() {
    let listed = [2, 6, 7, 8].into_iter().chain(4949..5100).chain([5999]);
    for (drop, expected) in [
        ("{every: 7}", (6..LONG).step_by(7).collect()),
        ("{every: 130}", (129..LONG).step_by(130).collect()),
        ("{first: 300}", (0..300).collect()),
        ("{packets: [3, 7-9, 4950-5100, 6000]}", listed.collect()),
    ] {
        let expected: BTreeSet<u64> = expected;
        let oracle = Oracle::new(&profile("egress", drop));
        assert_eq!(
            oracle.dropped(SINGLE + BATCHED),
            part(&expected, 0, SINGLE + BATCHED)
        );
        loses("egress", drop, &expected);
    }
}

/// What understands ECN is marked where the rest is lost.
#[test]
fn datagrams_are_marked_in_place_of_being_lost() {
    const COUNT: u64 = 1000;
    for (seed, drop) in [
        (1, "{probability: 30%, ecn: true}"),
        (2, "{probability: 20%, correlation: 50%, ecn: true}"),
        (3, "{probability: 100%, ecn: true}"),
    ] {
        let profile = format!(
            "{{name: ecn, seed: {seed}, rules: [{{match: {{protocol: udp}}, drop: {drop}}}]}}"
        );
        let hit = Oracle::new(&profile).dropped(4 * COUNT);
        let lab = Lab::new();
        let injector = Injector::start(&lab.a, &profile);
        let (mut first, mut marked) = (0, 0);
        for (class, family, batch) in [
            (ECT, Family::V4, 1),
            (0, Family::V4, 1),
            (ECT, Family::V6, 40),
            (0, Family::V6, 40),
        ] {
            let flow = Flow::new(COUNT).family(family).class(class).batch(batch);
            let report = flow.send(&lab.a, &lab.b);
            assert_heard_of_nothing(&report);
            let hit = part(&hit, first, first + COUNT);
            let none = BTreeSet::new();
            let (lost, ce) = if class == ECT {
                (&none, &hit)
            } else {
                (&hit, &none)
            };
            let what = format!("{drop}, class {class}, {family:?}");
            assert!(report.lost() == *lost, "{what}: lost {:?}", report.lost());
            assert!(
                report.marked() == *ce,
                "{what}: marked {:?}",
                report.marked()
            );
            first += COUNT;
            marked += ce.len() as u64;
        }
        let end = injector.stop();
        let rule = end.achieved().only();
        let dropped = hit.len() as u64 - marked;
        assert_eq!((rule.marked, rule.dropped), (marked, dropped), "{drop}");
        end.achieved().assert_clean();
    }
}

#[test]
fn tcp_that_understands_ecn_is_marked_and_resends_nothing() {
    const BYTES: u64 = 4 << 20;
    let profile = "
name: ecn
seed: 6
rules: [{match: {protocol: tcp, dst_port: 5001}, drop: {probability: 10%, ecn: true}}]";
    let lab = Lab::new();
    for host in [&lab.a, &lab.b] {
        host.run(|| fs::write("/proc/sys/net/ipv4/tcp_ecn", "1").expect("ask for ECN"));
    }
    let injector = Injector::start(&lab.a, profile);
    let report = Transfer::new(BYTES).on_one_cpu().send(&lab.a, &lab.b);
    let end = injector.stop();
    let rule = end.achieved().only();

    report.assert_intact(BYTES);
    end.achieved().assert_clean();
    stats::assert_share("hit", rule.marked + rule.dropped, rule.matched, 0.1);
    assert_eq!(rule.marked, marks_received(&lab.b));
    // Only segments with payload are marked; a handshake and a few acknowledgements have none.
    assert!(rule.dropped <= 2, "{} dropped", rule.dropped);
    assert!(
        u64::from(report.info.retransmits) <= 2 * rule.dropped,
        "{} resent, {} dropped",
        report.info.retransmits,
        rule.dropped
    );
}

fn marks_received(host: &Host) -> u64 {
    host.run(snmp::counters)["IpExt.InCEPkts"]
}
