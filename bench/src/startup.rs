//! Table: how long it takes to start and to stop, and how much it takes up.

use std::{fs, process::Command, time::Instant};

use injector_tests::{Injector, Lab, injector};

use crate::{
    contest::{Contest, Contestant, Measured},
    record::Unit,
    swap::swap,
};

/// Measures all of them on a run without a delay, since stopping waits for delayed packets.
pub fn measure(contest: &Contest) {
    let lab = Lab::new();
    // Each start takes a fraction of a second: there can be more of them.
    let rounds = 3 * contest.effort.rounds;
    contest.row_of(rounds, "faults on", Unit::Milliseconds, one(|| start(&lab)));
    contest.row_of(rounds, "stop", Unit::Milliseconds, one(|| stop(&lab)));
    for rules in [256, 1024] {
        let name = format!("swap, {rules} rules");
        contest.row_of(rounds, &name, Unit::Milliseconds, one(|| swap(&lab, rules)));
    }
    contest.row("peak memory", Unit::Megabytes, one(|| peak_memory(&lab)));
    contest.row_of(1, "stripped binary", Unit::Megabytes, one(stripped_len));
}

fn one<'a>(measure: impl FnMut() -> Measured + 'a) -> Vec<Contestant<'a>> {
    vec![Contestant::new("injector", measure)]
}

fn run(lab: &Lab) -> Injector {
    Injector::start_with(&lab.a, "", &["--drop", "1%"])
}

/// From the spawn to the event `started`.
fn start(lab: &Lab) -> Measured {
    let start = Instant::now();
    let injector = run(lab);
    let elapsed = start.elapsed();
    injector.stop();
    Ok(elapsed.as_secs_f64() * 1e3)
}

/// From SIGTERM to the exit.
fn stop(lab: &Lab) -> Measured {
    let injector = run(lab);
    let start = Instant::now();
    injector.stop();
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

fn peak_memory(lab: &Lab) -> Measured {
    let injector = run(lab);
    let path = format!("/proc/{}/status", injector.pid());
    let status = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    Ok(kib.ok_or("no VmHWM")? * 1024.0 / 1e6)
}

fn stripped_len() -> Measured {
    let binary = injector::command().get_program().to_owned();
    let copy = std::env::temp_dir().join(format!("injector-stripped-{}", std::process::id()));
    let output = Command::new("strip")
        .arg("-o")
        .arg(&copy)
        .arg(binary)
        .output();
    let output = output.map_err(|error| format!("strip: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let len = fs::metadata(&copy)
        .map_err(|error| error.to_string())?
        .len();
    let _ = fs::remove_file(&copy);
    Ok(len as f64 / 1e6)
}
