//! Rules replaced by others while packets pass.

use std::{
    collections::BTreeMap,
    fs,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use injector::{
    datapath::{Error, Options, Session},
    plan::{Needs, Plan},
};
use injector_tests::{
    Host, Injector, Lab, kernel,
    predict::{self, Oracle},
    reign::{self, ALWAYS, PORTS},
    residue::Programs,
    udp::Flow,
};

fn start(host: &Host, plan: &Plan, needs: Needs) -> Session {
    let netns = host.netns.path().display().to_string();
    let netns = netns.parse().expect("a namespace");
    match Session::start(&netns, &host.device, plan, needs, Options::default()) {
        Ok(session) => session,
        Err(error) => panic!("{error}"),
    }
}

fn swap(session: &mut Session, plan: &Plan) {
    renew(session);
    if let Err(error) = session.swap(plan) {
        panic!("{error}");
    }
}

/// To be called before the lease runs out.
fn renew(session: &mut Session) {
    if let Err(error) = session.renew() {
        panic!("{error}");
    }
}

fn stop(session: Session) {
    if let Err(error) = session.stop(|_| true) {
        panic!("{error}");
    }
}

fn drop_to(port: u16, others: u16) -> Plan {
    predict::plan(&reign::drop_to(port, others))
}

#[test]
fn every_packet_meets_the_old_rules_or_the_new_and_after_a_swap_only_the_new() {
    let lab = Lab::new();
    // Scanned, and searched by bit vectors.
    let plans = [drop_to(PORTS[0], 2), drop_to(PORTS[1], 299)];
    let mut session = start(&lab.a, &plans[0], Needs::ANY);
    reign::assert_explained(&lab, Duration::from_micros(200), |turn| {
        swap(&mut session, &plans[turn]);
    });
    stop(session);
}

#[test]
fn new_rules_start_with_their_first_packet_and_with_counters_of_0() {
    const COUNT: u64 = 1_000;
    let yaml = |seed: u64, name: &str| {
        format!(
            "name: {name}\nseed: {seed}\nrules: [{{name: half, match: {{protocol: udp}}, drop: 50%}}]"
        )
    };
    let lab = Lab::new();
    let mut session = start(&lab.a, &predict::plan(&yaml(1, "first")), Needs::ANY);
    // Both generations are used twice.
    for seed in 2..6 {
        Flow::new(100)
            .linger(Duration::from_millis(60))
            .send(&lab.a, &lab.b);
        let yaml = yaml(seed, "next");
        swap(&mut session, &predict::plan(&yaml));
        let report = Flow::new(COUNT).send(&lab.a, &lab.b);
        assert_eq!(
            report.lost(),
            Oracle::new(&yaml).dropped(COUNT),
            "seed {seed}"
        );
        let snapshot = session.look().expect("the counters").expect("the device");
        assert_eq!(snapshot.rules.len(), 1);
        assert_eq!(snapshot.rules[0].matched, COUNT);
        assert_eq!(snapshot.rules[0].dropped, report.lost().len() as u64);
    }
    stop(session);
}

#[test]
fn a_plan_for_which_the_run_is_not_prepared_changes_nothing() {
    let lab = Lab::new();
    let first = drop_to(5000, 0);
    let mut session = start(&lab.a, &first, Needs::of([&first]));
    for rules in [
        "{direction: ingress, match: {protocol: udp, dst_port: 5000}}",
        "{match: {dst: 10.77.0.2}}",
        "{match: {protocol: udp}, duplicate: 100%}",
    ] {
        let plan = predict::plan(&format!("name: other\nseed: 1\nrules: [{rules}]"));
        let refused = session.swap(&plan);
        assert!(
            matches!(refused, Err(Error::Unprepared { .. })),
            "{refused:?}"
        );
    }
    assert!(Flow::new(3).send(&lab.a, &lab.b).arrivals.is_empty());
    Flow::new(3)
        .port(5001)
        .send(&lab.a, &lab.b)
        .assert_untouched();
    stop(session);
}

#[test]
fn a_run_started_for_several_plans_serves_each() {
    let lab = Lab::new();
    let plans = [drop_to(5000, 0), drop_to(5001, 20)];
    let mut session = start(&lab.a, &plans[0], Needs::of(&plans));
    for (turn, plan) in [1, 0, 1, 0].map(|turn| (turn, &plans[turn])) {
        swap(&mut session, plan);
        let hit = 5000 + turn as u16;
        assert!(
            Flow::new(3)
                .port(hit)
                .send(&lab.a, &lab.b)
                .arrivals
                .is_empty()
        );
        Flow::new(3)
            .port(10_001 - hit)
            .send(&lab.a, &lab.b)
            .assert_untouched();
    }
    stop(session);
}

#[test]
fn held_packets_keep_the_fate_that_the_former_rules_gave_them() {
    if !kernel::can_delay() {
        return;
    }
    const DELAY: Duration = Duration::from_secs(2);
    let lab = Lab::new();
    let delay = predict::plan("name: old\nseed: 1\nrules: [{match: {protocol: udp}, delay: 2s}]");
    let drop = predict::plan("name: new\nseed: 1\nrules: [{match: {protocol: udp}, drop: 100%}]");
    let mut session = start(&lab.a, &delay, Needs::of([&delay, &drop]));
    let flow = Flow::new(20).linger(2 * DELAY);
    let report = thread::scope(|scope| {
        let sender = scope.spawn(|| flow.send(&lab.a, &lab.b));
        // All are sent, none has arrived.
        thread::sleep(DELAY / 2);
        swap(&mut session, &drop);
        sender.join().expect("the sender")
    });
    report.assert_untouched();
    assert!(report.delays().iter().all(|(_, delay)| *delay >= DELAY));
    renew(&mut session);
    assert!(Flow::new(3).send(&lab.a, &lab.b).arrivals.is_empty());
    stop(session);
}

/// A profile of two phases that take turns, of `for_ms` each. What one drops the other doubles, and
/// [`ALWAYS`] has one copy under the one, two under the other.
fn alternating(for_ms: u64) -> String {
    let phase = |name, dropped: u16, doubled: u16, copies: u32| {
        let rule = |port, faults: &str| {
            format!("{{match: {{protocol: udp, dst_port: {port}}}, {faults}}}")
        };
        let rules = [
            rule(dropped, "drop: 100%"),
            rule(doubled, "duplicate: 100%"),
            rule(
                ALWAYS,
                &format!("duplicate: {{probability: 100%, copies: {copies}}}"),
            ),
        ];
        format!(
            "{{name: {name}, for: {for_ms}ms, rules: [{}]}}",
            rules.join(", ")
        )
    };
    let phases = [phase("old", 5000, 5001, 1), phase("new", 5001, 5000, 2)];
    format!(
        "name: turns\nseed: 1\nrepeat: forever\nphases: [{}]\n",
        phases.join(", ")
    )
}

/// What a process holds, and how much memory it takes.
#[derive(Debug)]
struct Footprint {
    files: usize,
    programs: Programs,
    resident_kib: u64,
}

impl Footprint {
    /// What it always holds: once a second it opens a few more files for a moment.
    fn of(run: &Injector) -> Self {
        let samples = (0..5).map(|_| {
            thread::sleep(Duration::from_millis(30));
            Self::now(run)
        });
        let least = samples.min_by_key(|sample| sample.files);
        least.expect("a sample")
    }

    fn now(run: &Injector) -> Self {
        let directory = format!("/proc/{}", run.pid());
        let files = fs::read_dir(format!("{directory}/fd")).expect("its files");
        let status = fs::read_to_string(format!("{directory}/status")).expect("its status");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = resident.and_then(|text| text.split_whitespace().next());
        Self {
            files: files.count(),
            programs: Programs::of_process(run.pid()),
            resident_kib: resident.and_then(|kib| kib.parse().ok()).expect("a size"),
        }
    }

    /// Asserts that nothing has come to be held since, and less than 1 MiB of memory. In a guest there are too
    /// few swaps to tell a leak from an allocator that has just begun.
    #[track_caller]
    fn assert_no_less_than(&self, later: &Self) {
        assert_eq!(later.files, self.files, "open files");
        assert_eq!(later.programs, self.programs);
        let growth_kib = later.resident_kib.saturating_sub(self.resident_kib);
        eprintln!("{} KiB resident, {growth_kib} more", later.resident_kib);
        assert!(
            growth_kib < 1024 || kernel::is_guest(),
            "{growth_kib} KiB more"
        );
    }
}

/// Swaps, and how long each set of rules is in force.
fn swaps() -> (u64, u64) {
    let (count, for_ms) = if kernel::is_guest() {
        (50, 250)
    } else {
        (1000, 20)
    };
    let wanted = std::env::var("INJECTOR_TEST_SWAPS").ok();
    (
        wanted.map_or(count, |count| count.parse().expect("a number")),
        for_ms,
    )
}

#[test]
fn a_thousand_swaps_under_load_leave_no_packet_unexplained_and_take_nothing() {
    let (count, for_ms) = swaps();
    let flows_max = (4 * count * for_ms / 500) as usize;
    let lab = Lab::new();
    // Nor does a guest whose processors are needed elsewhere let the faults lapse.
    let run = Injector::start_with(&lab.a, &alternating(for_ms), &["--lapse", "1m"]);
    let ports = [5000, 5001, ALWAYS];
    let is_over = AtomicBool::new(false);
    let reports = thread::scope(|scope| {
        let senders = ports.map(|port| {
            let (lab, is_over) = (&lab, &is_over);
            scope.spawn(move || {
                let flow = Flow::new(500).port(port).gap(Duration::from_millis(1));
                let flow = flow.linger(Duration::from_millis(100));
                let mut reports = Vec::new();
                // Not for ever, should the swaps fail.
                while !is_over.load(Ordering::Relaxed) && reports.len() < flows_max {
                    reports.push(flow.send(&lab.a, &lab.b));
                }
                reports
            })
        });
        let mut early = None;
        for swap in 0..count {
            run.phase();
            if swap == count / 10 {
                early = Some(Footprint::of(&run));
            }
        }
        let late = Footprint::of(&run);
        is_over.store(true, Ordering::Relaxed);
        early.expect("some swaps").assert_no_less_than(&late);
        senders.map(|sender| sender.join().expect("a sender"))
    });
    for (port, reports) in ports.into_iter().zip(&reports) {
        let mut seen = BTreeMap::new();
        for report in reports {
            assert_eq!(report.errors, Vec::<String>::new());
            assert_eq!(report.damaged(), 0);
            let copies = report.copies();
            for number in 0..report.sent.len() as u64 {
                *seen
                    .entry(copies.get(&number).copied().unwrap_or(0))
                    .or_insert(0) += 1;
            }
        }
        eprintln!("to port {port}, packets by how often each arrived: {seen:?}");
        let arrived: Vec<u64> = seen.into_keys().collect();
        let explained = if port == ALWAYS { [2, 3] } else { [0, 2] };
        assert_eq!(arrived, explained, "to port {port}");
    }
    run.stop().achieved().assert_clean();
}
