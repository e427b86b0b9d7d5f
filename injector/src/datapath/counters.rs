//! Reading what the programs count.

use std::ops::Range;

use aya::{
    Pod,
    maps::{Array, Map, MapData, PerCpuArray, PerCpuValues},
    util::nr_cpus,
};
use injector_common::abi::{PathCounters, RuleCounters, RuleState};
use serde::{Deserialize, Serialize};

use super::{Error, Result};

/// The kernel's numbers of the maps that hold counters, by which another process finds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapIds {
    /// Per rule.
    pub rules: u32,
    /// Outside the rules.
    pub path: u32,
    /// Where the rules stand.
    pub states: u32,
}

/// The counters of a run.
pub struct Counters {
    rules: PerCpuArray<MapData, RuleCounters>,
    path: PerCpuArray<MapData, PathCounters>,
    states: Array<MapData, RuleState>,
    ids: MapIds,
}

/// All counters at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Per rule, by slot.
    pub rules: Vec<RuleCounters>,
    /// Outside the rules.
    pub path: PathCounters,
    /// Wire packets that were lifted and are not back: held to be delivered later, or lost.
    pub in_flight: u64,
    /// Packets that the pair's fq has dropped, by what the kernel tells of it; `None` where there is none.
    pub qdisc_drops: Option<u64>,
}

impl Counters {
    /// From the maps of our own run.
    pub(super) fn new(rules: MapData, path: MapData, states: MapData) -> Result<Self> {
        let id = |map: &MapData| {
            map.info()
                .map(|info| info.id())
                .map_err(|error| failed(&error))
        };
        let ids = MapIds {
            rules: id(&rules)?,
            path: id(&path)?,
            states: id(&states)?,
        };
        let (rules, path) = (Map::PerCpuArray(rules), Map::PerCpuArray(path));
        let states = Map::Array(states);
        Ok(Self {
            rules: PerCpuArray::try_from(rules).map_err(|error| failed(&error))?,
            path: PerCpuArray::try_from(path).map_err(|error| failed(&error))?,
            states: Array::try_from(states).map_err(|error| failed(&error))?,
            ids,
        })
    }

    /// From the maps of another process's run.
    pub fn open(ids: MapIds) -> Result<Self> {
        let open = |id| MapData::from_id(id).map_err(|error| failed(&error));
        Self::new(open(ids.rules)?, open(ids.path)?, open(ids.states)?)
    }

    /// The maps' numbers.
    pub fn ids(&self) -> MapIds {
        self.ids
    }

    /// Sums over all CPUs, for the rules in these slots: what programs count, and so not what fq does.
    pub fn read(&self, slots: Range<u32>) -> Result<Snapshot> {
        Ok(Snapshot {
            rules: slots
                .clone()
                .map(|slot| sum(&self.rules, slot))
                .collect::<Result<_>>()?,
            path: sum(&self.path, 0)?,
            in_flight: self.in_flight(slots)?,
            qdisc_drops: None,
        })
    }

    /// Wire packets of the rules in these slots that are on their way.
    pub(super) fn in_flight(&self, slots: Range<u32>) -> Result<u64> {
        slots
            .map(|slot| self.states.get(&slot, 0).map(|state| state.in_flight))
            .sum::<std::result::Result<_, _>>()
            .map_err(|error| Error::ebpf("read the rules' states", &error))
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
