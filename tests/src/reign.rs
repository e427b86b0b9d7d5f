//! Rules in force one after the other, and which packets met which.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{
    Lab,
    udp::{Flow, Report},
};

/// The ports to which the rules drop, in turn.
pub const PORTS: [u16; 2] = [5000, 5001];

/// Dropped by every profile of [`drop_to`].
pub const ALWAYS: u16 = 5002;
/// Exempt in every such profile, from a rule that drops it.
pub const NEVER: u16 = 5003;

/// A profile that drops what goes to `port`, behind `others` rules that match nothing.
pub fn drop_to(port: u16, others: u16) -> String {
    let mut rules: Vec<_> = (1..=others)
        .map(|i| format!("{{match: {{dst: 192.0.2.0/24, dst_port: {i}}}}}"))
        .collect();
    rules.push(format!("{{match: {{protocol: udp, dst_port: {NEVER}}}}}"));
    let ports = [port, ALWAYS, NEVER];
    rules.push(format!(
        "{{match: {{protocol: udp, dst_port: {ports:?}}}, drop: 100%}}"
    ));
    let rules = rules.join(", ");
    format!("name: to-{port}\nseed: 1\nrules: [{rules}]")
}

/// When a plan was in force, and nothing else: from the return of one swap to the call of the next.
#[derive(Clone, Copy, Debug)]
struct Reign {
    /// The port to which the rules drop.
    port: u16,
    /// Its beginning.
    from: Instant,
    /// Its end.
    to: Instant,
}

/// Asserts that packets to `port` that were sent during a reign, and only some of those sent between
/// reigns, suffered what that reign's rules say. Returns how many were sent during reigns.
#[track_caller]
fn check(report: &Report, port: u16, reigns: &[Reign]) -> usize {
    let lost = report.lost();
    let mut certain = 0;
    // A packet has passed when the next one is about to be sent.
    for (number, sent) in report.sent.windows(2).enumerate() {
        let Some(reign) = reigns.iter().find(|r| r.from <= sent[0] && sent[1] <= r.to) else {
            continue;
        };
        certain += 1;
        let is_lost = lost.contains(&(number as u64));
        assert_eq!(is_lost, reign.port == port, "packet {number} to {port}");
    }
    certain
}

/// Sends to all ports at once, a datagram every `gap`, while `swap` puts the rules for one and the other of
/// [`PORTS`] into force; those for the first are to be. Asserts that every packet met the old rules or the
/// new, and after a swap only the new.
#[track_caller]
pub fn assert_explained(lab: &Lab, gap: Duration, mut swap: impl FnMut(usize)) {
    let mut reigns = Vec::new();
    let flow = |port| Flow::new(5_000).port(port).gap(gap);
    let reports = thread::scope(|scope| {
        let senders = [PORTS[0], PORTS[1], ALWAYS, NEVER].map(|port| {
            let flow = flow(port);
            scope.spawn(move || flow.send(&lab.a, &lab.b))
        });
        let (mut turn, mut from) = (0, Instant::now());
        while !senders.iter().all(|sender| sender.is_finished()) {
            // However slowly they are sent, enough of them for each of the few reigns that a slow swap leaves room for.
            thread::sleep(Duration::from_millis(50).max(gap * 40));
            let (port, to) = (PORTS[turn], Instant::now());
            reigns.push(Reign { port, from, to });
            turn = 1 - turn;
            swap(turn);
            from = Instant::now();
        }
        senders.map(|sender| sender.join().expect("a sender"))
    });
    let [first, second, always, never] = &reports;
    for (report, port) in [(first, PORTS[0]), (second, PORTS[1])] {
        assert_eq!(report.errors, Vec::<String>::new());
        let certain = check(report, port, &reigns);
        let count = reigns.len();
        eprintln!("port {port}: {certain} packets during {count} reigns");
        assert!(certain > 100, "{certain}: too few to tell");
    }
    assert!(reigns.len() > 2);
    // Also while rules were being replaced.
    assert_eq!(always.arrivals.len(), 0);
    never.assert_untouched();
}
