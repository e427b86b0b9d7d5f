//! What the per-packet faults will do to a super-packet.

use injector_common::fate::{self, Touch};

use crate::maps::FAULTS;

/// What the rule in `slot` will do to its `count` packets from `first` on.
#[inline(always)]
pub fn touch(slot: u32, first: u64, count: u64) -> Touch {
    match foresee(slot, first, count) {
        code if code == Touch::None as u32 => Touch::None,
        code if code == Touch::Drop as u32 => Touch::Drop,
        _ => Touch::Some,
    }
}

/// A global function, which the verifier checks once for both directions.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn foresee(slot: u32, first: u64, count: u64) -> u32 {
    match FAULTS.get(slot) {
        Some(spec) => fate::touch(spec, first, count) as u32,
        None => Touch::None as u32,
    }
}
