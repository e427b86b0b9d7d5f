//! One interface's part in a run.

use std::time::{Duration, Instant};

use super::{
    phases::{Flip, Phases},
    prepare::Prepared,
    stage::{Entrance, Stage},
};
use crate::{
    command::{guard::Guard, names::Named, place::Place},
    datapath::{
        Session,
        eviction::Part,
        journal::Record,
        session::{self, Last, Totals},
    },
    error::Failure,
    observe::report::Achieved,
};

/// Plays a run on one interface.
pub(in crate::command) struct Player<'a> {
    stage: &'a Stage<'a>,
    /// Protects from the rules that a saved profile has.
    guard: Guard,
    session: Session,
    /// What is in force.
    prepared: Prepared,
    /// Where the run is, if the profile has phases.
    phases: Option<Phases>,
}

/// What is there to be seen.
pub(super) struct Seen {
    /// What the rules in force have achieved.
    pub achieved: Achieved,
    /// What others have taken away since the last time: all that is missing, where that is more than before.
    pub evicted: Option<Vec<Part>>,
}

/// What is left of one interface's part.
pub(super) struct Left {
    pub place: Place,
    pub achieved: Achieved,
    pub record: Option<Record>,
    pub prepared: Prepared,
}

impl<'a> Player<'a> {
    /// Of a session that is ready.
    pub(super) fn new(entrance: Entrance, stage: &'a Stage<'a>) -> Self {
        let Entrance {
            session,
            prepared,
            guard,
        } = entrance;
        Self {
            stage,
            guard,
            session,
            prepared,
            phases: None,
        }
    }

    /// Where that is.
    pub(super) fn place(&self) -> &'a Place {
        self.stage.place()
    }

    /// The session in which the faults are.
    pub(in crate::command) fn session(&self) -> &Session {
        &self.session
    }

    /// Likewise, to keep it up.
    pub(super) fn session_mut(&mut self) -> &mut Session {
        &mut self.session
    }

    /// Protects from the rules that a saved profile has.
    pub(super) fn guard(&self) -> &Guard {
        &self.guard
    }

    /// What is in force.
    pub(super) fn prepared(&self) -> &Prepared {
        &self.prepared
    }

    /// Where the run is, if the profile has phases.
    pub(super) fn phases(&self) -> Option<&Phases> {
        self.phases.as_ref()
    }

    /// Puts the faults into force, to end in `left`, and counts the time from `now`.
    pub(super) fn begin(&mut self, now: Instant, left: Option<Duration>) -> Result<(), Failure> {
        self.session.begin(self.prepared.elapsed(), left)?;
        self.follow(now)
    }

    /// Takes up what has come into force.
    fn follow(&mut self, now: Instant) -> Result<(), Failure> {
        let Prepared {
            schedule, plans, ..
        } = &self.prepared;
        let schedule = schedule.clone();
        self.phases = schedule.map(|schedule| Phases::new(plans.clone(), schedule, now));
        match &self.phases {
            Some(phases) => phases.note(&mut self.session),
            None => Ok(()),
        }
    }

    /// Whether the run was started for all that these plans need.
    pub(super) fn require_room(&self, prepared: &Prepared) -> Result<(), Failure> {
        let mut plans = prepared.plans.iter();
        Ok(plans.try_for_each(|plan| self.session.require_room(plan))?)
    }

    /// Does what takes time of a swap, and changes nothing yet.
    pub(super) fn make_ready(&mut self, prepared: &Prepared) -> Result<session::Prepared, Failure> {
        self.session.renew()?;
        Ok(self.session.prepare(prepared.first())?)
    }

    /// Lets packets meet what is ready, to end in `left`.
    pub(super) fn put_into_force(
        &mut self,
        ready: &session::Prepared,
        prepared: &Prepared,
        left: Option<Duration>,
    ) -> Result<(), Failure> {
        self.session.end_in(left)?;
        self.session.put_into_force(ready, prepared.elapsed())?;
        Ok(())
    }

    /// Takes up what packets have met since `now`, once no program runs that has met the former rules.
    pub(super) fn take_up(
        &mut self,
        ready: session::Prepared,
        prepared: Prepared,
        now: Instant,
    ) -> Result<(), Failure> {
        self.session.follow(ready)?;
        self.prepared = prepared;
        self.follow(now)
    }

    /// The same profile, of names that stand for other addresses.
    pub(super) fn renamed(&self, named: Named) -> Result<Prepared, Failure> {
        let prepared = (self.prepared).renamed(named, self.stage.faults, &self.guard)?;
        self.guard.require_end(&prepared.plans)?;
        self.require_room(&prepared)?;
        Ok(prepared)
    }

    /// Lets the phases be of these plans from the next one on.
    pub(super) fn replan(&mut self, prepared: Prepared) {
        if let Some(phases) = &mut self.phases {
            phases.replan(prepared.plans.clone());
        }
        self.prepared = prepared;
    }

    /// When the next phase is to be prepared, or to come into force.
    pub(super) fn phase_due(&self) -> Option<Instant> {
        self.phases.as_ref().and_then(Phases::due)
    }

    /// Does what is due of the phases; where a phase is to come into force, lets packets meet it.
    pub(super) fn proceed(&mut self) -> Result<Option<Flip>, Failure> {
        match &mut self.phases {
            Some(phases) if phases.due().is_some_and(|due| due <= Instant::now()) => {
                phases.proceed(&mut self.session)
            }
            _ => Ok(None),
        }
    }

    /// Takes up the phase that packets meet. Returns how late it was.
    pub(super) fn turn(&mut self, flip: Flip) -> Result<Duration, Failure> {
        match &mut self.phases {
            Some(phases) => phases.turn(flip, &mut self.session),
            None => Ok(Duration::ZERO),
        }
    }

    /// Takes into account that the machine has been suspended.
    pub(super) fn advance(&mut self, missed: Duration) -> Result<(), Failure> {
        self.session.advance(missed)?;
        if let Some(phases) = &mut self.phases {
            phases.advance(missed);
        }
        Ok(())
    }

    /// Looks at the counters, and for what others have taken away; `None` when the device is gone.
    pub(super) fn look(&mut self) -> Result<Option<Seen>, Failure> {
        let former = self.session.evicted().to_vec();
        let Some(snapshot) = self.session.look()? else {
            return Ok(None);
        };
        let evicted = self.session.evicted();
        let is_new = !evicted.iter().all(|part| former.contains(part));
        Ok(Some(Seen {
            achieved: Achieved::new(self.session.rules(), &snapshot),
            evicted: is_new.then(|| evicted.to_vec()),
        }))
    }

    /// What all rules have counted since the run began.
    pub(super) fn totals(&self) -> Result<Totals, Failure> {
        Ok(self.session.totals()?)
    }

    /// Ends the faults, and undoes everything. `patience` is asked whether to wait for packets that are
    /// held.
    pub(super) fn stop(self, patience: &(impl Fn(u64) -> bool + Sync)) -> Result<Left, Failure> {
        let place = self.place().clone();
        let rules = self.session.rules().to_vec();
        let record = self.session.record().cloned();
        let last: Last = self.session.stop(patience)?;
        let achieved = match self.phases {
            Some(phases) => phases.achieved(&last),
            None => Achieved::of_ended(&rules, &last.in_force),
        };
        Ok(Left {
            place,
            achieved,
            record,
            prepared: self.prepared,
        })
    }
}
