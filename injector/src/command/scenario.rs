//! `injector scenario`

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
    time::{Duration, Instant},
};

use serde::Serialize;
use tokio::sync::mpsc;

pub(super) use self::stage::stage;
use self::{
    event::{Event, Request, Standing},
    world::{Stages, World},
};
use super::{Outcome, draw_seed, invalid_profile, print, run::Signals};
use crate::{
    cli::{self, Global},
    error::{Code, Failure},
    observe::junit::{self, Case, Suite},
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

/// A line of the JSON stream.
#[derive(Serialize)]
struct Line<'a> {
    scenario: &'a str,
    file: &'a str,
    #[serde(flatten)]
    event: &'a Event,
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
    let worse = codes().find(|code| *code != Code::Unmet as u8);
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

/// A scenario that is being played.
struct Course<'a> {
    play: &'a Play<'a>,
    entry: &'a Entry,
    started: Instant,
    cases: Vec<Case>,
    has_ended: bool,
    /// What is shown in one piece, where several are played at a time.
    shown: String,
}

impl<'a> Course<'a> {
    fn new(play: &'a Play<'a>, entry: &'a Entry) -> Self {
        Self {
            play,
            entry,
            started: Instant::now(),
            cases: Vec::new(),
            has_ended: false,
            shown: String::new(),
        }
    }

    fn run(&mut self) -> Result<(), Failure> {
        let entry = self.entry;
        privileges::require_programs(&entry.scenario.requires)?;
        self.show(&format!(
            "{} ({}), seed {}\n",
            entry.scenario.name, entry.file, entry.seed
        ));
        let request = Request {
            source: entry.source.clone(),
            seed: entry.seed,
            is_kept: self.play.args.keep || self.play.args.shell.is_some(),
        };
        let mut world = World::begin(&request, &self.play.stages)?;
        let heard = self.listen(&mut world);
        world.end()?;
        heard
    }

    fn listen(&mut self, world: &mut World<'_>) -> Result<(), Failure> {
        while let Some(event) = world.next() {
            if self.play.global.json {
                self.line(&event);
            }
            match event {
                Event::Started { elapsed_ms, .. } => {
                    self.show(&format!("  ✓ {} {}\n", show::time(elapsed_ms), self.cast()));
                }
                Event::Step(done) => {
                    self.show(&show::step(&done));
                    let failures = &done.verdict.failures;
                    self.cases.push(Case {
                        name: done.step.clone(),
                        time: Duration::from_millis(done.elapsed_ms),
                        failure: (!failures.is_empty()).then(|| show::why(&done)),
                    });
                }
                Event::Kept { hosts } => {
                    self.has_ended = true;
                    self.keep(world, &hosts)?;
                }
                Event::Failed(failure) => return Err(failure),
                Event::Ended { .. } => self.has_ended = true,
            }
        }
        match (self.has_ended, self.play.is_told()) {
            (true, _) => Ok(()),
            // What was cut short has not passed, whoever did it.
            (false, true) => Err(Failure::new(Code::Interrupted, "interrupted")),
            (false, false) => Err(Failure::new(Code::Unexpected, "it ended before its time")),
        }
    }

    /// The hosts and links in a few words.
    fn cast(&self) -> String {
        let scenario = &self.entry.scenario;
        format!("hosts {}", scenario.hosts.join(", "))
    }

    fn keep(&mut self, world: &mut World<'_>, hosts: &[Standing]) -> Result<(), Failure> {
        match &self.play.args.shell {
            None => self.show(&show::standing(hosts, world.pid(), self.play.is_rootless)),
            Some(name) => {
                let host = hosts.iter().find(|host| host.host == *name);
                world.shell(host.expect("a host that was looked for before"))?;
                world.release();
            }
        }
        Ok(())
    }

    fn end(mut self, outcome: Result<(), Failure>) -> Played {
        let is_met = self.cases.iter().all(|case| case.failure.is_none());
        let elapsed = self.started.elapsed();
        let code = match &outcome {
            Ok(()) if is_met => Code::Ok,
            Ok(()) => Code::Unmet,
            Err(failure) => failure.code,
        };
        if let Err(failure) = outcome {
            let text = failure.to_string();
            self.show(&format!(
                "  ✗ {} {text}\n",
                show::time(elapsed.as_millis() as u64)
            ));
            self.cases.push(Case {
                name: "play".into(),
                time: Duration::ZERO,
                failure: Some(text),
            });
        }
        let name = &self.entry.scenario.name;
        let (verdict, again) = match code {
            Code::Ok => ("passed", String::new()),
            _ => (
                "failed",
                format!("; the same faults again: --seed {}", self.entry.seed),
            ),
        };
        let took = show::time(elapsed.as_millis() as u64);
        self.show(&format!("{name}: {verdict} after {}{again}\n", took.trim()));
        let _ = print(&self.shown);
        Played {
            suite: Suite {
                name: self.entry.scenario.name.clone(),
                time: elapsed,
                cases: self.cases,
            },
            code: code as u8,
        }
    }

    fn line(&self, event: &Event) {
        let (scenario, file) = (self.entry.scenario.name.as_str(), self.entry.file.as_str());
        let line = Line {
            scenario,
            file,
            event,
        };
        // A reader that has gone is no reason to stop half-way.
        let _ = super::print_json_line(&line);
    }

    /// Shows a text at once, or with the others of the scenario.
    fn show(&mut self, text: &str) {
        if self.play.global.json || self.play.global.quiet && !text.contains('✗') {
            return;
        }
        match self.play.args.jobs.get() {
            1 => drop(print(text)),
            _ => self.shown += text,
        }
    }
}
