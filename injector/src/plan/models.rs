//! What fault specifications refer to by number.

use injector_common::{
    abi::{self, Chain, Distribution, FaultSpec, Point, Track, model},
    chance,
};

use super::distribution;
use crate::profile;

/// Chains, bounds and tables of deviations, each only once.
#[derive(Clone, Debug, Default)]
pub struct Models {
    /// Markov chains.
    pub chains: Vec<Chain>,
    /// Bounds of listed packets, those of each chance in order.
    pub bounds: Vec<u64>,
    /// Tables of deviations.
    pub distributions: Vec<Box<Distribution>>,
    /// What each of these is the table of.
    tabulated: Vec<profile::Distribution>,
    /// Values that change over time, those of each track in order.
    pub points: Vec<Point>,
    /// When recorded links could deliver, in ms, those of each in order.
    pub opportunities: Vec<u32>,
}

impl Models {
    /// Returns how many of each there are.
    pub const fn sizes(&self) -> Places {
        Places {
            chains: self.chains.len() as u32,
            bounds: self.bounds.len() as u32,
            distributions: self.distributions.len() as u32,
            points: self.points.len() as u32,
            opportunities: self.opportunities.len() as u32,
        }
    }

    /// Returns the number of a chain.
    pub(super) fn chain(&mut self, chain: Chain) -> u32 {
        let known = self.chains.iter().position(|known| *known == chain);
        let place = known.unwrap_or_else(|| {
            self.chains.push(chain);
            self.chains.len() - 1
        });
        place as u32
    }

    /// Returns the number of the first of several bounds.
    pub(super) fn bounds(&mut self, bounds: &[u64]) -> u32 {
        append(&mut self.bounds, bounds)
    }

    /// Returns the number of the first of several points.
    pub(super) fn points(&mut self, points: &[Point]) -> u32 {
        append(&mut self.points, points)
    }

    /// Returns the number of the first of several opportunities.
    pub(super) fn opportunities(&mut self, times_ms: &[u32]) -> u32 {
        append(&mut self.opportunities, times_ms)
    }

    /// Returns the points of a track.
    pub(super) fn points_of(&self, track: &Track) -> &[Point] {
        &self.points[track.first as usize..][..track.len as usize]
    }

    /// Returns one more than the number of a distribution's table; 0 where it needs none.
    pub(super) fn distribution(&mut self, distribution: &profile::Distribution) -> u32 {
        // First of all: a table takes some time to work out.
        let known = self
            .tabulated
            .iter()
            .position(|known| known == distribution);
        if let Some(place) = known {
            return 1 + place as u32;
        }
        let Some(table) = distribution::table(distribution) else {
            return 0;
        };
        self.distributions.push(table);
        self.tabulated.push(distribution.clone());
        self.distributions.len() as u32
    }

    /// Returns the furthest that a delay strays from its middle, in ns.
    pub(super) fn deviation_max_ns(&self, delay: &abi::Delay) -> u64 {
        let Some(number) = delay.distribution.checked_sub(1) else {
            return delay.jitter_ns;
        };
        let table = &self.distributions[number as usize];
        let deviation_ns = table.deviation_ns(u64::MAX, delay.jitter_ns);
        u64::try_from(deviation_ns).unwrap_or(0)
    }
}

/// Returns the place of the first of several elements, which are added.
fn append<T: Copy>(all: &mut Vec<T>, more: &[T]) -> u32 {
    let first = all.len();
    all.extend(more);
    first as u32
}

impl chance::Tables for Models {
    fn chain(&self, number: u32) -> Option<&Chain> {
        self.chains.get(number as usize)
    }

    fn bound(&self, number: u32) -> Option<u64> {
        self.bounds.get(number as usize).copied()
    }

    fn distribution(&self, number: u32) -> Option<&Distribution> {
        self.distributions.get(number as usize).map(AsRef::as_ref)
    }

    fn point(&self, number: u32) -> Option<&Point> {
        self.points.get(number as usize)
    }

    fn opportunity_ms(&self, number: u32) -> Option<u32> {
        self.opportunities.get(number as usize).copied()
    }
}

/// Places of models in their maps, or how many of each there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// Of chains.
    pub chains: u32,
    /// Of bounds.
    pub bounds: u32,
    /// Of tables of deviations.
    pub distributions: u32,
    /// Of points in time.
    pub points: u32,
    /// Of opportunities.
    pub opportunities: u32,
}

impl Places {
    /// Returns room for either.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            chains: self.chains.max(other.chains),
            bounds: self.bounds.max(other.bounds),
            distributions: self.distributions.max(other.distributions),
            points: self.points.max(other.points),
            opportunities: self.opportunities.max(other.opportunities),
        }
    }

    /// Returns room for so many of them.
    #[must_use]
    pub const fn times(self, count: u32) -> Self {
        Self {
            chains: self.chains * count,
            bounds: self.bounds * count,
            distributions: self.distributions * count,
            points: self.points * count,
            opportunities: self.opportunities * count,
        }
    }

    /// Returns a specification that refers to models from these places on, as a generation.
    #[must_use]
    pub fn moved(self, mut spec: FaultSpec, generation: u32) -> FaultSpec {
        spec.track.begin += generation;
        spec.pace.opportunities.begin += generation;
        for chance in &mut spec.chances {
            chance.first += match chance.model {
                model::MARKOV => self.chains,
                model::LISTED => self.bounds,
                _ => 0,
            };
        }
        if spec.delay.distribution != 0 {
            spec.delay.distribution += self.distributions;
        }
        spec.track.first += self.points;
        spec.pace.opportunities.first += self.opportunities;
        spec
    }
}
