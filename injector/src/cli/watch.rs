//! The arguments of `injector watch`.

use std::time::Duration;

use clap::Args;
use clap_complete::ArgValueCompleter;

use super::completions;

/// Watch the runs on this machine: what their rules do, and how fast
#[derive(Debug, Args)]
#[command(after_help = "\
Keys: q quit, up and down or j and k choose, h histograms, p pause, ? help. Where standard output is
no terminal, or a dumb one, it prints a line for each rule each time; with --json, a document in one
line. Where there is no run, it waits for one.

Examples:
  injector watch
  injector watch -i eth0 --interval 200ms
  injector watch --all
  injector watch -i eth0 --json --count 60 > rates.jsonl")]
pub struct Watch {
    /// Only this interface
    #[arg(long, short, value_name = "DEV", add = ArgValueCompleter::new(completions::interfaces))]
    pub interface: Option<String>,
    /// The runs of all namespaces of the machine, unless --netns names one
    #[arg(long, conflicts_with = "interface")]
    pub all: bool,
    /// How often to look: 100ms to 1h
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    pub interval: Duration,
    /// End after having looked so many times
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
}

fn interval(text: &str) -> Result<Duration, String> {
    const MIN: Duration = Duration::from_millis(100);
    const MAX: Duration = Duration::from_secs(3600);
    let interval = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if (MIN..=MAX).contains(&interval) {
        return Ok(interval);
    }
    let [min, max] = [MIN, MAX].map(humantime::format_duration);
    Err(format!("expected {min} to {max}"))
}
