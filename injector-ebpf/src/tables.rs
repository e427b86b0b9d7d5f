//! What fault specifications refer to by number.

use injector_common::{
    abi::{Chain, Distribution, Point, features},
    chance::Tables,
};

use crate::{
    globals,
    maps::{BOUNDS, CHAINS, DISTRIBUTIONS, OPPORTUNITIES, POINTS},
    verifier,
};

/// The maps that hold it.
pub struct KernelTables {
    /// A number of which the verifier knows nothing.
    pub unknown: u64,
}

impl Tables for KernelTables {
    #[inline(always)]
    fn chain(&self, number: u32) -> Option<&Chain> {
        if !globals::uses(features::MARKOV) {
            return None;
        }
        CHAINS.get(number)
    }

    #[inline(always)]
    fn bound(&self, number: u32) -> Option<u64> {
        if !globals::uses(features::LISTED) {
            return None;
        }
        BOUNDS.get(number).copied()
    }

    #[inline(always)]
    fn distribution(&self, number: u32) -> Option<&Distribution> {
        if !globals::uses(features::DISTRIBUTION) {
            return None;
        }
        DISTRIBUTIONS.get(number)
    }

    #[inline(always)]
    fn point(&self, number: u32) -> Option<&Point> {
        if !globals::uses(features::TRACK) {
            return None;
        }
        POINTS.get(number)
    }

    #[inline(always)]
    fn opportunity_ms(&self, number: u32) -> Option<u32> {
        if !globals::uses(features::OPPORTUNITIES) {
            return None;
        }
        OPPORTUNITIES.get(number).copied()
    }

    #[inline(always)]
    fn forget(&self, number: u64) -> u64 {
        verifier::forget(number as usize, self.unknown as usize) as u64
    }
}
