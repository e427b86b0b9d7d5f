//! Scenarios: real software over bad networks, step by step.
//!
//! A scenario is YAML, read by what reads profiles: `schema` says what may be written, `resolve` what it
//! means. What comes out needs no further validation, and is pure: hosts and links with their addresses, and
//! the steps in order. `judge` says whether a command did what was expected of it.

mod judge;
mod resolve;
mod schema;
mod shape;

use std::{net::IpAddr, path::PathBuf, time::Duration};

use ipnet::IpNet;

use crate::profile::{ProfileError, Source};

pub use self::judge::{Ended, Expectation, Pattern, Status};

/// Most hosts in a scenario.
pub const HOSTS_MAX: usize = 64;
/// Most steps in a scenario.
pub const STEPS_MAX: usize = 1024;

/// What is played.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// Name for people.
    pub name: String,
    /// What it shows.
    pub description: Option<String>,
    /// The seed of faults that have none of their own; drawn at the start when absent.
    pub seed: Option<u64>,
    /// Programs that have to be installed.
    pub requires: Vec<String>,
    /// The hosts, by name.
    pub hosts: Vec<String>,
    /// What joins them.
    pub links: Vec<Link>,
    /// What happens, in this order; all that is started is stopped in the end.
    pub steps: Vec<Step>,
}

/// A cable between two hosts, or a switch between several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its name: as given, or `link-N` counting from 1.
    pub name: String,
    /// The largest packet, in bytes; 1500 where it is not said.
    pub mtu: Option<u32>,
    /// The hosts' ends.
    pub ends: Vec<End>,
}

/// Where a link meets a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Which host.
    pub host: usize,
    /// The device there.
    pub device: String,
    /// Its addresses, each with the length of the network.
    pub addresses: Vec<IpNet>,
}

/// A step.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// What is done.
    pub action: Action,
    /// Nobody wrote it down: what is left is stopped in the end.
    pub is_implied: bool,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Starts a command, and goes on when it is ready.
    Start {
        /// What later steps call it.
        name: String,
        /// The command.
        command: Command,
        /// When it is ready; at once where nothing is said.
        ready: Option<Ready>,
    },
    /// Runs a command to its end.
    Run {
        /// The command.
        command: Command,
        /// How long it may take.
        timeout: Duration,
        /// What it must have done.
        expected: Expectation,
    },
    /// Waits for the end of what was started.
    Wait {
        /// What.
        name: String,
        /// How long that may take.
        timeout: Duration,
        /// What it must have done.
        expected: Expectation,
    },
    /// Puts faults into force.
    Faults(Faults),
    /// Stops what was started.
    Stop {
        /// What.
        name: String,
    },
    /// Lets time pass.
    Sleep(Duration),
}

/// A command in a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Which host.
    pub host: usize,
    /// The program and its arguments.
    pub arguments: Vec<String>,
    /// As it was written.
    pub text: String,
}

/// When a command that was started is ready.
#[derive(Debug, Clone, PartialEq)]
pub struct Ready {
    /// What must be the case.
    pub when: Condition,
    /// How long that may take.
    pub within: Duration,
}

/// What must be the case.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// Something on the host listens to this TCP port.
    Tcp(u16),
    /// Something on the host has this UDP port.
    Udp(u16),
    /// This command, on the same host, succeeds.
    Command(Command),
    /// The command's output has this.
    Output(Pattern),
}

/// Faults on the end of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults {
    /// What later steps call them.
    pub name: String,
    /// Which host.
    pub host: usize,
    /// The device there.
    pub device: String,
    /// The profile.
    pub text: String,
    /// Where the files that it names are looked for.
    pub directory: PathBuf,
    /// Whether the profile has a seed of its own.
    pub is_seeded: bool,
    /// What must have become of the packets, for `run --expect`.
    pub expected: Vec<String>,
}

impl Scenario {
    /// Reads what `source` says, and the profiles that it names.
    ///
    /// # Errors
    ///
    /// See [`ProfileError`].
    pub fn read(source: &Source) -> Result<Self, ProfileError> {
        source.understand(|raw, files| resolve::resolve(raw, source, files))
    }

    /// The ends of the host's links.
    pub fn ends(&self, host: usize) -> impl Iterator<Item = &End> {
        let ends = self.links.iter().flat_map(|link| &link.ends);
        ends.filter(move |end| end.host == host)
    }

    /// Every address that `host` can call another host by, or itself: those of links that both are on, or
    /// else of any.
    pub fn addresses(&self, host: usize, other: usize) -> Vec<IpAddr> {
        let is_on = |link: &&Link| link.ends.iter().any(|end| end.host == host);
        let of = |links: &mut dyn Iterator<Item = &Link>| -> Vec<IpAddr> {
            links
                .flat_map(|link| &link.ends)
                .filter(|end| end.host == other)
                .flat_map(|end| end.addresses.iter().map(IpNet::addr))
                .collect()
        };
        let near = of(&mut self.links.iter().filter(is_on));
        match near.is_empty() {
            true => of(&mut self.links.iter()),
            false => near,
        }
    }

    /// Whether any step injects faults.
    pub fn has_faults(&self) -> bool {
        let mut steps = self.steps.iter();
        steps.any(|step| matches!(step.action, Action::Faults(_)))
    }
}

impl Step {
    /// The step in a line.
    pub fn title(&self, scenario: &Scenario) -> String {
        /// Most characters of it.
        const CHARS_MAX: usize = 100;
        let title = self.in_words(scenario);
        let mut shown: String = title
            .chars()
            .take_while(|c| *c != '\n')
            .take(CHARS_MAX)
            .collect();
        if shown.len() < title.trim_end().len() {
            shown += " …";
        }
        shown
    }

    fn in_words(&self, scenario: &Scenario) -> String {
        let on = |host: usize| &scenario.hosts[host];
        match &self.action {
            Action::Start { name, command, .. } => {
                format!("start {name} on {}: {}", on(command.host), command.text)
            }
            Action::Run { command, .. } => format!("run on {}: {}", on(command.host), command.text),
            Action::Wait { name, .. } => format!("wait for {name}"),
            Action::Faults(faults) => {
                format!(
                    "faults {} on {} {}",
                    faults.name,
                    on(faults.host),
                    faults.device
                )
            }
            Action::Stop { name } => format!("stop {name}"),
            Action::Sleep(time) => format!("sleep {}", humantime::format_duration(*time)),
        }
    }
}

#[cfg(test)]
mod tests;
