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
    io,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use tokio::{runtime::Runtime, sync::mpsc};

pub(super) use self::stage::stage;
use self::{course::Course, world::Stages};
use super::{Outcome, draw_seed, invalid_profile, print, run::Signals};
use crate::{
    cli::{self, Global},
    error::{Code, Failure},
    observe::junit::{self, Suite},
    profile::{ProfileError, Source},
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
    is_rootless: bool,
}

/// What came of a scenario.
struct Played {
    suite: Suite,
    code: u8,
}

pub(super) fn scenario(args: &cli::Scenario, global: &Global) -> Outcome {
    if global.netns.is_some() {
        let message =
            "`--netns` does not go with `scenario`, whose hosts are namespaces of their own";
        return Err(Failure::new(Code::Usage, message));
    }
    let entries = read(args, global)?;
    require_host(args, &entries)?;
    if let Some(path) = &args.junit {
        // An earlier run's is not to be taken for this one's.
        write_report(path, &[])?;
    }
    let has_faults = entries.iter().any(|entry| entry.scenario.has_faults());
    let is_rootless = privileges::obtain(has_faults)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let signals = Signals::install(&runtime)?;
    let play = Play {
        args,
        global,
        entries: &entries,
        stages: Stages::default(),
        next: AtomicUsize::new(0),
        is_rootless,
    };
    let played = play.all(&runtime, signals);
    finish(&played, args, global)
}

/// Reads all files, and reports all that are invalid.
fn read(args: &cli::Scenario, global: &Global) -> Result<Vec<Entry>, Failure> {
    let mut entries = Vec::new();
    let mut invalid = None;
    for file in &args.files {
        match read_one(file, args.seed)? {
            Ok(entry) => entries.push(entry),
            Err(error) => {
                let failure = invalid_profile(&error, global);
                if let Some(former) = invalid.replace(failure) {
                    eprintln!("{former}");
                }
            }
        }
    }
    invalid.map_or(Ok(entries), Err)
}

fn read_one(file: &Path, seed: Option<u64>) -> io::Result<Result<Entry, ProfileError>> {
    // The stage must find the same files from wherever it is.
    let path = std::path::absolute(file)?;
    let file = file.display().to_string();
    let source = match Source::file_as(&path, &file) {
        Ok(source) => source,
        Err(error) => return Ok(Err(error)),
    };
    let scenario = match Scenario::read(&source) {
        Ok(scenario) => scenario,
        Err(error) => return Ok(Err(error)),
    };
    let seed = seed.or(scenario.seed).map_or_else(draw_seed, Ok)?;
    Ok(Ok(Entry {
        file,
        source,
        scenario,
        seed,
    }))
}

/// Makes sure that each scenario has the host that a shell is wanted on.
fn require_host(args: &cli::Scenario, entries: &[Entry]) -> Result<(), Failure> {
    let Some(host) = &args.shell else {
        return Ok(());
    };
    let lacks_it = |entry: &&Entry| !entry.scenario.hosts.contains(host);
    match entries.iter().find(lacks_it) {
        None => Ok(()),
        Some(entry) => {
            let message = format!("no host `{host}` in {}", entry.file);
            let hosts = entry.scenario.hosts.join(", ");
            Err(Failure::new(Code::Usage, message).hint(format!("its hosts: {hosts}")))
        }
    }
}

fn write_report(path: &Path, suites: &[Suite]) -> Result<(), Failure> {
    junit::write(path, suites).map_err(|error| {
        let message = format!("cannot write {}: {error}", path.display());
        Failure::new(Code::Usage, message)
    })
}

/// Says how it all ended, and writes the report.
fn finish(played: &[Played], args: &cli::Scenario, global: &Global) -> Outcome {
    if let Some(path) = &args.junit {
        let suites: Vec<_> = played.iter().map(|played| played.suite.clone()).collect();
        write_report(path, &suites)?;
    }
    let failed = played.iter().filter(|played| played.code != 0).count();
    if !global.json && played.len() > 1 {
        let passed = played.len() - failed;
        print(&format!("{passed} passed, {failed} failed\n"))?;
    }
    if played.len() < args.files.len() {
        return Ok(Code::Interrupted as u8);
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
    /// Plays all, so many at a time as are wanted, until they are over or a signal comes.
    fn all(&self, runtime: &Runtime, mut signals: Signals) -> Vec<Played> {
        let jobs = self.args.jobs.get().min(self.entries.len());
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let mut played = Vec::new();
        thread::scope(|scope| {
            for _ in 0..jobs {
                let sender = sender.clone();
                scope.spawn(move || self.work(&sender));
            }
            // The channel ends with the last of the threads.
            drop(sender);
            runtime.block_on(async {
                loop {
                    tokio::select! {
                        one = receiver.recv() => match one {
                            Some(one) => played.push(one),
                            None => break,
                        },
                        _ = signals.told(), if !self.stages.are_over() => self.stages.end(),
                    }
                }
            });
        });
        played.sort_by_key(|(index, _)| *index);
        played.into_iter().map(|(_, played)| played).collect()
    }

    /// Plays one scenario after the other, while there are any.
    fn work(&self, sender: &mpsc::UnboundedSender<(usize, Played)>) {
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            let entry = self.entries.get(index).filter(|_| !self.stages.are_over());
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
