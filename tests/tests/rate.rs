//! Bottlenecks: rates, their queues, and slots. Times are judged as in `delay.rs`: a packet never arrives
//! before the bottleneck lets it pass, and one in ten hardly later.

use std::{
    cmp::Reverse,
    collections::BTreeSet,
    time::{Duration, Instant},
};

use injector_tests::{
    Injector, Lab, clock, kernel,
    predict::Oracle,
    stats,
    tcp::Transfer,
    udp::{ECT, Flow, Report},
};

const MS: Duration = Duration::from_millis(1);
/// Of Ethernet, IPv4 and UDP.
const HEADERS: usize = 14 + 20 + 8;
/// Datagrams that make packets of 1442 bytes on the wire.
const LEN: usize = 1400;
/// What all of them may be late by, because one kept the others waiting.
const LATE_TOGETHER_MAX: Duration = Duration::from_millis(100);

/// How long so many bytes take.
fn transmission(bytes: usize, bits_per_second: f64) -> Duration {
    Duration::from_secs_f64(bytes as f64 * 8.0 / bits_per_second)
}

fn profile(faults: &str) -> String {
    format!("{{name: link, seed: 1, rules: [{{match: {{protocol: udp}}, {faults}}}]}}")
}

/// How much later each packet came than when it was let pass. All came, in order, and none before that.
#[track_caller]
fn lateness(what: &str, report: &Report, passed: &[Instant]) -> Vec<Duration> {
    report.assert_untouched();
    let arrivals = report.arrivals.iter().zip(passed);
    arrivals
        .map(
            |(arrival, passed)| match arrival.at.checked_duration_since(*passed) {
                Some(late) => late,
                None => panic!(
                    "{what}: {} came {:?} early",
                    arrival.number,
                    *passed - arrival.at
                ),
            },
        )
        .collect()
}

/// Asserts that packets came in order, and each when it was let pass: never before, and later by less than
/// [`clock::late_max`] in one case of ten. Where one keeps the others waiting, all are as late as it was.
#[track_caller]
fn assert_passed(what: &str, report: &Report, passed: &[Instant]) {
    let lateness = lateness(what, report, passed);
    let together = *lateness.iter().min().expect("packets");
    let late = stats::decile(lateness) - together;
    eprintln!("{what}: {late:?} late, one in ten of them, all together {together:?}");
    assert!(late < clock::late_max(), "{what}: {late:?} late");
    assert!(together < LATE_TOGETHER_MAX, "{what}: {together:?} late");
}

/// Asserts that packets came in order, and each when it was let pass: never before, and not ever later, as
/// those of a slower link do. Of the first and of the last quarter the least late one tells, however often the
/// machine stood still.
#[track_caller]
fn assert_keeps_up(what: &str, report: &Report, passed: &[Instant]) {
    let lateness = lateness(what, report, passed);
    let (first, last) = (
        &lateness[..lateness.len() / 4],
        &lateness[lateness.len() / 4 * 3..],
    );
    let [first, last] = [first, last].map(|part| part.iter().min().expect("packets"));
    assert!(*first < LATE_TOGETHER_MAX, "{what}: {first:?} late");
    let took = (*passed.last().expect("packets") - passed[0]).as_secs_f64();
    assert_within_1_percent(what, took, took + last.as_secs_f64() - first.as_secs_f64());
}

#[track_caller]
fn assert_within_1_percent(what: &str, actual: f64, expected: f64) {
    let off = actual / expected - 1.0;
    eprintln!("{what}: {:+.2} %", off * 100.0);
    assert!(off.abs() < 0.01, "{what}: {actual}, not {expected}");
}

#[test]
fn datagrams_arrive_at_the_rate() {
    if !kernel::can_delay() {
        return;
    }
    let _alone = clock::alone();
    for (rate, mbit, len, wire, count, batch) in [
        ("1mbit", 1.0, LEN, LEN + HEADERS, 200, 1),
        ("10mbit", 10.0, LEN, LEN + HEADERS, 1600, 1),
        ("10mbit", 10.0, LEN, LEN + HEADERS, 800, 40),
        // 100 bytes and 42, and 8 more, take four cells.
        (
            "{bandwidth: 2mbit, overhead: 8, cell_size: 48}",
            2.0,
            100,
            4 * 48,
            800,
            1,
        ),
    ] {
        let what = format!("{rate}, {batch} at once");
        let (bits_per_second, lab) = (mbit * 1e6, Lab::new());
        let takes = transmission(wire, bits_per_second);
        let injector = Injector::start(&lab.a, &profile(&format!("rate: {rate}")));
        // Twice as many as the link carries.
        let flow = Flow::new(count).len(len).batch(batch);
        let flow = flow.gap(takes * batch as u32 / 2).linger(500 * MS);
        let report = flow.send(&lab.a, &lab.b);
        injector.stop().achieved().assert_clean();

        let mut free = report.sent[0];
        let pass = |sent: &Instant| {
            free = free.max(*sent) + takes;
            free
        };
        let passed: Vec<Instant> = report.sent.iter().map(pass).collect();
        assert_keeps_up(&what, &report, &passed);
    }
}

#[test]
fn a_burst_goes_at_once_after_a_pause() {
    const BURST: usize = 20_000;
    if !kernel::can_delay() {
        return;
    }
    let _alone = clock::alone();
    let lab = Lab::new();
    let profile = profile(&format!("rate: {{bandwidth: 4mbit, burst: {BURST}B}}"));
    let (injector, oracle) = (Injector::start(&lab.a, &profile), Oracle::new(&profile));
    // Of the packets that go at once and of the others, how late one in ten was when it was least.
    let mut least = [Duration::MAX; 2];
    for turn in 0..5 {
        let flow = Flow::new(80).len(LEN).gap(MS / 5);
        let report = flow.linger(300 * MS).send(&lab.a, &lab.b);
        if turn == 0 {
            // An emulator has yet to translate the programs.
            continue;
        }
        // As much as the burst at once, and the rest at the rate; more at once where the sender paused.
        let beyond = |n: usize| ((n + 1) * (LEN + HEADERS)).saturating_sub(BURST);
        for (n, (arrival, sent)) in report.arrivals.iter().zip(&report.sent).enumerate() {
            let earliest = report.sent[0] + transmission(beyond(n), 4e6);
            assert!(arrival.at >= earliest.max(*sent), "{n} came early");
        }
        let passed = oracle.passed(&report.sent, (LEN + HEADERS) as u64);
        let passed: Vec<Instant> = passed.into_iter().flatten().collect();
        let lateness = lateness("burst", &report, &passed);
        let (at_once, others) = lateness.split_at(BURST / (LEN + HEADERS));
        for (least, part) in least.iter_mut().zip([at_once, others]) {
            *least = stats::decile(part.iter().copied()).min(*least);
        }
    }
    eprintln!("burst: {least:?} late, one in ten of them");
    let takes = transmission(LEN + HEADERS, 4e6);
    assert!(least.iter().all(|late| *late < 2 * takes), "{least:?} late");
    injector.stop().achieved().assert_clean();
}

/// What finds a full queue is lost, and what finds a place waits for no longer than the queue is.
#[test]
fn the_queue_is_as_long_as_it_should_be() {
    const RATE: f64 = 10e6;
    const COUNT: u64 = 2000;
    if !kernel::can_delay() {
        return;
    }
    let _alone = clock::alone();
    for (queue, limit) in [
        ("50ms", 50 * MS),
        ("64kB", transmission(64_000, RATE)),
        ("20 packets", transmission(20 * 1514, RATE)),
    ] {
        let (lab, takes) = (Lab::new(), transmission(LEN + HEADERS, RATE));
        let rate = format!("rate: {{bandwidth: 10mbit, queue: {queue}}}");
        let profile = profile(&rate);
        let injector = Injector::start(&lab.a, &profile);
        let flow = Flow::new(COUNT).len(LEN).gap(takes / 4);
        let report = flow.linger(300 * MS).send(&lab.a, &lab.b);
        let end = injector.stop();

        let (rule, lost) = (end.achieved().only(), report.lost().len() as u64);
        assert_eq!((rule.overlimit, rule.dropped), (lost, 0), "{queue}");
        assert_eq!(
            (report.damaged(), report.duplicated()),
            (0, BTreeSet::new())
        );
        end.achieved().assert_clean();
        // The link is busy from the first packet on, until the queue has become empty again; unless the
        // sender stood still for longer than that.
        let took = report.sent[COUNT as usize - 1] - report.sent[0] + limit;
        let received = (COUNT - lost) as f64;
        let carried = received / took.div_duration_f64(takes);
        eprintln!("{queue}: {lost} lost, {carried:.3} of what the link can carry received");
        assert!(carried < 1.05, "{queue}: {carried}");
        let passed = Oracle::new(&profile).passed(&report.sent, (LEN + HEADERS) as u64);
        let admitted = received / passed.iter().flatten().count() as f64;
        assert!((0.95..1.05).contains(&admitted), "{queue}: {admitted}");
        let full = later_half(&report).map(|(_, delay)| delay);
        assert_full(queue, full, limit, takes);
    }
}

/// Asserts that packets waited for as long as the limit, less what a packet takes at most, and were then
/// sent. A sender that stands still lets the queue become empty, and a receiver makes packets wait for
/// longer: a tenth of them has to tell of neither.
#[track_caller]
fn assert_full(
    what: &str,
    delays: impl IntoIterator<Item = Duration>,
    limit: Duration,
    takes: Duration,
) {
    let delays: Vec<Duration> = delays.into_iter().collect();
    let short = stats::decile(delays.iter().copied());
    let Reverse(long) = stats::decile(delays.into_iter().map(Reverse));
    eprintln!("{what}: delayed by {short:?} to {long:?}, the limit being {limit:?}");
    assert!(long >= limit - takes, "{what}: never longer than {long:?}");
    let bound = limit + takes + clock::late_max();
    assert!(short < bound, "{what}: never shorter than {short:?}");
}

#[test]
fn a_long_queue_marks_what_understands_ecn() {
    const LIMIT: Duration = Duration::from_millis(20);
    if !kernel::can_delay() {
        return;
    }
    let _alone = clock::alone();
    let (report, takes) = send_to_marking_queue(ECT);
    let marked = report.marked();
    for (number, delay) in report.delays() {
        let has_waited = delay > LIMIT + takes;
        assert!(
            has_waited || !marked.contains(&number),
            "{number}: {delay:?}"
        );
    }
    let full: Vec<_> = later_half(&report).collect();
    assert_full(
        "marking",
        full.iter().map(|&(_, delay)| delay),
        2 * LIMIT,
        takes,
    );
    // All are marked, unless the queue becomes shorter because the sender stands still.
    let of_full = full.iter().filter(|(n, _)| marked.contains(n)).count();
    assert!(of_full * 4 > full.len(), "{of_full} of {}", full.len());
}

#[test]
fn a_queue_that_marks_is_no_longer_for_what_does_not_understand_ecn() {
    const LIMIT: Duration = Duration::from_millis(20);
    if !kernel::can_delay() {
        return;
    }
    let _alone = clock::alone();
    let (report, takes) = send_to_marking_queue(0);
    assert_eq!(report.marked(), BTreeSet::new());
    assert_full(
        "dropping",
        later_half(&report).map(|(_, delay)| delay),
        LIMIT,
        takes,
    );
}

/// Sends four times as much as the link carries whose queue marks beyond 20 ms, and says what a packet takes
/// there.
#[track_caller]
fn send_to_marking_queue(class: u8) -> (Report, Duration) {
    let (lab, takes) = (Lab::new(), transmission(LEN + HEADERS, 10e6));
    let rate = "rate: {bandwidth: 10mbit, queue: 20ms, ecn: true}";
    let injector = Injector::start(&lab.a, &profile(rate));
    let flow = Flow::new(1000).len(LEN).class(class).gap(takes / 4);
    let report = flow.linger(300 * MS).send(&lab.a, &lab.b);
    let end = injector.stop();
    let (rule, lost) = (end.achieved().only(), report.lost().len() as u64);
    assert_eq!((rule.overlimit, rule.dropped), (lost, 0));
    assert_eq!(rule.marked, report.marked().len() as u64);
    end.achieved().assert_clean();
    (report, takes)
}

/// The delays of what arrived of the second half of the datagrams, with their numbers.
fn later_half(report: &Report) -> impl Iterator<Item = (u64, Duration)> {
    let half = report.sent.len() as u64 / 2;
    report.delays().into_iter().filter(move |&(n, _)| n > half)
}

#[test]
fn streams_are_as_fast_as_the_rate() {
    if !kernel::can_delay() {
        return;
    }
    let _alone = clock::alone();
    for (mbit, bytes) in [(10_u32, 4 << 20), (100, 16 << 20)] {
        let profile = format!(
            "{{name: link, seed: 1, rules: [{{match: {{protocol: tcp}}, rate: {{bandwidth: {mbit}mbit, queue: 50ms}}}}]}}"
        );
        let lab = Lab::new();
        let injector = Injector::start(&lab.a, &profile);
        let report = Transfer::new(bytes).on_one_cpu().send(&lab.a, &lab.b);
        let end = injector.stop();
        end.achieved().assert_clean();
        report.assert_intact(bytes);
        // Ethernet, IPv4, and TCP with its option for timestamps.
        let mss = f64::from(report.info.mss);
        let on_wire = (mss + 14.0 + 20.0 + 32.0) / mss;
        let rate = 8.0 * stats::steady_rate(&report.progress) * on_wire;
        let rule = end.achieved().only();
        let what = format!(
            "{mbit} Mbit/s, {} packets, {} overlimit, {} resent",
            rule.matched, rule.overlimit, report.info.retransmits
        );
        let asked = f64::from(mbit) * 1e6;
        if mbit == 100 && kernel::is_guest() {
            // About as much as an emulated CPU can do, one packet at a time.
            assert!(rate < asked * 1.01, "{what}: {rate}");
        } else {
            assert_within_1_percent(&what, rate, asked);
        }
    }
}

#[test]
fn slots_let_packets_pass_together() {
    const SLOT: Duration = Duration::from_millis(20);
    if !kernel::can_delay() {
        return;
    }
    let _alone = clock::alone();
    for (slot, packets) in [
        ("{min: 20ms, packets: 5}", 5),
        // The packet that goes beyond the bytes is the last of its slot.
        ("{min: 20ms, bytes: 5kB}", 4),
    ] {
        let lab = Lab::new();
        let injector = Injector::start(&lab.a, &profile(&format!("slot: {slot}")));
        let flow = Flow::new(300).len(LEN).gap(2 * MS).linger(300 * MS);
        let report = flow.send(&lab.a, &lab.b);
        injector.stop().achieved().assert_clean();

        let (mut begins, mut left) = (report.sent[0], packets);
        let pass = |sent: &Instant| {
            let passes = begins.max(*sent);
            left -= 1;
            if left == 0 {
                (begins, left) = (passes + SLOT, packets);
            }
            passes
        };
        let passed: Vec<Instant> = report.sent.iter().map(pass).collect();
        assert_passed(slot, &report, &passed);
    }
}

/// Each slot comes after a time of its own, even between the shortest and the longest.
#[test]
fn slots_come_at_different_times() {
    const COUNT: u64 = 240;
    if !kernel::can_delay() {
        return;
    }
    let _alone = clock::alone();
    let profile = profile("slot: {min: 10ms, max: 30ms, packets: 4}");
    let lab = Lab::new();
    let injector = Injector::start(&lab.a, &profile);
    let flow = Flow::new(COUNT).gap(MS).linger(500 * MS);
    let report = flow.send(&lab.a, &lab.b);
    injector.stop().achieved().assert_clean();
    let passed = Oracle::new(&profile).passed(&report.sent, 64 + HEADERS as u64);
    let passed: Vec<Instant> = passed.into_iter().flatten().collect();
    assert_eq!(passed.len() as u64, COUNT);
    assert_passed("slots", &report, &passed);
}

#[test]
fn the_time_between_slots_is_spread_evenly() {
    // Without a rate no more than 1000 packets may wait.
    let slot = "slot: {min: 10ms, max: 30ms, packets: 1}";
    let profile = profile(&format!("{slot}, rate: {{bandwidth: 1gbit, queue: 1h}}"));
    let passed = Oracle::new(&profile).passed(&[Instant::now(); 5000], 1000);
    let passed: Vec<Instant> = passed.into_iter().flatten().collect();
    let apart = passed
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).as_secs_f64());
    let apart: Vec<f64> = apart.collect();
    let even = |time: f64| ((time - 0.01) / 0.02).clamp(0.0, 1.0);
    stats::assert_plausible("slots", stats::kolmogorov_smirnov(&apart, even));
    stats::assert_lag1("slots", &apart, 0.0);
}
