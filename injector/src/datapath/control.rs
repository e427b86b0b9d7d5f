//! What the loader tells the programs.
//!
//! Above all its lease: the programs lift packets only until a deadline that it keeps pushing ahead.
//! However it ends (killed, stopped, hung, suspended), faults end with the lease. Where it is known when
//! they end in any case, the programs know, too.

use std::{str::FromStr, time::Duration};

use aya::maps::{Array, Map, MapData};
use injector_common::abi;
use nix::time::{ClockId, clock_gettime};
use serde::Serialize;

use super::{Error, Result};

/// How long the programs act without hearing from the loader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lapse(Duration);

impl Lapse {
    /// The shortest: a busy machine may keep the loader waiting for a while.
    const MIN: Duration = Duration::from_millis(500);
    /// The longest: so long may a killed run do harm.
    const MAX: Duration = Duration::from_secs(60);

    /// How often the lease is to be renewed.
    pub fn renewal(self) -> Duration {
        const LONGEST: Duration = Duration::from_secs(1);
        /// How often the loader may be late.
        const SPARE: u32 = 4;
        (self.0 / SPARE).min(LONGEST)
    }
}

impl Default for Lapse {
    fn default() -> Self {
        Self(Duration::from_secs(5))
    }
}

impl FromStr for Lapse {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let lapse = humantime::parse_duration(text).map_err(|error| error.to_string())?;
        if (Self::MIN..=Self::MAX).contains(&lapse) {
            return Ok(Self(lapse));
        }
        let [min, max] = [Self::MIN, Self::MAX].map(humantime::format_duration);
        Err(format!("expected {min} to {max}"))
    }
}

/// The map from which the programs hear.
pub struct Control {
    map: Array<MapData, u64>,
    /// The kernel's number of it.
    id: u32,
}

/// How long the faults last from now on. The boot-time clock decides, which goes on while the machine is
/// suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Term {
    /// How long the lease is still valid; 0 where it has run out.
    pub lease_ms: u64,
    /// When the faults end in any case; absent where nobody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends_in_ms: Option<u64>,
}

impl Term {
    /// Whether the loader has not renewed its lease for too long.
    pub fn has_lapsed(&self) -> bool {
        self.lease_ms == 0
    }
}

impl Control {
    /// From the map of our own run.
    pub(super) fn new(map: MapData) -> Result<Self> {
        let failed = |error| Error::ebpf("open the lease", &error);
        let id = map.info().map_err(failed)?.id();
        let map = Array::try_from(Map::Array(map)).map_err(failed)?;
        Ok(Self { map, id })
    }

    /// From the map of another process's run, by the kernel's number of it.
    pub fn open(id: u32) -> Result<Self> {
        let map = MapData::from_id(id).map_err(|error| Error::ebpf("open the lease", &error))?;
        Self::new(map)
    }

    /// The kernel's number of the map.
    pub(super) fn id(&self) -> u32 {
        self.id
    }

    /// Pushes the lease's deadline ahead.
    pub(super) fn renew(&mut self, lapse: Lapse) -> Result<()> {
        self.set(
            abi::DEADLINE,
            nanos(now(BOOT)? + lapse.0),
            "renew the lease",
        )
    }

    /// Lets the faults end in `left` from now, also where nobody does it then; `None` where that is open.
    pub(super) fn end_in(&mut self, left: Option<Duration>) -> Result<()> {
        let end_ns = match left {
            Some(left) => nanos(now(BOOT)?.saturating_add(left)),
            None => u64::MAX,
        };
        self.set(abi::END, end_ns, "set the end")
    }

    /// Ends the faults. Packets are lifted as long as others of their rule are on their way, so that
    /// none is overtaken.
    pub(super) fn drain(&mut self) -> Result<()> {
        self.set(abi::END, 0, "end the faults")
    }

    /// How long the faults last from now on.
    pub fn term(&self) -> Result<Term> {
        let now_ns = nanos(now(BOOT)?);
        let left_ms = |at_ns: u64| at_ns.saturating_sub(now_ns).div_ceil(1_000_000);
        let end_ns = self.get(abi::END)?;
        Ok(Term {
            lease_ms: left_ms(self.get(abi::DEADLINE)?),
            ends_in_ms: (end_ns != u64::MAX).then(|| left_ms(end_ns)),
        })
    }

    /// Lets the rules of a generation begin, which have been on their course for `elapsed`: as far are the
    /// values that change over time.
    pub(super) fn begin(&mut self, generation: u32, elapsed: Duration) -> Result<()> {
        let now = now(ClockId::CLOCK_MONOTONIC)?;
        // The machine may not have been up for as long.
        let begin_ns = nanos(now).wrapping_sub(nanos(elapsed));
        self.set(abi::BEGIN + generation, begin_ns, "begin the rules' course")
    }

    /// Lets a generation's rules be further on their course, by as much as was missed.
    pub(super) fn advance(&mut self, generation: u32, missed: Duration) -> Result<()> {
        let begin_ns = self
            .get(abi::BEGIN + generation)?
            .wrapping_sub(nanos(missed));
        self.set(
            abi::BEGIN + generation,
            begin_ns,
            "advance the rules' course",
        )
    }

    fn get(&self, index: u32) -> Result<u64> {
        let value = self.map.get(&index, 0);
        value.map_err(|error| Error::ebpf("read the lease", &error))
    }

    fn set(&mut self, index: u32, value: u64, action: &'static str) -> Result<()> {
        let set = self.map.set(index, value, 0);
        set.map_err(|error| Error::ebpf(action, &error))
    }
}

/// Goes on while the machine is suspended.
const BOOT: ClockId = ClockId::CLOCK_BOOTTIME;

/// The time on the boot-time clock.
pub fn boot_time() -> Result<Duration> {
    now(BOOT)
}

/// For how long the machine has been suspended since it was started.
pub fn suspended() -> Result<Duration> {
    /// A pause between the two readings hides some of it; three in a row are not interrupted.
    const READINGS: usize = 3;
    let mut longest = Duration::ZERO;
    for _ in 0..READINGS {
        let boot = now(BOOT)?;
        longest = longest.max(boot.saturating_sub(now(ClockId::CLOCK_MONOTONIC)?));
    }
    Ok(longest)
}

/// The time on a clock.
pub(super) fn now(clock: ClockId) -> Result<Duration> {
    let now = clock_gettime(clock);
    let now = now.map_err(|errno| Error::refused("read the clock", errno))?;
    Ok(now.into())
}

/// Sums saturate after 584 years.
pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lapse_is_neither_too_short_to_be_kept_up_nor_too_long_to_be_borne() {
        for (text, lapse) in [
            ("500ms", Some(500)),
            ("5s", Some(5_000)),
            ("1m", Some(60_000)),
        ] {
            let parsed = text.parse::<Lapse>().ok();
            assert_eq!(parsed, lapse.map(|ms| Lapse(Duration::from_millis(ms))));
        }
        for text in ["499ms", "61s", "0s", "5", "-1s", "1h", ""] {
            assert!(text.parse::<Lapse>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_lease_is_renewed_several_times_before_it_ends() {
        for ms in [500, 1_000, 5_000, 60_000] {
            let lapse = Lapse(Duration::from_millis(ms));
            assert!(lapse.renewal() * 4 <= lapse.0 && lapse.renewal() <= Duration::from_secs(1));
        }
    }
}
