//! Being told to stop.

use std::{
    process,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    thread,
};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::{Code, Failure};

const NONE: u8 = u8::MAX;

/// Ctrl-C, SIGTERM and SIGHUP, caught by a thread of their own.
pub(in crate::command) struct Signals {
    /// What to exit with; [`NONE`] until a signal comes.
    code: Arc<AtomicU8>,
}

impl Signals {
    /// Installs the handlers.
    pub(in crate::command) fn install() -> Result<Self, Failure> {
        let code = Arc::new(AtomicU8::new(NONE));
        let shared = Arc::clone(&code);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()?;
        let caught = {
            let _guard = runtime.enter();
            Caught {
                interrupt: signal(SignalKind::interrupt())?,
                terminate: signal(SignalKind::terminate())?,
                hangup: signal(SignalKind::hangup())?,
            }
        };
        thread::spawn(move || runtime.block_on(caught.note(&shared)));
        Ok(Self { code })
    }

    /// Whether a signal has come.
    pub(in crate::command) fn received(&self) -> bool {
        self.exit_code() != NONE
    }

    /// What to exit with, once a signal has come.
    pub(in crate::command) fn exit_code(&self) -> u8 {
        self.code.load(Ordering::Relaxed)
    }

    /// Fails once a signal has come.
    pub(in crate::command) fn check(&self) -> Result<(), Failure> {
        if self.received() {
            return Err(Failure::new(Code::Interrupted, "interrupted"));
        }
        Ok(())
    }
}

/// The signals, as they come.
struct Caught {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Caught {
    /// Notes every signal.
    async fn note(mut self, code: &AtomicU8) {
        loop {
            let now = tokio::select! {
                _ = self.interrupt.recv() => Code::Interrupted,
                _ = self.terminate.recv() => Code::Ok,
                _ = self.hangup.recv() => Code::Ok,
            };
            // The namespaces end with the process: whoever insists can have it at once.
            if code.swap(now as u8, Ordering::Relaxed) != NONE {
                process::exit((now as u8).into());
            }
        }
    }
}
