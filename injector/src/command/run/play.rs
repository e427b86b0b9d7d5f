//! The time between the first change and the last: renewing the lease, showing counters, waiting
//! for an end.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, sleep_until},
};

use super::{
    ends::Ends,
    event::Event,
    phases::{self, Phases},
    prepare::{Chosen, Prepared},
    service,
    signals::Told,
    stage::{Entrance, Stage},
    suspension::{Suspension, earlier},
    telemetry::Telemetry,
    watch::Watch,
};
use crate::{
    cli::{self, Faults, Global},
    command::{
        guard::Guard,
        names::{Change, Named},
        print_json_line,
    },
    datapath::{
        Session,
        eviction::{self, Part},
        journal::Record,
        session::{Ahead, Last},
    },
    error::Failure,
    lookup::{Answer, Lookups},
    observe::{
        audit::{Audit, Moment, What},
        live::Live,
        metrics::Status,
        report::{self, Achieved},
    },
    profile::Profile,
    units::HostName,
};

/// How often processes are looked at whose sockets rules ask for.
const ATTENDING: Duration = Duration::from_millis(250);

/// How often the counters are shown.
const COUNTING: Duration = Duration::from_secs(1);

/// Plays a run.
pub(in crate::command) struct Player<'a> {
    global: &'a Global,
    faults: &'a Faults,
    /// Protects from the rules that a saved profile has.
    guard: Guard,
    audit: Audit,
    session: Session,
    /// What is in force.
    prepared: Prepared,
    /// Where the run is, if the profile has phases.
    phases: Option<Phases>,
    started: Instant,
    /// When these faults came into force.
    begun: Instant,
    /// When the run ends at the latest, also on another device.
    deadline: Option<Instant>,
    /// When the faults end, if that is known.
    ends: Option<Instant>,
    suspension: Suspension,
    live: Live,
    telemetry: Telemetry,
    /// Of the profile's names, while it is played.
    lookups: Option<Lookups>,
    /// Names that could not be looked up the last time.
    lost: BTreeSet<HostName>,
}

/// What changes or ends a run, beside time.
pub(in crate::command) struct Influences {
    pub ends: Ends,
    pub watch: Option<Watch>,
    /// What others want.
    pub wishes: Option<mpsc::Receiver<Wish>>,
}

/// What somebody else wants done to a run.
pub(in crate::command) type Wish = Box<dyn FnOnce(&mut Player<'_>) + Send>;

/// What faults cannot go on without.
#[derive(Debug)]
pub(in crate::command) enum Lost {
    /// The interface.
    Device,
    /// Parts of the run, which others took away.
    Parts(Vec<Part>),
}

/// How the run ended.
#[derive(Debug, Default)]
pub(in crate::command) struct Ending {
    pub told: Option<Told>,
    pub lost: Option<Lost>,
    pub unconfirmed: bool,
    pub command_status: Option<u8>,
}

/// What is left of a run.
pub(in crate::command) struct Remains {
    /// What all rules have achieved.
    pub achieved: Achieved,
    /// What was in force at the end, and where.
    pub record: Option<Record>,
    /// What was played, and could be on another device.
    pub prepared: Prepared,
    /// Has kept what happened, if that was wanted.
    pub telemetry: Telemetry,
}

impl Ending {
    /// In a few words.
    pub(in crate::command) fn reason(&self) -> &'static str {
        match (&self.lost, self.told, self.command_status) {
            (Some(Lost::Device), ..) => "interface gone",
            (Some(Lost::Parts(_)), ..) => "evicted",
            (_, Some(Told::Interrupted), _) => "interrupted",
            (_, Some(Told::Terminated), _) => "terminated",
            (_, _, Some(_)) => "command exited",
            _ if self.unconfirmed => "not confirmed",
            _ => "time elapsed",
        }
    }

    /// Whether it was the device that ended.
    pub(in crate::command) fn is_absence(&self) -> bool {
        matches!(self.lost, Some(Lost::Device))
    }
}

impl<'a> Player<'a> {
    /// Of a session in which the first plan is in force. From now on the time counts.
    pub(in crate::command) fn begin(
        entrance: Entrance,
        stage: &Stage<'a>,
        audit: Audit,
        telemetry: Telemetry,
    ) -> Result<Self, Failure> {
        let Entrance {
            session,
            prepared,
            guard,
        } = entrance;
        let Stage { global, faults, .. } = *stage;
        let total = prepared.total();
        let mut player = Self {
            global,
            faults,
            guard,
            audit,
            session,
            phases: None,
            started: stage.started(),
            begun: Instant::now(),
            deadline: None,
            ends: after(total),
            suspension: Suspension::begin()?,
            live: Live::new(total, global.quiet || global.json),
            prepared,
            telemetry,
            lookups: None,
            lost: BTreeSet::new(),
        };
        player.session.end_in(left(player.ends))?;
        player.follow()?;
        player.log(Moment::Start, None);
        Ok(player)
    }

    /// The session, in which the faults are in force.
    pub(in crate::command) fn session(&self) -> &Session {
        &self.session
    }

    /// Where the metrics were to be told.
    pub(in crate::command) fn metrics_args(&self) -> &cli::Metrics {
        &self.faults.metrics
    }

    /// Where the metrics are served.
    pub(super) fn metrics(&self) -> Option<SocketAddr> {
        self.telemetry.address()
    }

    /// The name of the profile in force.
    pub(super) fn profile(&self) -> &str {
        self.session.record().map_or("", |record| &record.profile)
    }

    /// Gives up what is not needed any more: not before a command has its user's privileges, and not where
    /// somebody may ask for more, or another device may come.
    fn confine(&self, influences: &Influences) -> Result<(), Failure> {
        if influences.wishes.is_some() || self.faults.wait_for_device {
            return Ok(());
        }
        Ok(self.session.confine(Ahead {
            reads: influences.watch.is_some(),
            signals: influences.ends.command.is_some(),
            writes: self.telemetry.directory(),
        })?)
    }

    /// Returns when the faults are to end.
    pub(in crate::command) async fn play(
        &mut self,
        influences: &mut Influences,
    ) -> Result<Ending, Failure> {
        let mut ending = Ending::default();
        self.confine(influences)?;
        self.look_up_names();
        self.say_phase(Duration::ZERO)?;
        let mut renewal = interval(self.session.renewal());
        // After a suspension one renewal is enough.
        renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut counting = interval(COUNTING);
        counting.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut attending = interval(ATTENDING);
        attending.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let phase_due = self.phases.as_ref().and_then(Phases::due);
            tokio::select! {
                _ = renewal.tick() => {
                    self.session.renew()?;
                    service::alive();
                    self.catch_up()?;
                    if self.session.term()?.ends_in_ms == Some(0) {
                        break;
                    }
                }
                _ = counting.tick() => {
                    ending.lost = self.count()?;
                    if ending.lost.is_some() {
                        break;
                    }
                }
                _ = attending.tick(), if self.session.asks_for_owners() => {
                    self.session.look_for_owners()?;
                }
                () = until(phase_due) => self.proceed()?,
                saved = saved(&mut influences.watch) => {
                    saved?;
                    self.reload()?;
                }
                answers = answered(&mut self.lookups) => self.rename(answers)?,
                wish = next(&mut influences.wishes) => wish(self),
                end = influences.ends.next(self.ends) => match end? {
                    Some(end) => {
                        ending = end;
                        break;
                    }
                    None => self.live.print(format_args!("{}: the faults stay", self.faults.interface)),
                },
            }
        }
        self.live.finish();
        self.publish()?;
        Ok(ending)
    }

    /// Ends the faults, and undoes everything. `patience` is asked whether to wait for packets that are
    /// held.
    pub(in crate::command) fn stop(
        mut self,
        reason: &str,
        patience: impl Fn(u64) -> bool + Sync,
    ) -> Result<Remains, Failure> {
        self.log(Moment::Stop, Some(reason));
        let rules = self.session.rules().to_vec();
        let record = self.session.record().cloned();
        let last: Last = self.session.stop(patience)?;
        Ok(Remains {
            achieved: match self.phases {
                Some(phases) => phases.achieved(&last),
                None => Achieved::of_ended(&rules, &last.in_force),
            },
            record,
            prepared: Prepared {
                duration: left(self.deadline),
                ..self.prepared
            },
            telemetry: self.telemetry,
        })
    }

    /// Takes up what has come into force.
    fn follow(&mut self) -> Result<(), Failure> {
        let prepared = &self.prepared;
        self.deadline = after(prepared.duration);
        self.phases = prepared
            .schedule
            .clone()
            .map(|schedule| Phases::new(prepared.plans.clone(), schedule, Instant::now()));
        match &self.phases {
            Some(phases) => phases.note(&mut self.session),
            None => Ok(()),
        }
    }

    /// Puts other rules into force, and has their names looked up. When this returns, no packet meets the
    /// former ones any more.
    pub(in crate::command) fn swap(&mut self, prepared: Prepared) -> Result<(), Failure> {
        self.exchange(prepared)?;
        self.look_up_names();
        Ok(())
    }

    fn exchange(&mut self, prepared: Prepared) -> Result<(), Failure> {
        let session = &mut self.session;
        prepared
            .plans
            .iter()
            .try_for_each(|plan| session.require_room(plan))?;
        session.renew()?;
        let first = session.prepare(prepared.first())?;
        let ends = after(prepared.total());
        session.end_in(left(ends))?;
        session.flip(first, prepared.elapsed())?;
        self.ends = ends;
        self.prepared = prepared;
        self.follow()?;
        self.log(Moment::Swap, None);
        Ok(())
    }

    /// Has the names of the profile in force looked up again and again.
    fn look_up_names(&mut self) {
        let named = self.prepared.named.as_ref();
        self.lookups = named.map(|named| Lookups::start(named.names()));
        self.lost.clear();
    }

    /// Takes up what names stand for now. Where that cannot be put into force, says why, and the former rules
    /// stay.
    fn rename(&mut self, answers: Vec<(HostName, Answer)>) -> Result<(), Failure> {
        let Some(mut named) = self.prepared.named.clone() else {
            return Ok(());
        };
        let changes = named.update(answers, &mut self.lost);
        if changes
            .iter()
            .any(|change| matches!(change, Change::Moved(..)))
            && let Err(failure) = self.swap_named(named)
        {
            self.live.print(failure);
            return Ok(());
        }
        changes
            .iter()
            .try_for_each(|change| self.say_change(change))
    }

    /// Puts rules with other addresses into force: at once, or, where there are phases, from the next one on.
    fn swap_named(&mut self, named: Named) -> Result<(), Failure> {
        let mut prepared = self.prepared.renamed(named, self.faults, &self.guard)?;
        self.guard.require_end(&prepared.plans)?;
        let Some(phases) = &mut self.phases else {
            prepared.duration = left(self.deadline);
            return self.exchange(prepared);
        };
        let session = &self.session;
        let mut plans = prepared.plans.iter();
        plans.try_for_each(|plan| session.require_room(plan))?;
        phases.replan(prepared.plans.clone());
        self.prepared = prepared;
        Ok(())
    }

    fn say_change(&mut self, change: &Change) -> Result<(), Failure> {
        let elapsed_ms = self.elapsed_ms();
        if self.global.json {
            print_json_line(&match change {
                Change::Moved(name, addresses) => Event::Renamed {
                    elapsed_ms,
                    name,
                    addresses,
                },
                Change::Lost(name, error) => Event::Unnamed {
                    elapsed_ms,
                    name,
                    error: error.to_string(),
                },
            })?;
        }
        let device = &self.faults.interface;
        self.live.print(format_args!("{device}: {change}"));
        Ok(())
    }

    /// Where what happens is noted, and in whose name.
    pub(in crate::command) fn audit_mut(&mut self) -> &mut Audit {
        &mut self.audit
    }

    /// Notes what happens for those who ask later.
    fn log(&mut self, moment: Moment, reason: Option<&str>) {
        let session = &self.session;
        let Some(record) = session.record() else {
            return;
        };
        let what = What {
            record,
            sha256: self.prepared.sha256.as_deref(),
            reason,
        };
        if let Err(error) = self.audit.write(moment, &what) {
            self.live
                .print(format_args!("cannot write the audit line: {error}"));
        }
    }

    /// Shows the counters. Returns what is lost that the faults cannot go on without.
    fn count(&mut self) -> Result<Option<Lost>, Failure> {
        let Some(achieved) = self.look()? else {
            return Ok(Some(Lost::Device));
        };
        if self.global.json {
            print_json_line(&Event::Counters {
                elapsed_ms: self.elapsed_ms(),
                phase: self.session.phase(),
                achieved: &achieved,
            })?;
        }
        let progress = self.phases.as_ref().map(Phases::progress);
        let left_out = self
            .session
            .record()
            .and_then(|record| report::left_out(&record.left_out));
        let notes: Vec<_> = progress.into_iter().chain(left_out).collect();
        self.live.show(self.begun.elapsed(), &notes, &achieved);
        self.publish()?;
        let evicted = self.session.evicted();
        let is_lost = self.faults.strict && !evicted.is_empty();
        Ok(is_lost.then(|| Lost::Parts(evicted.to_vec())))
    }

    /// Tells those who watch from elsewhere.
    fn publish(&mut self) -> Result<(), Failure> {
        if !self.telemetry.is_wanted() {
            return Ok(());
        }
        let totals = self.session.totals()?;
        let Some(record) = self.session.record() else {
            return Ok(());
        };
        let published = self.telemetry.publish(
            self.started.elapsed(),
            &Status {
                record,
                sha256: self.prepared.sha256.as_deref(),
                step: self.phases.as_ref().map_or(0, Phases::step),
                totals: &totals,
            },
        );
        if let Err(error) = published {
            let device = &self.faults.interface;
            self.live
                .print(format_args!("{device}: cannot write the metrics: {error}"));
        }
        Ok(())
    }

    /// Says what others have taken away since the last time, and returns the counters; `None` when the
    /// device is gone.
    fn look(&mut self) -> Result<Option<Achieved>, Failure> {
        let former = self.session.evicted().to_vec();
        let Some(snapshot) = self.session.look()? else {
            return Ok(None);
        };
        self.say_evicted(&former)?;
        Ok(Some(Achieved::new(self.session.rules(), &snapshot)))
    }

    /// Says what others have taken away, where that is more than before.
    fn say_evicted(&self, former: &[Part]) -> Result<(), Failure> {
        let evicted = self.session.evicted();
        if evicted.iter().all(|part| former.contains(part)) {
            return Ok(());
        }
        if self.global.json {
            print_json_line(&Event::Evicted {
                elapsed_ms: self.elapsed_ms(),
                parts: evicted,
            })?;
        }
        self.live.print(format_args!(
            "{}: evicted: {}: others took it away, and its faults are off until the run is started anew",
            self.faults.interface,
            eviction::list(evicted)
        ));
        Ok(())
    }

    /// Takes into account that the machine has been suspended.
    fn catch_up(&mut self) -> Result<(), Failure> {
        let missed = self.suspension.passed()?;
        if missed.is_zero() {
            return Ok(());
        }
        self.session.advance(missed)?;
        if let Some(phases) = &mut self.phases {
            phases.advance(missed);
        }
        let [started, begun] = [self.started, self.begun].map(|moment| earlier(moment, missed));
        (self.started, self.begun) = (started, begun);
        for moment in [&mut self.deadline, &mut self.ends].into_iter().flatten() {
            *moment = earlier(*moment, missed);
        }
        Ok(())
    }

    /// Does what is due of the phases.
    fn proceed(&mut self) -> Result<(), Failure> {
        let late = match &mut self.phases {
            Some(phases) => phases.proceed(&mut self.session)?,
            None => None,
        };
        match late {
            Some(late) => self.say_phase(late),
            None => Ok(()),
        }
    }

    /// Says which phase has begun.
    fn say_phase(&mut self, late: Duration) -> Result<(), Failure> {
        let Some(phases) = &self.phases else {
            return Ok(());
        };
        self.telemetry
            .phase(self.started.elapsed(), phases.name(), phases.repetition());
        if self.global.json {
            return print_json_line(&Event::Phase {
                elapsed_ms: self.elapsed_ms(),
                phase: phases.name(),
                repetition: phases.repetition(),
                late_us: late.as_micros() as u64,
            });
        }
        let text = format!("{}: {}", self.faults.interface, phases.progress());
        self.live.phase(&text);
        Ok(())
    }

    /// Swaps the saved profile in. Where that fails, says why, and the old one stays in force.
    fn reload(&mut self) -> Result<(), Failure> {
        // Where the device is gone, the counters will tell.
        let Some(former) = self.look()? else {
            return Ok(());
        };
        if let Err(failure) = self.swap_saved() {
            self.live.print(failure);
            return Ok(());
        }
        let Some(record) = self.session.record() else {
            return Ok(());
        };
        if self.global.json {
            return print_json_line(&Event::Reloaded {
                elapsed_ms: self.elapsed_ms(),
                profile: &record.profile,
                seed: record.seed,
                former: &former,
            });
        }
        if !self.global.quiet {
            self.live.print(format_args!(
                "{}: faults changed: profile {}, seed {}; until now:\n{}",
                self.faults.interface,
                record.profile,
                record.seed,
                report::text(&former).trim_end()
            ));
        }
        Ok(())
    }

    fn swap_saved(&mut self) -> Result<(), Failure> {
        let chosen = Chosen::new(self.faults, self.global)?;
        require_steady(&chosen.profile)?;
        // A seed that was drawn at the start stays: what was not edited does not change.
        let seed = self.faults.seed.or(chosen.profile.seed);
        let seed = seed.or(self.session.record().map(|record| record.seed));
        let mut prepared = Prepared::new(chosen, seed, self.faults, &self.guard)?;
        self.guard.require_end(&prepared.plans)?;
        prepared.duration = left(self.deadline);
        self.swap(prepared)
    }

    fn elapsed_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }
}

/// Refuses a profile that cannot be watched.
pub(super) fn require_steady(profile: &Profile) -> Result<(), Failure> {
    match profile.timeline() {
        Some(_) => Err(phases::not_watched(profile)),
        None => Ok(()),
    }
}

/// When that time will be over. What ends after centuries does not.
pub(super) fn after(time: Option<Duration>) -> Option<Instant> {
    time.and_then(|time| Instant::now().checked_add(time))
}

/// How long it is until then.
pub(super) fn left(ends: Option<Instant>) -> Option<Duration> {
    ends.map(|ends| ends.saturating_duration_since(Instant::now()))
}

/// Waits until that moment; for ever where there is none.
pub(super) async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

/// Waits until the profile was saved; for ever where it is not watched.
async fn saved(watch: &mut Option<Watch>) -> std::io::Result<()> {
    match watch {
        Some(watch) => watch.saved().await,
        None => std::future::pending().await,
    }
}

/// Waits until names were looked up; for ever where there are none.
async fn answered(lookups: &mut Option<Lookups>) -> Vec<(HostName, Answer)> {
    match lookups {
        Some(lookups) => lookups.next().await,
        None => std::future::pending().await,
    }
}

/// Waits until somebody wants something; for ever where nobody can.
async fn next(wishes: &mut Option<mpsc::Receiver<Wish>>) -> Wish {
    if let Some(wishes) = wishes
        && let Some(wish) = wishes.recv().await
    {
        return wish;
    }
    std::future::pending().await
}
