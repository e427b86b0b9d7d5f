//! Faults in force: `injector run` on a host, in a process of its own.

use std::time::{Duration, Instant};

use serde::Deserialize;

use super::{
    event::Verdict,
    host::Host,
    process::{Place, Processes},
};
use crate::{
    error::{Code, Failure},
    scenario::Faults,
};

/// How long it may take until faults are in force. Emulated processors take seconds.
const START: Duration = Duration::from_secs(60);
/// How long packets that are held may take when faults end.
const HELD: Duration = Duration::from_secs(60);

/// The events of a run that matter here.
#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event {
    Started,
    Ended(Ended),
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Ended {
    rules: Vec<Rule>,
    #[serde(default)]
    expectations: Vec<Expectation>,
}

/// What a rule did.
#[derive(Deserialize)]
struct Rule {
    rule: String,
    direction: String,
    matched: u64,
    dropped: u64,
    corrupted: u64,
    duplicated: u64,
    reordered: u64,
    delayed: u64,
    marked: u64,
    overlimit: u64,
}

/// A condition of `--expect`.
#[derive(Deserialize)]
struct Expectation {
    expectation: String,
    achieved: serde_json::Value,
    passed: bool,
}

/// Puts faults into force.
pub(super) fn start(
    faults: &Faults,
    seed: Option<u64>,
    host: &Host,
    processes: &mut Processes,
) -> Result<Place, Failure> {
    let mut arguments: Vec<String> = ["/proc/self/exe", "--json", "run", "-", "-i"]
        .map(str::to_owned)
        .to_vec();
    arguments.push(faults.device.clone());
    arguments.extend(seed.map(|seed| format!("--seed={seed}")));
    arguments.extend(faults.expected.iter().map(|one| format!("--expect={one}")));
    let place = processes.start(host, &arguments, &faults.directory, Some(&faults.text))?;
    let mut is_started = false;
    processes.wait_until(Instant::now() + START, |processes| {
        let (stdout, _) = processes.output(place);
        is_started = events(&stdout).any(|event| matches!(event, Event::Started));
        is_started || processes.has_ended(place)
    });
    match (is_started, processes.status(place)) {
        (true, _) => Ok(place),
        (false, Some(status)) => Err(refused(faults, status, &processes.output(place).1)),
        (false, None) => {
            processes.kill(place);
            let message = format!("faults {}: not in force within 60s", faults.name);
            Err(Failure::new(Code::Unexpected, message))
        }
    }
}

/// Ends faults, and judges what they did.
pub(super) fn stop(place: Place, processes: &mut Processes) -> Verdict {
    if !processes.terminate(place, HELD) {
        processes.kill(place);
    }
    let (stdout, stderr) = processes.output(place);
    let ended = events(&stdout).find_map(|event| match event {
        Event::Ended(ended) => Some(ended),
        _ => None,
    });
    let status = processes.status(place).unwrap_or_default();
    let Some(ended) = ended else {
        let failure = format!("they ended by themselves, with exit status {status}");
        return Verdict::failed(failure, processes.last_lines(place, ""));
    };
    let unmet = ended.expectations.iter().filter(|one| !one.passed);
    let unmet = unmet.map(|one| format!("expected {}, achieved {}", one.expectation, one.achieved));
    let mut failures: Vec<_> = unmet.collect();
    // Faults that nothing met prove nothing.
    if ended.rules.iter().all(|rule| rule.matched == 0) {
        failures.push("no packet met them".to_owned());
    }
    if failures.is_empty() && status != 0 {
        failures.push(format!("exit status {status}: {}", stderr.trim()));
    }
    let note: Vec<_> = ended.rules.iter().map(Rule::text).collect();
    Verdict {
        failures,
        note: Some(note.join("; ")),
        said: Vec::new(),
    }
}

impl Rule {
    /// What it did, in a few words.
    fn text(&self) -> String {
        let counted = [
            ("dropped", self.dropped),
            ("corrupted", self.corrupted),
            ("duplicated", self.duplicated),
            ("reordered", self.reordered),
            ("delayed", self.delayed),
            ("marked", self.marked),
            ("over the limit", self.overlimit),
        ];
        let counted = counted.iter().filter(|(_, count)| *count > 0);
        let counted: String = counted
            .map(|(what, count)| format!(", {count} {what}"))
            .collect();
        format!(
            "{} {}: {} packets{counted}",
            self.rule, self.direction, self.matched
        )
    }
}

fn events(stdout: &str) -> impl Iterator<Item = Event> {
    // The last line may not be complete yet.
    stdout
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
}

/// Why a run did not start, with its own exit code.
fn refused(faults: &Faults, status: u8, stderr: &str) -> Failure {
    let code = match status {
        2 => Code::Usage,
        3 => Code::Profile,
        4 => Code::Unsupported,
        5 => Code::Conflict,
        6 => Code::Refused,
        _ => Code::Unexpected,
    };
    let said = stderr.trim();
    let said = said.strip_prefix("error: ").unwrap_or(said);
    Failure::new(code, format!("faults {}: {said}", faults.name))
}
