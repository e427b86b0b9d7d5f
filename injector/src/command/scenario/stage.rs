//! Where a scenario is played: the first process of a PID namespace, with which everything ends.

use std::{
    fs::File,
    io::{self, BufRead as _, Read as _},
    path::Path,
    time::{Duration, Instant},
};

use nix::unistd::getpid;

use super::{
    event::{Done, Event, Request, Said, Verdict},
    faults,
    host::{self, Host},
    network,
    process::{GRACE, Place, Processes},
    ready::{Look, Readiness},
};
use crate::{
    command::{Outcome, print_json_line},
    error::{Code, Failure},
    scenario::{Action, Command, Expectation, Faults, Ready, Scenario, Step},
};

/// Plays the scenario that standard input has, and tells what happens on standard output.
pub(in crate::command) fn stage() -> Outcome {
    if getpid().as_raw() != 1 {
        return Err(
            Failure::new(Code::Usage, "this is no process to start by hand")
                .hint("`injector scenario` starts it by itself"),
        );
    }
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    let request: Request = serde_json::from_str(&line).map_err(io::Error::from)?;
    match perform(&request) {
        Ok(passed) => Ok(if passed { Code::Ok } else { Code::Missed } as u8),
        Err(failure) => {
            let code = failure.code as u8;
            print_json_line(&Event::Failed(failure))?;
            Ok(code)
        }
    }
}

fn perform(request: &Request) -> Result<bool, Failure> {
    let started = Instant::now();
    let scenario = Scenario::read(&request.source)?;
    host::hide_the_rest()?;
    let hosts = Host::all(&scenario)?;
    let switches = network::build(&scenario, &hosts)?;
    print_json_line(&Event::Started {
        schema: "injector.scenario/v1".into(),
        seed: request.seed,
        elapsed_ms: millis(started),
    })?;
    let mut stage = Stage {
        scenario: &scenario,
        hosts,
        _switches: switches,
        directory: request.source.directory(),
        seed: request.seed,
        processes: Processes::default(),
        running: Vec::new(),
    };
    let passed = stage.play(request.is_kept)?;
    if request.is_kept {
        stage.keep()?;
    }
    print_json_line(&Event::Ended {
        passed,
        elapsed_ms: millis(started),
    })?;
    Ok(passed)
}

fn millis(since: Instant) -> u64 {
    since.elapsed().as_millis() as u64
}

struct Stage<'a> {
    scenario: &'a Scenario,
    hosts: Vec<Host>,
    /// The namespaces that nothing else keeps.
    _switches: Vec<File>,
    /// Where commands are run.
    directory: &'a Path,
    seed: u64,
    processes: Processes,
    /// What was started, and has not been stopped.
    running: Vec<Running>,
}

struct Running {
    name: String,
    place: Place,
    is_faults: bool,
}

impl Stage<'_> {
    /// Plays the steps until one fails.
    fn play(&mut self, is_kept: bool) -> Result<bool, Failure> {
        let scenario = self.scenario;
        let steps = scenario.steps.iter();
        for step in steps.filter(|step| !(is_kept && step.is_implied)) {
            let started = Instant::now();
            let mut verdict = self.step(step)?;
            let passed = verdict.failures.is_empty();
            if !passed {
                verdict.said.extend(self.in_background());
            }
            print_json_line(&Event::Step(Done {
                step: step.title(scenario),
                elapsed_ms: millis(started),
                verdict,
            }))?;
            if !passed {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn step(&mut self, step: &Step) -> Result<Verdict, Failure> {
        match &step.action {
            Action::Start {
                name,
                command,
                ready,
            } => self.start(name, command, ready.as_ref()),
            Action::Run {
                command,
                timeout,
                expected,
            } => {
                let place = self.spawn(command)?;
                Ok(self.await_end(place, *timeout, expected))
            }
            Action::Wait {
                name,
                timeout,
                expected,
            } => {
                let place = self.take(name).place;
                Ok(self.await_end(place, *timeout, expected))
            }
            Action::Faults(faults) => self.inject(faults),
            Action::Stop { name } => Ok(self.stop(name)),
            Action::Sleep(time) => {
                self.processes.wait_until(Instant::now() + *time, |_| false);
                Ok(Verdict::default())
            }
        }
    }

    fn start(
        &mut self,
        name: &str,
        command: &Command,
        ready: Option<&Ready>,
    ) -> Result<Verdict, Failure> {
        let place = self.spawn(command)?;
        self.note(name, place, false);
        let Some(ready) = ready else {
            return Ok(Verdict::default());
        };
        let look = Look {
            ready,
            place,
            host: &self.hosts[command.host],
            directory: self.directory,
        };
        let failure = match look.wait(&mut self.processes)? {
            Readiness::Ready => return Ok(Verdict::default()),
            Readiness::Late => {
                let within = humantime::format_duration(ready.within);
                format!("not ready within {within}")
            }
            Readiness::Ended => self.how_it_ended(place),
        };
        Ok(Verdict::failed(failure, Vec::new()))
    }

    fn spawn(&mut self, command: &Command) -> Result<Place, Failure> {
        let host = &self.hosts[command.host];
        let arguments = &command.arguments;
        self.processes.start(host, arguments, self.directory, None)
    }

    fn inject(&mut self, faults: &Faults) -> Result<Verdict, Failure> {
        let seed = (!faults.is_seeded).then_some(self.seed);
        let host = &self.hosts[faults.host];
        let place = faults::start(faults, seed, host, &mut self.processes)?;
        self.note(&faults.name, place, true);
        Ok(Verdict::default())
    }

    fn note(&mut self, name: &str, place: Place, is_faults: bool) {
        let name = name.to_owned();
        self.running.push(Running {
            name,
            place,
            is_faults,
        });
    }

    /// What a step before has started, which now ends.
    fn take(&mut self, name: &str) -> Running {
        let place = self.running.iter().position(|running| running.name == name);
        self.running
            .remove(place.expect("a valid scenario stops what it has started"))
    }

    /// Waits for the end of a command, and judges it.
    fn await_end(&mut self, place: Place, timeout: Duration, expected: &Expectation) -> Verdict {
        let deadline = Instant::now() + timeout;
        let has_ended = self.processes.wait_for(place, deadline);
        let failures = match self.processes.ended(place) {
            Some(ended) if has_ended => expected.judge(&ended),
            _ => {
                self.processes.kill(place);
                let timeout = humantime::format_duration(timeout);
                vec![format!("did not end within {timeout}, and was killed")]
            }
        };
        let said = match failures.is_empty() {
            true => Vec::new(),
            false => self.processes.last_lines(place, ""),
        };
        Verdict {
            failures,
            note: None,
            said,
        }
    }

    fn stop(&mut self, name: &str) -> Verdict {
        let Running {
            place, is_faults, ..
        } = self.take(name);
        if is_faults {
            return faults::stop(place, &mut self.processes);
        }
        let ended_before = self
            .processes
            .status(place)
            .is_some_and(|status| status != 0);
        let stopped = self.processes.stop(place, GRACE);
        if ended_before {
            return Verdict::failed(
                self.how_it_ended(place),
                self.processes.last_lines(place, ""),
            );
        }
        let killed = format!(
            "did not end within {}, and was killed",
            humantime::format_duration(GRACE)
        );
        Verdict {
            note: (!stopped).then_some(killed),
            ..Verdict::default()
        }
    }

    fn how_it_ended(&self, place: Place) -> String {
        let status = self.processes.status(place).unwrap_or_default();
        format!("ended by itself, with exit status {status}")
    }

    /// What the commands in the background have said lately.
    fn in_background(&self) -> Vec<Said> {
        let commands = self.running.iter().filter(|running| !running.is_faults);
        let said = commands.map(|one| {
            let by = format!("{}, ", one.name);
            self.processes.last_lines(one.place, &by)
        });
        said.flatten().collect()
    }

    /// Leaves everything as it is until nobody asks for it any more.
    fn keep(&self) -> Result<(), Failure> {
        let hosts = self.hosts.iter().map(Host::standing).collect();
        print_json_line(&Event::Kept { hosts })?;
        io::stdin().lock().read_to_end(&mut Vec::new())?;
        Ok(())
    }
}
