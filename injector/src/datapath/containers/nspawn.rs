//! systemd-nspawn, and whatever else registers containers with systemd-machined.

use std::{collections::HashMap, fs, path::Path};

use super::{First, Noted, Runtime, files};

pub(super) const RUNTIME: Runtime = Runtime {
    name: "systemd-nspawn",
    places: &["/run/systemd/machines"],
    read,
};

fn read(root: &Path) -> Vec<Noted> {
    let machines = files::entries(&root.join("run/systemd/machines")).into_iter();
    // The links are by unit.
    let machines = machines.filter(|machine| !machine.is_symlink());
    machines.filter_map(|machine| noted(&machine)).collect()
}

fn noted(machine: &Path) -> Option<Noted> {
    let text = fs::read_to_string(machine).ok()?;
    let values: HashMap<_, _> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .collect();
    // Others are virtual machines, whose packets no namespace of ours has.
    if *values.get("CLASS")? != "container" {
        return None;
    }
    let name = files::name(machine);
    Some(Noted {
        names: vec![name.clone()],
        id: name,
        first: First::new(values.get("LEADER")?.parse().ok()?, None),
        group: values.get("UNIT").map(|unit| unescaped(unit)),
        ..Noted::default()
    })
}

/// Values with characters that a shell takes otherwise are quoted.
fn unescaped(value: &str) -> String {
    let value = value.trim_matches('"');
    value.replace("\\\\", "\\")
}
