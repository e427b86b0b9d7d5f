//! `injector scenario`

mod course;
mod event;
mod faults;
mod host;
mod network;
mod privileges;
mod process;
mod ready;
mod show;
mod stage;
mod world;

use std::{
    num::NonZeroUsize,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use tokio::sync::mpsc;

pub(super) use self::stage::stage;
use self::{course::Course, world::Stages};
use super::{Outcome, draw_seed, invalid_profile, print, run::Signals};
use crate::{
    cli::{self, Global},
    error::{Code, Failure},
    observe::junit::{self, Suite},
    profile::Source,
    scenario::Scenario,
};

/// A scenario that is to be played.
struct Entry {
    file: String,
    source: Source,
    scenario: Scenario,
    seed: u64,
}

/// What all scenarios have in common.
struct Play<'a> {
    args: &'a cli::Scenario,
    global: &'a Global,
    entries: &'a [Entry],
    stages: Stages,
    /// Which one is next.
    next: AtomicUsize,
    /// Whether all is to end.
    is_told: AtomicBool,
    is_rootless: bool,
}

/// What came of a scenario.
struct Played {
    suite: Suite,
    code: u8,
}

pub(super) fn scenario(args: &cli::Scenario, global: &Global) -> Outcome {
    let entries = read(args, global)?;
    let has_faults = entries.iter().any(|entry| entry.scenario.has_faults());
    let is_rootless = privileges::obtain(has_faults)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut signals = Signals::install(&runtime)?;
    let play = Play {
        args,
        global,
        entries: &entries,
        stages: Stages::default(),
        next: AtomicUsize::new(0),
        is_told: AtomicBool::new(false),
        is_rootless,
    };
    let jobs = args
        .jobs
        .min(NonZeroUsize::new(entries.len()).unwrap_or(NonZeroUsize::MIN));
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let mut played = Vec::new();
    thread::scope(|scope| {
        for _ in 0..jobs.get() {
            let (play, sender) = (&play, sender.clone());
            scope.spawn(move || play.work(&sender));
        }
        drop(sender);
        runtime.block_on(async {
            loop {
                tokio::select! {
                    one = receiver.recv() => match one {
                        Some(one) => played.push(one),
                        None => break,
                    },
                    _ = signals.told(), if !play.is_told() => {
                        play.is_told.store(true, Ordering::Relaxed);
                        play.stages.end();
                    }
                }
            }
        });
    });
    played.sort_by_key(|(index, _)| *index);
    let played: Vec<_> = played.into_iter().map(|(_, played)| played).collect();
    finish(&played, args, global)
}

/// Reads all files, and reports all that are invalid.
fn read(args: &cli::Scenario, global: &Global) -> Result<Vec<Entry>, Failure> {
    let mut entries = Vec::new();
    let mut invalid = None;
    for file in &args.files {
        // The stage must find the same files from wherever it is.
        let path = std::path::absolute(file)?;
        let read = Source::file_as(&path, &file.display().to_string())
            .and_then(|source| Scenario::read(&source).map(|scenario| (source, scenario)));
        match read {
            Ok((source, scenario)) => {
                let seed = args.seed.or(scenario.seed);
                let seed = seed.map_or_else(draw_seed, Ok)?;
                let file = file.display().to_string();
                entries.push(Entry {
                    file,
                    source,
                    scenario,
                    seed,
                });
            }
            Err(error) => {
                let failure = invalid_profile(&error, global);
                if let Some(former) = invalid.replace(failure) {
                    eprintln!("{former}");
                }
            }
        }
    }
    if let (Some(host), Some(entry)) = (
        &args.shell,
        entries.iter().find(|entry| {
            args.shell
                .as_ref()
                .is_some_and(|host| !entry.scenario.hosts.contains(host))
        }),
    ) {
        let message = format!("no host `{host}` in {}", entry.file);
        let hosts = entry.scenario.hosts.join(", ");
        return Err(Failure::new(Code::Usage, message).hint(format!("its hosts: {hosts}")));
    }
    match invalid {
        Some(failure) => Err(failure),
        None => Ok(entries),
    }
}

/// Says how it all ended, and writes the report.
fn finish(played: &[Played], args: &cli::Scenario, global: &Global) -> Outcome {
    if let Some(path) = &args.junit {
        let suites: Vec<_> = played.iter().map(|played| played.suite.clone()).collect();
        junit::write(path, &suites).map_err(|error| {
            let message = format!("cannot write {}: {error}", path.display());
            Failure::new(Code::Usage, message)
        })?;
    }
    let failed = played.iter().filter(|played| played.code != 0).count();
    if !global.json && played.len() > 1 {
        let passed = played.len() - failed;
        print(&format!("{passed} passed, {failed} failed\n"))?;
    }
    // That one could not be played says more than that another did not do what was expected.
    let codes = || {
        played
            .iter()
            .map(|played| played.code)
            .filter(|code| *code != 0)
    };
    let worse = codes().find(|code| *code != Code::Missed as u8);
    Ok(worse.or_else(|| codes().next()).unwrap_or(Code::Ok as u8))
}

impl Play<'_> {
    /// Whether all is to end: by Ctrl-C, SIGTERM or SIGHUP.
    fn is_told(&self) -> bool {
        self.is_told.load(Ordering::Relaxed)
    }

    /// Plays one scenario after the other, while there are any.
    fn work(&self, sender: &mpsc::UnboundedSender<(usize, Played)>) {
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            let entry = self.entries.get(index).filter(|_| !self.is_told());
            let Some(entry) = entry else {
                return;
            };
            // On a thread of its own: where a stage was begun, no other can be.
            let played = thread::scope(|scope| scope.spawn(|| self.play(entry)).join());
            let played = played.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            // The receiver is there until all have been played.
            let _ = sender.send((index, played));
        }
    }

    fn play(&self, entry: &Entry) -> Played {
        let mut course = Course::new(self, entry);
        let outcome = course.run();
        course.end(outcome)
    }
}
