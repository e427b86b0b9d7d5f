//! The loader's lease: the programs lift packets only until a deadline that the loader keeps
//! pushing ahead. However it ends (killed, stopped, hung, suspended), faults end with the lease.

use std::time::Duration;

use aya::maps::{Array, MapData};
use nix::time::{ClockId, clock_gettime};

use super::{Error, Result};

/// The deadline map.
pub(super) struct Lease {
    deadline: Array<MapData, u64>,
    lapse: Duration,
}

impl Lease {
    pub(super) fn new(deadline: Array<MapData, u64>, lapse: Duration) -> Self {
        Self { deadline, lapse }
    }

    /// Pushes the deadline ahead.
    pub(super) fn renew(&mut self) -> Result<()> {
        // The boot-time clock goes on while the machine is suspended.
        let now = clock_gettime(ClockId::CLOCK_BOOTTIME)
            .map_err(|errno| Error::refused("read the boot-time clock", errno))?;
        let deadline = Duration::from(now) + self.lapse;
        self.deadline
            .set(0, deadline.as_nanos() as u64, 0)
            .map_err(|error| Error::ebpf("renew the lease", &error))
    }
}
