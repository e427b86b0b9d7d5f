//! The time between the first change and the last: renewing the lease, showing counters, waiting
//! for an end.

use std::time::{Duration, Instant};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    process::Child,
    time::{MissedTickBehavior, interval, sleep},
};

use super::{
    Event, child,
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
pub(super) struct Played {
    /// Still in force.
    pub session: Session,
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
    pub(super) async fn play(
        &self,
        mut session: Session,
        signals: &mut Signals,
        mut watch: Option<Watch>,
    ) -> Result<Played, Failure> {
        let started = Instant::now();
        let mut ending = Ending::default();
        let mut command = child::spawn(&self.args.command, &self.global.netns())?;
        let mut live = Live::new(self.args.duration, self.global.quiet || self.global.json);
        let mut tick = interval(session::RENEWAL);
        // After a suspension one renewal is enough.
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let time_is_up = sleep(self.args.duration.unwrap_or(Duration::MAX));
        tokio::pin!(time_is_up);
        loop {
            tokio::select! {
                _ = tick.tick() => {
                    if !self.tick(&mut session, started, &mut live)? {
                        ending.device_gone = true;
                        break;
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
            ending,
            command,
        })
    }

    /// Renews the lease and shows the counters. `false` when the device is gone.
    fn tick(
        &self,
        session: &mut Session,
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
                achieved: &achieved,
            })?;
        }
        live.show(elapsed, &achieved);
        Ok(true)
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
        let plan = work_out(&profile, seed)?;
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
