//! Counters and the rules' packet indexes.

use core::arch::asm;

use aya_ebpf::{
    bindings::bpf_spin_lock,
    helpers::{
        bpf_get_smp_processor_id, bpf_jiffies64, bpf_ktime_get_boot_ns, bpf_ktime_get_ns,
        bpf_spin_lock as lock, bpf_spin_unlock as unlock,
    },
};
use injector_common::abi::{
    self, Block, Context, PaceState, PathCounters, RuleCounters, RuleId, RuleState, Split, Track,
    features,
};

use crate::{
    foresee::{self, AT_FIRST},
    globals,
    maps::{CONTROL, LEASE_VALID_IN, PATH_COUNTERS, RULE_COUNTERS, SPLITS, SPLITS_SENT, STATES},
    skb::Skb,
};

/// What a packet on a pair carries. One that carries nothing is not ours, and is counted.
#[inline(always)]
pub fn context(skb: Skb) -> Option<Context> {
    let context = Context::from_word(skb.cb::<4>());
    if context.is_none() {
        path(|counters| counters.stray += 1);
    }
    context
}

/// Updates the counters of the rule in `slot`.
#[inline(always)]
pub fn rule(slot: u32, update: impl FnOnce(&mut RuleCounters)) {
    if !globals::uses(features::COUNTERS) {
        return;
    }
    if let Some(counters) = RULE_COUNTERS.get_ptr_mut(slot) {
        // SAFETY: per-CPU, and the programs run with softirqs off, so that none interrupts another.
        update(unsafe { &mut *counters });
    }
}

/// Notes that `count` packets of the rule, from packet `n` on, are hit.
#[inline(always)]
pub fn hit(slot: u32, n: u64, count: u64) {
    if !globals::uses(features::COUNTERS) {
        return;
    }
    let Some(state) = STATES.get_ptr_mut(slot) else {
        return;
    };
    // SAFETY: a word, read and written at once.
    let last_end = unsafe {
        let hit_end = &raw mut (*state).hit_end;
        let last_end = hit_end.read_volatile();
        hit_end.write_volatile(n + count);
        last_end
    };
    rule(slot, |counters| {
        // Packets of another processor may be before us.
        if last_end != 0 && last_end <= n {
            counters.gap.add(n - last_end + 1, 1);
        }
        if count > 1 {
            counters.gap.add(1, count - 1);
        }
    });
}

/// Updates the counters outside the rules.
#[inline(always)]
pub fn path(update: impl FnOnce(&mut PathCounters)) {
    if let Some(counters) = PATH_COUNTERS.get_ptr_mut(0) {
        // SAFETY: as in `rule`.
        update(unsafe { &mut *counters });
    }
}

/// What a packet gets from its rule's state.
#[derive(Clone, Copy)]
pub struct Taken {
    /// The index of the first wire packet.
    pub first: u64,
    /// The end of the latest block that was known.
    end: u64,
    /// Whose block that was.
    epoch: u32,
}

/// Takes `count` consecutive packet indexes of the rule in `slot`. Puts the latest block that is known
/// at [`AT_FIRST`]; it is not after that of the first packet.
#[inline(always)]
pub fn take(slot: u32, count: u64) -> Option<Taken> {
    let block = foresee::scratch(AT_FIRST)?;
    let state = STATES.get_ptr_mut(slot)?;
    // SAFETY: the element is locked while it is read and written.
    Some(locked(state, |state| unsafe {
        copy(&raw const (*state).block, block);
        let first = (*state).next;
        (*state).next = first + count;
        Taken {
            first,
            end: (*state).block.end,
            epoch: (*state).epoch,
        }
    }))
}

/// Does something to a rule's state while no other processor does. It must not call functions.
#[inline(always)]
fn locked<T>(state: *mut RuleState, change: impl FnOnce(*mut RuleState) -> T) -> T {
    // SAFETY: a field of a map element.
    let guard = unsafe { &raw mut (*state).lock }.cast::<bpf_spin_lock>();
    // SAFETY: the helpers only take the lock, and give it back.
    unsafe { lock(guard) };
    let result = change(state);
    // SAFETY: as above.
    unsafe { unlock(guard) };
    result
}

/// Keeps the block at a place for the packets to come, unless a later one is known.
#[inline(always)]
pub fn keep(slot: u32, taken: Taken, place: u32) {
    let (Some(state), Some(block)) = (STATES.get_ptr_mut(slot), foresee::scratch(place)) else {
        return;
    };
    // SAFETY: as `scratch` says.
    let end = unsafe { (*block).end };
    if end <= taken.end {
        return;
    }
    // SAFETY: as in `take`.
    locked(state, |state| unsafe {
        if (*state).block.end < end && (*state).epoch == taken.epoch {
            copy(block, &raw mut (*state).block);
        }
    });
}

/// Copies a block word by word: the compiler would call a function, which is not allowed under the lock.
///
/// # Safety
///
/// Both must be valid, and not overlap.
#[inline(always)]
unsafe fn copy(from: *const Block, to: *mut Block) {
    const WORDS: usize = size_of::<Block>() / size_of::<u64>();
    let (from, to) = (from.cast::<u64>(), to.cast::<u64>());
    let mut word = 0;
    while word < WORDS {
        // SAFETY: as above. Volatile, so that it stays word by word.
        unsafe { to.add(word).write_volatile(from.add(word).read_volatile()) };
        word += 1;
    }
}

/// Changes how the rule stands with what paces it.
#[inline(always)]
pub fn with_pace<T>(slot: u32, change: impl FnOnce(&mut PaceState) -> T) -> Option<T> {
    let state = STATES.get_ptr_mut(slot)?;
    // SAFETY: as in `take`.
    Some(locked(state, |state| unsafe {
        let mut pace = (*state).pace;
        let result = change(&mut pace);
        (*state).pace = pace;
        result
    }))
}

/// The rule that has `slot`, for its packets to carry.
#[inline(always)]
pub fn rule_id(slot: u32) -> RuleId {
    let state = STATES.get_ptr(slot);
    // SAFETY: a word, read at once.
    let epoch = state.map_or(0, |state| unsafe {
        (&raw const (*state).epoch).read_volatile()
    });
    RuleId::new(slot, epoch)
}

/// Notes that packets have been lifted.
#[inline(always)]
pub fn enter(rule: RuleId, packets: u64) {
    // SAFETY: a field of a map element.
    add_to_rule(rule, packets, |state| unsafe {
        &raw mut (*state).in_flight
    });
}

/// Notes that packets are back, or are no more.
#[inline(always)]
pub fn leave(rule: RuleId, packets: u64) {
    enter(rule, packets.wrapping_neg());
}

/// Notes that packets have been sent across the pair.
#[inline(always)]
pub fn cross(rule: RuleId, packets: u64) {
    // SAFETY: as in `enter`.
    add_to_rule(rule, packets, |state| unsafe { &raw mut (*state).crossing });
}

/// Notes that packets have crossed the pair.
#[inline(always)]
pub fn crossed(rule: RuleId, packets: u64) {
    cross(rule, packets.wrapping_neg());
}

/// Adds to a count of a rule, unless another has its slot now.
#[inline(always)]
fn add_to_rule(rule: RuleId, packets: u64, count: impl FnOnce(*mut RuleState) -> *mut u64) {
    let Some(state) = STATES.get_ptr_mut(rule.slot()) else {
        return;
    };
    // SAFETY: words of a map element, aligned; the first is read at once, and everybody only adds to
    // the other.
    unsafe {
        if !rule.is_of((&raw const (*state).epoch).read_volatile()) {
            return;
        }
        add(count(state), packets);
    }
}

/// Adds atomically: `core` has no such operation for eBPF, where one that returns the sum came only with
/// Linux 5.12.
///
/// # Safety
///
/// The word must be one of a map element, and aligned.
#[inline(always)]
pub unsafe fn add(word: *mut u64, number: u64) {
    // SAFETY: as the caller promises.
    unsafe {
        asm!(
            "lock *(u64 *)({word} + 0) += {number}",
            word = in(reg) word,
            number = in(reg) number,
            options(nostack),
        );
    }
}

/// Notes that packets are held until `departure_ns`.
#[inline(always)]
pub fn hold(slot: u32, departure_ns: u64) {
    let Some(state) = STATES.get_ptr_mut(slot) else {
        return;
    };
    // SAFETY: a word, read and written at once.
    unsafe {
        let latest_ns = &raw mut (*state).latest_ns;
        if latest_ns.read_volatile() < departure_ns {
            latest_ns.write_volatile(departure_ns);
        }
    }
}

/// The packets of a rule that are on their way.
pub struct Ahead {
    /// How many.
    pub packets: u64,
    /// How many of them are still crossing the pair.
    pub crossing: u64,
    /// The latest departure time of any that were held; 0 where none was.
    pub latest_ns: u64,
}

/// What of the rule's packets is on its way.
#[inline(always)]
pub fn ahead(slot: u32) -> Ahead {
    match STATES.get_ptr(slot) {
        // SAFETY: words, each read at once.
        Some(state) => unsafe {
            Ahead {
                packets: (&raw const (*state).in_flight).read_volatile(),
                crossing: (&raw const (*state).crossing).read_volatile(),
                latest_ns: (&raw const (*state).latest_ns).read_volatile(),
            }
        },
        None => Ahead {
            packets: 0,
            crossing: 0,
            latest_ns: 0,
        },
    }
}

/// Room for a super-packet that is to be split, and its place, for the segments to carry.
#[inline(always)]
pub fn new_split() -> Option<(u32, &'static mut Split)> {
    let sent = SPLITS_SENT.get_ptr_mut(0)?;
    // SAFETY: per-CPU, as in `rule`; the helper only reads.
    let (sent, cpu) = unsafe {
        *sent = (*sent).wrapping_add(1);
        (*sent, bpf_get_smp_processor_id())
    };
    let mask = globals::splits_mask();
    let place = cpu * (mask + 1) + (sent & mask);
    Some((place, split_at(place)?))
}

/// The super-packet that a segment comes from.
#[inline(always)]
pub fn split_at(place: u32) -> Option<&'static mut Split> {
    // SAFETY: its segments arrive one after the other, and nobody else uses their place until all have.
    SPLITS
        .get_ptr_mut(place)
        .map(|split| unsafe { &mut *split })
}

/// Whether the faults are in force.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Lease {
    /// They are.
    Valid,
    /// They have ended: packets only follow those that are still held.
    Over,
    /// The loader has let its lease run out: it was killed, is stopped or hangs.
    Lapsed,
}

/// Whether the faults are in force at present.
///
/// Reading the clock takes longer than all the rest that XDP does to drop a packet, and so it is
/// read once in a tick of each processor. That the loader has ended them is seen at once.
#[inline(always)]
pub fn lease() -> Lease {
    let (Some(deadline), Some(end)) = (CONTROL.get(abi::DEADLINE), CONTROL.get(abi::END)) else {
        return Lease::Lapsed;
    };
    let Some(valid_in) = LEASE_VALID_IN.get_ptr_mut(0) else {
        return Lease::Lapsed;
    };
    // SAFETY: the element is per-CPU, as in `rule`; the helpers only read a counter and the clock, which
    // counts while the machine is suspended.
    unsafe {
        let tick = bpf_jiffies64();
        if *valid_in == tick && *end != 0 {
            return Lease::Valid;
        }
        let now_ns = bpf_ktime_get_boot_ns();
        if *deadline < now_ns {
            return Lease::Lapsed;
        }
        if *end <= now_ns {
            return Lease::Over;
        }
        *valid_in = tick;
    }
    Lease::Valid
}

/// When a track began: when the rules that it is one of came into force.
#[inline(always)]
pub fn begin_ns(track: &Track) -> u64 {
    CONTROL.get(track.begin).copied().unwrap_or(0)
}

/// The time on the monotonic clock, which fq obeys.
#[inline(always)]
pub fn monotonic_ns() -> u64 {
    // SAFETY: the helper only reads the clock.
    unsafe { bpf_ktime_get_ns() }
}
