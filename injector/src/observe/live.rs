//! The counters while a run lasts: lines that are redrawn on a terminal, a report now and then
//! elsewhere.

use std::{
    fmt,
    io::{self, IsTerminal as _},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{
    format,
    report::{self, Achieved},
};

/// How often the counters are printed where they cannot be redrawn.
const PLAIN_PERIOD: Duration = Duration::from_secs(10);

/// The live view, on standard error.
pub struct Live {
    view: View,
    total: Option<Duration>,
}

enum View {
    /// Nobody watches.
    None,
    /// A terminal.
    Redrawn(ProgressBar),
    /// A file or a pipe.
    Plain { due: Duration },
}

impl Live {
    /// A view of a run that lasts for `total`, if that is known.
    pub fn new(total: Option<Duration>, quiet: bool) -> Self {
        let view = if quiet {
            View::None
        } else if io::stderr().is_terminal() {
            View::Redrawn(bar(total))
        } else {
            View::Plain { due: PLAIN_PERIOD }
        };
        Self { view, total }
    }

    /// Shows the counters after `elapsed`, and what else is to be known, such as the phase.
    pub fn show(&mut self, elapsed: Duration, notes: &[String], achieved: &Achieved) {
        let heading = || {
            let clock = [clock(elapsed, self.total)];
            [&clock, notes].concat().join("; ")
        };
        match &mut self.view {
            View::None => {}
            View::Redrawn(bar) => {
                bar.set_position(elapsed.as_millis() as u64);
                let text = shortened(&report::text(achieved));
                bar.set_message(format!("{}\n{text}", heading()));
            }
            View::Plain { due } => {
                if elapsed >= *due {
                    *due += PLAIN_PERIOD;
                    eprint!("{}\n{}", heading(), report::text(achieved));
                }
            }
        }
    }

    /// Says which phase begins, where that is not redrawn.
    pub fn phase(&self, phase: &str) {
        if let View::Plain { .. } = self.view {
            eprintln!("{phase}");
        }
    }

    /// Prints something on standard error, above what is redrawn.
    pub fn print(&self, text: impl fmt::Display) {
        match &self.view {
            View::Redrawn(bar) => bar.suspend(|| eprintln!("{text}")),
            View::None | View::Plain { .. } => eprintln!("{text}"),
        }
    }

    /// Takes the view away: the final report comes in its place.
    pub fn finish(&mut self) {
        if let View::Redrawn(bar) = &self.view {
            bar.finish_and_clear();
        }
    }
}

fn bar(total: Option<Duration>) -> ProgressBar {
    let template = match total {
        Some(_) => "{wide_bar} {msg}",
        None => "{msg}",
    };
    let length = total.map(|total| total.as_millis() as u64);
    let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr());
    // Both templates are constant and valid.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("━╸─"));
    }
    bar
}

/// As much of a text as is surely seen: what does not fit on a terminal cannot be redrawn.
fn shortened(text: &str) -> String {
    const LINES_MAX: usize = 20;
    let lines: Vec<_> = text.lines().collect();
    if lines.len() <= LINES_MAX {
        return text.to_owned();
    }
    let left_out = lines.len() - LINES_MAX;
    format!(
        "{}\n… and {left_out} more: `injector status`",
        lines[..LINES_MAX].join("\n")
    )
}

fn clock(elapsed: Duration, total: Option<Duration>) -> String {
    let seconds = |time: Duration| humantime::format_duration(Duration::from_secs(time.as_secs()));
    match total {
        Some(total) => format!(
            "{} of {}",
            seconds(elapsed),
            format::duration(total.as_nanos() as u64)
        ),
        None => format!("{}", seconds(elapsed)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_table_is_cut_off_and_a_short_one_is_not() {
        let lines = |count: usize| -> String { (0..count).map(|n| format!("{n}\n")).collect() };
        assert_eq!(shortened(&lines(20)), lines(20));
        let text = shortened(&lines(23));
        assert_eq!(text.lines().count(), 21);
        assert!(
            text.ends_with("\n19\n… and 3 more: `injector status`"),
            "{text}"
        );
    }
}
