//! The loader's lease: the programs lift packets only until a deadline that the loader keeps
//! pushing ahead. However it ends (killed, stopped, hung, suspended), faults end with the lease.

use std::time::Duration;

use aya::maps::{Array, MapData};
use injector_common::abi;
use nix::time::{ClockId, clock_gettime};

use super::{Error, Result};

/// What the loader tells the programs.
pub(super) struct Lease {
    control: Array<MapData, u64>,
    lapse: Duration,
}

impl Lease {
    pub(super) fn new(control: Array<MapData, u64>, lapse: Duration) -> Self {
        Self { control, lapse }
    }

    /// Pushes the deadline ahead.
    pub(super) fn renew(&mut self) -> Result<()> {
        // The boot-time clock goes on while the machine is suspended.
        let now = clock_gettime(ClockId::CLOCK_BOOTTIME)
            .map_err(|errno| Error::refused("read the boot-time clock", errno))?;
        let deadline = Duration::from(now) + self.lapse;
        self.control
            .set(abi::DEADLINE, deadline.as_nanos() as u64, 0)
            .map_err(|error| Error::ebpf("renew the lease", &error))
    }

    /// Ends the faults. Packets are lifted as long as others of their rule are on their way, so that
    /// none is overtaken.
    pub(super) fn drain(&mut self) -> Result<()> {
        self.control
            .set(abi::DRAINING, 1, 0)
            .map_err(|error| Error::ebpf("end the faults", &error))
    }
}
