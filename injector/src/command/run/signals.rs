//! Ctrl-C, which interrupts, and SIGTERM and SIGHUP, which end.

use std::{
    panic,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
};

use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

use crate::{
    datapath::capability,
    error::{Code, Failure},
};

/// The handlers. ctrlc owns SIGINT alone, because it does not tell signals apart and the exit codes
/// differ; SIGTERM and SIGHUP are tokio's.
pub(in crate::command) struct Signals {
    count: Arc<AtomicU32>,
    interrupts: watch::Receiver<u32>,
    terminate: Signal,
    hangup: Signal,
    ends_on_hangup: bool,
}

/// How a run was told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::command) enum Told {
    /// By Ctrl-C.
    Interrupted,
    /// By SIGTERM or SIGHUP.
    Terminated,
}

impl Signals {
    /// Installs the handlers, before anything is changed: a signal that comes while the run is
    /// being set up ends it as soon as it is.
    pub(in crate::command) fn install(runtime: &Runtime) -> Result<Self, Failure> {
        Self::new(runtime, true)
    }

    /// Likewise, for a process that outlives its terminal.
    pub(in crate::command) fn in_background(runtime: &Runtime) -> Result<Self, Failure> {
        Self::new(runtime, false)
    }

    fn new(runtime: &Runtime, ends_on_hangup: bool) -> Result<Self, Failure> {
        let count = Arc::new(AtomicU32::new(0));
        let (sender, interrupts) = watch::channel(0);
        let counter = Arc::clone(&count);
        let count_one = move || {
            let now = counter.fetch_add(1, Ordering::Relaxed) + 1;
            // Nobody listens once the run has ended.
            let _ = sender.send(now);
        };
        // The handler's thread lives as long as the process, and has the privileges of the thread that
        // starts it: none.
        let install = || {
            capability::keep_only(&[])?;
            ctrlc::set_handler(count_one).map_err(|error| {
                Failure::new(Code::Unexpected, format!("cannot catch Ctrl-C: {error}"))
            })
        };
        thread::scope(|scope| scope.spawn(install).join())
            .unwrap_or_else(|panic| panic::resume_unwind(panic))?;
        let _guard = runtime.enter();
        Ok(Self {
            count,
            interrupts,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            ends_on_hangup,
        })
    }

    /// How often Ctrl-C was pressed.
    pub(super) fn count(&self) -> u32 {
        self.count.load(Ordering::Relaxed)
    }

    /// Waits for a signal, also one that came before the call.
    pub(in crate::command) async fn told(&mut self) -> Told {
        tokio::select! {
            // The sender lives in the handler, for as long as the process.
            _ = self.interrupts.wait_for(|count| *count > 0) => Told::Interrupted,
            _ = self.terminate.recv() => Told::Terminated,
            _ = self.hangup.recv(), if self.ends_on_hangup => Told::Terminated,
        }
    }
}
