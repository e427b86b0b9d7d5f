//! The `injector` command.

use std::process::ExitCode;

use clap::Parser as _;
use injector::{
    cli::{self, Cli},
    command,
};

fn main() -> ExitCode {
    cli::answer();
    command::execute(Cli::parse())
}
