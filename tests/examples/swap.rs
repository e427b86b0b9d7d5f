//! What replacing the rules costs: milliseconds, by number of rules, and how much of it is waiting
//! for programs that may still use the former ones.
//!
//! ```sh
//! cargo build --release -p injector-tests --example swap && sudo target/release/examples/swap
//! ```

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use injector::{
    datapath::{Options, Session},
    plan::{Needs, Plan},
    profile,
};
use injector_tests::Lab;
use nix::libc;

/// Swaps of one measurement, of which the quickest counts.
const ROUNDS: usize = 20;

fn main() {
    println!("rules  swap ms  worked out ms");
    for count in [1, 16, 256, 1024] {
        let lab = Lab::new();
        let started = Instant::now();
        let plan = plan(count);
        let worked_out = started.elapsed();
        let netns = lab.a.netns.path().display().to_string().parse().unwrap();
        let options = Options::default();
        let mut session = Session::start(&netns, "eth0", &plan, Needs::ANY, options).unwrap();
        let swap = quickest(|| session.swap(&plan).unwrap());
        println!("{count:>5}  {:>7.2}  {:>13.2}", ms(swap), ms(worked_out));
        session.stop(|_| true).unwrap();
    }
    let grace = quickest(|| {
        // SAFETY: the call has no pointers.
        unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL, 0, 0) };
    });
    println!("of which waiting: {:.2} ms", ms(grace));
}

fn plan(count: usize) -> Plan {
    let mut text = "name: bench\nrules:\n".to_owned();
    for i in 0..count {
        let (high, low, port) = (i >> 8, i & 255, i + 1);
        let conditions = format!("protocol: udp, dst: 10.{high}.{low}.8, dst_port: {port}");
        writeln!(text, "  - {{match: {{{conditions}}}, drop: 1%}}").unwrap();
    }
    Plan::new(&profile::parse("bench", &text).unwrap(), 1).unwrap()
}

fn quickest(mut work: impl FnMut()) -> Duration {
    let measure = |_| {
        let started = Instant::now();
        work();
        started.elapsed()
    };
    (0..ROUNDS).map(measure).min().unwrap()
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
