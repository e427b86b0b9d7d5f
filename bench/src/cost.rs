//! Table: the programs by themselves, beside empty ones of the same type.

use std::{
    cell::OnceCell,
    fmt::Write as _,
    os::fd::{AsFd as _, BorrowedFd},
    time::Duration,
};

use injector_tests::{
    bpf::{self, Kind},
    socket, stats,
};

use crate::{
    contest::{Contest, Contestant, Measured},
    frame,
    programs::{self, Own},
    record::Unit,
};

/// Numbers of rules. With none, no program is attached.
pub const RULES: [usize; 5] = [1, 16, 64, 256, 1024];
/// The place where time is virtual: an instruction takes a nanosecond.
const VIRTUAL_TIME: &str = "icount";
/// A program's mean over this time is one measurement.
const TIME: Duration = Duration::from_millis(10);
/// Turns for each one that is asked for: they are short.
pub const ROUNDS: u32 = 5;

/// Measures them.
pub fn measure(contest: &Contest) {
    socket::stay_on_one_cpu();
    for count in RULES {
        for hit in [false, true] {
            let what = if hit { "last matches" } else { "no match" };
            let profile = rules("egress", count, hit);
            let name = row_name(what, count);
            row(
                contest,
                &name,
                programs::DIVERT_EGRESS,
                &profile,
                Runs::Many,
            );
        }
    }
    let ingress = rules("ingress", 1, false);
    let name = "ingress, no match, 1 rule";
    row(
        contest,
        name,
        programs::DIVERT_INGRESS,
        &ingress,
        Runs::Many,
    );
    for fault in ["drop: 1%", "corrupt: 1%", "duplicate: 1%"] {
        let profile = format!("name: bench\nrules:\n- {{{fault}}}\n");
        let name = format!("decide, {fault}");
        row(contest, &name, programs::DECIDE, &profile, Runs::Many);
    }
    let delay = "name: bench\nrules:\n- {delay: 10ms}\n";
    row(contest, "hold", programs::HOLD, delay, Runs::Single);
    row(contest, "return", programs::RETURN, delay, Runs::Single);
    for (name, faults) in MODELS {
        model_row(contest, name, faults);
    }
    let drop = "name: bench\nrules:\n- {direction: ingress, drop: 100%}\n";
    row(contest, "xdp, drop", programs::XDP, drop, Runs::Many);
    row(
        contest,
        "xdp, no match, 1 rule",
        programs::XDP,
        &ingress,
        Runs::Many,
    );
}

/// What every model is compared with.
const PLAIN_DELAY: &str = "delay: 10ms";
/// One rule for each model, which delays like [`PLAIN_DELAY`], too.
const MODELS: [(&str, &str); 13] = [
    ("drop", "delay: 10ms, drop: 1%"),
    (
        "correlated drop",
        "delay: 10ms, drop: {probability: 1%, correlation: 25%}",
    ),
    (
        "gemodel",
        "delay: 10ms, drop: {model: gemodel, p: 1%, r: 20%}",
    ),
    (
        "4-state drop",
        "delay: 10ms, drop: {model: state, p13: 1%, p31: 30%, p32: 5%, p23: 50%}",
    ),
    ("every 100th", "delay: 10ms, drop: {every: 100}"),
    ("listed", "delay: 10ms, drop: {packets: [3, 7-9]}"),
    ("uniform jitter", "delay: {time: 10ms, jitter: 2ms}"),
    (
        "normal jitter",
        "delay: {time: 10ms, jitter: 2ms, distribution: normal}",
    ),
    (
        "correlated jitter",
        "delay: {time: 10ms, jitter: 2ms, correlation: 25%}",
    ),
    (
        "kept order",
        "delay: {time: 10ms, jitter: 2ms, keep_order: true}",
    ),
    ("reorder", "delay: 10ms, reorder: {probability: 1%, gap: 5}"),
    (
        "rate",
        "delay: 10ms, rate: {bandwidth: 1000gbit, queue: 1h}",
    ),
    ("slot", "delay: 10ms, slot: {min: 1us, packets: 1000}"),
];

/// The egress program where a model is at work, beside one that only delays. There is no pair: what would
/// be lifted passes.
fn model_row(contest: &Contest, name: &str, faults: &str) {
    let own = |faults: &str| Own::load(&format!("name: bench\nrules:\n- {{{faults}}}\n"));
    let (plain, model) = (OnceCell::new(), OnceCell::new());
    let run = |own: &Result<Own, String>| {
        let own = own.as_ref().map_err(Clone::clone)?;
        time(
            own.get(programs::DIVERT_EGRESS)?,
            &datagram(),
            None,
            Runs::Many,
        )
    };
    let contestants = vec![
        Contestant::new(
            "delay alone",
            || run(plain.get_or_init(|| own(PLAIN_DELAY))),
        ),
        Contestant::new("injector", || run(model.get_or_init(|| own(faults)))),
    ];
    let name = format!("model, {name}");
    contest.row_of(
        ROUNDS * contest.effort.rounds,
        &name,
        unit(contest),
        contestants,
    );
}

/// The name of the row about so many rules on egress.
pub fn row_name(what: &str, count: usize) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("egress, {what}, {count} rule{plural}")
}

/// How a program can be run.
#[derive(Clone, Copy)]
pub enum Runs {
    /// On the same packet over and over.
    Many,
    /// Once for each packet, because it leaves the packet so that it would not do the same again.
    Single,
}

/// Rules that differ from the packet as late as can be, and, if it is to be a hit, one more that
/// is the packet's: it exempts, which is the least that can be done with a match.
fn rules(direction: &str, count: usize, hit: bool) -> String {
    let mut text = "name: bench\nrules:\n".to_owned();
    let misses = count - usize::from(hit);
    for i in 0..misses {
        let condition = if i % 2 == 0 {
            format!("dst: 10.1.{}.0/24, dst_port: 2000", i / 2 % 256)
        } else {
            format!("src: 10.0.0.1, dst_port: {}", 3000 + i)
        };
        let rule = format!("match: {{protocol: udp, {condition}}}, drop: 1%");
        writeln!(text, "- {{direction: {direction}, {rule}}}").expect("write to a string");
    }
    if hit {
        let rule = "match: {protocol: udp, dst: 10.0.0.2, dst_port: 2000}";
        writeln!(text, "- {{direction: {direction}, {rule}}}").expect("write to a string");
    }
    text
}

fn row(contest: &Contest, name: &str, program: &str, profile: &str, runs: Runs) {
    let (kind, verdict) = match program {
        programs::XDP if name.contains("drop") => (Kind::Xdp, bpf::XDP_DROP),
        programs::XDP => (Kind::Xdp, bpf::XDP_PASS),
        _ => (Kind::Tc, bpf::NEXT),
    };
    let (empty, _) = bpf::load(kind, &bpf::ret(verdict));
    let own: OnceCell<Result<Own, String>> = OnceCell::new();
    let on_the_pair = [programs::DECIDE, programs::HOLD, programs::RETURN].contains(&program);
    let context = on_the_pair.then(programs::context_on_the_pair);
    let context = context.as_ref().map(|context| &context[..]);
    let frame = datagram();
    let contestants = vec![
        Contestant::new("empty program", || {
            time(empty.as_fd(), &frame, context, runs)
        }),
        Contestant::new("injector", || {
            let own = own.get_or_init(|| Own::load(profile));
            let own = own.as_ref().map_err(Clone::clone)?;
            time(own.get(program)?, &frame, context, runs)
        }),
    ];
    contest.row_of(
        ROUNDS * contest.effort.rounds,
        name,
        unit(contest),
        contestants,
    );
}

/// The packet that the rules here are about.
pub fn datagram() -> Vec<u8> {
    frame::udp([10, 0, 0, 1], [10, 0, 0, 2])
}

/// What the cost of a program is counted in.
pub fn unit(contest: &Contest) -> Unit {
    if contest.place == VIRTUAL_TIME {
        Unit::Instructions
    } else {
        Unit::Nanoseconds
    }
}

/// How long one run takes.
pub fn time(program: BorrowedFd<'_>, frame: &[u8], context: Option<&[u8]>, runs: Runs) -> Measured {
    let run =
        |times| bpf::test_run(program, frame, context, times).map_err(|error| error.to_string());
    let mean = match runs {
        Runs::Many => {
            let once = run(100)?.max(Duration::from_nanos(1));
            run((TIME.as_nanos() / once.as_nanos()) as u32)?
        }
        Runs::Single => {
            let times: Result<Vec<Duration>, String> = (0..1000).map(|_| run(1)).collect();
            stats::median(times?)
        }
    };
    Ok(mean.as_nanos() as f64)
}
