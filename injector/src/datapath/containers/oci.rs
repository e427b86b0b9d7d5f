//! What starts containers, for others or by hand: runc and crun.

use std::path::Path;

use serde::Deserialize;

use super::{First, Noted, Runtime, files};

pub(super) const RUNC: Runtime = Runtime {
    name: "runc",
    places: &["/run/runc"],
    read: |root| states(&root.join("run/runc"), runc),
};

pub(super) const CRUN: Runtime = Runtime {
    name: "crun",
    places: &["/run/crun"],
    read: |root| states(&root.join("run/crun"), crun),
};

fn states(directory: &Path, first: fn(&Path) -> Option<First>) -> Vec<Noted> {
    let containers = files::entries(directory).into_iter();
    let noted = containers.map(|container| Noted {
        id: files::name(&container),
        first: first(&container),
        ..Noted::default()
    });
    noted.collect()
}

/// What runc has noted in the directory of a container.
pub(super) fn runc(container: &Path) -> Option<First> {
    #[derive(Deserialize)]
    struct State {
        init_process_pid: i32,
        init_process_start: Option<u64>,
    }
    let state: State = files::json(&container.join("state.json"))?;
    First::new(state.init_process_pid, state.init_process_start)
}

/// What crun has.
pub(super) fn crun(container: &Path) -> Option<First> {
    #[derive(Deserialize)]
    struct Status {
        pid: i32,
        #[serde(rename = "process-start-time")]
        started: Option<u64>,
    }
    let status: Status = files::json(&container.join("status"))?;
    First::new(status.pid, status.started)
}
