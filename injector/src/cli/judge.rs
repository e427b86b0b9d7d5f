//! What is made of a run's counters in the end.

use std::path::PathBuf;

use clap::Args;

use crate::profile::Expectation;

/// What a run is expected to achieve.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Expectations")]
pub struct Judge {
    /// Fail with exit code 7 unless this was achieved, such as db.drop=1%±0.3% (or 1%+-0.3%),
    /// db.matched>=1000 or path.unmatched=0; may be given again, and beside `expect` in the profile
    #[arg(long, value_name = "EXPECTATION", conflicts_with = "watch")]
    pub expect: Vec<Expectation>,
    /// Fail with exit code 7 where a rule has never matched
    #[arg(long, conflicts_with = "watch")]
    pub expect_fired: bool,
    /// Write the verdicts to this file as JUnit XML, a test case for each expectation
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
}
