//! One phase: everything that is measured, in turn.

use serde::Serialize;

use super::{
    bulk::{self, Bulk},
    datagrams::{self, Datagrams},
    echo::{self, RoundTrips},
    progress::Progress,
    setting::Setting,
};
use crate::error::Failure;

/// What one phase found.
#[derive(Debug, Serialize)]
pub(super) struct Measured {
    pub(super) round_trips: RoundTrips,
    /// For each direction in which the profile has rules.
    pub(super) datagrams: Vec<Datagrams>,
    pub(super) tcp: Bulk,
}

/// Measures everything.
pub(super) fn measure(
    setting: &Setting<'_>,
    phase: &str,
    progress: &Progress,
) -> Result<Measured, Failure> {
    progress.phase(phase);
    progress.step(phase, "round trips of 100 small packets");
    let round_trips = echo::measure(setting)?;
    progress.step(phase, "the fate of 1,000 numbered datagrams");
    let datagrams = datagrams::measure(setting)?;
    progress.step(phase, "a TCP transfer of one second");
    let tcp = bulk::measure(setting)?;
    Ok(Measured {
        round_trips,
        datagrams,
        tcp,
    })
}
