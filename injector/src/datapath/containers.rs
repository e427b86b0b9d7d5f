//! Containers, by their names.
//!
//! Runtimes note in files which containers they have, and which process is the first of each. These files are read
//! without the runtimes' daemons, and what they say of a process is believed only where the process bears it out.

mod containerd;
mod docker;
mod files;
mod lxc;
mod nspawn;
mod oci;
mod pods;
mod storage;

use std::{collections::BTreeMap, path::Path};

use procfs::process::Process;

use super::{Error, Netns, Result, groups};
use crate::profile::nearest;

/// From how many characters on the beginning of an identifier stands for it.
const PREFIX_MIN: usize = 4;

/// A container that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Who runs it.
    pub runtime: &'static str,
    /// Its identifier.
    pub id: String,
    /// Its first name, or its identifier where it has none.
    pub name: String,
    /// Its first process, as this process numbers it.
    pub pid: u32,
    /// Its control group (version 2), by the path below the root; a pod's has those of all of its containers.
    /// `None` where it shares that with others.
    pub cgroup: Option<String>,
}

impl Container {
    /// The network namespace that it is in.
    pub fn netns(&self) -> Netns {
        Netns::Path {
            name: format!("container {}", self.name),
            path: format!("/proc/{}/ns/net", self.pid).into(),
        }
    }
}

/// Who runs containers, and says so in files.
struct Runtime {
    name: &'static str,
    /// Where those files are.
    places: &'static [&'static str],
    /// Reads those below a root.
    read: fn(&Path) -> Vec<Noted>,
}

/// Those that name containers come before those that start them for others.
const RUNTIMES: [Runtime; 7] = [
    docker::RUNTIME,
    containerd::RUNTIME,
    storage::RUNTIME,
    oci::RUNC,
    oci::CRUN,
    lxc::RUNTIME,
    nspawn::RUNTIME,
];

/// What is noted of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Noted {
    id: String,
    names: Vec<String>,
    /// Whether it stands for a pod, whose namespaces it keeps.
    is_pod: bool,
    /// Its first process, unless it has ended.
    first: Option<First>,
    /// How the name of its control group ends; with the identifier where it is not known.
    group: Option<String>,
}

/// The first process of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct First {
    pid: i32,
    /// When it started, in clock ticks since the machine did, where that is noted.
    started: Option<u64>,
}

impl First {
    /// `None` where the number stands for no process, as it does after the end.
    fn new(pid: i32, started: Option<u64>) -> Option<Self> {
        (pid > 0).then_some(Self { pid, started })
    }
}

impl Noted {
    /// Takes up what another runtime has noted of the same container.
    fn complete(&mut self, other: Self) {
        for name in other.names {
            if !self.names.contains(&name) {
                self.names.push(name);
            }
        }
        self.is_pod |= other.is_pod;
        let knows_start = |first: &First| first.started.is_some();
        if !self.first.as_ref().is_some_and(knows_start) {
            self.first = other.first.or(self.first);
        }
    }

    fn answers_to(&self, name: &str) -> bool {
        self.id == name || self.names.iter().any(|known| known == name)
    }

    fn name(&self) -> &str {
        self.names.first().unwrap_or(&self.id)
    }

    /// How the name of its control group ends.
    fn group(&self) -> &str {
        self.group.as_deref().unwrap_or(&self.id)
    }

    /// The process, where it still is the one that was noted: its number may have come to a stranger since.
    fn process(&self) -> Option<Process> {
        let first = self.first?;
        let process = Process::new(first.pid).ok()?;
        let stat = process.stat().ok()?;
        let has_ended = matches!(stat.state, 'Z' | 'X');
        let is_it = match first.started {
            Some(started) => stat.starttime == started,
            None => {
                let groups = process.cgroups().ok()?.0;
                let mut paths = groups.iter().map(|group| &group.pathname);
                paths.any(|path| path.split('/').any(|name| is_of(name, self.group())))
            }
        };
        (is_it && !has_ended).then_some(process)
    }

    fn container(&self, runtime: &'static str) -> Option<Container> {
        let process = self.process()?;
        let path = groups::group_of(&process);
        Some(Container {
            runtime,
            id: self.id.clone(),
            name: self.name().to_owned(),
            pid: process.pid as u32,
            cgroup: path.and_then(|path| whole_group(&path, self.group(), self.is_pod)),
        })
    }
}

/// Of the group that a container's first process is in, the one that all of its processes are in and nobody else;
/// `None` where it has none.
fn whole_group(path: &str, part: &str, is_pod: bool) -> Option<String> {
    let parts: Vec<_> = path.split('/').collect();
    let own = parts.iter().rposition(|name| is_of(name, part))?;
    let len = if is_pod { own } else { own + 1 };
    Some(parts[..len].join("/"))
}

/// Whether a control group of this name is a container's: `ID`, `libpod-ID`, `docker-ID.scope`.
fn is_of(name: &str, part: &str) -> bool {
    let before = name
        .strip_suffix(".scope")
        .unwrap_or(name)
        .strip_suffix(part);
    name == part || before.is_some_and(|before| before.is_empty() || before.ends_with('-'))
}

/// The container of that name or identifier, or of whose identifier alone this is the beginning.
///
/// # Errors
///
/// Where there is none, more than one, or it does not run.
pub fn find(name: &str) -> Result<Container> {
    among(&all(Path::new("/")), name)
}

/// The names of all containers that run.
pub fn names() -> Vec<String> {
    let all = all(Path::new("/"));
    let running = all.iter().filter(|(_, noted)| noted.process().is_some());
    running.map(|(_, noted)| noted.name().to_owned()).collect()
}

/// What all runtimes note below a root, each container once.
fn all(root: &Path) -> Vec<(&'static str, Noted)> {
    let mut all: Vec<(&'static str, Noted)> = Vec::new();
    let mut places = BTreeMap::new();
    for runtime in &RUNTIMES {
        for noted in (runtime.read)(root) {
            let place = *places.entry(noted.id.clone()).or_insert(all.len());
            match all.get_mut(place) {
                Some((_, known)) => known.complete(noted),
                None => all.push((runtime.name, noted)),
            }
        }
    }
    all
}

fn among(all: &[(&'static str, Noted)], name: &str) -> Result<Container> {
    let mut meant: Vec<_> = all
        .iter()
        .filter(|(_, noted)| noted.answers_to(name))
        .collect();
    if meant.is_empty() && name.len() >= PREFIX_MIN {
        meant = all
            .iter()
            .filter(|(_, noted)| noted.id.starts_with(name))
            .collect();
    }
    if meant.is_empty() {
        return Err(unknown(all, name));
    }
    let running = meant
        .iter()
        .filter_map(|(runtime, noted)| noted.container(runtime));
    let running: Vec<_> = running.collect();
    match running.as_slice() {
        [container] => Ok(container.clone()),
        [] => Err(Error::ContainerNotRunning {
            name: name.to_owned(),
            runtime: meant[0].0,
            pid: meant[0].1.first.map(|first| first.pid),
        }),
        several => Err(Error::AmbiguousContainer {
            name: name.to_owned(),
            candidates: several.iter().map(describe).collect(),
        }),
    }
}

fn describe(container: &Container) -> String {
    let Container {
        name, runtime, id, ..
    } = container;
    format!("{name} ({runtime} {})", id.get(..12).unwrap_or(id))
}

fn unknown(all: &[(&'static str, Noted)], name: &str) -> Error {
    let names: Vec<&str> = all
        .iter()
        .flat_map(|(_, noted)| &noted.names)
        .map(String::as_str)
        .collect();
    let place = |runtime: &Runtime| format!("{} ({})", runtime.places.join(", "), runtime.name);
    Error::NoContainer {
        name: name.to_owned(),
        places: RUNTIMES.iter().map(place).collect(),
        nearest: nearest::nearest(name, &names).map(str::to_owned),
        known: names.len(),
    }
}

#[cfg(test)]
mod tests;
