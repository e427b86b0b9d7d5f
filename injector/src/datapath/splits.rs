//! The records of super-packets that are being split: all interfaces of a run have the same.
//!
//! How many there have to be is bounded by what a processor's queue holds, whatever devices' packets these are. For each
//! interface they would be most of its memory.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
    sync::{Arc, Mutex, PoisonError},
};

use aya::{
    Ebpf,
    maps::{Map, MapData},
};
use injector_common::abi::{Split, maps};
use nix::libc;

use super::{Error, Result, object::missing};

/// The maps by which programs keep them.
const MAPS: [&str; 2] = [maps::SPLITS, maps::SPLITS_SENT];

/// Bytes of all records together, at most. Machines whose queues are longer by far than the kernel makes them have fewer
/// records than packets fit into the queues: a burst of more than that gets the fates of others.
const BYTES_MAX: usize = 64 << 20;

/// How many records a processor has, where so many packets can be on their way on each.
pub(super) fn ring(splits_max: u32, processors: u32) -> u32 {
    let room = BYTES_MAX / size_of::<Split>() / processors.max(1) as usize;
    let most = 1 << room.max(1).ilog2();
    // One more is being written.
    let wanted = splits_max.saturating_add(1).checked_next_power_of_two();
    wanted.map_or(most, |wanted| wanted.min(most))
}

/// Those of the run on several interfaces that this process is.
static SHARED: Mutex<Option<Arc<Splits>>> = Mutex::new(None);

/// The maps, with a ring of records for each processor.
pub(super) struct Splits {
    ring: u32,
    maps: [OwnedFd; 2],
}

impl Splits {
    /// Those that there are, if their rings have so many records.
    pub(super) fn shared(ring: u32) -> Option<Arc<Self>> {
        let shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.clone().filter(|splits| splits.ring == ring)
    }

    /// Shares those of `ebpf` from now on, unless some are shared already: then it gets these.
    pub(super) fn share(ebpf: &Ebpf, ring: u32) -> Result<()> {
        let [records, sent] = MAPS.map(|name| {
            let owned = data(ebpf, name)?.fd().as_fd().try_clone_to_owned();
            owned.map_err(|source| Error::refused(format!("share the map {name}"), source))
        });
        let maps = [records?, sent?];
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        match &*shared {
            Some(splits) if splits.ring == ring => splits.lend(ebpf),
            _ => {
                *shared = Some(Arc::new(Self { ring, maps }));
                Ok(())
            }
        }
    }

    /// Gives them to `ebpf`, none of whose programs is loaded yet, in place of its own.
    pub(super) fn lend(&self, ebpf: &Ebpf) -> Result<()> {
        let mut pairs = MAPS.into_iter().zip(&self.maps);
        pairs.try_for_each(|(name, map)| replace(name, data(ebpf, name)?, map.as_fd()))
    }
}

fn data<'a>(ebpf: &'a Ebpf, name: &str) -> Result<&'a MapData> {
    match ebpf.map(name) {
        Some(Map::Array(data) | Map::PerCpuArray(data)) => Ok(data),
        _ => Err(missing("map", name)),
    }
}

/// Programs know maps by their descriptors until they are loaded: what leads to another map then makes that one theirs.
fn replace(name: &str, former: &MapData, map: BorrowedFd<'_>) -> Result<()> {
    let former = former.fd().as_fd().as_raw_fd();
    // SAFETY: both descriptors are open, and whoever owns the former one owns what it leads to now.
    match unsafe { libc::dup3(map.as_raw_fd(), former, libc::O_CLOEXEC) } {
        -1 => Err(Error::refused(
            format!("share the map {name}"),
            io::Error::last_os_error(),
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_packet_on_its_way_has_a_record_within_bounds() {
        // As the kernel makes the queues, and ten times as long.
        assert_eq!(ring(2000, 2), 2048);
        assert_eq!(ring(20_000, 4), 32_768);
        for processors in [1, 2, 3, 64, 255, 4096] {
            for splits_max in [0, 1, 2047, 2048, 500_000, u32::MAX] {
                let ring = ring(splits_max, processors);
                assert!(ring.is_power_of_two());
                let bytes = ring as usize * processors as usize * size_of::<Split>();
                assert!(bytes <= BYTES_MAX, "{ring} of {processors}");
            }
        }
    }
}
