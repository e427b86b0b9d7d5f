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
use injector_common::abi::maps;
use nix::libc;

use super::{Error, Result, object::missing};

/// The maps by which programs keep them.
const MAPS: [&str; 2] = [maps::SPLITS, maps::SPLITS_SENT];

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
