//! The project's programs, loaded for `BPF_PROG_TEST_RUN`. What this knows of the library's inside,
//! no other part of the benchmarks does.

use std::{
    os::fd::{AsFd as _, BorrowedFd},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use aya::{
    Ebpf,
    maps::{Array, MapData, PerCpuArray, RingBuf},
};
use injector::plan::{Needs, Plan};
use injector_common::abi::{
    Context, HEADERS_CAPTURED, HITS_BYTES, RuleCounters, RuleId, TraceFilter, XdpMode, features,
    maps,
};
use injector_tests::{loaded, socket};
use nix::poll::{PollFd, PollFlags, poll};

pub use injector_common::abi::programs::{
    DECIDE, DIVERT_EGRESS, DIVERT_INGRESS, HOLD, RETURN, XDP,
};

/// Offset of `cb` in `struct __sk_buff`, and the structure's length (linux/bpf.h).
const CB: usize = 48;
const CONTEXT_LEN: usize = 192;
const SEED: u64 = 1;
/// The slot of a profile's first rule.
const FIRST: u32 = 0;
/// Where those who listen wait: not where programs are measured.
const OTHER_CPU: usize = 1;
/// How often they look, as `injector trace` does.
const NAP_MS: u8 = 50;

/// The programs of a profile, loaded but not attached.
pub struct Own {
    ebpf: Ebpf,
    hits: RingBuf<MapData>,
}

impl Own {
    /// Loads them.
    pub fn load(text: &str) -> Result<Self, String> {
        let plan = loaded::plan(text, SEED)?;
        Self::load_for(&plan, Needs::of([&plan]))
    }

    /// Likewise, without what counts for rules.
    pub fn load_uncounted(text: &str) -> Result<Self, String> {
        let plan = loaded::plan(text, SEED)?;
        let mut needs = Needs::of([&plan]);
        needs.features &= !features::COUNTERS;
        Self::load_for(&plan, needs)
    }

    /// Likewise, with the code that another profile needs.
    pub fn load_beside(text: &str, other: &str) -> Result<Self, String> {
        let plan = loaded::plan(text, SEED)?;
        let mut needs = Needs::of([&plan]);
        needs.features |= Needs::of([&loaded::plan(other, SEED)?]).features;
        Self::load_for(&plan, needs)
    }

    fn load_for(plan: &Plan, needs: Needs) -> Result<Self, String> {
        let mut ebpf = loaded::load_for(plan, XdpMode::Native, needs)?;
        let hits = ebpf.take_map(maps::HITS).ok_or("no ring for traces")?;
        let hits = RingBuf::try_from(hits).map_err(|error| error.to_string())?;
        Ok(Self { ebpf, hits })
    }

    /// One of them.
    pub fn get(&self, name: &str) -> Result<BorrowedFd<'_>, String> {
        let program = self.ebpf.program(name).ok_or("not in the object")?;
        let fd = program.fd().map_err(|error| error.to_string())?;
        Ok(fd.as_fd())
    }

    /// How many packets the profile's first rule has matched.
    pub fn matched(&self) -> Result<u64, String> {
        let map = self.ebpf.map(maps::RULE_COUNTERS).ok_or("no counters")?;
        let counters: PerCpuArray<&MapData, RuleCounters> =
            PerCpuArray::try_from(map).map_err(|error| error.to_string())?;
        let counters = counters.get(&FIRST, 0).map_err(|error| error.to_string())?;
        Ok(counters.iter().map(|counters| counters.matched).sum())
    }

    /// Has them tell of packets that the profile's first rule hits, by these odds; where they are 0, nobody listens.
    pub fn tell(&mut self, odds: u64) -> Result<(), String> {
        self.tell_by(if odds == 0 {
            TraceFilter::NOTHING
        } else {
            TraceFilter {
                odds,
                ..everything()
            }
        })
    }

    /// Likewise of each packet, to somebody who is woken for every one.
    pub fn tell_and_wake(&mut self) -> Result<(), String> {
        self.tell_by(TraceFilter {
            wake_mask: 0,
            ..everything()
        })
    }

    fn tell_by(&mut self, mut filter: TraceFilter) -> Result<(), String> {
        filter.add_slot(FIRST);
        let map = self.ebpf.map_mut(maps::TRACE).ok_or("no map for traces")?;
        let mut trace: Array<&mut MapData, TraceFilter> =
            Array::try_from(map).map_err(|error| error.to_string())?;
        trace.set(0, filter, 0).map_err(|error| error.to_string())
    }

    /// Measures a program while somebody on another processor takes what it tells of, whenever he is woken.
    pub fn while_heard<T: Send>(
        &mut self,
        name: &str,
        measure: impl FnOnce(BorrowedFd<'_>) -> T,
    ) -> Result<T, String> {
        let program = self.ebpf.program(name).ok_or("not in the object")?;
        let program = program.fd().map_err(|error| error.to_string())?.as_fd();
        let (hits, is_over) = (&mut self.hits, AtomicBool::new(false));
        thread::scope(|scope| {
            let listener = scope.spawn(|| {
                socket::stay_on_cpu(OTHER_CPU);
                while !is_over.load(Ordering::Relaxed) {
                    let mut ready = [PollFd::new(hits.as_fd(), PollFlags::POLLIN)];
                    let _ = poll(&mut ready, NAP_MS);
                    while hits.next().is_some() {}
                }
            });
            let measured = measure(program);
            is_over.store(true, Ordering::Relaxed);
            listener
                .join()
                .map_err(|_| "nobody can listen on another processor")?;
            Ok(measured)
        })
    }

    /// Takes what they have told of, and returns of how many packets.
    pub fn told(&mut self) -> u32 {
        let mut told = 0;
        while self.hits.next().is_some() {
            told += 1;
        }
        told
    }
}

/// Every hit, as `injector trace` asks for it.
fn everything() -> TraceFilter {
    let filter = TraceFilter {
        until_ns: u64::MAX,
        odds: u64::MAX,
        window_max: u64::MAX,
        faults: u32::MAX,
        captured_max: HEADERS_CAPTURED,
        ..TraceFilter::NOTHING
    };
    TraceFilter {
        wake_mask: filter.wake_mask_for(HITS_BYTES),
        ..filter
    }
}

/// The context of a packet on the private pair: `struct __sk_buff`, for the first slot.
pub fn context_on_the_pair() -> [u8; CONTEXT_LEN] {
    let mut context = [0; CONTEXT_LEN];
    let word = Context::new(RuleId::new(FIRST, 0), false, true).word();
    context[CB + 16..CB + 20].copy_from_slice(&word.to_ne_bytes());
    context
}
