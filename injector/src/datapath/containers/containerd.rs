//! containerd, for Kubernetes, nerdctl or by hand.

use std::{collections::HashMap, path::Path};

use serde::Deserialize;

use super::{First, Noted, Runtime, files, oci, pods::Member};

pub(super) const RUNTIME: Runtime = Runtime {
    name: "containerd",
    places: &[
        "/run/containerd/io.containerd.runtime.v2.task",
        "/run/k3s/containerd/io.containerd.runtime.v2.task",
        "/run/containerd/runc",
    ],
    read,
};

type Annotations = HashMap<String, String>;

fn read(root: &Path) -> Vec<Noted> {
    let tasks = ["run/containerd", "run/k3s/containerd"];
    let tasks = tasks.map(|base| root.join(base).join("io.containerd.runtime.v2.task"));
    let namespaces = tasks.iter().flat_map(|tasks| files::entries(tasks));
    let bundles = namespaces.flat_map(|namespace| files::entries(&namespace));
    bundles.filter_map(|bundle| noted(root, &bundle)).collect()
}

fn noted(root: &Path, bundle: &Path) -> Option<Noted> {
    #[derive(Deserialize)]
    struct Config {
        #[serde(default)]
        annotations: Annotations,
    }
    let (id, namespace) = (files::name(bundle), files::name(bundle.parent()?));
    let config: Config = files::json(&bundle.join("config.json"))?;
    let state = root.join("run/containerd/runc").join(namespace).join(&id);
    let known = || First::new(files::pid(&bundle.join("init.pid"))?, None);
    let noted = Noted {
        id,
        names: config
            .annotations
            .get("nerdctl/name")
            .cloned()
            .into_iter()
            .collect(),
        first: oci::runc(&state).or_else(known),
        ..Noted::default()
    };
    match member(&config.annotations) {
        Some(member) => Some(member.name(noted)),
        None => Some(noted),
    }
}

/// What the plugin for Kubernetes says of it.
fn member(annotations: &Annotations) -> Option<Member<'_>> {
    let get = |key: &str| {
        annotations
            .get(&format!("io.kubernetes.cri.{key}"))
            .map(String::as_str)
    };
    Some(Member {
        namespace: get("sandbox-namespace")?,
        pod: get("sandbox-name")?,
        container: match get("container-type")? {
            "sandbox" => None,
            _ => Some(get("container-name")?),
        },
    })
}
