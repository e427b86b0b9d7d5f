//! Podman and CRI-O, which keep containers in the same storage.

use std::path::Path;

use serde::Deserialize;

use super::{First, Noted, Runtime, files, pods};

pub(super) const RUNTIME: Runtime = Runtime {
    name: "Podman or CRI-O",
    places: &["/var/lib/containers/storage", "/run/containers/storage"],
    read,
};

#[derive(Deserialize)]
struct Stored {
    id: String,
    #[serde(default)]
    names: Vec<String>,
}

fn read(root: &Path) -> Vec<Noted> {
    let run = root.join("run/containers/storage");
    // One for each storage driver: overlay, vfs, btrfs, zfs.
    let kinds = files::entries(&root.join("var/lib/containers/storage")).into_iter();
    let kinds = kinds
        .map(|kind| files::name(&kind))
        .filter(|kind| kind.ends_with("-containers"));
    kinds
        .flat_map(|kind| {
            let list = root
                .join("var/lib/containers/storage")
                .join(&kind)
                .join("containers.json");
            let stored: Vec<Stored> = files::json(&list).unwrap_or_default();
            let run = run.join(kind);
            stored.into_iter().map(move |stored| stored.noted(&run))
        })
        .collect()
}

impl Stored {
    fn noted(self, run: &Path) -> Noted {
        let pidfile = run.join(&self.id).join("userdata/pidfile");
        let first = files::pid(&pidfile).and_then(|pid| First::new(pid, None));
        pods::by_name(Noted {
            id: self.id,
            names: self.names,
            first,
            ..Noted::default()
        })
    }
}
