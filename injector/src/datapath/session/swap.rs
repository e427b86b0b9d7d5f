//! Putting other rules into force during a run.
//!
//! Rules have two generations, each with slots and tables of its own. The programs read once for
//! each packet which one is in force. The other one is written meanwhile, in peace.

use std::{
    thread,
    time::{Duration, Instant},
};

use injector_common::abi::GENERATIONS;
use nix::libc;

use super::Session;
use crate::{
    datapath::{Error, Result, object},
    plan::{Needs, Plan},
};

impl Session {
    /// Puts `plan` into force in place of the rules that are. No packet sees rules of both, and
    /// when this returns, no packet meets the former rules any more; those on the pair keep their
    /// fate. The new rules' packets and counters start at 0.
    ///
    /// # Errors
    ///
    /// Where the run was not started for what the plan needs, nothing has changed.
    pub fn swap(&mut self, plan: &Plan) -> Result<()> {
        self.require_room(plan)?;
        let generation = (self.generation + 1) % GENERATIONS;
        self.wait_until_decided()?;
        let slots = self.needs.slots_of(plan, generation);
        self.counters.clear(slots.clone())?;
        object::fill(&mut self.ebpf, plan, &self.needs, generation)?;
        object::put_into_force(&mut self.ebpf, generation)?;
        wait_for_programs();
        self.generation = generation;
        self.former = std::mem::replace(&mut self.slots, slots);
        self.swapped = Some(Instant::now());
        self.delay_max = self
            .delay_max
            .max(Duration::from_nanos(plan.delay_max_ns()));
        self.note_rules(plan)
    }

    fn require_room(&self, plan: &Plan) -> Result<()> {
        if let Some(what) = self.needs.lacks(&Needs::of([plan])) {
            return Err(Error::Unprepared {
                profile: plan.profile.clone(),
                what,
            });
        }
        if plan.delay_max_ns() > 0 && !self.has_fq {
            return Err(Error::NoFq);
        }
        Ok(())
    }

    /// Waits until the former rules have decided what they lifted: packets carry their slot, which is
    /// about to get another rule.
    fn wait_until_decided(&self) -> Result<()> {
        /// Longer than a packet takes to cross the pair.
        const CROSSING: Duration = Duration::from_millis(100);
        const STEP: Duration = Duration::from_millis(1);
        let is_crossing = || {
            self.swapped
                .is_some_and(|swapped| swapped.elapsed() < CROSSING)
        };
        while is_crossing() && self.counters.in_flight(self.former.clone())? > 0 {
            thread::sleep(STEP);
        }
        Ok(())
    }

    /// Lets `status` know.
    fn note_rules(&mut self, plan: &Plan) -> Result<()> {
        let Some(journal) = &mut self.journal else {
            return Ok(());
        };
        let record = &mut journal.record;
        record.profile.clone_from(&plan.profile);
        record.seed = plan.seed;
        record.rules = plan.rules.iter().map(Into::into).collect();
        record.first_slot = self.slots.start;
        record.delay_max_ns = record.delay_max_ns.max(plan.delay_max_ns());
        journal.save()
    }
}

/// Waits until every program has ended that may have read which generation was in force. Programs
/// run under RCU, and this command waits for a grace period (kernel/sched/membarrier.c).
fn wait_for_programs() {
    /// Longer by far than any program runs.
    const LONG: Duration = Duration::from_millis(100);
    // SAFETY: the call has no pointers.
    let failed = unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL, 0, 0) };
    // Refused where CPUs run without a tick (nohz_full), and where it is not compiled in.
    if failed != 0 {
        thread::sleep(LONG);
    }
}
