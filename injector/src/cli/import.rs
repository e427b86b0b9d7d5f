//! `import`: what may be typed.

use std::path::PathBuf;

use clap::Args;

use crate::import::Tool;

/// Make a profile of faults that were written for another tool
#[derive(Debug, Args)]
#[command(after_help = "\
Which tool it is shows in the text. The profile goes to standard output; what has no equivalent, or differs,
to standard error, and into the profile as comments. docs/import.md has a table for each tool.

Examples:
  injector import -- tc qdisc add dev eth0 root netem delay 100ms 20ms distribution normal loss 1%
  tc qdisc show dev eth0 | injector import -
  injector import network-chaos.yaml --strict --output flaky.yaml
  injector import toxiproxy.json --only redis
  injector import Verizon-LTE-short.up Verizon-LTE-short.down
  injector import -- pumba netem --duration 5m delay --time 3000 db")]
pub struct Import {
    /// A file, or `-` for standard input; of Mahimahi's traces two: of what is sent, and of what is received
    #[arg(value_name = "FILE", num_args = 1..=2, required_unless_present = "command")]
    pub files: Vec<PathBuf>,
    /// Read it as this tool's
    #[arg(long, value_enum, value_name = "TOOL")]
    pub from: Option<Tool>,
    /// Only the netem of this device, this experiment, or this proxy
    #[arg(long, value_name = "NAME")]
    pub only: Option<String>,
    /// Call the profile so
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Write the profile to this file
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Fail, with exit code 3, where something has no equivalent
    #[arg(long)]
    pub strict: bool,
    /// The command line of the other tool
    #[arg(last = true, value_name = "COMMAND", conflicts_with = "files")]
    pub command: Vec<String>,
}
