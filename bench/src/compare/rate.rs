//! Rates, and how long packets wait for them.

use std::time::{Duration, Instant};

use injector_tests::{
    Lab, stats,
    tcp::Transfer,
    udp::{Flow, Report},
};

use super::subject::{Effort, Quantity, Subject, Unit};

/// Of Ethernet, IPv4 and UDP.
const UDP_HEADERS: u64 = 14 + 20 + 8;
/// Of Ethernet, IPv4, and TCP with its option for timestamps.
const TCP_HEADERS: f64 = 14.0 + 20.0 + 32.0;
/// A packet of full size on the wire.
const FULL: u64 = 1514;
/// A queue in packets, of which every bottleneck here can hold that many.
const QUEUE: u64 = 50;

pub fn subjects(effort: Effort) -> Vec<Subject> {
    let mut subjects = Vec::new();
    for (mbit, packets, bytes) in [
        (1, 1000, 1 << 20),
        (10, 3000, 6 << 20),
        (100, 6000, 12 << 20),
    ] {
        subjects.push(datagrams(mbit, effort.of(packets)));
        subjects.push(stream(mbit, effort.of(bytes)));
    }
    subjects.push(full_queue(2000));
    subjects.push(queue_beside_delay(4000));
    subjects
}

/// How long a packet of full size takes.
fn takes(mbit: u64) -> Duration {
    Duration::from_nanos(8000 * FULL / mbit)
}

/// A rate that is measured over so many packets of full size: to within one of them.
fn rate(name: &'static str, mbit: u64, packets: f64) -> Quantity {
    let theory = mbit as f64;
    Quantity {
        name,
        unit: Unit::Mbit,
        theory,
        bounds: theory * (1.0 - 1.0 / packets)..=theory * (1.0 + 1.0 / packets),
    }
}

/// In Mbit/s, over the last third of what has come: datagrams are all sent by then.
fn late_rate(progress: &[(Instant, f64)]) -> Option<f64> {
    let (first, last) = (progress.get(progress.len() / 3 * 2)?, progress.last()?);
    let seconds = (last.0 - first.0).as_secs_f64();
    (seconds > 0.0).then(|| (last.1 - first.1) * 8e-6 / seconds)
}

fn wire_progress(report: &Report) -> Vec<(Instant, f64)> {
    let arrivals = (1..).zip(&report.arrivals);
    arrivals
        .map(|(n, arrival)| (arrival.at, (n * FULL) as f64))
        .collect()
}

fn datagrams(mbit: u64, count: u64) -> Subject {
    Subject {
        faults: format!("rate: {{bandwidth: {mbit}mbit, queue: 1h}}"),
        netem: format!("rate {mbit}mbit"),
        quantities: vec![rate("UDP, on the wire", mbit, count as f64 / 3.0)],
        send: Box::new(move |lab| {
            let flow = Flow::new(count).len((FULL - UDP_HEADERS) as usize);
            let flow = flow.gap(takes(mbit) / 2).linger(Duration::from_secs(1));
            vec![late_rate(&wire_progress(&flow.send(&lab.a, &lab.b)))]
        }),
    }
}

fn stream(mbit: u64, bytes: u64) -> Subject {
    Subject {
        faults: format!("rate: {{bandwidth: {mbit}mbit, queue: 10000 packets}}"),
        netem: format!("rate {mbit}mbit limit 10000"),
        quantities: vec![rate("TCP, on the wire", mbit, (bytes / FULL / 3) as f64)],
        send: Box::new(move |lab| {
            let report = Transfer::new(bytes).on_one_cpu().send(&lab.a, &lab.b);
            report.assert_intact(bytes);
            let mss = f64::from(report.info.mss);
            let on_wire = (mss + TCP_HEADERS) / mss;
            let progress = report.progress.iter();
            let progress: Vec<_> = progress
                .map(|&(at, bytes)| (at, bytes as f64 * on_wire))
                .collect();
            vec![late_rate(&progress)]
        }),
    }
}

/// Four times as much as the link carries, so that its queue is full.
fn overload(lab: &Lab, count: u64) -> Report {
    let flow = Flow::new(count).len((FULL - UDP_HEADERS) as usize);
    let flow = flow.gap(takes(10) / 4).linger(Duration::from_secs(1));
    flow.send(&lab.a, &lab.b)
}

/// One more or less may be in it: netem counts the packet that is being sent, injector does not. And every
/// packet takes a little by itself.
fn full_queue(count: u64) -> Subject {
    const BY_ITSELF_MS: f64 = 0.3;
    let (full, packet) = (QUEUE as f64, takes(10).as_secs_f64() * 1e3);
    Subject {
        faults: format!("rate: {{bandwidth: 10mbit, queue: {QUEUE} packets}}"),
        netem: format!("rate 10mbit limit {QUEUE}"),
        quantities: vec![Quantity {
            name: "delay, the queue being full",
            unit: Unit::Milliseconds,
            theory: full * packet,
            bounds: (full - 1.0) * packet..=(full + 1.0) * packet + BY_ITSELF_MS,
        }],
        send: Box::new(move |lab| {
            let report = overload(lab, count);
            let later = report.delays().into_iter().filter(|&(n, _)| n > count / 2);
            let delay = stats::median(later.map(|(_, delay)| delay));
            vec![Some(delay.as_secs_f64() * 1e3)]
        }),
    }
}

fn queue_beside_delay(count: u64) -> Subject {
    Subject {
        faults: format!("delay: 100ms, rate: {{bandwidth: 10mbit, queue: {QUEUE} packets}}"),
        netem: format!("delay 100ms rate 10mbit limit {QUEUE}"),
        quantities: vec![rate("UDP, on the wire", 10, (count / 4 / 3) as f64)],
        send: Box::new(move |lab| vec![late_rate(&wire_progress(&overload(lab, count)))]),
    }
}
