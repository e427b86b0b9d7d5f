//! Measures what injector costs, beside nothing, netem and a proxy; `scripts/bench` is its front.
//!
//! `measure` runs on each machine, natively and in guests, and writes JSON lines ([`record`]);
//! `report` reads those of all machines and makes text, JSON, Markdown and a plot of them.

mod condition;
mod contest;
mod cost;
mod echo;
mod frame;
mod machine;
mod packets;
mod programs;
mod record;
mod rtt;
mod startup;
mod stream;
mod throughput;

use std::{cell::RefCell, io, time::Duration};

use clap::Parser;

use crate::{
    contest::{Contest, Effort},
    record::{Record, Table},
};

#[derive(Parser)]
#[command(about = "Measure what injector costs")]
enum Cli {
    /// Measure on this machine, and write JSON lines
    Measure(Measure),
}

#[derive(clap::Args)]
struct Measure {
    /// How this machine is called
    #[arg(long, default_value = "native")]
    place: String,
    /// Turns of every contestant
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Length of one measurement of throughput or round trips
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// What to measure
    #[arg(required = true)]
    tables: Vec<Table>,
}

fn main() {
    match Cli::parse() {
        Cli::Measure(args) => measure(args),
    }
}

fn measure(args: Measure) {
    let effort = Effort {
        rounds: args.rounds,
        length: Duration::from_secs_f64(args.seconds),
    };
    let facts = machine::facts(&args.place, effort);
    let mut contest = Contest {
        place: args.place,
        table: args.tables[0],
        effort,
        output: RefCell::new(io::stdout()),
    };
    contest.write(&Record::Machine(facts));
    for table in args.tables {
        contest.table = table;
        match table {
            Table::Throughput => throughput::measure(&contest),
            Table::Rtt => rtt::measure(&contest),
            Table::Startup => startup::measure(&contest),
            Table::Packets => packets::measure(&contest),
            Table::Cost => cost::measure(&contest),
            Table::Proxy => {}
        }
    }
}
