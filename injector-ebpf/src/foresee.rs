//! What the per-packet faults will do to a super-packet.

use injector_common::{
    abi::FaultSpec,
    fate::{self, Touch},
    random::Stream,
};

/// What `spec` will do to the `count` packets from `first` on.
#[inline(always)]
pub fn touch(spec: &FaultSpec, first: u64, count: u64) -> Touch {
    fate::touch(spec, first, count, |stream, odds, block| {
        hits_in_block(stream.key(), odds, block)
    })
}

/// A global function, which the verifier checks once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn hits_in_block(key: u64, odds: u64, block: u64) -> u64 {
    Stream::new(key).hits(odds, block)
}
