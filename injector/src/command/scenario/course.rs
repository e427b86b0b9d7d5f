//! One scenario from its beginning to its end, as the command sees it.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::{
    Entry, Play, Played,
    event::{Event, Request, Standing},
    privileges, show,
    world::World,
};
use crate::{
    command::{print, print_json_line},
    error::{Code, Failure},
    observe::junit::{Case, Suite},
};

/// A line of the JSON stream.
#[derive(Serialize)]
struct Line<'a> {
    scenario: &'a str,
    file: &'a str,
    #[serde(flatten)]
    event: &'a Event,
}

/// A scenario that is being played.
pub(super) struct Course<'a> {
    play: &'a Play<'a>,
    entry: &'a Entry,
    started: Instant,
    cases: Vec<Case>,
    has_ended: bool,
    /// What is shown in one piece, where several are played at a time.
    shown: String,
}

impl<'a> Course<'a> {
    pub(super) fn new(play: &'a Play<'a>, entry: &'a Entry) -> Self {
        Self {
            play,
            entry,
            started: Instant::now(),
            cases: Vec::new(),
            has_ended: false,
            shown: String::new(),
        }
    }

    pub(super) fn run(&mut self) -> Result<(), Failure> {
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
        match (self.has_ended, self.play.stages.are_over()) {
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

    pub(super) fn end(mut self, outcome: Result<(), Failure>) -> Played {
        let is_met = self.cases.iter().all(|case| case.failure.is_none());
        let elapsed = self.started.elapsed();
        let code = match &outcome {
            Ok(()) if is_met => Code::Ok,
            Ok(()) => Code::Missed,
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
        let _ = print_json_line(&line);
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
