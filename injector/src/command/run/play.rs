//! The time between the first change and the last: renewing the lease, showing counters, waiting
//! for an end.

use std::time::{Duration, Instant};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    process::Child,
    signal::unix::{SignalKind, signal},
    time::{MissedTickBehavior, interval, sleep},
};

use super::{Event, child, signals::Signals};
use crate::{
    cli::{Global, Run},
    command::print_json_line,
    datapath::{Session, journal::RecordedRule, session},
    error::Failure,
    observe::{live::Live, report::Achieved},
};

/// Plays a run.
pub(super) struct Player<'a> {
    pub args: &'a Run,
    pub global: &'a Global,
    pub rules: &'a [RecordedRule],
    pub signals: &'a Signals,
}

/// How the run ended.
#[derive(Debug, Default)]
pub(super) struct Ending {
    pub elapsed_ms: u64,
    pub interrupted: bool,
    pub terminated: bool,
    pub device_gone: bool,
    pub command_status: Option<u8>,
}

impl Ending {
    /// In a few words.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self {
                device_gone: true, ..
            } => "interface gone",
            Self {
                interrupted: true, ..
            } => "interrupted",
            Self {
                terminated: true, ..
            } => "terminated",
            Self {
                command_status: Some(_),
                ..
            } => "command exited",
            _ => "time elapsed",
        }
    }
}

impl Player<'_> {
    /// Returns when the run is to end, with the session still in force, unless `--for` ended the
    /// faults before the command did.
    pub(super) fn play(&self, session: Session) -> Result<(Session, Ending), Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(self.wait(session))
    }

    async fn wait(&self, mut session: Session) -> Result<(Session, Ending), Failure> {
        let started = Instant::now();
        let mut ending = Ending::default();
        let mut command = child::spawn(&self.args.command, &self.global.netns())?;
        let mut live = Live::new(self.args.duration, self.global.quiet || self.global.json);
        let mut tick = interval(session::RENEWAL);
        // After a suspension one renewal is enough.
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut term = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
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
                status = wait_for(&mut command) => {
                    ending.command_status = Some(child::status_code(status?));
                    break;
                }
                () = self.signals.interrupted() => { ending.interrupted = true; break; }
                _ = term.recv() => { ending.terminated = true; break; }
                _ = hangup.recv() => { ending.terminated = true; break; }
                () = &mut time_is_up => break,
            }
        }
        live.finish();
        ending.elapsed_ms = started.elapsed().as_millis() as u64;
        self.end_command(&mut command, &mut ending).await?;
        Ok((session, ending))
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
        let achieved = Achieved::new(self.rules, &snapshot);
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

    /// Ends a command that outlives the run: after Ctrl-C it has been told by the terminal, after
    /// SIGTERM it is told by us, and in both cases its status is waited for.
    async fn end_command(
        &self,
        command: &mut Option<Child>,
        ending: &mut Ending,
    ) -> Result<(), Failure> {
        let Some(child) = command else { return Ok(()) };
        if ending.command_status.is_some() {
            return Ok(());
        }
        if let (Some(pid), false) = (child.id(), ending.interrupted) {
            // It may have ended by itself meanwhile.
            let _ = kill(Pid::from_raw(pid as i32), Signal::SIGTERM);
        }
        ending.command_status = Some(child::status_code(child.wait().await?));
        Ok(())
    }
}

/// Waits for the command; for ever where there is none.
async fn wait_for(command: &mut Option<Child>) -> std::io::Result<std::process::ExitStatus> {
    match command {
        Some(child) => child.wait().await,
        None => std::future::pending().await,
    }
}
