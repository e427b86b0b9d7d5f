//! What a measuring process writes: one JSON document per line, so that those of several machines
//! can be put together.

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// A line.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum Record {
    Machine(Machine),
    Sample(Sample),
    Skipped(Skipped),
}

/// Where the following was measured. `place` names it in all other records.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    pub place: String,
    pub kernel: String,
    pub cpu: String,
    pub cpus: usize,
    pub rounds: u32,
    pub seconds: f64,
}

/// One measurement.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sample {
    pub place: String,
    pub table: Table,
    pub row: String,
    pub unit: Unit,
    pub contestant: String,
    pub value: f64,
}

/// A contestant that could not run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Skipped {
    pub place: String,
    pub table: Table,
    pub row: String,
    pub contestant: String,
    pub reason: String,
}

/// Rows of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Table {
    /// One TCP stream of a local sender.
    Throughput,
    /// Small packets, made in the kernel.
    Packets,
    /// Round trips of small datagrams.
    Rtt,
    /// The programs by themselves, by `BPF_PROG_TEST_RUN`.
    Cost,
    /// What it costs to see what happens.
    Seeing,
    /// What each condition of a match costs.
    Selectors,
    /// Beside the proxy fault-cli.
    Proxy,
    /// Start, stop and size.
    Startup,
}

impl Table {
    /// What the table is about.
    pub fn title(self) -> &'static str {
        match self {
            Self::Throughput => "one TCP stream from a local sender over a veth pair",
            Self::Packets => "64-byte packets through a router to a host, received",
            Self::Rtt => "round trip of a 64-byte datagram over a veth pair",
            Self::Cost => "one run of a program, by BPF_PROG_TEST_RUN",
            Self::Seeing => {
                "one packet, by BPF_PROG_TEST_RUN, with counters and listeners and without"
            }
            Self::Selectors => "one packet that meets a condition, by BPF_PROG_TEST_RUN",
            Self::Proxy => "1 ms of delay, beside a proxy; round trips without the 1 ms",
            Self::Startup => "start, stop and size",
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value().ok_or(fmt::Error)?;
        f.write_str(value.get_name())
    }
}

/// What values are counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    #[serde(rename = "Gbit/s")]
    GbitPerSecond,
    #[serde(rename = "Mpackets/s")]
    MpacketsPerSecond,
    #[serde(rename = "ns")]
    Nanoseconds,
    /// What a nanosecond is where time is counted in them.
    #[serde(rename = "instructions")]
    Instructions,
    #[serde(rename = "µs")]
    Microseconds,
    #[serde(rename = "ms")]
    Milliseconds,
    #[serde(rename = "MB")]
    Megabytes,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GbitPerSecond => "Gbit/s",
            Self::MpacketsPerSecond => "Mpackets/s",
            Self::Nanoseconds => "ns",
            Self::Instructions => "instructions",
            Self::Microseconds => "µs",
            Self::Milliseconds => "ms",
            Self::Megabytes => "MB",
        })
    }
}
