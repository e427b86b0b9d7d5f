//! The machine that this runs on.

use std::{fs, thread};

use crate::{contest::Effort, record::Machine};

/// What a reader of the figures wants to know about it.
pub fn facts(place: &str, effort: Effort) -> Machine {
    Machine {
        place: place.into(),
        kernel: kernel(),
        cpu: cpu(),
        cpus: thread::available_parallelism().map_or(1, usize::from),
        rounds: effort.rounds,
        seconds: effort.length.as_secs_f64(),
    }
}

/// The kernel's version, and what it runs on.
pub fn kernel() -> String {
    let name = nix::sys::utsname::uname().expect("uname");
    let (release, machine) = (name.release(), name.machine());
    format!(
        "{} {}",
        release.to_string_lossy(),
        machine.to_string_lossy()
    )
}

fn cpu() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = info.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split_once(':'))
        .map_or_else(|| "unknown".into(), |(_, model)| model.trim().into())
}
