//! `injector watch`: the runs that there are, again and again. `run --watch` is something else.

mod screen;

use std::{
    io::{self, IsTerminal as _},
    thread,
    time::{Duration, Instant, SystemTime},
};

use self::screen::Screen;
use super::{Outcome, print_line, signals::Signals};
use crate::{
    cli::{Global, Watch},
    datapath::{clear, journal},
    error::{Code, Failure},
    observe::{
        dashboard::{Dashboard, Key},
        overview::Run,
        watched::{Line, Watched},
    },
};

/// How late a signal may be seen.
const LOOK: Duration = Duration::from_millis(50);

pub(super) fn watch(args: &Watch, global: &Global) -> Outcome {
    let mut watcher = Watcher {
        args,
        global,
        begun: Instant::now(),
        signals: Signals::install()?,
        watched: Vec::new(),
        looks: 0,
    };
    // Before the screen is taken: what cannot be read is an error among what was typed.
    watcher.look()?;
    let is_interrupted = if watcher.has_screen() {
        watcher.on_screen()? == Some(Key::Interrupt)
    } else {
        watcher.in_lines()?;
        false
    };
    Ok(if watcher.signals.received() {
        watcher.signals.exit_code()
    } else if is_interrupted {
        Code::Interrupted as u8
    } else {
        Code::Ok as u8
    })
}

struct Watcher<'a> {
    args: &'a Watch,
    global: &'a Global,
    begun: Instant,
    signals: Signals,
    watched: Vec<Watched>,
    /// How often it was looked.
    looks: u64,
}

impl Watcher<'_> {
    /// Whether there is a screen to draw on, with keys.
    fn has_screen(&self) -> bool {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let is_terminal = io::stdout().is_terminal() && io::stdin().is_terminal();
        is_terminal && !is_dumb && !self.global.json
    }

    fn look(&mut self) -> Result<(), Failure> {
        clear::reap()?;
        let records = match (self.args.all, &self.global.netns) {
            (true, None) => journal::all_records()?,
            _ => journal::records(self.global.netns().id()?)?,
        };
        let runs = Run::all(records, self.args.interface.as_deref())?;
        let former = std::mem::take(&mut self.watched);
        self.watched = Watched::update(former, runs, self.begun.elapsed());
        self.looks += 1;
        Ok(())
    }

    fn is_enough(&self) -> bool {
        self.args.count.is_some_and(|count| self.looks >= count)
    }

    /// Whether it has looked often enough, or is to stop.
    fn is_over(&self) -> bool {
        self.is_enough() || self.signals.received()
    }

    /// When to look next: nothing is made up for.
    fn next(&self) -> Instant {
        Instant::now() + self.args.interval
    }

    fn in_lines(&mut self) -> Result<(), Failure> {
        if self.watched.is_empty() && !self.global.json {
            self.global.say("no run; waiting for one");
        }
        while self.show_lines()? && !self.is_enough() {
            let next = self.next();
            while !self.signals.received() && Instant::now() < next {
                thread::sleep(LOOK.min(next.saturating_duration_since(Instant::now())));
            }
            if self.signals.received() {
                break;
            }
            self.look()?;
        }
        Ok(())
    }

    /// Prints what was seen; `false` where nobody reads any more.
    fn show_lines(&self) -> Result<bool, Failure> {
        let now = SystemTime::now();
        if self.global.json {
            let line = serde_json::to_string(&Line::new(&self.watched, now));
            return print_line(&line.map_err(io::Error::from)?);
        }
        for line in self.watched.iter().flat_map(|watched| watched.lines(now)) {
            if !print_line(&line)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Returns the key that ended it, if one has.
    fn on_screen(&mut self) -> Result<Option<Key>, Failure> {
        let color = self.global.color_on(&io::stdout());
        let mut dashboard = Dashboard::new(self.args.all, color);
        let mut screen = Screen::open(color)?;
        let mut next = self.next();
        screen.draw(&mut dashboard, &self.watched)?;
        while !(self.is_over() || dashboard.end().is_some() || screen.is_gone()) {
            let left = next.saturating_duration_since(Instant::now());
            let mut is_new = screen.listen(&mut dashboard, &self.watched, left.min(LOOK))?;
            if Instant::now() >= next {
                next = self.next();
                if !dashboard.is_paused() {
                    self.look()?;
                    is_new = true;
                }
            }
            if is_new {
                screen.draw(&mut dashboard, &self.watched)?;
            }
        }
        Ok(dashboard.end())
    }
}
