//! `man`: what may be typed.

use std::path::PathBuf;

use clap::Args;

/// Print the manual page, or write the pages of all commands into a directory
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  injector man | man -l -
  injector man /usr/local/share/man/man8")]
pub struct Man {
    /// Write injector.8, injector-run.8 and so on into this directory, which is made if it is not there
    pub directory: Option<PathBuf>,
}
