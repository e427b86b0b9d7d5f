//! Waiting and pacing.

use std::{
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use crate::stats;

/// How long something may take that usually takes no time, on an emulated CPU too.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Keeps other measurements of time in this process waiting: they would disturb each other.
/// Executables with tests that measure closely should have no others.
pub fn alone() -> impl Drop {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How late what waits for a moment may come, in one case of several: a millisecond, which is plenty where
/// there is a processor to run on, and four times what a sleep takes too long on this one as it is now.
pub fn late_max() -> Duration {
    const SLEEPS: usize = 32;
    const MS: Duration = Duration::from_millis(1);
    let oversleep = (0..SLEEPS).map(|_| {
        let begin = Instant::now();
        thread::sleep(MS);
        begin.elapsed() - MS
    });
    MS + 4 * stats::median(oversleep)
}

/// Waits until `condition` holds; `false` when it still does not after `limit`.
pub fn wait_until(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Releases its caller at regular intervals. After a delay it catches up.
#[derive(Debug)]
pub struct Pacer {
    due: Instant,
    gap: Duration,
}

impl Pacer {
    /// One that releases every `gap`, at once at first.
    pub fn new(gap: Duration) -> Self {
        Self {
            due: Instant::now(),
            gap,
        }
    }

    /// Waits until the next release is due.
    pub fn wait(&mut self) {
        // Below this a sleep takes longer than asked.
        const GRAIN: Duration = Duration::from_micros(100);
        let left = self.due.saturating_duration_since(Instant::now());
        if left > GRAIN {
            thread::sleep(left);
        }
        self.due += self.gap;
    }
}
