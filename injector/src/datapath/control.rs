//! What the loader tells the programs.
//!
//! Above all its lease: the programs lift packets only until a deadline that it keeps pushing ahead.
//! However it ends (killed, stopped, hung, suspended), faults end with the lease.

use std::time::Duration;

use aya::maps::{Array, MapData};
use injector_common::abi;
use nix::time::{ClockId, clock_gettime};

use super::{Error, Result};

/// The map from which the programs hear.
pub(super) struct Control {
    map: Array<MapData, u64>,
    lapse: Duration,
}

impl Control {
    pub(super) fn new(map: Array<MapData, u64>, lapse: Duration) -> Self {
        Self { map, lapse }
    }

    /// Pushes the deadline ahead.
    pub(super) fn renew(&mut self) -> Result<()> {
        // The boot-time clock goes on while the machine is suspended.
        let now = clock_gettime(ClockId::CLOCK_BOOTTIME)
            .map_err(|errno| Error::refused("read the boot-time clock", errno))?;
        let deadline = Duration::from(now) + self.lapse;
        self.map
            .set(abi::DEADLINE, deadline.as_nanos() as u64, 0)
            .map_err(|error| Error::ebpf("renew the lease", &error))
    }

    /// Ends the faults. Packets are lifted as long as others of their rule are on their way, so that
    /// none is overtaken.
    pub(super) fn drain(&mut self) -> Result<()> {
        self.map
            .set(abi::DRAINING, 1, 0)
            .map_err(|error| Error::ebpf("end the faults", &error))
    }

    /// Lets the rules of a generation begin, which have been on their course for `elapsed`: as far are the
    /// values that change over time.
    pub(super) fn begin(&mut self, generation: u32, elapsed: Duration) -> Result<()> {
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC)
            .map_err(|errno| Error::refused("read the monotonic clock", errno))?;
        let nanos = |duration: Duration| duration.as_nanos() as u64;
        // The machine may not have been up for as long.
        let begin_ns = nanos(now.into()).wrapping_sub(nanos(elapsed));
        self.map
            .set(abi::BEGIN + generation, begin_ns, 0)
            .map_err(|error| Error::ebpf("begin the rules' course", &error))
    }
}
