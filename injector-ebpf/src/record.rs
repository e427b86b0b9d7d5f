//! Counters and the rules' packet indexes.

use core::arch::asm;

use aya_ebpf::{
    bindings::bpf_spin_lock,
    helpers::{
        bpf_get_smp_processor_id, bpf_jiffies64, bpf_ktime_get_boot_ns, bpf_spin_lock as lock,
        bpf_spin_unlock as unlock,
    },
};
use injector_common::abi::{self, Context, PathCounters, RuleCounters, RuleId, RuleState, Split};

use crate::{
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
    if let Some(counters) = RULE_COUNTERS.get_ptr_mut(slot) {
        // SAFETY: per-CPU, and the programs run with softirqs off, so that none interrupts another.
        update(unsafe { &mut *counters });
    }
}

/// Updates the counters outside the rules.
#[inline(always)]
pub fn path(update: impl FnOnce(&mut PathCounters)) {
    if let Some(counters) = PATH_COUNTERS.get_ptr_mut(0) {
        // SAFETY: as in `rule`.
        update(unsafe { &mut *counters });
    }
}

/// Takes `count` consecutive packet indexes of the rule in `slot` and returns the first.
#[inline(always)]
pub fn advance(slot: u32, count: u64) -> Option<u64> {
    let state = STATES.get_ptr_mut(slot)?;
    // SAFETY: the element is locked while it is read and written.
    unsafe {
        let guard = (&raw mut (*state).lock).cast::<bpf_spin_lock>();
        lock(guard);
        let first = (&raw const (*state).next).read_volatile();
        (&raw mut (*state).next).write_volatile(first + count);
        unlock(guard);
        Some(first)
    }
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
pub fn enter(slot: u32, packets: u64) {
    if let Some(state) = STATES.get_ptr_mut(slot) {
        // SAFETY: a field of a map element.
        add(unsafe { &raw mut (*state).in_flight }, packets);
    }
}

/// Notes that packets have been sent across the pair.
#[inline(always)]
pub fn cross(slot: u32, packets: u64) {
    if let Some(state) = STATES.get_ptr_mut(slot) {
        // SAFETY: as in `enter`.
        add(unsafe { &raw mut (*state).crossing }, packets);
    }
}

/// Notes that packets have crossed the pair.
#[inline(always)]
pub fn arrived(rule: RuleId, packets: u64) {
    if let Some(state) = state_of(rule) {
        // SAFETY: as in `enter`.
        add(
            unsafe { &raw mut (*state).crossing },
            packets.wrapping_neg(),
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

/// Notes that packets are back, or are no more.
#[inline(always)]
pub fn leave(rule: RuleId, packets: u64) {
    if let Some(state) = state_of(rule) {
        // SAFETY: as in `enter`.
        add(
            unsafe { &raw mut (*state).in_flight },
            packets.wrapping_neg(),
        );
    }
}

/// The state of a rule, unless another has its slot now.
#[inline(always)]
fn state_of(rule: RuleId) -> Option<*mut RuleState> {
    let state = STATES.get_ptr_mut(rule.slot())?;
    // SAFETY: a word, read at once.
    let epoch = unsafe { (&raw const (*state).epoch).read_volatile() };
    rule.is_of(epoch).then_some(state)
}

/// Atomically. `core` has no such operation for eBPF, where one that returns the sum came only with
/// Linux 5.12.
#[inline(always)]
fn add(count: *mut u64, packets: u64) {
    // SAFETY: the word lies in a map element, aligned, and everybody only adds to it.
    unsafe {
        asm!(
            "lock *(u64 *)({word} + 0) += {packets}",
            word = in(reg) count,
            packets = in(reg) packets,
            options(nostack),
        );
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

/// Notes a super-packet that is to be split; returns where, for its segments to carry.
#[inline(always)]
pub fn split(split: Split) -> Option<u32> {
    let sent = SPLITS_SENT.get_ptr_mut(0)?;
    // SAFETY: per-CPU, as in `rule`; the helper only reads.
    let (sent, cpu) = unsafe {
        *sent = (*sent).wrapping_add(1);
        (*sent, bpf_get_smp_processor_id())
    };
    let mask = globals::splits_mask();
    let place = cpu * (mask + 1) + (sent & mask);
    // SAFETY: nobody reads the element before the segments that carry its place are sent.
    SPLITS
        .get_ptr_mut(place)
        .map(|element| unsafe { *element = split })?;
    Some(place)
}

/// Counts a segment in: the super-packet that it comes from, as it was before.
#[inline(always)]
pub fn arrive(place: u32) -> Option<Split> {
    let element = SPLITS.get_ptr_mut(place)?;
    // SAFETY: the segments of a super-packet arrive one after the other.
    unsafe {
        let split = *element;
        (*element).arrived += 1;
        Some(split)
    }
}

/// Whether the loader has let its lease run out: it was killed, is stopped or hangs.
///
/// Reading that clock takes longer than all the rest that XDP does to drop a packet, and so it is
/// read once in a tick of each processor.
#[inline(always)]
pub fn lapsed() -> bool {
    // SAFETY: the helper only reads a counter.
    let tick = unsafe { bpf_jiffies64() };
    let Some(valid_in) = LEASE_VALID_IN.get_ptr_mut(0) else {
        return true;
    };
    // SAFETY: per-CPU, as in `rule`.
    unsafe {
        if *valid_in == tick {
            return false;
        }
        if has_lapsed() {
            return true;
        }
        *valid_in = tick;
    }
    false
}

#[inline(always)]
fn has_lapsed() -> bool {
    match CONTROL.get(abi::DEADLINE) {
        // SAFETY: the helper only reads the clock. It counts while the machine is suspended.
        Some(deadline) => *deadline < unsafe { bpf_ktime_get_boot_ns() },
        None => true,
    }
}

/// Whether the faults have ended.
#[inline(always)]
pub fn draining() -> bool {
    CONTROL
        .get(abi::DRAINING)
        .is_some_and(|draining| *draining != 0)
}
