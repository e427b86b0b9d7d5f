//! The time between the first change and the last: renewing the leases, showing counters, waiting
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
    ending::{Ending, Lost},
    ends::Ends,
    event::Event,
    phases::Phases,
    player::{Left, Player},
    prepare::Prepared,
    service,
    stage::{Entrance, Stage},
    suspension::{Suspension, earlier},
    telemetry::Telemetry,
    watch::Watch,
};
use crate::{
    cli::{self, Faults, Global},
    command::{place::Place, print_json_line},
    datapath::{
        Session, eviction,
        eviction::Part,
        journal::Record,
        session::{self, Ahead},
    },
    error::Failure,
    lookup::{Answer, Lookups},
    observe::{
        audit::{Audit, Moment, What},
        live::Live,
        metrics::Status,
        report::{self, Achieved},
    },
    units::HostName,
};

mod changes;

pub(super) use self::changes::require_steady;

/// How often processes are looked at whose sockets rules ask for.
const ATTENDING: Duration = Duration::from_millis(250);

/// How often the counters are shown.
const COUNTING: Duration = Duration::from_secs(1);

/// A run, on one interface or on several at once: its faults begin, change and end on all of them together.
pub(in crate::command) struct Play<'a> {
    global: &'a Global,
    faults: &'a Faults,
    /// One at least. They play the same profile by the same clock.
    players: Vec<Player<'a>>,
    audit: Audit,
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
pub(in crate::command) type Wish = Box<dyn FnOnce(&mut Play<'_>) + Send>;

/// What is left of a run.
pub(in crate::command) struct Remains {
    /// What all rules have achieved.
    pub achieved: Achieved,
    /// What was in force at the end, and where: on each interface.
    pub records: Vec<Record>,
    /// What was played, and could be on other devices.
    pub prepared: Vec<Prepared>,
    /// Has kept what happened, if that was wanted.
    pub telemetry: Telemetry,
}

impl<'a> Play<'a> {
    /// Puts the faults into force that are ready on these stages, on each its own. From now on the time counts.
    pub(in crate::command) fn begin(
        entrances: Vec<Entrance>,
        stages: &'a [Stage<'a>],
        audit: Audit,
        telemetry: Telemetry,
    ) -> Result<Self, Failure> {
        let Stage { global, faults, .. } = stages[0];
        let players = entrances.into_iter().zip(stages);
        let players: Vec<_> = players
            .map(|(entrance, stage)| Player::new(entrance, stage))
            .collect();
        let prepared = players[0].prepared();
        let total = prepared.total();
        let mut play = Self {
            global,
            faults,
            audit,
            started: stages[0].started(),
            begun: Instant::now(),
            deadline: after(prepared.duration),
            ends: after(total),
            suspension: Suspension::begin()?,
            live: Live::new(total, global.quiet || global.json),
            players,
            telemetry,
            lookups: None,
            lost: BTreeSet::new(),
        };
        for player in &mut play.players {
            player.begin(play.begun, left(play.ends))?;
        }
        play.log(Moment::Start, None);
        Ok(play)
    }

    /// The interfaces' parts.
    pub(in crate::command) fn players(&self) -> &[Player<'a>] {
        &self.players
    }

    /// The session of a run on one interface.
    pub(in crate::command) fn session(&self) -> &Session {
        self.players[0].session()
    }

    /// Where that is, in a few words.
    pub(super) fn name(&self) -> String {
        let places: Vec<_> = self.players.iter().map(Player::place).collect();
        Place::list(&places)
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
        let record = self.session().record();
        record.map_or("", |record| &record.profile)
    }

    /// Gives up what is not needed any more: not before a command has its user's privileges, and not where
    /// somebody may ask for more, or another device may come.
    fn confine(&self, influences: &Influences) -> Result<(), Failure> {
        if influences.wishes.is_some() || self.faults.wait_for_device {
            return Ok(());
        }
        let sessions: Vec<_> = self.players.iter().map(Player::session).collect();
        let ahead = Ahead {
            reads: influences.watch.is_some(),
            signals: influences.ends.command.is_some(),
            writes: self.telemetry.directory(),
        };
        Ok(session::confine(&sessions, ahead)?)
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
        let mut renewal = interval(self.session().renewal());
        // After a suspension one renewal is enough.
        renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut counting = interval(COUNTING);
        counting.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut attending = interval(ATTENDING);
        attending.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let phase_due = self.players.iter().filter_map(Player::phase_due).min();
            tokio::select! {
                _ = renewal.tick() => if self.renew()? {
                    break;
                },
                _ = counting.tick() => {
                    ending.lost = self.count()?;
                    if ending.lost.is_some() {
                        break;
                    }
                }
                _ = attending.tick(), if self.asks_for_owners() => self.look_for_owners()?,
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
                    None => self.live.print(format_args!("{}: the faults stay", self.name())),
                },
            }
        }
        self.live.finish();
        self.publish()?;
        Ok(ending)
    }

    /// Ends the faults, at once everywhere, and undoes everything, the last first. `patience` is asked whether to
    /// wait for packets that are held.
    pub(in crate::command) fn stop(
        mut self,
        reason: &str,
        patience: impl Fn(u64) -> bool + Sync,
    ) -> Result<Remains, Failure> {
        self.log(Moment::Stop, Some(reason));
        let (mut left_over, mut failures) = (Vec::new(), Vec::new());
        for player in &mut self.players {
            failures.extend(player.session_mut().end().err().map(Failure::from));
        }
        for player in self.players.into_iter().rev() {
            match player.stop(&patience) {
                Ok(left) => left_over.insert(0, left),
                Err(failure) => failures.push(failure),
            }
        }
        // What could not be undone stays in the journals, for `clear`.
        if let Some(failure) = failures.into_iter().next() {
            return Err(failure);
        }
        let deadline = self.deadline;
        let mut remains = Remains {
            achieved: Achieved::default(),
            records: Vec::new(),
            prepared: Vec::new(),
            telemetry: self.telemetry,
        };
        let mut achieved = Vec::new();
        for part in left_over {
            let Left {
                place,
                achieved: one,
                record,
                prepared,
            } = part;
            achieved.push((place.to_string(), one));
            remains.records.extend(record);
            remains.prepared.push(Prepared {
                duration: left(deadline),
                ..prepared
            });
        }
        remains.achieved = Achieved::together(achieved);
        Ok(remains)
    }

    /// Where what happens is noted, and in whose name.
    pub(in crate::command) fn audit_mut(&mut self) -> &mut Audit {
        &mut self.audit
    }

    /// Notes what happens for those who ask later.
    fn log(&mut self, moment: Moment, reason: Option<&str>) {
        for player in &self.players {
            let Some(record) = player.session().record() else {
                continue;
            };
            let what = What {
                record,
                sha256: player.prepared().sha256.as_deref(),
                reason,
            };
            if let Err(error) = self.audit.write(moment, &what) {
                self.live
                    .print(format_args!("cannot write the audit line: {error}"));
            }
        }
    }

    /// Renews the leases. Returns whether the faults are over.
    fn renew(&mut self) -> Result<bool, Failure> {
        for player in &mut self.players {
            player.session_mut().renew()?;
        }
        service::alive();
        self.catch_up()?;
        Ok(self.session().term()?.ends_in_ms == Some(0))
    }

    fn asks_for_owners(&self) -> bool {
        let mut sessions = self.players.iter().map(Player::session);
        sessions.any(Session::asks_for_owners)
    }

    fn look_for_owners(&mut self) -> Result<(), Failure> {
        for player in &mut self.players {
            player.session_mut().look_for_owners()?;
        }
        Ok(())
    }

    /// Shows the counters. Returns what is lost that the faults cannot go on without.
    fn count(&mut self) -> Result<Option<Lost>, Failure> {
        let achieved = match self.look()? {
            Ok(achieved) => achieved,
            Err(lost) => return Ok(Some(lost)),
        };
        if self.global.json {
            print_json_line(&Event::Counters {
                elapsed_ms: self.elapsed_ms(),
                phase: self.session().phase(),
                achieved: &achieved,
            })?;
        }
        let progress = self.players[0].phases().map(Phases::progress);
        let left_out = self
            .session()
            .record()
            .and_then(|record| report::left_out(&record.left_out));
        let notes: Vec<_> = progress.into_iter().chain(left_out).collect();
        self.live.show(self.begun.elapsed(), &notes, &achieved);
        self.publish()?;
        Ok(self.evicted())
    }

    /// What others have taken away, where that is to end the run.
    fn evicted(&self) -> Option<Lost> {
        let mut players = self.players.iter().filter(|_| self.faults.strict);
        players.find_map(|player| {
            let evicted = player.session().evicted();
            let parts = (!evicted.is_empty()).then(|| evicted.to_vec())?;
            Some(Lost::Parts(player.place().clone(), parts))
        })
    }

    /// Tells those who watch from elsewhere.
    fn publish(&mut self) -> Result<(), Failure> {
        if !self.telemetry.is_wanted() {
            return Ok(());
        }
        let totals = self.players.iter().map(Player::totals);
        let totals = totals.collect::<Result<Vec<_>, _>>()?;
        let parts = self.players.iter().zip(&totals);
        let status = parts.filter_map(|(player, totals)| {
            Some(Status {
                device: player.place().to_string(),
                record: player.session().record()?,
                sha256: player.prepared().sha256.as_deref(),
                step: player.phases().map_or(0, Phases::step),
                totals,
            })
        });
        let all: Vec<_> = status.collect();
        if let Err(error) = self.telemetry.publish(self.started.elapsed(), &all) {
            self.live.print(format_args!(
                "{}: cannot write the metrics: {error}",
                self.name()
            ));
        }
        Ok(())
    }

    /// Says what others have taken away since the last time, and returns the counters, or the device that is gone.
    fn look(&mut self) -> Result<Result<Achieved, Lost>, Failure> {
        let mut achieved = Vec::new();
        for index in 0..self.players.len() {
            let player = &mut self.players[index];
            let place = player.place();
            let Some(seen) = player.look()? else {
                return Ok(Err(Lost::Device(place.clone())));
            };
            if let Some(parts) = seen.evicted {
                self.say_evicted(place, &parts)?;
            }
            achieved.push((place.to_string(), seen.achieved));
        }
        Ok(Ok(Achieved::together(achieved)))
    }

    /// Says what others have taken away.
    fn say_evicted(&self, place: &Place, parts: &[Part]) -> Result<(), Failure> {
        if self.global.json {
            print_json_line(&Event::Evicted {
                elapsed_ms: self.elapsed_ms(),
                at: self.label(place),
                parts,
            })?;
        }
        self.live.print(format_args!(
            "{place}: evicted: {}: others took it away, and its faults are off until the run is started anew",
            eviction::list(parts)
        ));
        Ok(())
    }

    /// Which of several interfaces is meant.
    fn label(&self, place: &Place) -> Option<String> {
        (self.players.len() > 1).then(|| place.to_string())
    }

    /// Takes into account that the machine has been suspended.
    fn catch_up(&mut self) -> Result<(), Failure> {
        let missed = self.suspension.passed()?;
        if missed.is_zero() {
            return Ok(());
        }
        for player in &mut self.players {
            player.advance(missed)?;
        }
        let [started, begun] = [self.started, self.begun].map(|moment| earlier(moment, missed));
        (self.started, self.begun) = (started, begun);
        for moment in [&mut self.deadline, &mut self.ends].into_iter().flatten() {
            *moment = earlier(*moment, missed);
        }
        Ok(())
    }

    /// Does what is due of the phases. One that comes into force does so everywhere, before anything is waited
    /// for.
    fn proceed(&mut self) -> Result<(), Failure> {
        let mut flips = Vec::new();
        for player in &mut self.players {
            flips.push(player.proceed()?);
        }
        if flips.iter().any(Option::is_some) {
            session::wait_for_programs();
        }
        let mut late = None;
        for (player, flip) in self.players.iter_mut().zip(flips) {
            if let Some(flip) = flip {
                late = late.max(Some(player.turn(flip)?));
            }
        }
        match late {
            Some(late) => self.say_phase(late),
            None => Ok(()),
        }
    }

    /// Says which phase has begun.
    fn say_phase(&mut self, late: Duration) -> Result<(), Failure> {
        let Some(phases) = self.players[0].phases() else {
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
        let text = format!("{}: {}", self.name(), phases.progress());
        self.live.phase(&text);
        Ok(())
    }

    fn elapsed_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
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
