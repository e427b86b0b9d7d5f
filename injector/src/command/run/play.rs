//! The time between the first change and the last: renewing the lease, showing counters, waiting
//! for an end.

use std::time::{Duration, Instant};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    process::Child,
    time::{MissedTickBehavior, interval, sleep_until},
};

use super::{
    Event, child,
    phases::{self, Phases},
    signals::{Signals, Told},
    watch::Watch,
};
use crate::{
    cli::{Global, Run},
    command::{load_profile, print_json_line, work_out},
    datapath::{Session, session},
    error::Failure,
    observe::{
        live::Live,
        report::{self, Achieved},
    },
    plan::Plan,
};

/// Plays a run.
pub(super) struct Player<'a> {
    pub args: &'a Run,
    pub global: &'a Global,
}

/// What is left when a run has played.
pub(super) struct Played<'a> {
    /// Still in force.
    pub session: Session,
    pub phases: Option<Phases<'a>>,
    pub ending: Ending,
    /// The command, if it is still running.
    pub command: Option<Child>,
}

/// How the run ended.
#[derive(Debug, Default)]
pub(super) struct Ending {
    pub elapsed_ms: u64,
    pub told: Option<Told>,
    pub device_gone: bool,
    pub command_status: Option<u8>,
}

impl Ending {
    /// In a few words.
    pub(super) fn reason(&self) -> &'static str {
        match (self.device_gone, self.told, self.command_status) {
            (true, ..) => "interface gone",
            (_, Some(Told::Interrupted), _) => "interrupted",
            (_, Some(Told::Terminated), _) => "terminated",
            (_, _, Some(_)) => "command exited",
            _ => "time elapsed",
        }
    }
}

impl Player<'_> {
    /// Returns when the faults are to end.
    pub(super) async fn play<'a>(
        &self,
        mut session: Session,
        mut phases: Option<Phases<'a>>,
        signals: &mut Signals,
        mut watch: Option<Watch>,
    ) -> Result<Played<'a>, Failure> {
        let started = Instant::now();
        let mut ending = Ending::default();
        let mut command = child::spawn(&self.args.command, &self.global.netns())?;
        let total = phases.as_ref().and_then(Phases::total);
        let total = self.args.duration.into_iter().chain(total).min();
        let mut live = Live::new(total, self.global.quiet || self.global.json);
        if let Some(phases) = &phases {
            self.say_phase(phases, started, Duration::ZERO, &live)?;
        }
        let mut tick = interval(session::RENEWAL);
        // After a suspension one renewal is enough.
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let time_is_up = sleep_until(deadline(started, total));
        tokio::pin!(time_is_up);
        loop {
            tokio::select! {
                _ = tick.tick() => {
                    if !self.tick(&mut session, &phases, started, &mut live)? {
                        ending.device_gone = true;
                        break;
                    }
                }
                () = sleep_until(deadline(started, phases.as_ref().and_then(Phases::due))) => {
                    if let Some(phases) = &mut phases
                        && let Some(late) = phases.proceed(&mut session, started)?
                    {
                        self.say_phase(phases, started, late, &live)?;
                    }
                }
                saved = saved(&mut watch) => {
                    saved?;
                    self.reload(&mut session, started, &live)?;
                }
                status = wait_for(&mut command) => {
                    ending.command_status = Some(child::status_code(status?));
                    command = None;
                    break;
                }
                told = signals.told() => {
                    ending.told = Some(told);
                    break;
                }
                () = &mut time_is_up => break,
            }
        }
        live.finish();
        ending.elapsed_ms = started.elapsed().as_millis() as u64;
        Ok(Played {
            session,
            phases,
            ending,
            command,
        })
    }

    /// Renews the lease and shows the counters. `false` when the device is gone.
    fn tick(
        &self,
        session: &mut Session,
        phases: &Option<Phases<'_>>,
        started: Instant,
        live: &mut Live,
    ) -> Result<bool, Failure> {
        session.renew()?;
        let Some(snapshot) = session.snapshot()? else {
            return Ok(false);
        };
        let achieved = Achieved::new(session.rules(), &snapshot);
        let elapsed = started.elapsed();
        if self.global.json {
            let elapsed_ms = elapsed.as_millis() as u64;
            print_json_line(&Event::Counters {
                elapsed_ms,
                phase: session.phase(),
                achieved: &achieved,
            })?;
        }
        let progress = phases.as_ref().map(Phases::progress);
        live.show(elapsed, progress.as_deref(), &achieved);
        Ok(true)
    }

    /// Says which phase has begun.
    fn say_phase(
        &self,
        phases: &Phases<'_>,
        started: Instant,
        late: Duration,
        live: &Live,
    ) -> Result<(), Failure> {
        if self.global.json {
            return print_json_line(&Event::Phase {
                elapsed_ms: started.elapsed().as_millis() as u64,
                phase: phases.name(),
                repetition: phases.repetition(),
                late_us: late.as_micros() as u64,
            });
        }
        live.phase(&format!("{}: {}", self.args.interface, phases.progress()));
        Ok(())
    }

    /// Swaps the saved profile in. Where that fails, says why, and the old one stays in force.
    fn reload(&self, session: &mut Session, started: Instant, live: &Live) -> Result<(), Failure> {
        let former = match session.snapshot()? {
            Some(snapshot) => Achieved::new(session.rules(), &snapshot),
            // The device is gone: the next tick ends the run.
            None => return Ok(()),
        };
        let plan = match self.swap(session) {
            Ok(plan) => plan,
            Err(failure) => {
                live.print(failure);
                return Ok(());
            }
        };
        if self.global.json {
            return print_json_line(&Event::Reloaded {
                elapsed_ms: started.elapsed().as_millis() as u64,
                profile: &plan.profile,
                seed: plan.seed,
                former: &former,
            });
        }
        if !self.global.quiet {
            live.print(format_args!(
                "{}: faults changed: profile {}, seed {}; until now:\n{}",
                self.args.interface,
                plan.profile,
                plan.seed,
                report::text(&former).trim_end()
            ));
        }
        Ok(())
    }

    fn swap(&self, session: &mut Session) -> Result<Plan, Failure> {
        let argument = self.args.profile.as_deref().unwrap_or_default();
        let profile = load_profile(argument, self.global)?;
        // A seed that was drawn at the start stays: what was not edited does not change.
        let seed = self.args.seed.or(profile.seed).or(session.seed());
        if profile.timeline().is_some() {
            return Err(phases::not_watched(&profile));
        }
        let plan = work_out(&profile, seed)?.swap_remove(0);
        session.swap(&plan)?;
        Ok(plan)
    }
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

/// The moment `after` the start; one that never comes where there is none.
fn deadline(started: Instant, after: Option<Duration>) -> tokio::time::Instant {
    /// As long as any timer runs: half a century.
    const NEVER: Duration = Duration::from_secs(50 * 365 * 24 * 3600);
    (started + after.unwrap_or(NEVER).min(NEVER)).into()
}

/// Waits until the profile was saved; for ever where it is not watched.
async fn saved(watch: &mut Option<Watch>) -> std::io::Result<()> {
    match watch {
        Some(watch) => watch.saved().await,
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
