//! Values that change over time: ramps, and recorded conditions.
//!
//! A packet passes the hook between its own sending and that of the one after it, so that its delay has
//! bounds whatever the machine does in between.

use std::{
    collections::BTreeSet,
    fs, thread,
    time::{Duration, Instant},
};

use injector_tests::{
    Injector, Lab, clock,
    directory::Directory,
    injector::End,
    kernel, stats, tool,
    udp::{Flow, Report},
};

const MS: Duration = Duration::from_millis(1);
const RAMP: Duration = Duration::from_secs(2);
/// How long after a phase has begun that may come to be known, on an emulated CPU that stands still.
const KNOWN_LATE_MAX: Duration = Duration::from_millis(300);

/// Before it, on it and behind it.
fn ramp(fault: &str) -> String {
    format!(
        "
name: ramp
seed: 4
phases:
  - {{name: before, for: 1s, rules: []}}
  - {{name: ramp, for: 2s, ramp: true, rules: [{{match: {{protocol: udp}}, {fault}}}]}}
  - {{name: behind, for: 1s, rules: [{{match: {{protocol: udp}}, {fault}}}]}}"
    )
}

/// Datagrams that are sent while a profile plays, from before its ramp.
struct Played {
    report: Report,
    /// When it was known that each phase had begun.
    began: Vec<Instant>,
    end: End,
}

impl Played {
    #[track_caller]
    fn new(profile: &str, flow: &Flow) -> Self {
        let lab = Lab::new();
        if !kernel::has_tcx() {
            // Adding the qdisc to a busy device, and removing it, loses packets.
            let device = &lab.a.device;
            lab.a
                .run(|| tool::tc(&format!("qdisc add dev {device} clsact")));
        }
        let injector = Injector::start(&lab.a, profile);
        let (report, began) = thread::scope(|scope| {
            let report = scope.spawn(|| flow.send(&lab.a, &lab.b));
            let begin = || {
                injector.phase();
                Instant::now()
            };
            let began = (0..3).map(|_| begin()).collect();
            (report.join().expect("the flow"), began)
        });
        assert_eq!(report.errors, Vec::<String>::new(), "errors at the sender");
        let end = injector.wait();
        end.achieved().assert_clean();
        Self { report, began, end }
    }

    /// The numbers of the datagrams that were sent within a time of the beginning of the ramp.
    fn sent(&self, from: Duration, to: Duration) -> impl Iterator<Item = u64> {
        let (from, to) = (self.began[1] + from, self.began[1] + to);
        let sent = (0..).zip(&self.report.sent);
        sent.filter(move |(_, sent)| (from..to).contains(*sent))
            .map(|(n, _)| n)
    }
}

#[test]
fn a_delay_rises_on_a_straight_line() {
    const DELAY: Duration = Duration::from_millis(100);
    if !kernel::can_delay() {
        return;
    }
    let _alone = clock::alone();
    let flow = Flow::new(700).gap(5 * MS).linger(500 * MS);
    let played = Played::new(&ramp("delay: 100ms"), &flow);
    let report = &played.report;
    // Not even while the delay changes does a packet overtake another.
    report.assert_untouched();

    let delays: Vec<Duration> = report
        .delays()
        .into_iter()
        .map(|(_, delay)| delay)
        .collect();
    let delay = |n: u64| delays[n as usize];
    let on_ramp: Vec<u64> = played.sent(100 * MS, RAMP - KNOWN_LATE_MAX).collect();
    assert!(on_ramp.len() > 200, "{} sent on the ramp", on_ramp.len());
    // No packet was delayed by less than the line says. So none tells of a later beginning of the ramp
    // than the true one, which is not later than the event that told of it.
    let rise = RAMP.as_secs_f64() / DELAY.as_secs_f64();
    let begin = |&n: &u64| report.sent[n as usize] - delay(n).mul_f64(rise);
    let begin = on_ramp.iter().map(begin).max().expect("packets");
    let early = played.began[1].checked_duration_since(begin);
    eprintln!("the ramp began {early:?} before that was known");
    assert!(
        early.is_some_and(|early| early < KNOWN_LATE_MAX),
        "{early:?}"
    );
    let line = |n: u64| (report.sent[n as usize] - begin).div_f64(rise);
    let lateness = stats::decile(on_ramp.iter().map(|&n| delay(n) - line(n)));
    eprintln!("{lateness:?} above the line, one in ten of them");
    let late_max = clock::late_max();
    assert!(lateness < late_max, "{lateness:?} above the line");

    // Nor does it rise in steps: 5 ms in each tenth of a second, hence less than twice as much. Where the
    // sender stood still there is nothing to see.
    let part = |n: u64| (report.sent[n as usize] - begin).as_millis() / 100;
    let parts = on_ramp.chunk_by(|&a, &b| part(a) == part(b));
    let levels: Vec<(u32, Duration)> = parts
        .filter(|numbers| numbers.len() >= 10)
        .map(|numbers| {
            let level = stats::decile(numbers.iter().map(|&n| delay(n)));
            (part(numbers[0]) as u32, level)
        })
        .collect();
    assert!(levels.len() > 5, "{levels:?}");
    let is_slow = |pair: &[(u32, Duration)]| {
        let rise = pair[1].1.saturating_sub(pair[0].1);
        rise < (pair[1].0 - pair[0].0 + 1) * 5 * MS
    };
    assert!(levels.windows(2).all(is_slow), "{levels:?}");

    let behind = played.sent(RAMP + 100 * MS, RAMP + 500 * MS).map(delay);
    let behind: Vec<Duration> = behind.collect();
    assert!(behind.iter().all(|delay| *delay >= DELAY), "{behind:?}");
    assert!(stats::decile(behind) < DELAY + late_max);
}

#[test]
fn losses_become_more_on_a_straight_line() {
    const PARTS: u32 = 4;
    let flow = Flow::new(3400).gap(MS);
    let played = Played::new(&ramp("drop: 100%"), &flow);
    let lost = played.report.lost();
    let before = played.report.sent.iter().zip(0_u64..);
    let before =
        before.filter(|(sent, _)| **sent + 100 * MS < played.began[1] && **sent > played.began[0]);
    assert!(before.map(|(_, n)| n).all(|n| !lost.contains(&n)));
    for part in 0..PARTS {
        let (from, to) = (RAMP * part / PARTS, RAMP * (part + 1) / PARTS);
        let sent: BTreeSet<u64> = played.sent(from, to).collect();
        // The event came later than the ramp.
        let middle = (f64::from(part) + 0.5) / f64::from(PARTS);
        let (n, count) = (sent.len() as u64, sent.intersection(&lost).count() as u64);
        let low = *stats::binomial(n, middle).start();
        let high =
            *stats::binomial(n, (middle + KNOWN_LATE_MAX.div_duration_f64(RAMP)).min(1.0)).end();
        eprintln!("part {part}: {count} of {n} lost, expected {low} to {high}");
        assert!((low..=high).contains(&count), "part {part}: {count} of {n}");
    }
    assert!(
        played
            .sent(RAMP + 10 * MS, RAMP + 200 * MS)
            .all(|n| lost.contains(&n))
    );
    let rules = &played.end.achieved().rules;
    let dropped: u64 = rules.iter().map(|rule| rule.dropped).sum();
    assert_eq!(dropped, lost.len() as u64);
}

/// Recorded conditions, step by step, again and again.
#[test]
fn a_table_of_conditions_is_replayed() {
    const TURN: Duration = Duration::from_millis(1200);
    const STEPS: [(Duration, Option<Duration>); 3] = [
        (Duration::from_millis(0), Some(Duration::from_millis(20))),
        (Duration::from_millis(400), Some(Duration::from_millis(60))),
        (Duration::from_millis(800), None),
    ];
    if !kernel::can_delay() {
        return;
    }
    let _alone = clock::alone();
    let directory = Directory::new("conditions");
    let path = directory.file("conditions.csv");
    let table = "time,delay,drop\n0,20ms,0%\n0.4,60ms,0%\n0.8,20ms,100%\n1.2,20ms,0%\n";
    fs::write(&path, table).expect("write the table");
    let profile = format!(
        "{{name: replay, seed: 1, rules: [{{match: {{protocol: udp}}, replay: {{file: {}, loop: true, interpolation: step}}}}]}}",
        path.display()
    );
    let lab = Lab::new();
    let injector = Injector::start(&lab.a, &profile);
    let report = Flow::new(1200)
        .gap(4 * MS)
        .linger(300 * MS)
        .send(&lab.a, &lab.b);
    injector.stop().achieved().assert_clean();

    // The first packet of an outage tells when the recording began, to within a gap: that outage where it is
    // the smallest.
    let lost = report.lost();
    let is_first = |n: &usize| *n > 0 && !lost.contains(&(*n as u64 - 1));
    let firsts = lost.iter().map(|n| *n as usize).filter(is_first);
    let seen = firsts.filter(|n| n + 1 < report.sent.len());
    let first = seen.min_by_key(|n| report.sent[n + 1] - report.sent[n - 1]);
    let first = first.expect("an outage");
    let since_start = report.sent[first] - report.sent[0];
    let begin = [first - 1, first + 1].map(|n| report.sent[n] + 4 * TURN - STEPS[2].0);
    let delays = report.delays();
    let (mut judged, mut lateness) = ([0; STEPS.len()], Vec::new());
    for n in 0..report.sent.len() - 1 {
        // Where in the recording the packet may have been, at the earliest and at the latest.
        let since = |at: Instant, begin: Instant| {
            let since = at + 8 * TURN - begin;
            Duration::from_nanos((since.as_nanos() % TURN.as_nanos()) as u64)
        };
        let earliest = since(report.sent[n], begin[1]);
        let latest = since(report.sent[n + 1], begin[0]);
        let step = |at| STEPS.iter().rposition(|(begin, _)| *begin <= at);
        let (Some(step), true) = (
            step(earliest),
            step(earliest) == step(latest) && earliest <= latest,
        ) else {
            continue;
        };
        judged[step] += 1;
        let delay = delays.iter().find(|(number, _)| *number == n as u64);
        match (STEPS[step].1, delay) {
            (None, None) => {}
            (Some(expected), Some(&(_, delay))) => {
                assert!(
                    delay >= expected,
                    "{n} came after {delay:?}, before {expected:?}"
                );
                lateness.push(delay - expected);
            }
            other => panic!("{n}, in step {step}: {other:?}"),
        }
    }
    let lateness = stats::decile(lateness);
    let late_max = clock::late_max();
    eprintln!("{judged:?} judged, {lateness:?} late; {since_start:?} to that outage");
    assert!(lateness < late_max, "{lateness:?} late, one in ten of them");
    // Most of what was sent.
    assert!(judged.iter().all(|count| *count > 250), "{judged:?}");
}

/// More lines than anybody could play from userspace: every millisecond, for 100 s.
#[test]
fn a_recording_of_100_000_lines_keeps_its_time() {
    const TURN: Duration = Duration::from_millis(100);
    let _alone = clock::alone();
    let directory = Directory::new("long");
    let path = directory.file("long.csv");
    // Nothing is lost for 100 lines, everything for the next 100.
    let line = |n: u32| format!("{n}ms,{}%\n", n / 100 % 2 * 100);
    let table = "time,drop\n".to_owned() + &(0..100_000).map(line).collect::<String>();
    fs::write(&path, table).expect("write the table");
    let profile = format!(
        "{{name: long, seed: 1, rules: [{{match: {{protocol: udp}}, replay: {{file: {}, interpolation: step}}}}]}}",
        path.display()
    );
    let lab = Lab::new();
    let injector = Injector::start(&lab.a, &profile);
    let report = Flow::new(1000).gap(3 * MS).send(&lab.a, &lab.b);
    injector.stop().achieved().assert_clean();

    let (lost, sent) = (report.lost(), &report.sent);
    let is_edge = |n: &usize| lost.contains(&(*n as u64)) != lost.contains(&(*n as u64 - 1));
    let edges: Vec<_> = (1..sent.len() - 1).filter(is_edge).collect();
    assert!(edges.len() > 20, "{} edges in 3 s", edges.len());
    // The edge lies between the sending of the packet before it and that of the one behind it. Moved by
    // whole turns onto the first, all of them have to leave room for the same instant.
    let (mut earliest, mut latest) = (sent[edges[0] - 1], sent[edges[0] + 1]);
    for edge in &edges {
        let since = sent[*edge] - sent[edges[0]];
        let turns = (since.as_secs_f64() / TURN.as_secs_f64()).round() as u32;
        earliest = earliest.max(sent[edge - 1] - turns * TURN);
        latest = latest.min(sent[edge + 1] - turns * TURN);
    }
    eprintln!(
        "{} edges, {:?} of room",
        edges.len(),
        latest.checked_duration_since(earliest)
    );
    assert!(earliest < latest, "edges are not {TURN:?} apart");
}

/// A link that can deliver a packet every 10 ms.
#[test]
fn a_recorded_link_is_replayed() {
    const COUNT: u64 = 200;
    if !kernel::can_delay() {
        return;
    }
    let _alone = clock::alone();
    let directory = Directory::new("link");
    let path = directory.file("link");
    fs::write(&path, "10\n").expect("write the trace");
    // A packet of 1500 bytes takes an opportunity, of three of 500 the third does.
    for (len, packets) in [(1472, 1), (472, 3)] {
        let profile = format!(
            "{{name: link, seed: 1, rules: [{{match: {{protocol: udp}}, replay: {}}}]}}",
            path.display()
        );
        let lab = Lab::new();
        let injector = Injector::start(&lab.a, &profile);
        let flow = Flow::new(COUNT * packets)
            .len(len)
            .gap(5 * MS / packets as u32);
        let report = flow.linger(500 * MS).send(&lab.a, &lab.b);
        let end = injector.stop();
        end.achieved().assert_clean();
        assert_eq!(end.achieved().only().overlimit, 0);
        report.assert_untouched();

        // All at an instant of the recording, which lie 10 ms apart.
        let of_each: Vec<_> = report
            .arrivals
            .chunks(packets as usize)
            .map(|chunk| chunk[0].at)
            .collect();
        let half = of_each.len() / 2;
        let apart = of_each.iter().zip(&of_each[half..]).map(|(a, b)| *b - *a);
        let apart = stats::median(apart) / half as u32;
        eprintln!("{len} bytes: {apart:?} from one opportunity to the next");
        assert!(apart.abs_diff(10 * MS) < 10 * MS / 100, "{apart:?}");
        // The instant is that of the arrival which the others follow most closely.
        let lateness =
            |origin: &Instant| stats::decile(of_each.iter().map(|at| phase(*at, *origin)));
        let late = of_each.iter().map(lateness).min().expect("arrivals");
        let late_max = clock::late_max();
        assert!(late < late_max, "{late:?} after the opportunities");
    }
}

/// How long after an opportunity it is.
fn phase(at: Instant, opportunity: Instant) -> Duration {
    let since = at + 100_000 * MS - opportunity;
    Duration::from_nanos((since.as_nanos() % (10 * MS).as_nanos()) as u64)
}
