//! `injector scenario`

use std::{num::NonZeroUsize, path::PathBuf};

use clap::Args;

/// Play scenarios: real software over bad networks, step by step
#[derive(Debug, Args)]
#[command(after_help = "\
A scenario is a YAML file: hosts, the links between them, and steps that start servers, put faults into
force, run clients, and say what is expected of them. Hosts are network namespaces that nobody else
sees; nothing that a scenario starts survives it. docs/ci.md has all keys, scenarios/ has examples.

Examples:
  injector scenario scenarios/*.yaml
  injector scenario --jobs 4 --junit report.xml scenarios/*.yaml
  injector scenario --keep scenarios/redis-retries.yaml
  injector scenario --shell client scenarios/redis-retries.yaml")]
pub struct Scenario {
    /// Files
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Play so many at a time
    #[arg(long, short, default_value = "1", value_name = "N")]
    pub jobs: NonZeroUsize,
    /// Override the seed of scenarios, and of faults without one of their own
    #[arg(long)]
    pub seed: Option<u64>,
    /// Write a report of all steps to this file, as JUnit's XML
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// After the last step, or the first that fails, leave everything as it is until Ctrl-C, and say how
    /// to enter
    #[arg(long, conflicts_with_all = ["shell", "jobs"])]
    pub keep: bool,
    /// After the last step, or the first that fails, run a shell on this host; all ends with it
    #[arg(long, value_name = "HOST", conflicts_with = "jobs")]
    pub shell: Option<String>,
}
