//! Reading what the programs count.

use std::ops::Range;

use aya::{
    Pod,
    maps::{Map, MapData, PerCpuArray, PerCpuValues},
    util::nr_cpus,
};
use injector_common::abi::{PathCounters, RuleCounters};
use serde::{Deserialize, Serialize};

use super::{Error, Result};

/// The kernel's numbers of the maps that hold counters, by which another process finds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapIds {
    /// Per rule.
    pub rules: u32,
    /// Outside the rules.
    pub path: u32,
}

/// The counters of a run.
pub struct Counters {
    rules: PerCpuArray<MapData, RuleCounters>,
    path: PerCpuArray<MapData, PathCounters>,
    ids: MapIds,
}

/// All counters at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Per rule, by slot.
    pub rules: Vec<RuleCounters>,
    /// Outside the rules.
    pub path: PathCounters,
    /// Packets that fq holds.
    pub held: u64,
    /// Nothing is in flight any more: what is missing now is lost.
    pub settled: bool,
}

impl Snapshot {
    /// Wire packets that were lifted to be split and have not been decided.
    pub fn undecided(&self) -> u64 {
        let undecided = |rule: &RuleCounters| rule.diverted.saturating_sub(rule.matched);
        self.rules.iter().map(undecided).sum()
    }

    /// Wire packets that the private pair lost, not counted as any rule's doing: those that never
    /// arrived to be decided, and those that departed but did not come back. While packets are in
    /// flight it is too high by their number.
    pub fn lost(&self) -> u64 {
        let unlifted: u64 = self.rules.iter().map(|rule| rule.lost).sum();
        self.undecided()
            + unlifted
            + self
                .path
                .stamped
                .saturating_sub(self.path.returned + self.held)
    }
}

impl Counters {
    /// From the maps of our own run.
    pub(super) fn new(rules: MapData, path: MapData) -> Result<Self> {
        let id = |map: &MapData| {
            map.info()
                .map(|info| info.id())
                .map_err(|error| failed(&error))
        };
        let ids = MapIds {
            rules: id(&rules)?,
            path: id(&path)?,
        };
        let (rules, path) = (Map::PerCpuArray(rules), Map::PerCpuArray(path));
        Ok(Self {
            rules: PerCpuArray::try_from(rules).map_err(|error| failed(&error))?,
            path: PerCpuArray::try_from(path).map_err(|error| failed(&error))?,
            ids,
        })
    }

    /// From the maps of another process's run.
    pub fn open(ids: MapIds) -> Result<Self> {
        let open = |id| MapData::from_id(id).map_err(|error| failed(&error));
        Self::new(open(ids.rules)?, open(ids.path)?)
    }

    /// The maps' numbers.
    pub fn ids(&self) -> MapIds {
        self.ids
    }

    /// Sums over all CPUs, for the rules in these slots.
    pub fn read(&self, slots: Range<u32>, held: u64) -> Result<Snapshot> {
        let rules = slots
            .map(|slot| sum(&self.rules, slot))
            .collect::<Result<_>>()?;
        Ok(Snapshot {
            rules,
            path: sum(&self.path, 0)?,
            held,
            settled: false,
        })
    }

    /// Sets the counters of the rules in these slots to 0.
    pub(super) fn clear(&mut self, slots: Range<u32>) -> Result<()> {
        let failed =
            |error: &(dyn std::error::Error + 'static)| Error::ebpf("clear the counters", error);
        let cpus = nr_cpus().map_err(|(_, error)| failed(&error))?;
        for slot in slots {
            let zeroes = PerCpuValues::try_from(vec![RuleCounters::default(); cpus]);
            let zeroes = zeroes.map_err(|error| failed(&error))?;
            self.rules
                .set(slot, zeroes, 0)
                .map_err(|error| failed(&error))?;
        }
        Ok(())
    }
}

fn failed(error: &aya::maps::MapError) -> Error {
    Error::ebpf("open the counters", error)
}

fn sum<T: Pod + Default + std::ops::AddAssign>(
    map: &PerCpuArray<MapData, T>,
    index: u32,
) -> Result<T> {
    let values = map
        .get(&index, 0)
        .map_err(|error| Error::ebpf("read the counters", &error))?;
    let mut total = T::default();
    for value in values.iter() {
        total += *value;
    }
    Ok(total)
}
