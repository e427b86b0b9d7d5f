//! Where a run is played: on a device, as soon as there is one.

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

use tokio::{
    runtime::Runtime,
    time::{MissedTickBehavior, interval},
};

use super::{
    ending::Ending,
    ends::Ends,
    play::{after, left},
    prepare::Prepared,
    service,
    suspension::{Suspension, earlier},
};
use crate::{
    cli::{Faults, Global},
    command::{guard::Guard, place::Place, plan},
    datapath::{
        Options, Session, clear,
        netns::NetnsId,
        session::{Absence, is_there},
    },
    error::Failure,
    plan::Needs,
};

/// What stays the same while devices come and go.
pub(in crate::command) struct Stage<'a> {
    pub(super) faults: &'a Faults,
    pub(super) global: &'a Global,
    guard: Guard,
    needs: Needs,
    background: bool,
    /// How many interfaces the run has.
    interfaces: u32,
    /// Whether it is known that the faults end.
    pub(super) ends: bool,
    netns: NetnsId,
    started: OnceLock<Instant>,
}

/// What comes of entering.
pub(in crate::command) enum Entry {
    /// The faults are ready to come into force, on each stage.
    Ready(Vec<Entrance>),
    /// The run has ended before there was a device.
    Ended(Ending, Vec<Prepared>),
}

/// Faults that are ready.
pub(in crate::command) struct Entrance {
    pub session: Session,
    pub prepared: Prepared,
    /// Protects from the rules that a saved profile has.
    pub guard: Guard,
}

impl<'a> Stage<'a> {
    /// In the namespace as it is now, for plans that need no more than `needs`.
    pub(in crate::command) fn new(
        faults: &'a Faults,
        global: &'a Global,
        guard: Guard,
        needs: Needs,
        ends: bool,
    ) -> Result<Self, Failure> {
        Ok(Self {
            faults,
            global,
            needs,
            background: false,
            interfaces: 1,
            ends,
            netns: guard.place().netns.id()?,
            guard,
            started: OnceLock::new(),
        })
    }

    /// Where that is.
    pub(super) fn place(&self) -> &Place {
        self.guard.place()
    }

    /// One of several that are played on together.
    pub(super) fn among(self, interfaces: usize) -> Self {
        Self {
            interfaces: u32::try_from(interfaces).unwrap_or(u32::MAX),
            ..self
        }
    }

    /// For faults that others may swap.
    pub(in crate::command) fn in_background(self) -> Self {
        Self {
            background: true,
            ..self
        }
    }

    /// When the run began: with its faults, or with waiting for its first device.
    pub(super) fn started(&self) -> Instant {
        *self.started.get_or_init(Instant::now)
    }

    /// Gets the faults ready. Where there is no device, says so by `waits`, and waits if that is wanted. Returns how
    /// the run ended where it did before.
    pub(super) fn enter(
        &self,
        mut prepared: Prepared,
        ends: &mut Ends,
        runtime: &Runtime,
        waits: &mut impl FnMut(&Prepared) -> Result<(), Failure>,
    ) -> Result<Result<Entrance, (Ending, Prepared)>, Failure> {
        // On the first device time counts from its faults, or from the first wait.
        let mut deadline = self.started.get().and_then(|_| after(prepared.duration));
        loop {
            if !self.is_set()? {
                self.started();
                deadline = deadline.or(after(prepared.duration));
                self.make_room()?;
                let absence = self.absence(&prepared)?;
                let ended = waits(&prepared)
                    .and_then(|()| runtime.block_on(self.wait(ends, &mut deadline)));
                absence.end()?;
                if let Some(ending) = ended? {
                    return Ok(Err((ending, prepared)));
                }
            }
            self.say(&prepared)?;
            match self.begin(&prepared) {
                Ok((session, guard)) => {
                    if deadline.is_some() {
                        prepared.duration = left(deadline);
                    }
                    return Ok(Ok(Entrance {
                        session,
                        prepared,
                        guard,
                    }));
                }
                // It has gone again.
                Err(_) if !self.is_set()? => {}
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Whether nobody has to wait for the device.
    fn is_set(&self) -> Result<bool, Failure> {
        let Place { netns, device, .. } = self.place();
        Ok(!self.faults.wait_for_device || is_there(netns, &self.netns, device)?)
    }

    fn absence(&self, prepared: &Prepared) -> Result<Absence, Failure> {
        let Place { netns, device, .. } = self.place();
        let options = self.options(prepared);
        let absence = Absence::begin(netns, self.netns, device, prepared.first(), options)?;
        Ok(absence)
    }

    /// Waits until the device is there. Returns how the run ended where it did before.
    async fn wait(
        &self,
        ends: &mut Ends,
        deadline: &mut Option<Instant>,
    ) -> Result<Option<Ending>, Failure> {
        /// Polled: a socket that is told of new devices would keep the namespace alive.
        const STEP: Duration = Duration::from_millis(100);
        let mut suspension = Suspension::begin()?;
        let mut looking = interval(STEP);
        looking.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = looking.tick() => {
                    service::alive();
                    let missed = suspension.passed()?;
                    *deadline = deadline.map(|moment| earlier(moment, missed));
                    if self.is_set()? {
                        return Ok(None);
                    }
                }
                end = ends.next(*deadline) => if let Some(ending) = end? {
                    return Ok(Some(ending));
                },
            }
        }
    }

    /// Says what is planned, where that is wanted.
    pub(super) fn say(&self, prepared: &Prepared) -> Result<(), Failure> {
        if !self.global.verbose {
            return Ok(());
        }
        let part = plan::Part {
            place: self.place(),
            plans: &prepared.plans,
            needs: self.needs,
        };
        let options = self.options(prepared);
        plan::say(&part, prepared.answers(), options, self.global)
    }

    /// Gets the faults ready on a device that is there.
    pub(super) fn begin(&self, prepared: &Prepared) -> Result<(Session, Guard), Failure> {
        let guard = self.guard.clone().of_run(self.ends)?;
        guard.require_end(&prepared.plans)?;
        self.make_room()?;
        let Place { netns, device, .. } = self.place();
        let options = self.options(prepared);
        let session = Session::make_ready(netns, device, prepared.first(), self.needs, options)?;
        let mut plans = prepared.plans.iter();
        plans.try_for_each(|plan| session.require_room(plan))?;
        Ok((session, guard))
    }

    /// Ends whatever has the device or waits for it, where that is wanted.
    fn make_room(&self) -> Result<(), Failure> {
        if self.faults.replace {
            let Place { netns, device, .. } = self.place();
            clear::stop_holder(netns, device)?;
        }
        Ok(())
    }

    fn options(&self, prepared: &Prepared) -> Options {
        Options {
            interfaces: self.interfaces,
            background: self.background,
            ..prepared.options(self.faults)
        }
    }
}
