//! Faults on packets that arrive: at the tc hook, and by XDP before it.

use std::collections::BTreeSet;

use ::injector::plan::Hook;
use injector_tests::{
    Family, Host, Injector, Lab, injector, predict::Oracle, residue::Snapshot,
    snmp::ChecksumErrors, stats, tcp::Transfer, tool, udp::Flow,
};

/// Rules that XDP can decide, and one that it has to leave.
const PROFILE: &str = "
name: arriving
seed: 17
rules:
  - {name: v4, direction: ingress, match: {protocol: udp, dst: 10.77.0.2, dst_port: 5000}, drop: 20%}
  - {name: v6, direction: ingress, match: {protocol: udp, dst_port: 5000}, drop: 20%}
  - {name: tcp, direction: ingress, match: {protocol: tcp, dst_port: 5001}, drop: 1%}
  - {name: silent, direction: ingress, match: {protocol: udp, dst_port: 5006}, drop: 100%}
  - {name: damaged, direction: ingress, match: {protocol: udp, dst_port: 5002}, corrupt: 20%}";

/// Asserts that host B loses what was foretold of what arrives there, and nothing else.
#[track_caller]
fn loses_what_was_foretold(mode: &str, via: Option<&str>) {
    const COUNT: u64 = 5000;
    const BYTES: u64 = 8 << 20;
    let oracle = |rule: &str| Oracle::of(PROFILE, rule, Hook::Ingress);
    let lab = Lab::new();
    let before = Snapshot::of(&lab.b.netns);
    let injector = Injector::start_with(&lab.b, PROFILE, &["--xdp", mode]);
    let hooks = &injector.started().attached;
    let xdp = hooks
        .iter()
        .find(|hook| hook.via.starts_with("xdp"))
        .map(|hook| &*hook.via);
    assert_eq!(xdp, via, "{hooks:?}");
    for (family, rule) in [(Family::V4, "v4"), (Family::V6, "v6")] {
        let report = Flow::new(COUNT).family(family).send(&lab.a, &lab.b);
        let lost = report.lost();
        assert_eq!(
            (report.damaged(), report.duplicated()),
            (0, BTreeSet::new()),
            "{family:?}"
        );
        assert_eq!(report.errors, Vec::<String>::new(), "{family:?}");
        assert!(
            lost == oracle(rule).dropped(COUNT),
            "{family:?}: not as foretold: {lost:?}"
        );
        stats::assert_share("lost", lost.len() as u64, COUNT, 0.2);
    }
    let damaged = Flow::new(COUNT).port(5002).send(&lab.a, &lab.b);
    let corrupted = oracle("damaged").corrupted(COUNT);
    assert_eq!((damaged.lost(), damaged.damaged()), (corrupted.clone(), 0));
    assert_eq!(ChecksumErrors::of(&lab.b).udp, corrupted.len() as u64);
    let silent = Flow::new(500).port(5006).send(&lab.a, &lab.b);
    assert_eq!(silent.arrivals.len(), 0, "everything is dropped");
    Flow::new(500)
        .port(5004)
        .send(&lab.a, &lab.b)
        .assert_untouched();
    let stream = Transfer::new(BYTES).on_one_cpu().send(&lab.a, &lab.b);
    let end = injector.stop();

    stream.assert_intact(BYTES);
    let tcp = end.achieved().rule("tcp");
    let segments = BYTES / u64::from(stream.info.mss);
    assert!(
        tcp.matched >= segments + tcp.dropped,
        "{} decided of {segments}",
        tcp.matched
    );
    assert_eq!(tcp.dropped, oracle("tcp").dropped(tcp.matched).len() as u64);
    let resent = u64::from(stream.info.retransmits);
    // A busy machine overruns the device's own ring, which native XDP gives it.
    let most = tcp.dropped * 2 + device_drops(&lab);
    // One of the dropped may be the last of the stream, sent again after the sender was asked.
    assert!(
        (tcp.dropped - 2..=most).contains(&resent),
        "{} dropped, {:?}",
        tcp.dropped,
        stream.info
    );
    let counted = ["v4", "v6", "damaged"].map(|rule| end.achieved().rule(rule).matched);
    assert_eq!(counted, [COUNT; 3]);
    end.achieved().assert_clean();
    before.assert_same(&lab.b.netns);
}

/// Packets that the cable itself has dropped.
fn device_drops(lab: &Lab) -> u64 {
    let dropped = |host: &Host| {
        let stats = host.run(|| tool::ip(&format!("-s -j link show {}", host.device)));
        let stats: serde_json::Value = serde_json::from_str(&stats).expect("the device's counters");
        let count = |way: &str| {
            stats[0]["stats64"][way]["dropped"]
                .as_u64()
                .expect("a count")
        };
        count("rx") + count("tx")
    };
    dropped(&lab.a) + dropped(&lab.b)
}

#[test]
fn the_tc_hook_drops_what_was_foretold() {
    loses_what_was_foretold("off", None);
}

#[test]
fn native_xdp_drops_what_was_foretold() {
    loses_what_was_foretold("native", Some("xdp_native"));
}

#[test]
fn generic_xdp_drops_what_was_foretold() {
    loses_what_was_foretold("generic", Some("xdp_generic"));
}

/// Frames that are too long for native XDP on a veth device.
#[test]
fn the_tc_hook_takes_the_place_of_xdp_where_frames_are_too_long() {
    const COUNT: u64 = 500;
    let lab = Lab::with_mtu(9000);
    let before = Snapshot::of(&lab.b.netns);
    let run = Injector::start_with(&lab.b, PROFILE, &["--xdp", "native"]);
    let started = run.started();
    assert!(
        started
            .attached
            .iter()
            .all(|hook| !hook.via.starts_with("xdp")),
        "{started:?}"
    );
    let [note] = &started.notes[..] else {
        panic!("not one note: {started:?}");
    };
    assert!(
        note.contains("XDP (native)") && note.contains("eth0"),
        "{note}"
    );
    let status = injector::call(&lab.b.netns, &["status"]);
    let said = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(said.contains(note), "{said}");
    let report = Flow::new(COUNT).len(8900).send(&lab.a, &lab.b);
    assert_eq!(
        report.lost(),
        Oracle::of(PROFILE, "v4", Hook::Ingress).dropped(COUNT)
    );
    assert_eq!(report.damaged(), 0);
    run.stop().achieved().assert_clean();
    before.assert_same(&lab.b.netns);
}
