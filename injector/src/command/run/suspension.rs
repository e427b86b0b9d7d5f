//! The time for which the machine is suspended. Timers stop meanwhile, profiles do not.

use std::time::{Duration, Instant};

use crate::{datapath::control, error::Failure};

/// What of it has been taken into account.
#[derive(Debug)]
pub(super) struct Suspension(Duration);

impl Suspension {
    /// What came before now is nobody's business.
    pub(super) fn begin() -> Result<Self, Failure> {
        Ok(Self(control::suspended()?))
    }

    /// How long the machine has been suspended since this was last asked.
    pub(super) fn passed(&mut self) -> Result<Duration, Failure> {
        let suspended = control::suspended()?;
        let passed = suspended.saturating_sub(self.0);
        self.0 += passed;
        Ok(passed)
    }
}

/// A moment, by timers that have missed so much.
pub(super) fn earlier(moment: Instant, missed: Duration) -> Instant {
    moment.checked_sub(missed).unwrap_or(moment)
}
