//! What first fragments told, for as long as there is room.

use injector_common::{
    abi::features,
    fragments::{self, Fragmented, Header, Memory},
};

use crate::{
    classify, globals,
    maps::{FRAGMENTED, KEY},
    record,
};

/// Adds to the key that was just read what a later fragment does not tell, and remembers what a first one does, where
/// the table asks for it.
#[inline(always)]
pub fn follow(table: u32) {
    if globals::uses(features::FOLLOW) {
        complete_fragment(table);
    }
}

/// A global function, which the verifier checks once. Before Linux 6.8 also where nobody calls it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn complete_fragment(table: u32) -> u32 {
    if !classify::asks(table, features::FOLLOW) {
        return 0;
    }
    if let Some(key) = KEY.get_ptr_mut(0) {
        // SAFETY: per-CPU, and nobody else uses it meanwhile.
        let key = unsafe { &mut *key };
        fragments::follow(key, globals::features(), &mut Lru);
    }
    0
}

/// The map, which forgets what nobody has asked for longest.
struct Lru;

impl Memory for Lru {
    #[inline(always)]
    fn header(&self, of: &Fragmented) -> Option<&Header> {
        // SAFETY: where another processor puts another packet in its place meanwhile, one fragment may be taken for
        // that one's.
        unsafe { FRAGMENTED.get(of) }
    }

    #[inline(always)]
    fn remember(&mut self, of: &Fragmented, header: &Header) {
        // Where memory is short, later fragments lack what they always do.
        let _ = FRAGMENTED.insert(of, header, 0);
    }

    #[inline(always)]
    fn now_ns(&self) -> u64 {
        record::monotonic_ns()
    }
}
