//! Second copies.

use std::collections::{BTreeMap, BTreeSet};

use injector::plan::Hook;
use injector_tests::{
    Family, Injector, Lab, echo::Echoes, predict::Oracle, stats, tcp::Transfer, udp::Flow,
};

const PROFILE: &str = "
name: duplicate
seed: 8
rules:
  - {name: v4, match: {protocol: udp, dst: 10.77.0.2}, duplicate: 10%}
  - {name: v6, match: {protocol: udp, dst: \"fd77::2\"}, duplicate: 10%}
  - {name: tcp, match: {protocol: tcp}, duplicate: 10%}
  - {name: echo, match: {protocol: icmp}, duplicate: 100%}";

#[test]
fn what_was_foretold_arrives_twice() {
    const COUNT: u64 = 10_000;
    const ECHOES: u16 = 500;
    const BYTES: u64 = 8 << 20;
    let lab = Lab::new();
    let injector = Injector::start(&lab.a, PROFILE);
    for (family, rule) in [(Family::V4, "v4"), (Family::V6, "v6")] {
        let report = Flow::new(COUNT).family(family).send(&lab.a, &lab.b);
        let expected = Oracle::of(PROFILE, rule, Hook::Egress).duplicated(COUNT);
        assert_eq!(
            (report.lost(), report.damaged()),
            (BTreeSet::new(), 0),
            "{family:?}"
        );
        assert!(
            report.duplicated() == expected,
            "{family:?}: {:?}",
            report.duplicated()
        );
        assert_eq!(
            report.arrivals.len(),
            COUNT as usize + expected.len(),
            "{family:?}"
        );
        stats::assert_share("duplicated", expected.len() as u64, COUNT, 0.1);

        // A request that arrives twice is answered twice.
        let echoes = Echoes::new(ECHOES)
            .family(family)
            .expecting(2 * usize::from(ECHOES));
        let report = echoes.send(&lab.a, &lab.b);
        assert_eq!(report.replies.len(), 2 * usize::from(ECHOES), "{family:?}");
        assert_eq!(report.errors, Vec::<String>::new(), "{family:?}");
    }
    Transfer::new(BYTES)
        .on_one_cpu()
        .send(&lab.a, &lab.b)
        .assert_intact(BYTES);
    let end = injector.stop();
    end.achieved().assert_clean();
    let tcp = end.achieved().rule("tcp");
    stats::assert_share("segments", tcp.duplicated, tcp.matched, 0.1);
}

#[test]
fn datagrams_are_duplicated_on_arrival_too() {
    const COUNT: u64 = 3000;
    let profile = "
name: duplicate
seed: 9
rules: [{direction: ingress, match: {protocol: udp}, duplicate: 10%}]";
    let lab = Lab::new();
    let injector = Injector::start(&lab.b, profile);
    let report = Flow::new(COUNT).send(&lab.a, &lab.b);
    let end = injector.stop();

    let expected = Oracle::new(profile).duplicated(COUNT);
    assert_eq!((report.lost(), report.damaged()), (BTreeSet::new(), 0));
    assert_eq!(report.duplicated(), expected);
    assert_eq!(end.achieved().only().duplicated, expected.len() as u64);
}

#[test]
fn there_are_as_many_copies_as_asked() {
    const COUNT: u64 = 2000;
    for (seed, duplicate, copies) in [
        (10, "{probability: 10%, copies: 3}", 3),
        (11, "{probability: 30%, correlation: 60%, copies: 2}", 2),
        (12, "{every: 9, copies: 8}", 8),
    ] {
        let profile = format!(
            "{{name: copies, seed: {seed}, rules: [{{match: {{protocol: udp}}, duplicate: {duplicate}}}]}}"
        );
        let expected = Oracle::new(&profile).duplicated(2 * COUNT);
        let lab = Lab::new();
        let injector = Injector::start(&lab.a, &profile);
        for (first, batch) in [(0, 1), (COUNT, 40)] {
            let report = Flow::new(COUNT).batch(batch).send(&lab.a, &lab.b);
            assert_eq!((report.errors.len(), report.damaged()), (0, 0));
            let arrives = |n| match expected.contains(&(first + n)) {
                true => (n, 1 + copies),
                false => (n, 1),
            };
            let arrives: BTreeMap<u64, u64> = (0..COUNT).map(arrives).collect();
            assert!(report.copies() == arrives, "{duplicate}, {batch} at once");
        }
        let end = injector.stop();
        let rule = end.achieved().only();
        assert_eq!(rule.duplicated, copies * expected.len() as u64);
        end.achieved().assert_clean();
    }
}
