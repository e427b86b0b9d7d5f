//! Rules in force one after the other, and which packets met which.

use std::time::Instant;

use crate::udp::Report;

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
pub struct Reign {
    /// The port to which the rules drop.
    pub port: u16,
    /// Its beginning.
    pub from: Instant,
    /// Its end.
    pub to: Instant,
}

/// Asserts that packets to `port` that were sent during a reign, and only some of those sent between
/// reigns, suffered what that reign's rules say. Returns how many were sent during reigns.
#[track_caller]
pub fn check(report: &Report, port: u16, reigns: &[Reign]) -> usize {
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
