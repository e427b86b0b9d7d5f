//! Putting other rules into force during a run.
//!
//! Rules have two generations, each with slots and tables of its own. The programs read once for
//! each packet which one is in force. The other one is written meanwhile, in peace.

use std::{
    ops::Range,
    thread,
    time::{Duration, Instant},
};

use injector_common::abi::GENERATIONS;
use nix::libc;

use super::Session;
use crate::{
    datapath::{Error, Result, counters::Snapshot, journal::RecordedRule, object},
    plan::{Needs, Plan},
};

/// The last swap.
pub(super) struct Swapped {
    /// When no packet met the former rules any more.
    at: Instant,
    /// Until when packets may be held whose rules have made room since, so that nothing counts them.
    pub(super) uncounted_until: Option<Instant>,
}

/// Rules that can come into force at any moment.
pub struct Prepared {
    noted: Noted,
    generation: u32,
    slots: Range<u32>,
    /// The final counters of the rules that made room.
    pub former: Snapshot,
}

/// What others are told of a plan in force.
struct Noted {
    profile: String,
    phase: Option<String>,
    seed: u64,
    rules: Vec<RecordedRule>,
    protected: Vec<String>,
    left_out: Vec<String>,
    delay_max_ns: u64,
}

impl From<&Plan> for Noted {
    fn from(plan: &Plan) -> Self {
        Self {
            profile: plan.profile.clone(),
            phase: plan.phase.clone(),
            seed: plan.seed,
            rules: plan.rules.iter().map(Into::into).collect(),
            protected: plan.protection.names(),
            left_out: plan.left_out.clone(),
            delay_max_ns: plan.delay_max_ns(),
        }
    }
}

impl Session {
    /// Puts `plan` into force in place of the rules that are. No packet sees rules of both, and
    /// when this returns, no packet meets the former rules any more; those on the pair keep their
    /// fate. The new rules' packets and counters start at 0.
    ///
    /// # Errors
    ///
    /// Where the run was not started for what the plan needs, nothing has changed.
    pub fn swap(&mut self, plan: &Plan) -> Result<()> {
        let prepared = self.prepare(plan)?;
        self.flip(prepared, Duration::ZERO).map(|_| ())
    }

    /// Does what takes time of [`swap`](Self::swap), and changes nothing yet for any packet. The
    /// room is that of the rules before those in force, whose counters end here.
    ///
    /// # Errors
    ///
    /// As with [`swap`](Self::swap).
    pub fn prepare(&mut self, plan: &Plan) -> Result<Prepared> {
        self.require_room(plan)?;
        let mut owners = self.owners.clone();
        owners.admit(plan.predicates.owners())?;
        if let Some(labeller) = &mut self.labeller {
            labeller.look_for(&owners, &mut self.ebpf)?;
        }
        self.owners = owners;
        let generation = (self.generation + 1) % GENERATIONS;
        self.wait_until_decided()?;
        let former = std::mem::take(&mut self.former);
        let former = self.counters.read(former)?;
        self.past.settle(&former);
        if let Some(swapped) = &mut self.swapped
            && former.in_flight > 0
        {
            swapped.uncounted_until = Some(swapped.at + self.delay_max);
        }
        let slots = self.needs.slots_of(plan, generation);
        self.counters.clear(slots.clone())?;
        object::fill(&mut self.ebpf, plan, &self.owners, &self.needs, generation)?;
        Ok(Prepared {
            noted: plan.into(),
            generation,
            slots,
            former,
        })
    }

    /// Puts what is prepared into force, `late` after it should have been. Returns when that was; then
    /// waits until no packet meets the former rules any more.
    ///
    /// # Errors
    ///
    /// Where the kernel refuses.
    pub fn flip(&mut self, prepared: Prepared, late: Duration) -> Result<Instant> {
        let flipped = self.put_into_force(&prepared, late)?;
        wait_for_programs();
        self.follow(prepared)?;
        Ok(flipped)
    }

    /// The first part of [`flip`](Self::flip): from now on packets meet these rules. Returns when that was.
    ///
    /// # Errors
    ///
    /// Where the kernel refuses.
    pub fn put_into_force(&mut self, prepared: &Prepared, late: Duration) -> Result<Instant> {
        self.control.begin(prepared.generation, late)?;
        object::put_into_force(&mut self.ebpf, prepared.generation)?;
        Ok(Instant::now())
    }

    /// The last part of [`flip`](Self::flip), once [no program runs](wait_for_programs) that has met the former
    /// rules.
    ///
    /// # Errors
    ///
    /// Where others cannot be told.
    pub fn follow(&mut self, prepared: Prepared) -> Result<()> {
        let Prepared { noted, slots, .. } = prepared;
        self.generation = prepared.generation;
        self.former = std::mem::replace(&mut self.slots, slots);
        self.swapped = Some(Swapped {
            at: Instant::now(),
            uncounted_until: self.swapped.take().and_then(|s| s.uncounted_until),
        });
        let retired = self.rules().to_vec();
        self.past.retire(retired);
        self.delay_max = self.delay_max.max(Duration::from_nanos(noted.delay_max_ns));
        self.note_rules(noted)
    }

    /// Lets values that change over time be as if the machine had not been suspended.
    pub fn advance(&mut self, missed: Duration) -> Result<()> {
        self.control.advance(self.generation, missed)
    }

    /// Whether a swap for `plan` would be refused.
    ///
    /// # Errors
    ///
    /// What the run was not started for.
    pub fn require_room(&self, plan: &Plan) -> Result<()> {
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
            let swapped = self.swapped.as_ref();
            swapped.is_some_and(|swapped| swapped.at.elapsed() < CROSSING)
        };
        while is_crossing() && self.counters.in_flight(self.former.clone())? > 0 {
            thread::sleep(STEP);
        }
        Ok(())
    }

    /// Lets `status` know.
    fn note_rules(&mut self, noted: Noted) -> Result<()> {
        let Some(journal) = &mut self.journal else {
            return Ok(());
        };
        let record = &mut journal.record;
        record.profile = noted.profile;
        record.phase = noted.phase;
        record.next = None;
        record.seed = noted.seed;
        record.rules = noted.rules;
        record.protected = noted.protected;
        record.left_out = noted.left_out;
        record.first_slot = self.slots.start;
        record.delay_max_ns = record.delay_max_ns.max(noted.delay_max_ns);
        journal.save()
    }
}

/// Waits until every program has ended that may have read which generation was in force. Programs
/// run under RCU, and this command waits for a grace period (kernel/sched/membarrier.c).
pub fn wait_for_programs() {
    /// Longer by far than any program runs.
    const LONG: Duration = Duration::from_millis(100);
    // SAFETY: the call has no pointers.
    let failed = unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL, 0, 0) };
    // Refused where CPUs run without a tick (nohz_full), and where it is not compiled in.
    if failed != 0 {
        thread::sleep(LONG);
    }
}
