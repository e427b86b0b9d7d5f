//! The `injector` command.

use std::process::ExitCode;

use clap::Parser as _;
use injector::{cli::Cli, command};

fn main() -> ExitCode {
    command::execute(Cli::parse())
}
