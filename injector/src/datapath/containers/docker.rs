//! Docker.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{First, Noted, Runtime, files, oci, pods};

pub(super) const RUNTIME: Runtime = Runtime {
    name: "Docker",
    places: &[
        "/var/lib/docker/containers",
        "/run/docker/runtime-runc/moby",
    ],
    read,
};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    #[serde(rename = "ID")]
    id: String,
    name: String,
    state: State,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    running: bool,
    pid: i32,
}

fn read(root: &Path) -> Vec<Noted> {
    let containers = files::entries(&data(root).join("containers"));
    let noted = containers.iter().filter_map(|container| {
        let config: Config = files::json(&container.join("config.v2.json"))?;
        Some(config.noted(root))
    });
    noted.collect()
}

/// Where it keeps them, unless its configuration names another place.
fn data(root: &Path) -> PathBuf {
    #[derive(Deserialize)]
    struct Daemon {
        #[serde(rename = "data-root")]
        data: PathBuf,
    }
    let daemon: Option<Daemon> = files::json(&root.join("etc/docker/daemon.json"));
    let data = daemon.map_or_else(|| "/var/lib/docker".into(), |daemon| daemon.data);
    root.join(data.strip_prefix("/").unwrap_or(&data))
}

impl Config {
    fn noted(self, root: &Path) -> Noted {
        let name = self.name.trim_start_matches('/').to_owned();
        let state = root.join("run/docker/runtime-runc/moby").join(&self.id);
        let known = || First::new(self.state.pid, None);
        let first = self.state.running.then(|| oci::runc(&state).or_else(known));
        let noted = Noted {
            id: self.id,
            names: vec![name],
            first: first.flatten(),
            ..Noted::default()
        };
        pods::by_name(noted)
    }
}
