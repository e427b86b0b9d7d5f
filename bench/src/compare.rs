//! What becomes of the same request by us and by netem, at the receiver, beside what theory says;
//! `scripts/compare` is its front.

mod delay;
mod loss;
mod rate;
mod selection;
mod subject;
mod super_packets;
mod table;

use std::{fs, path::PathBuf};

use crate::machine;

use self::subject::{Effort, Outcome, Subject};

#[derive(clap::Args)]
pub struct Args {
    /// Where the Markdown goes
    #[arg(long, short)]
    output: PathBuf,
    /// The seed of our faults
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Send a tenth of the packets
    #[arg(long)]
    quick: bool,
    /// Measure only what has this in its name
    #[arg(long, default_value = "")]
    only: String,
}

/// Measures everything, one after the other and by both, and writes a table.
pub fn run(args: &Args) -> Result<(), String> {
    let effort = Effort { quick: args.quick };
    let all = [
        loss::subjects(effort),
        delay::subjects(effort),
        selection::subjects(effort),
        rate::subjects(effort),
        super_packets::subjects(effort),
    ];
    let chosen = |subject: &Subject| subject.faults.contains(&args.only);
    let measured: Vec<(Subject, Outcome)> = (all.into_iter().flatten())
        .filter(chosen)
        .map(|subject| {
            eprintln!("{}", subject.faults);
            let outcome = subject.measure(args.seed);
            (subject, outcome)
        })
        .collect();
    let kernel = machine::kernel();
    let text = table::render(&kernel, args.seed, &measured);
    print!("{text}");
    fs::write(&args.output, text).map_err(|error| format!("{}: {error}", args.output.display()))
}
