//! What is being measured now, on standard error.

use std::{
    io::{self, IsTerminal as _},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A line that is redrawn on a terminal, lines elsewhere.
pub(super) enum Progress {
    /// Nobody watches.
    None,
    /// A terminal.
    Redrawn(ProgressBar),
    /// A file or a pipe.
    Plain,
}

impl Progress {
    pub(super) fn new(quiet: bool) -> Self {
        if quiet {
            return Self::None;
        }
        if !io::stderr().is_terminal() {
            return Self::Plain;
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        // The template is constant and valid.
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        Self::Redrawn(bar)
    }

    /// Says which phase begins.
    pub(super) fn phase(&self, phase: &str) {
        if matches!(self, Self::Plain) {
            eprintln!("measuring {phase}");
        }
    }

    /// Says what is measured now.
    pub(super) fn step(&self, phase: &str, what: &str) {
        if let Self::Redrawn(bar) = self {
            bar.set_message(format!("measuring {phase}: {what}"));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Self::Redrawn(bar) = self {
            bar.finish_and_clear();
        }
    }
}
