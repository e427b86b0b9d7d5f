//! What ends a run, wherever it is.

use std::time::Instant;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::process::Child;

use super::{
    child,
    confirm::Confirm,
    ending::Ending,
    play::until,
    signals::{Signals, Told},
};
use crate::error::Failure;

/// What ends a run that has its device, and one that waits for it.
pub(in crate::command) struct Ends {
    pub signals: Signals,
    /// The question whether the faults may stay.
    pub confirm: Option<Confirm>,
    /// The command under fault.
    pub command: Option<Child>,
}

impl Ends {
    /// Those that every run has.
    pub(in crate::command) const fn new(signals: Signals) -> Self {
        Self {
            signals,
            confirm: None,
            command: None,
        }
    }

    /// How the run has been told to end already.
    pub(super) async fn past(&mut self) -> Result<Option<Ending>, Failure> {
        self.next(Some(Instant::now())).await.map(|ending| {
            // Nobody sets a time before it has begun.
            ending.filter(|ending| ending.told.is_some())
        })
    }

    /// Waits for the first of them, or until `time`; `None` where somebody says that the faults may stay.
    pub(super) async fn next(&mut self, time: Option<Instant>) -> Result<Option<Ending>, Failure> {
        let mut ending = Ending::default();
        tokio::select! {
            status = wait_for(&mut self.command) => {
                ending.command_status = Some(child::status_code(status?));
                self.command = None;
            }
            stay = answer(&self.confirm) => {
                self.confirm = None;
                ending.unconfirmed = !stay?;
                if !ending.unconfirmed {
                    return Ok(None);
                }
            }
            told = self.signals.told() => ending.told = Some(told),
            () = until(time) => {}
        }
        Ok(Some(ending))
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
