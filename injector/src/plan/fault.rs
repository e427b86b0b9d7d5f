//! A rule's faults as the numbers that the kernel side works with.

use injector_common::{
    abi::{FaultSpec, flags},
    random::Stream,
};

use super::Hook;
use crate::profile::{Checksum, Rule};

/// What each random stream of a rule decides. The numbers are part of what a seed means: changing
/// one changes the fates under it.
mod purpose {
    pub const DROP: u64 = 0;
    pub const CORRUPT: u64 = 1;
    pub const CORRUPT_BIT: u64 = 2;
    pub const DUPLICATE: u64 = 3;
    pub const DELAY: u64 = 4;
    pub const DUPLICATE_DELAY: u64 = 5;
}

pub(super) fn spec(rule: &Rule, hook: Hook, stream: Stream) -> FaultSpec {
    let key = |purpose| stream.fork(purpose).key();
    let mut spec = FaultSpec {
        drop_key: key(purpose::DROP),
        corrupt_key: key(purpose::CORRUPT),
        corrupt_bit_key: key(purpose::CORRUPT_BIT),
        duplicate_key: key(purpose::DUPLICATE),
        delay_key: key(purpose::DELAY),
        duplicate_delay_key: key(purpose::DUPLICATE_DELAY),
        ..FaultSpec::default()
    };
    if let Some(drop) = rule.drop {
        spec.drop_odds = drop.probability.odds_q32();
    }
    if let Some(corrupt) = rule.corrupt {
        spec.corrupt_odds = corrupt.probability.odds_q32();
        if corrupt.checksum == Checksum::Valid {
            spec.flags |= flags::CHECKSUM_VALID;
        }
    }
    if let Some(duplicate) = rule.duplicate {
        spec.duplicate_odds = duplicate.probability.odds_q32();
    }
    if let Some(delay) = rule.delay {
        spec.delay_min_ns = delay.time.nanos() - delay.jitter.nanos();
        spec.delay_span_ns = 2 * delay.jitter.nanos();
    }
    spec.flags |= way(&spec, hook);
    spec
}

/// Which way through the datapath serves these faults.
fn way(spec: &FaultSpec, hook: Hook) -> u32 {
    let corrupts_or_copies = spec.corrupt_odds | spec.duplicate_odds != 0;
    let drops = spec.drop_odds != 0;
    match (drops || corrupts_or_copies, spec.delays()) {
        (false, false) => flags::EXEMPT,
        (false, true) => 0,
        (true, false) if !corrupts_or_copies && hook == Hook::Ingress => flags::SPLIT | flags::XDP,
        (true, _) => flags::SPLIT,
    }
}
