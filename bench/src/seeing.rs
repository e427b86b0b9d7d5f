//! Table: what it costs to see what happens.

use std::{
    cell::RefCell,
    os::fd::BorrowedFd,
    time::{Duration, Instant},
};

use injector_tests::{bpf, socket, stats};

use crate::{
    contest::{Contest, Contestant, Measured},
    cost::{self, ROUNDS, Runs},
    programs::{self, Own},
};

/// Rules of which every packet is counted in another way.
const COUNTED: [(&str, &str); 3] = [
    ("counters, exempt", "match: {protocol: udp}"),
    ("counters, drop", "drop: 50%"),
    ("counters, delay", "delay: 10ms"),
];
/// Rules that hit every packet.
const TRACED: [(&str, &str); 2] = [
    ("trace, drop", "drop: 100%"),
    ("trace, delay", "delay: 10ms"),
];

/// Packets of one system call: the ring holds what is told of them.
const BATCH: u32 = 1000;
const BATCHES: u32 = 50;
/// All of 2^32.
const ALWAYS: u64 = 1 << 32;

/// Measures them.
pub fn measure(contest: &Contest) {
    socket::stay_on_one_cpu();
    for (name, rule) in COUNTED {
        counted(contest, name, &profile(rule));
    }
    for (name, rule) in TRACED {
        traced(contest, name, &profile(rule));
    }
    heard(contest);
}

fn profile(rule: &str) -> String {
    format!("name: bench\nrules:\n- {{{rule}}}\n")
}

/// Programs that count beside some from which the verifier has removed whatever counts for rules.
fn counted(contest: &Contest, name: &str, profile: &str) {
    let run = |own: &Result<Own, String>| {
        let own = own.as_ref().map_err(Clone::clone)?;
        let program = own.get(programs::DIVERT_EGRESS)?;
        cost::time(program, &cost::datagram(), None, Runs::Many)
    };
    let (without, with) = (Own::load_uncounted(profile), Own::load(profile));
    let contestants = vec![
        Contestant::new("nothing counted", || run(&without)),
        Contestant::new("injector", || run(&with)),
    ];
    contest.row_of(rounds(contest), name, cost::unit(contest), contestants);
}

/// The same programs, with listeners who want different shares of the hits.
fn traced(contest: &Contest, name: &str, profile: &str) {
    let own = RefCell::new(Own::load(profile));
    let told = |odds| {
        let mut own = own.borrow_mut();
        told(own.as_mut().map_err(|error| error.clone())?, odds)
    };
    let contestants = vec![
        Contestant::new("nobody listens", || told(0)),
        Contestant::new("one in 100", || told(ALWAYS / 100)),
        Contestant::new("every packet", || told(ALWAYS)),
    ];
    contest.row_of(rounds(contest), name, cost::unit(contest), contestants);
}

/// Single packets, far apart, with somebody who waits for them on another processor.
fn heard(contest: &Contest) {
    let own = RefCell::new(Own::load(&profile("drop: 100%")));
    let heard = |tell: fn(&mut Own) -> Result<(), String>| {
        let mut own = own.borrow_mut();
        let own = own.as_mut().map_err(|error| error.clone())?;
        tell(own)?;
        let times = own.while_heard(programs::DIVERT_EGRESS, single_packets)?;
        Ok(stats::median(times?).as_nanos() as f64)
    };
    let contestants = vec![
        Contestant::new("nobody listens", || heard(|own| own.tell(0))),
        Contestant::new("every packet", || heard(|own| own.tell(ALWAYS))),
        Contestant::new("woken for each", || heard(Own::tell_and_wake)),
    ];
    contest.row_of(
        rounds(contest),
        "trace, one by one",
        cost::unit(contest),
        contestants,
    );
}

/// How long each takes, one in a tenth of a millisecond: whoever is woken sleeps again.
fn single_packets(program: BorrowedFd<'_>) -> Result<Vec<Duration>, String> {
    const GAP: Duration = Duration::from_micros(100);
    let frame = cost::datagram();
    let run = |_| {
        let sent = Instant::now();
        let time = bpf::test_run(program, &frame, None, 1).map_err(|error| error.to_string());
        while sent.elapsed() < GAP {}
        time
    };
    (0..BATCH).map(run).collect()
}

fn rounds(contest: &Contest) -> u32 {
    ROUNDS * contest.effort.rounds
}

/// How long one packet takes when so many of them are told. They are taken out of the ring between the batches, so
/// that none is lost, and nothing of it is measured.
fn told(own: &mut Own, odds: u64) -> Measured {
    own.tell(odds)?;
    let frame = cost::datagram();
    let (mut sum, mut told) = (0, 0);
    for _ in 0..BATCHES {
        let program = own.get(programs::DIVERT_EGRESS)?;
        let mean =
            bpf::test_run(program, &frame, None, BATCH).map_err(|error| error.to_string())?;
        sum += mean.as_nanos();
        told += own.told();
    }
    match (odds, told) {
        (0, 1..) => Err(format!("{told} packets were told to nobody")),
        (ALWAYS, told) if told != BATCH * BATCHES => Err(format!("only {told} packets were told")),
        _ => Ok(sum as f64 / f64::from(BATCHES)),
    }
}
