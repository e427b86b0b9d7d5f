//! The time between the first change and the last: renewing the lease, showing counters, waiting
//! for an end.

use std::time::{Duration, Instant};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    process::Child,
    sync::mpsc,
    time::{MissedTickBehavior, interval, sleep_until},
};

use super::{
    child,
    confirm::Confirm,
    event::Event,
    phases::{self, Phases},
    prepare::{Chosen, Prepared},
    service,
    signals::{Signals, Told},
    watch::Watch,
};
use crate::{
    cli::{Faults, Global},
    command::{guard::Guard, print_json_line},
    datapath::{
        Session,
        eviction::{self, Part},
        session::{Ahead, Last},
    },
    error::Failure,
    observe::{
        audit::{Audit, Moment, What},
        live::Live,
        report::{self, Achieved},
    },
    profile::Profile,
};

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
    /// Where the run is, if the profile has phases.
    phases: Option<Phases>,
    /// The text of what is in force, hashed.
    sha256: Option<String>,
    started: Instant,
    /// When the faults end, if that is known.
    ends: Option<Instant>,
    live: Live,
}

/// What changes or ends a run, beside time.
pub(in crate::command) struct Influences {
    pub signals: Signals,
    pub watch: Option<Watch>,
    /// The question whether the faults may stay.
    pub confirm: Option<Confirm>,
    /// The command under fault.
    pub command: Option<Child>,
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
    pub elapsed_ms: u64,
    pub told: Option<Told>,
    pub lost: Option<Lost>,
    pub unconfirmed: bool,
    pub command_status: Option<u8>,
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
}

impl<'a> Player<'a> {
    /// Of a session in which the first plan is in force. From now on the time counts.
    pub(in crate::command) fn begin(
        session: Session,
        prepared: Prepared,
        faults: &'a Faults,
        guard: Guard,
        audit: Audit,
        global: &'a Global,
    ) -> Result<Self, Failure> {
        let started = Instant::now();
        let ends = end_of(&prepared, started);
        let mut player = Self {
            global,
            faults,
            guard,
            audit,
            session,
            phases: None,
            sha256: None,
            started,
            ends,
            live: Live::new(prepared.total, global.quiet || global.json),
        };
        player.session.end_in(left(ends))?;
        player.follow(prepared)?;
        player.log(Moment::Start, None);
        Ok(player)
    }

    /// The session, in which the faults are in force.
    pub(in crate::command) fn session(&self) -> &Session {
        &self.session
    }

    /// The name of the profile in force.
    pub(super) fn profile(&self) -> &str {
        self.session.record().map_or("", |record| &record.profile)
    }

    /// Gives up what is not needed any more: not before a command has its user's privileges, and not where
    /// somebody may ask for more.
    fn confine(&self, influences: &Influences) -> Result<(), Failure> {
        if influences.wishes.is_some() {
            return Ok(());
        }
        Ok(self.session.confine(Ahead {
            reads: influences.watch.is_some(),
            signals: influences.command.is_some(),
        })?)
    }

    /// Returns when the faults are to end.
    pub(in crate::command) async fn play(
        &mut self,
        influences: &mut Influences,
    ) -> Result<Ending, Failure> {
        let mut ending = Ending::default();
        self.confine(influences)?;
        self.say_phase(Duration::ZERO)?;
        let mut renewal = interval(self.session.renewal());
        // After a suspension one renewal is enough.
        renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut counting = interval(COUNTING);
        counting.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let phase_due = self.phases.as_ref().and_then(Phases::due);
            tokio::select! {
                _ = renewal.tick() => {
                    self.session.renew()?;
                    service::alive();
                    // Their clock goes on while the machine is suspended, other than that of timers.
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
                () = until(phase_due) => self.proceed()?,
                saved = saved(&mut influences.watch) => {
                    saved?;
                    self.reload()?;
                }
                wish = next(&mut influences.wishes) => wish(self),
                status = wait_for(&mut influences.command) => {
                    ending.command_status = Some(child::status_code(status?));
                    influences.command = None;
                    break;
                }
                stay = answer(&influences.confirm) => {
                    influences.confirm = None;
                    ending.unconfirmed = !stay?;
                    if ending.unconfirmed {
                        break;
                    }
                    self.live.print(format_args!("{}: the faults stay", self.faults.interface));
                }
                told = influences.signals.told() => {
                    ending.told = Some(told);
                    break;
                }
                () = until(self.ends) => break,
            }
        }
        self.live.finish();
        ending.elapsed_ms = self.elapsed_ms();
        Ok(ending)
    }

    /// Ends the faults, and undoes everything. `patience` is asked whether to wait for packets that are
    /// held. Returns what all rules have achieved.
    pub(in crate::command) fn stop(
        mut self,
        reason: &str,
        patience: impl Fn(u64) -> bool + Sync,
    ) -> Result<Achieved, Failure> {
        self.log(Moment::Stop, Some(reason));
        let rules = self.session.rules().to_vec();
        let last: Last = self.session.stop(patience)?;
        Ok(match self.phases {
            Some(phases) => phases.achieved(&last),
            None => Achieved::of_ended(&rules, &last.in_force),
        })
    }

    /// Takes up what has come into force.
    fn follow(&mut self, prepared: Prepared) -> Result<(), Failure> {
        let Prepared {
            plans,
            schedule,
            sha256,
            ..
        } = prepared;
        self.sha256 = sha256;
        self.phases = schedule.map(|schedule| Phases::new(plans, schedule, Instant::now()));
        match &self.phases {
            Some(phases) => phases.note(&mut self.session),
            None => Ok(()),
        }
    }

    /// Puts other rules into force. When this returns, no packet meets the former ones any more.
    pub(in crate::command) fn swap(&mut self, prepared: Prepared) -> Result<(), Failure> {
        let session = &mut self.session;
        prepared
            .plans
            .iter()
            .try_for_each(|plan| session.require_room(plan))?;
        session.renew()?;
        let first = session.prepare(prepared.first())?;
        let ends = end_of(&prepared, Instant::now());
        session.end_in(left(ends))?;
        session.flip(first, prepared.elapsed())?;
        self.ends = ends;
        self.follow(prepared)?;
        self.log(Moment::Swap, None);
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
            sha256: self.sha256.as_deref(),
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
        self.live
            .show(self.started.elapsed(), progress.as_deref(), &achieved);
        let evicted = self.session.evicted();
        let is_lost = self.faults.strict && !evicted.is_empty();
        Ok(is_lost.then(|| Lost::Parts(evicted.to_vec())))
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
    fn say_phase(&self, late: Duration) -> Result<(), Failure> {
        let Some(phases) = &self.phases else {
            return Ok(());
        };
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
        prepared.total = left(self.ends);
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

/// When what begins at `start` ends. What ends after centuries does not.
fn end_of(prepared: &Prepared, start: Instant) -> Option<Instant> {
    prepared.total.and_then(|total| start.checked_add(total))
}

/// How long it is until then.
fn left(ends: Option<Instant>) -> Option<Duration> {
    ends.map(|ends| ends.saturating_duration_since(Instant::now()))
}

/// Waits for a command that outlives the faults. One that Ctrl-C was meant for has been told by the
/// terminal; SIGTERM is passed on; after `--for` it goes on by itself.
pub(super) async fn end_command(
    command: Option<Child>,
    ending: &mut Ending,
) -> Result<(), Failure> {
    let Some(mut child) = command else {
        return Ok(());
    };
    if let (Some(pid), Some(Told::Terminated)) = (child.id(), ending.told) {
        // It may have ended by itself meanwhile.
        let _ = kill(Pid::from_raw(pid as i32), Signal::SIGTERM);
    }
    ending.command_status = Some(child::status_code(child.wait().await?));
    Ok(())
}

/// Waits until that moment; for ever where there is none.
async fn until(moment: Option<Instant>) {
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

/// Waits for the answer whether the faults may stay; for ever where nobody is asked.
async fn answer(confirm: &Option<Confirm>) -> std::io::Result<bool> {
    match confirm {
        Some(confirm) => confirm.answer().await,
        None => std::future::pending().await,
    }
}

/// Waits for the command; for ever where there is none.
async fn wait_for(command: &mut Option<Child>) -> std::io::Result<std::process::ExitStatus> {
    match command {
        Some(child) => child.wait().await,
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
