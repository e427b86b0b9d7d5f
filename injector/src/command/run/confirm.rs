//! Faults that end unless someone says that they may stay.

use std::{
    io::{self, IsTerminal as _},
    os::fd::{AsFd as _, OwnedFd},
    time::Duration,
};

use nix::{
    sys::termios::{FlushArg, tcflush},
    unistd::read,
};
use tokio::{
    io::unix::AsyncFd,
    time::{Instant, sleep_until},
};

use crate::error::{Code, Failure};

/// A question on the terminal.
pub(in crate::command) struct Confirm {
    terminal: AsyncFd<OwnedFd>,
    until: Instant,
}

impl Confirm {
    /// Refuses to ask where nobody could answer.
    pub(super) fn require_terminal() -> Result<(), Failure> {
        if io::stdin().is_terminal() {
            return Ok(());
        }
        let message = "`--confirm` asks on the terminal, which standard input is not";
        Err(Failure::new(Code::Usage, message)
            .hint("run it on a terminal (`ssh -t`), or end the faults after a time: `--for 60s`"))
    }

    /// Begins to wait; what was typed before does not count.
    pub(super) fn begin(time: Duration) -> io::Result<Self> {
        let terminal = io::stdin().as_fd().try_clone_to_owned()?;
        tcflush(&terminal, FlushArg::TCIFLUSH)?;
        // SAFETY: the descriptor is owned, so that it stays open and the same while registered.
        let terminal = unsafe { AsyncFd::register(terminal)? };
        Ok(Self {
            terminal,
            until: Instant::now() + time,
        })
    }

    /// Waits for the answer: whether the faults may stay. Where the session is gone, none comes in time.
    pub(super) async fn answer(&self) -> io::Result<bool> {
        tokio::select! {
            () = sleep_until(self.until) => Ok(false),
            ready = self.terminal.readable() => {
                drop(ready?);
                Ok(self.read())
            }
        }
    }

    /// Reads what the terminal has ready: a line, or nothing where it was closed.
    fn read(&self) -> bool {
        let mut line = [0; 256];
        let len = read(self.terminal.get_ref(), &mut line).unwrap_or(0);
        let answer = line[..len].trim_ascii().to_ascii_lowercase();
        len > 0 && matches!(&answer[..], b"" | b"y" | b"yes")
    }
}
