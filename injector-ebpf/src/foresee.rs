//! What happens to a rule's packets, worked out 64 at a time.
//!
//! The global functions here are verified by themselves, before Linux 6.8 even where nothing calls them
//! (`do_check_subprogs` in `kernel/bpf/verifier.c`). So each looks at the features that it is for.

use core::ptr;

use injector_common::{
    abi::{Block, FaultSpec, fault, features},
    chance::{self, Hits},
    fate::{self, FORECAST_BLOCKS_MAX, Forecast, Levels},
    pace::{self, Link, Passage, Train},
    random::LANES,
};

use crate::{
    globals,
    maps::{BLOCKS, CHAIN_STATE, FAULTS, LEVELS, PASSAGE},
    record::{self, monotonic_ns},
    tables::KernelTables,
};

/// A rule, to work out what happens to its packets.
#[derive(Clone, Copy)]
pub struct Rule<'a> {
    pub slot: u32,
    pub spec: &'a FaultSpec,
}

/// Place of the block of a packet, or of the first of several.
pub const AT_FIRST: u32 = 0;
/// Place of the block of the last one.
pub const AT_LAST: u32 = 1;

/// Room for a block that is worked out: the stack is too small.
///
/// It is this processor's, and the programs run with softirqs off, so that none interrupts another. What
/// they send runs into other programs before they end; they are done with it by then. A raw pointer,
/// because the functions that work on the block find it here, too.
#[inline(always)]
pub fn scratch(place: u32) -> Option<*mut Block> {
    BLOCKS.get_ptr_mut(place)
}

/// Copies a block to another place.
///
/// # Safety
///
/// Both must be blocks, and not the same.
#[inline(always)]
pub unsafe fn copy(from: *const Block, to: *mut Block) {
    // An assignment is a call of memmove, which the verifier follows byte by byte.
    unsafe { ptr::copy_nonoverlapping(from, to, 1) };
}

/// Most blocks that are worked out to come to a packet's. Other processors may be working out those of
/// packets before it.
const WALK_MAX: u32 = 64;

impl<'a> Rule<'a> {
    /// The rule in `slot`, as it is at the moment.
    #[inline(always)]
    pub fn new(slot: u32, spec: &'a FaultSpec) -> Self {
        if globals::uses(features::TRACK) && spec.changes() {
            look_up_levels(slot, monotonic_ns());
        }
        Self { slot, spec }
    }

    /// Goes on from the block in [`AT_FIRST`] to that of packet `n`, which is not before it. `false` where
    /// that is too far.
    #[inline(always)]
    pub fn seek(&self, n: u64) -> bool {
        let end = n / LANES + 1;
        let Some(block) = scratch(AT_FIRST) else {
            return false;
        };
        // SAFETY: as `scratch` says, here and below; the functions that are called change the block.
        unsafe {
            // What is known of a block is of other odds.
            if globals::uses(features::TRACK) && self.spec.changes() && (*block).end == end {
                refresh(self.slot);
                return true;
            }
            if !globals::uses(features::MEMORY) || !self.spec.remembers() {
                if (*block).end != end {
                    (*block).end = end - 1;
                    go_on(self.slot, AT_FIRST);
                }
                return true;
            }
            let mut steps = 0;
            while (*block).end < end {
                if steps >= WALK_MAX {
                    return false;
                }
                go_on(self.slot, AT_FIRST);
                steps += 1;
            }
        }
        true
    }

    /// What happens to the `count` packets from `first` on, whose block is in [`AT_FIRST`]. That of the
    /// last one that was looked at is then in [`AT_LAST`].
    #[inline(always)]
    pub fn foresee(&self, first: u64, count: u64) -> Option<Forecast> {
        let (mut forecast, mut blocks) = (Forecast::default(), 0);
        // SAFETY: as above.
        unsafe {
            let block = scratch(AT_LAST)?;
            copy(scratch(AT_FIRST)?, block);
            while forecast.add(&*block, first, first + count) {
                blocks += 1;
                if blocks == FORECAST_BLOCKS_MAX {
                    break;
                }
                go_on(self.slot, AT_LAST);
            }
        }
        Some(forecast)
    }

    /// Makes of a block the next one.
    #[inline(always)]
    pub fn go_on(&self, block: &mut Block) -> Option<()> {
        // SAFETY: as above.
        unsafe {
            let worked_on = scratch(AT_FIRST)?;
            copy(block, worked_on);
            go_on(self.slot, AT_FIRST);
            copy(worked_on, block);
        }
        Some(())
    }

    /// Lets a train pass the rule's bottleneck. Those that nothing holds up need no time.
    #[inline(always)]
    pub fn pass(&self, now_ns: u64, train: Train, delay_ns: u64) -> Passage {
        if globals::uses(features::PACE)
            && self.spec.paces()
            && pass(self.slot, now_ns, train.packets, train.kind(), delay_ns) != 0
            && let Some(passage) = PASSAGE.get(0)
        {
            return *passage;
        }
        Passage {
            delay_ns,
            ..Passage::free(now_ns)
        }
    }

    /// When packet `n` of a train has passed it, if it came at `now_ns`.
    #[inline(always)]
    pub fn passed_ns(&self, passage: &Passage, now_ns: u64, n: u64) -> u64 {
        if globals::uses(features::OPPORTUNITIES) && self.spec.pace.opportunities.len != 0 {
            opportunity_ns(self.slot, passage.opportunity_of(n))
        } else {
            passage.passed_ns(now_ns, n)
        }
    }

    /// The delay that packet `n` draws from the stream at `key`, in ns.
    #[inline(always)]
    pub fn delay_ns(&self, key: u64, n: u64) -> u64 {
        draw_delay(self.slot, key, n)
    }

    /// The delay of the copy of that [number](fate::number_of_copy).
    #[inline(always)]
    pub fn copy_delay_ns(&self, number: u64) -> u64 {
        self.delay_ns(self.spec.delay.copy_key, number)
    }
}

/// Makes of the block at a place the next one.
///
/// A global function, which the verifier checks once, and not wherever it is called.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn go_on(slot: u32, place: u32) -> u32 {
    let (Some(spec), Some(block)) = (FAULTS.get(slot), scratch(place)) else {
        return 0;
    };
    // SAFETY: the functions called below do not look for it.
    let block = unsafe { &mut *block };
    block.go_on(
        spec,
        &levels(spec),
        |fault, odds, number, state| hits(slot, fault, odds, number, state),
        |hits, begin, gap, from| keep_apart(hits, begin, gap, from),
    );
    0
}

/// See [`fate::hits`]. The chain's next state goes to the map `CHAIN_STATE`. A global function likewise.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn hits_in_block(slot: u32, fault: u32, odds: u64, number: u64, state: u64) -> u64 {
    let (Some(spec), Some(next)) = (FAULTS.get(slot), CHAIN_STATE.get_ptr_mut(0)) else {
        return 0;
    };
    if fault as usize >= fault::COUNT && !globals::uses(features::CORRELATION) {
        return 0;
    }
    let tables = KernelTables { unknown: number };
    let hits = fate::hits(spec, fault as usize, odds, number, state, &tables);
    // SAFETY: per-CPU, and the programs run with softirqs off, so that none interrupts another.
    unsafe { *next = hits.state };
    hits.packets
}

/// Works out anew what does not depend on the packets before, in the block at [`AT_FIRST`]. A global function
/// for the same reason.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn refresh(slot: u32) -> u32 {
    if !globals::uses(features::TRACK) {
        return 0;
    }
    let (Some(spec), Some(block)) = (FAULTS.get(slot), scratch(AT_FIRST)) else {
        return 0;
    };
    // SAFETY: as above.
    unsafe { &mut *block }.refresh(spec, &levels(spec), |fault, odds, number| {
        hits(slot, fault, odds, number, 0).packets
    });
    0
}

/// The values of a rule at the moment for which [`Rule::new`] has looked them up.
#[inline(always)]
fn levels(spec: &FaultSpec) -> Levels {
    match LEVELS.get(0) {
        Some(at_present) if globals::uses(features::TRACK) && spec.changes() => *at_present,
        _ => spec.levels(),
    }
}

#[inline(always)]
fn hits(slot: u32, fault: usize, odds: u64, number: u64, state: u64) -> Hits {
    const FEATURES: [u64; fault::COUNT + 1] = [
        features::DROP,
        features::CORRUPT,
        features::DUPLICATE,
        features::REORDER,
        features::CORRELATION,
    ];
    if !globals::uses(FEATURES[fault]) {
        return Hits { packets: 0, state };
    }
    let packets = hits_in_block(slot, fault as u32, odds, number, state);
    let state = match CHAIN_STATE.get(0) {
        Some(state) if globals::uses(features::MARKOV) => *state,
        _ => 0,
    };
    Hits { packets, state }
}

/// See [`fate::delay_ns`]. A global function for the same reason.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn draw_delay(slot: u32, key: u64, n: u64) -> u64 {
    if !globals::uses(features::DELAY) {
        return 0;
    }
    match FAULTS.get(slot) {
        Some(spec) => fate::delay_ns(spec, &levels(spec), key, n, &KernelTables { unknown: n }),
        None => 0,
    }
}

/// See [`pace::pass`]. The passage goes to the map `PASSAGE`; 0 where there is no such rule. A global
/// function for the same reason.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn pass(slot: u32, now_ns: u64, packets: u64, kind: u64, delay_ns: u64) -> u32 {
    if !globals::uses(features::PACE) {
        return 0;
    }
    let (Some(spec), Some(passage)) = (FAULTS.get(slot), PASSAGE.get_ptr_mut(0)) else {
        return 0;
    };
    let next = if globals::uses(features::OPPORTUNITIES) && spec.pace.opportunities.len != 0 {
        next_opportunity(slot, now_ns)
    } else {
        0
    };
    let byte_ns = levels(spec).byte_ns;
    let train = Train::of_kind(packets, kind);
    let passed = record::with_pace(slot, |state| {
        pace::pass(spec, byte_ns, state, now_ns, next, train, delay_ns)
    });
    match passed {
        Some(passed) => {
            // SAFETY: as above.
            unsafe { *passage = passed };
            1
        }
        None => 0,
    }
}

/// See [`Link::next`]. A global function for the same reason.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn next_opportunity(slot: u32, now_ns: u64) -> u64 {
    if !globals::uses(features::OPPORTUNITIES) {
        return 0;
    }
    match link(slot) {
        Some(link) => link.next(now_ns, &KernelTables { unknown: now_ns }),
        None => 0,
    }
}

/// See [`Link::instant_ns`]. A global function for the same reason.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn opportunity_ns(slot: u32, number: u64) -> u64 {
    if !globals::uses(features::OPPORTUNITIES) {
        return 0;
    }
    match link(slot) {
        Some(link) => link.instant_ns(number, &KernelTables { unknown: number }),
        None => 0,
    }
}

#[inline(always)]
fn link(slot: u32) -> Option<Link<'static>> {
    let track = &FAULTS.get(slot)?.pace.opportunities;
    Some(Link {
        track,
        begin_ns: record::begin_ns(track),
    })
}

/// Puts a rule's values at a moment into the map `LEVELS`; 0 where there is no such rule.
///
/// A global function for the same reason.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn look_up_levels(slot: u32, now_ns: u64) -> u32 {
    if !globals::uses(features::TRACK) {
        return 0;
    }
    let (Some(spec), Some(levels)) = (FAULTS.get(slot), LEVELS.get_ptr_mut(0)) else {
        return 0;
    };
    let elapsed_ns = now_ns.wrapping_sub(record::begin_ns(&spec.track));
    let tables = KernelTables { unknown: now_ns };
    // SAFETY: as above.
    unsafe { *levels = spec.levels_at(elapsed_ns, &tables) };
    1
}

/// See [`chance::keep_apart`]. A global function for the same reason.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn keep_apart(hits: u64, begin: u64, gap: u64, from: u64) -> u64 {
    if !globals::uses(features::REORDER) {
        return hits;
    }
    chance::keep_apart(hits, begin, gap, from, &KernelTables { unknown: begin })
}
