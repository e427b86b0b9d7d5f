//! Measures what injector costs, beside nothing, netem and a proxy; `scripts/bench` is its front.
//!
//! `compare` is about what the models do, not about costs; `scripts/compare` is its front.
//! `measure` runs on each machine, natively and in guests, and writes JSON lines ([`record`]);
//! `report` reads those of all machines and makes Markdown, JSON and a plot of them.

mod compare;
mod condition;
mod contest;
mod cost;
mod echo;
mod frame;
mod machine;
mod packets;
mod programs;
mod proxy;
mod record;
mod report;
mod rtt;
mod seeing;
mod selectors;
mod startup;
mod stream;
mod swap;
mod throughput;

use std::{fs::File, path::PathBuf, process::ExitCode, thread, time::Duration};

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
    /// Compare the models with netem and theory, and write Markdown
    Compare(compare::Args),
    /// Print what was measured as Markdown
    Report(report::Args),
}

#[derive(clap::Args)]
struct Measure {
    /// Where the lines go
    #[arg(long, short)]
    output: PathBuf,
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

fn main() -> ExitCode {
    let result = match Cli::parse() {
        Cli::Measure(args) => measure(args),
        Cli::Compare(args) => compare::run(&args),
        Cli::Report(args) => report::run(&args),
    };
    if let Err(error) = result {
        eprintln!("bench: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn measure(args: Measure) -> Result<(), String> {
    let output = File::create(&args.output);
    let output = output.map_err(|error| format!("{}: {error}", args.output.display()))?;
    let effort = Effort {
        rounds: args.rounds,
        length: Duration::from_secs_f64(args.seconds),
    };
    let facts = machine::facts(&args.place, effort);
    let mut contest = Contest {
        place: args.place,
        table: args.tables[0],
        effort,
        output,
    };
    contest.write(&Record::Machine(facts));
    for table in args.tables {
        contest.table = table;
        // Some bind themselves to a processor, which ends with the thread.
        thread::scope(|scope| scope.spawn(|| run(&contest)).join())
            .map_err(|_| format!("{table}: failed"))?;
    }
    Ok(())
}

fn run(contest: &Contest) {
    match contest.table {
        Table::Throughput => throughput::measure(contest),
        Table::Packets => packets::measure(contest),
        Table::Rtt => rtt::measure(contest),
        Table::Cost => cost::measure(contest),
        Table::Seeing => seeing::measure(contest),
        Table::Selectors => selectors::measure(contest),
        Table::Proxy => proxy::measure(contest),
        Table::Startup => startup::measure(contest),
    }
}
