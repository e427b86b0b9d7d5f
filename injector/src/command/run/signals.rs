//! Ctrl-C, which interrupts, and SIGTERM and SIGHUP, which end.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use tokio::sync::watch;

use crate::error::{Code, Failure};

/// The Ctrl-C handler. ctrlc owns SIGINT alone, because it does not tell signals apart and the
/// exit codes differ; SIGTERM and SIGHUP are tokio's, while the run plays.
pub(super) struct Signals {
    count: Arc<AtomicU32>,
    interrupts: watch::Receiver<u32>,
}

impl Signals {
    /// Installs the handler, before anything is changed.
    pub(super) fn install() -> Result<Self, Failure> {
        let count = Arc::new(AtomicU32::new(0));
        let (sender, interrupts) = watch::channel(0);
        let counter = Arc::clone(&count);
        ctrlc::set_handler(move || {
            let now = counter.fetch_add(1, Ordering::Relaxed) + 1;
            // Nobody listens once the run has ended.
            let _ = sender.send(now);
        })
        .map_err(|error| Failure::new(Code::Unexpected, format!("cannot catch Ctrl-C: {error}")))?;
        Ok(Self { count, interrupts })
    }

    /// How often Ctrl-C was pressed.
    pub(super) fn count(&self) -> u32 {
        self.count.load(Ordering::Relaxed)
    }

    /// Waits for Ctrl-C, also one that came before the call.
    pub(super) async fn interrupted(&self) {
        let mut interrupts = self.interrupts.clone();
        // The sender lives in the handler, for as long as the process.
        let _ = interrupts.wait_for(|count| *count > 0).await;
    }
}
