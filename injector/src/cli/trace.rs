//! The arguments of `injector trace`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

use super::Remote;
use crate::units::Probability;

/// Show the packets to which something happens, one by one
#[derive(Debug, Args)]
#[command(after_help = "\
The kernel chooses: what is not asked for costs next to nothing. Super-packets that are dropped, delayed
or marked as one are one line, with the number of their packets. Lines that came too fast (--rate), or
faster than they were taken, are counted and shown at the end.

Examples:
  injector trace -i eth0
  injector trace -i eth0 --rule db --fault drop,corrupt
  injector trace -i eth0 --host 10.0.0.0/8:5432/tcp --count 20
  injector trace -i eth0 --sample 1% --for 1m --json
  injector trace -i eth0 --fault corrupt --pcap hits.pcapng")]
pub struct Trace {
    /// The interface, on which faults are in force
    #[arg(long, short, value_name = "DEV")]
    pub interface: Option<String>,
    /// Only packets of this rule; repeatable
    #[arg(long = "rule", value_name = "NAME")]
    pub rules: Vec<String>,
    /// Only packets to which one of these happens
    #[arg(long = "fault", value_name = "FAULT", value_delimiter = ',')]
    pub faults: Vec<Fault>,
    /// Only packets from or to this end, such as 10.0.0.0/8:5432/tcp
    #[arg(long, value_name = "[ADDRESS][:PORT][/PROTOCOL]")]
    pub host: Option<Remote>,
    /// Only this share of them, chosen by chance
    #[arg(long, value_name = "PROBABILITY", default_value = "100%")]
    pub sample: Probability,
    /// At most so many in a second
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(10..))]
    pub rate: u64,
    /// End after so many
    #[arg(long, short, value_name = "N")]
    pub count: Option<u64>,
    /// End after this time
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub duration: Option<Duration>,
    /// Write the packets to this pcapng file, each with what happened to it as its comment, and corrupted
    /// ones also as they were; `-` for standard output
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    pub pcap: Option<PathBuf>,
}

/// What may happen to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Fault {
    /// Dropped
    Drop,
    /// Bits were flipped
    Corrupt,
    /// Copies were made
    Duplicate,
    /// Not delayed, to overtake others
    Reorder,
    /// Delayed
    Delay,
    /// Marked "congestion experienced"
    Mark,
    /// Dropped because the rate's queue was full
    Overlimit,
}
