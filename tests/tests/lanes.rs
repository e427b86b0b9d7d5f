//! Super-packets: touched where a rule touches one of their packets, whole and in order where not.

use std::{collections::BTreeSet, fs, thread, time::Duration};

use injector_tests::{
    Family, Injector, Lab, clock,
    directory::Directory,
    injector, kernel,
    predict::Oracle,
    tcp::Transfer,
    tool,
    udp::{Flow, Report},
};

const COUNT: u64 = 6000;
/// Packets in a super-packet.
const BATCH: usize = 25;

/// Some super-packets of [`BATCH`] are hit, and some are not, by each fault. Rules that corrupt have a
/// lane of their own.
const FAULTS: [&str; 2] = [
    "drop: 1%, duplicate: 1%",
    "drop: 1%, duplicate: 1%, corrupt: 1%",
];

fn profile(protocol: &str, faults: &str) -> String {
    format!("name: lanes\nseed: 21\nrules: [{{match: {{protocol: {protocol}}}, {faults}}}]")
}

fn flow() -> Flow {
    Flow::new(COUNT).len(600)
}

/// What arrived of a flow through `profile`, and what did not.
fn send(profile: &str, flow: &Flow) -> Report {
    let _alone = clock::alone();
    let lab = Lab::new();
    let injector = Injector::start(&lab.a, profile);
    let report = flow.send(&lab.a, &lab.b);
    let end = injector.stop();
    end.achieved().assert_clean();
    assert_eq!(report.errors, Vec::<String>::new(), "errors at the sender");
    assert_eq!(end.achieved().only().matched, COUNT);
    report
}

#[track_caller]
fn assert_as_foretold(profile: &str, report: &Report) {
    let oracle = Oracle::new(profile);
    // The receiver's checksum takes the corrupted ones, copies included.
    let (dropped, corrupted) = (oracle.dropped(COUNT), oracle.corrupted(COUNT));
    let missing: BTreeSet<u64> = dropped.union(&corrupted).copied().collect();
    let twice: BTreeSet<u64> = &oracle.duplicated(COUNT) - &missing;
    assert!(!dropped.is_empty() && !twice.is_empty());
    assert_eq!(corrupted.is_empty(), !profile.contains("corrupt"));
    assert_eq!(report.lost(), missing);
    assert_eq!(report.duplicated(), twice);
    assert_eq!(report.damaged(), 0);
}

/// The numbers in the order of arrival, without second copies.
fn order(report: &Report) -> Vec<u64> {
    let mut seen = BTreeSet::new();
    let numbers = report.arrivals.iter().map(|arrival| arrival.number);
    numbers.filter(|number| seen.insert(*number)).collect()
}

#[test]
fn super_packets_have_the_fates_of_their_single_packets_and_stay_in_order() {
    for faults in FAULTS {
        let profile = profile("udp", faults);
        for family in Family::ALL {
            let flow = flow().family(family);
            for flow in [flow.clone(), flow.batch(BATCH)] {
                let report = send(&profile, &flow);
                assert_as_foretold(&profile, &report);
                let order = order(&report);
                let batch = flow.batch;
                assert!(order.is_sorted(), "{faults}, {family:?}, {batch} at a time");
            }
        }
    }
}

/// Two interfaces of a run have their records of split packets in common.
#[test]
fn super_packets_of_two_interfaces_are_split_at_once() {
    for faults in FAULTS {
        let _alone = clock::alone();
        let lab = Lab::new();
        let directory = Directory::new("lanes");
        let path = directory.file("profile.yaml");
        let [a, b] = [&lab.a, &lab.b].map(|host| host.netns.path().display().to_string());
        let rules = profile("udp", faults);
        let targets = format!("targets: {{a: {{netns: {a}}}, b: {{netns: {b}}}}}");
        fs::write(&path, format!("{rules}\n{targets}\n")).expect("write the profile");
        let mut command = injector::command();
        command.args(["--json", "run"]).arg(&path);
        let injector = Injector::launch(&lab.a.netns, command, "").expect("it starts");
        injector.in_force();
        let flow = flow().batch(BATCH);
        let reports = thread::scope(|scope| {
            let back = scope.spawn(|| flow.send(&lab.b, &lab.a));
            [flow.send(&lab.a, &lab.b), back.join().expect("a flow")]
        });
        let end = injector.stop();
        for rule in &end.achieved().rules {
            assert_eq!(rule.matched, COUNT, "{rule:?}");
        }
        for report in reports {
            assert_as_foretold(&profile("udp", faults), &report);
            assert!(order(&report).is_sorted(), "{faults}");
        }
    }
}

#[test]
fn delayed_super_packets_too() {
    if !kernel::can_delay() {
        return;
    }
    for faults in FAULTS {
        let profile = profile("udp", &format!("{faults}, delay: 30ms"));
        // A batch at a time: an emulated guest's queues are short.
        let flow = flow().gap(Duration::from_millis(4)).batch(BATCH);
        let report = send(&profile, &flow);
        assert_as_foretold(&profile, &report);
        let order = order(&report);
        assert!(order.is_sorted(), "{faults}");
        let shortest = report.delays().into_iter().map(|(_, delay)| delay).min();
        assert!(
            shortest.unwrap() >= Duration::from_millis(30),
            "{faults}: {shortest:?}"
        );
    }
}

/// TCP sends many super-packets in a row when acknowledgements arrive. On one processor, where no device
/// reorders by itself, none may overtake one that is being split.
#[test]
fn what_is_split_is_not_overtaken() {
    const BYTES: u64 = 32 << 20;
    for direction in ["egress", "ingress"] {
        // The second is a rule that corrupts, but no packet of these.
        for faults in ["duplicate: 1%", "duplicate: 1%, corrupt: 0.0000001%"] {
            let _alone = clock::alone();
            let lab = Lab::new();
            let faults = format!("direction: {direction}, {faults}");
            let host = if direction == "egress" {
                &lab.a
            } else {
                &lab.b
            };
            let injector = Injector::start(host, &profile("tcp", &faults));
            let report = Transfer::new(BYTES).on_one_cpu().send(&lab.a, &lab.b);
            report.assert_intact(BYTES);
            let end = injector.stop();
            end.achieved().assert_clean();
            assert!(end.achieved().only().duplicated > 0);
            assert_eq!(report.info.reorderings, 0, "{faults}: {:?}", report.info);
        }
    }
}

#[test]
fn untouched_super_packets_do_not_leave_the_device() {
    // So rare that not one packet is hit.
    let profile = profile("udp", "drop: 0.0000001%");
    let _alone = clock::alone();
    let lab = Lab::new();
    let injector = Injector::start(&lab.a, &profile);
    flow().batch(BATCH).send(&lab.a, &lab.b).assert_untouched();
    let splitter = format!("inj{}s", lab.a.ifindex());
    let split = lab
        .a
        .run(|| tool::ip(&format!("-s -j link show {splitter}")));
    injector.stop().achieved().assert_clean();
    let links: serde_json::Value = serde_json::from_str(&split).unwrap();
    assert_eq!(links[0]["stats64"]["tx"]["packets"], 0, "{split}");
}

#[test]
fn slow_starts_lose_nothing_on_the_way() {
    if !kernel::can_delay() {
        return;
    }
    // Copies do not slow a sender down, so that its bursts double until the end.
    let _alone = clock::alone();
    let lab = Lab::new();
    let profile = profile("tcp", "duplicate: 1%, delay: 50ms");
    let injector = Injector::start(&lab.a, &profile);
    const BYTES: u64 = 4 << 20;
    for _ in 0..transfers() {
        Transfer::new(BYTES)
            .send(&lab.a, &lab.b)
            .assert_intact(BYTES);
    }
    injector.stop().achieved().assert_clean();
}

#[test]
fn starting_and_stopping_loses_and_reorders_nothing() {
    const GAP: Duration = Duration::from_micros(250);
    let _alone = clock::alone();
    let lab = Lab::new();
    if !kernel::has_tcx() {
        // Adding the qdisc to a busy device, and removing it, loses a packet now and then.
        let device = &lab.a.device;
        lab.a
            .run(|| tool::tc(&format!("qdisc add dev {device} clsact")));
    }
    let faults = if kernel::can_delay() {
        "delay: 20ms"
    } else {
        "drop: 0.0000001%"
    };
    let flow = Flow::new(duration().as_micros() as u64 / GAP.as_micros() as u64).gap(GAP);
    let mut cycles = 0;
    thread::scope(|scope| {
        let sending = scope.spawn(|| flow.send(&lab.a, &lab.b));
        while !sending.is_finished() {
            let injector = Injector::start(&lab.a, &profile("udp", faults));
            thread::sleep(Duration::from_millis(30));
            injector.stop().achieved().assert_clean();
            cycles += 1;
        }
        sending.join().expect("the flow").assert_untouched();
    });
    eprintln!("{cycles} cycles");
    assert!(cycles > 1, "{cycles}");
}

/// 8 s, or `INJECTOR_TEST_CYCLES_FOR` seconds.
fn duration() -> Duration {
    let seconds = std::env::var("INJECTOR_TEST_CYCLES_FOR");
    Duration::from_secs(seconds.map_or(8, |seconds| seconds.parse().unwrap()))
}

/// Ten, or `INJECTOR_TEST_SLOW_STARTS`.
fn transfers() -> u32 {
    std::env::var("INJECTOR_TEST_SLOW_STARTS").map_or(10, |count| count.parse().unwrap())
}
