//! Listening to what the programs of a run tell of packets.

use std::{os::fd::AsFd as _, time::Duration};

use aya::{
    Pod,
    maps::{Array, Map, MapData, MapError, RingBuf},
};
use injector_common::abi::{Hit, TraceFilter, TraceState};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    time::ClockId,
};
use serde::{Deserialize, Serialize};

use super::{
    Error, Result,
    control::{nanos, now},
};

/// The clock of the programs.
const MONOTONIC: ClockId = ClockId::CLOCK_MONOTONIC;
/// For how long the programs go on telling when nobody says that he still listens.
const LEASE: Duration = Duration::from_secs(3);
/// For how long hits lie in the ring while there is room. To wake somebody for each takes the programs several times as
/// long as all the rest of telling.
const NAP: Duration = Duration::from_millis(50);

/// The kernel's numbers of the maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceIds {
    /// What is to be told.
    pub filter: u32,
    /// How that stands.
    pub state: u32,
    /// The ring.
    pub hits: u32,
}

/// What nobody has heard of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Missed {
    /// Hits beyond the rate that was asked for.
    pub limited: u64,
    /// Hits for which there was no room.
    pub lost: u64,
}

/// Somebody who listens to a run. Nobody does any more once it is dropped.
pub struct Listener {
    filter: Array<MapData, TraceFilter>,
    state: Array<MapData, TraceState>,
    hits: RingBuf<MapData>,
    /// How long the ring is.
    hits_bytes: u32,
    before: TraceState,
}

impl Listener {
    /// Listens to another process's run on `device`.
    ///
    /// # Errors
    ///
    /// Where another process listens to it; where the run has ended meanwhile.
    pub fn open(ids: TraceIds, device: &str) -> Result<Self> {
        let data = |id| MapData::from_id(id).map_err(|error| failed(&error));
        let filter: Array<_, TraceFilter> = array(data(ids.filter)?)?;
        let state = array(data(ids.state)?)?;
        let hits = data(ids.hits)?;
        let hits_bytes = hits.info().map_err(|error| failed(&error))?.max_entries();
        let hits = RingBuf::try_from(Map::RingBuf(hits)).map_err(|error| failed(&error))?;
        if get(&filter)?.until_ns > nanos(now(MONOTONIC)?) {
            return Err(Error::Traced {
                device: device.to_owned(),
            });
        }
        let before = get(&state)?;
        let mut listener = Self {
            filter,
            state,
            hits,
            hits_bytes,
            before,
        };
        // What a listener that was killed has left.
        while listener.hits.next().is_some() {}
        Ok(listener)
    }

    /// Says what is to be told from now on, for a while: it is to be said again and again.
    pub fn listen(&mut self, filter: &TraceFilter) -> Result<()> {
        let until = nanos(now(MONOTONIC)? + LEASE);
        let filter = TraceFilter {
            until_ns: until,
            wake_mask: filter.wake_mask_for(self.hits_bytes),
            ..*filter
        };
        self.filter
            .set(0, filter, 0)
            .map_err(|error| failed(&error))
    }

    /// Says that nothing is to be told any more. What has been can still be taken.
    pub fn stop(&mut self) -> Result<()> {
        let nothing = self.filter.set(0, TraceFilter::NOTHING, 0);
        nothing.map_err(|error| failed(&error))
    }

    /// Waits until hits fill a part of the ring, but not longer than a nap, or than that.
    pub fn wait(&self, limit: Duration) -> Result<()> {
        let mut ready = [PollFd::new(self.hits.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(limit.min(NAP)).unwrap_or(PollTimeout::MAX);
        match poll(&mut ready, timeout) {
            Ok(_) | Err(nix::Error::EINTR) => Ok(()),
            Err(errno) => Err(Error::refused("wait for hits", errno)),
        }
    }

    /// The next hit, with the bytes of its packet that were told.
    pub fn take(&mut self) -> Option<(Hit, Vec<u8>)> {
        let told = self.hits.next()?;
        let (hit, bytes) = told.split_at_checked(size_of::<Hit>())?;
        // SAFETY: as long as a hit, and any bytes are one.
        let hit = unsafe { hit.as_ptr().cast::<Hit>().read_unaligned() };
        let bytes = bytes.get(..hit.captured as usize)?;
        Some((hit, bytes.to_vec()))
    }

    /// What was not told since the beginning.
    pub fn missed(&self) -> Result<Missed> {
        let now = get(&self.state)?;
        Ok(Missed {
            limited: now.limited - self.before.limited,
            lost: now.lost - self.before.lost,
        })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // If not, they soon find out by themselves.
        let _ = self.stop();
    }
}

/// What has to be added to a time of the monotonic clock to get one since 1970.
pub fn since_1970() -> Result<Duration> {
    Ok(now(ClockId::CLOCK_REALTIME)?.saturating_sub(now(MONOTONIC)?))
}

fn array<T: Pod>(data: MapData) -> Result<Array<MapData, T>> {
    Array::try_from(Map::Array(data)).map_err(|error| failed(&error))
}

fn get<T: Pod>(array: &Array<MapData, T>) -> Result<T> {
    array.get(&0, 0).map_err(|error| failed(&error))
}

fn failed(error: &MapError) -> Error {
    Error::ebpf("listen to the programs", error)
}
