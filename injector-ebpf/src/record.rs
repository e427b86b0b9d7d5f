//! Counters and the rules' packet indexes.

use aya_ebpf::{
    bindings::bpf_spin_lock,
    helpers::{bpf_ktime_get_boot_ns, bpf_spin_lock as lock, bpf_spin_unlock as unlock},
};
use injector_common::abi::{PathCounters, RuleCounters};

use crate::maps::{DEADLINE, PATH_COUNTERS, RULE_COUNTERS, STATES};

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

/// Whether the loader has let its lease run out: it was killed, is stopped or hangs.
#[inline(always)]
pub fn lapsed() -> bool {
    match DEADLINE.get(0) {
        // SAFETY: the helper only reads the clock. It counts while the machine is suspended.
        Some(deadline) => *deadline < unsafe { bpf_ktime_get_boot_ns() },
        None => true,
    }
}
