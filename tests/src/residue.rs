//! What a run has left behind.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use injector::datapath::journal::Record;
use nix::unistd::Pid;
use serde_json::Value;

use crate::{Netns, clock::wait_until, tool};

/// Where runs keep their records.
const RECORDS: &str = "/run/injector";
/// Where programs and maps can be pinned.
const PINS: &str = "/sys/fs/bpf";
/// Where namespaces have names.
const NAMESPACES: &str = "/run/netns";

/// Everything of a namespace that a run could change, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot(BTreeMap<String, String>);

impl Snapshot {
    /// The present state.
    pub fn of(netns: &Netns) -> Self {
        let mut parts = netns.run(describe);
        for name in records(netns) {
            parts.insert(format!("record {name}"), "present".into());
        }
        for directory in [PINS, NAMESPACES] {
            parts.insert(format!("files in {directory}"), tree(Path::new(directory)));
        }
        Self(parts)
    }

    /// What differs, one line each.
    pub fn differences(&self, later: &Self) -> Vec<String> {
        let keys = self
            .0
            .keys()
            .chain(later.0.keys().filter(|key| !self.0.contains_key(*key)));
        let absent = String::from("absent");
        keys.filter_map(|key| {
            let before = self.0.get(key).unwrap_or(&absent);
            let after = later.0.get(key).unwrap_or(&absent);
            // One of a namespace that had the number before, which is forgotten sooner or later.
            let is_forgotten = key.starts_with("record ") && *after == absent;
            (before != after && !is_forgotten)
                .then(|| format!("{key}: {}", difference(before, after)))
        })
        .collect()
    }

    /// Asserts that the namespace is as it was.
    #[track_caller]
    pub fn assert_same(&self, netns: &Netns) {
        let differences = self.differences(&Self::of(netns));
        assert!(
            differences.is_empty(),
            "left behind:\n{}",
            differences.join("\n")
        );
    }
}

/// The part in which the two differ, with a little of what is around it.
fn difference(before: &str, after: &str) -> String {
    const CONTEXT: usize = 40;
    let common = |pair: &(char, char)| pair.0 == pair.1;
    let front = before.chars().zip(after.chars()).take_while(common).count();
    let back = before
        .chars()
        .rev()
        .zip(after.chars().rev())
        .take_while(common)
        .count();
    let part = |text: &str| {
        let len = text.chars().count();
        let start = front.saturating_sub(CONTEXT);
        let end = (len - back.min(len - front) + CONTEXT).min(len);
        text.chars()
            .skip(start)
            .take(end - start)
            .collect::<String>()
    };
    format!("before: {}; after: {}", part(before), part(after))
}

fn describe() -> BTreeMap<String, String> {
    let mut parts = BTreeMap::new();
    parts.insert("links".into(), stateless("-j -d link show"));
    parts.insert("addresses".into(), stateless("-j address show"));
    parts.insert("qdiscs".into(), tool::run("tc", "-j qdisc show"));
    parts.insert("hooks".into(), hooks());
    for device in devices() {
        for side in ["ingress", "egress"] {
            let filters = tool::attempt("tc", &format!("filter show dev {device} {side}"));
            // A device without the hook has no filters on it.
            parts.insert(
                format!("{side} filters of {device}"),
                filters.unwrap_or_default(),
            );
        }
        if let Ok(offloads) = tool::attempt("ethtool", &format!("-k {device}")) {
            parts.insert(format!("offloads of {device}"), offloads);
        }
    }
    settings(Path::new("/proc/sys/net"), &mut parts);
    parts
}

/// What `ip` says of devices, but for their state, which follows the other end's with a delay.
fn stateless(request: &str) -> String {
    let mut links: Value = serde_json::from_str(&tool::ip(request)).expect("JSON from ip");
    for link in links.as_array_mut().into_iter().flatten() {
        link["operstate"] = Value::Null;
        for part in ["info_data", "info_slave_data"] {
            let data = link.pointer_mut(&format!("/linkinfo/{part}"));
            if let Some(data) = data.and_then(Value::as_object_mut) {
                data.retain(|key, _| !key.ends_with("_timer") && key != "state");
            }
        }
        if let Some(flags) = link["flags"].as_array_mut() {
            flags.retain(|flag| flag != "NO-CARRIER" && flag != "LOWER_UP");
        }
    }
    links.to_string()
}

/// The names of the calling thread's namespace's devices.
pub fn devices() -> Vec<String> {
    let links: Value = serde_json::from_str(&tool::ip("-j link show")).expect("JSON from ip");
    let names = links.as_array().into_iter().flatten();
    names
        .filter_map(|link| link["ifname"].as_str().map(str::to_owned))
        .collect()
}

/// What bpftool knows to be attached to devices, tcx and XDP included.
pub fn hooks() -> String {
    tool::attempt("bpftool", "net show").unwrap_or_default()
}

/// Every path below a directory that has our name in it. Other tests have files there, too.
fn tree(directory: &Path) -> String {
    let mut paths = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                directories.push(path.clone());
            }
            paths.push(path.display().to_string());
        }
    }
    paths.retain(|path| path.contains("injector"));
    paths.sort();
    paths.join(" ")
}

fn settings(directory: &Path, parts: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let is_counter = path.to_string_lossy().contains("count");
        if is_directory {
            settings(&path, parts);
        } else if let (false, Ok(value)) = (is_counter, fs::read_to_string(&path)) {
            parts.insert(path.display().to_string(), value.trim().to_owned());
        }
    }
}

/// The names of the records of runs in the namespace.
pub fn records(netns: &Netns) -> Vec<String> {
    let path = netns.path();
    let name = path.to_str().expect("UTF-8");
    let id = name
        .parse()
        .map(|netns: injector::datapath::Netns| netns.id());
    let id = id.expect("a path").expect("the namespace's file");
    let prefix = format!("{}-", id.inode);
    // Of one that had this number before, unless it cannot be read.
    let is_anothers = |name: &str| {
        let text = fs::read(Path::new(RECORDS).join(name)).unwrap_or_default();
        let record = serde_json::from_slice::<Record>(&text);
        record.is_ok_and(|record| !record.netns.may_be(&id))
    };
    let names = fs::read_dir(RECORDS).into_iter().flatten().flatten();
    names
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with(&prefix) && !is_anothers(name))
        .collect()
}

/// The names of the records of one process, whatever its namespace was.
pub fn records_by(process: u32) -> Vec<String> {
    let names = fs::read_dir(RECORDS).into_iter().flatten().flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    let is_its = |name: &String| {
        let text = fs::read(Path::new(RECORDS).join(name)).unwrap_or_default();
        serde_json::from_slice::<Record>(&text).is_ok_and(|record| record.pid == process)
    };
    names.filter(is_its).collect()
}

/// The eBPF programs and maps of the runs in one namespace, which other tests' runs are not to be
/// mixed up with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programs {
    maps: Vec<u32>,
    programs: Vec<u32>,
}

impl Programs {
    /// Those of the runs that are recorded at present.
    #[track_caller]
    pub fn of(netns: &Netns) -> Self {
        let maps: Vec<u32> = records(netns)
            .iter()
            .flat_map(|name| recorded_maps(name))
            .collect();
        assert!(!maps.is_empty(), "no run is recorded");
        let uses = |program: &aya::programs::ProgramInfo| {
            let ids = program.map_ids().ok().flatten().unwrap_or_default();
            ids.iter().any(|id| maps.contains(id))
        };
        let programs: Vec<u32> = aya::programs::loaded_programs()
            .flatten()
            .filter(uses)
            .map(|program| program.id())
            .collect();
        assert!(!programs.is_empty(), "no program uses the recorded maps");
        Self { maps, programs }
    }

    /// Those that a process holds open at this moment.
    pub fn of_process(process: Pid) -> Self {
        let directory = format!("/proc/{process}/fdinfo");
        let files = fs::read_dir(directory).into_iter().flatten().flatten();
        let text: String = files
            .filter_map(|file| fs::read_to_string(file.path()).ok())
            .collect();
        let ids = |key: &str| {
            let mut ids: Vec<u32> = text
                .lines()
                .filter_map(|line| line.strip_prefix(key)?.trim().parse().ok())
                .collect();
            ids.sort_unstable();
            ids.dedup();
            ids
        };
        Self {
            maps: ids("map_id:"),
            programs: ids("prog_id:"),
        }
    }

    /// The programs, by the kernel's numbers.
    pub fn programs(&self) -> &[u32] {
        &self.programs
    }

    /// Asserts that the kernel has freed them, for which it may take a moment.
    #[track_caller]
    pub fn assert_gone(&self) {
        let gone = wait_until(Duration::from_secs(3), || {
            let programs = aya::programs::loaded_programs().flatten();
            let maps = aya::maps::loaded_maps().flatten();
            !programs
                .map(|program| program.id())
                .any(|id| self.programs.contains(&id))
                && !maps.map(|map| map.id()).any(|id| self.maps.contains(&id))
        });
        assert!(
            gone,
            "programs {:?} or maps {:?} are still loaded",
            self.programs, self.maps
        );
    }
}

fn recorded_maps(name: &str) -> Vec<u32> {
    let text = fs::read_to_string(Path::new(RECORDS).join(name)).unwrap_or_default();
    let record: Value = serde_json::from_str(&text).unwrap_or_default();
    let ids = record["maps"].as_object().into_iter().flatten();
    ids.filter_map(|(_, id)| id.as_u64().map(|id| id as u32))
        .collect()
}
