//! What is done with faults in the background, and what is asked of them.

use std::{process::Output, time::Duration};

use serde_json::Value;

use crate::{Lab, injector, udp::Flow};

/// A profile that loses everything.
pub const SILENCE: &str = "{name: silence, seed: 1, rules: [{direction: both, drop: 100%}]}";

/// What a command says.
pub fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("JSON on standard output")
}

/// What it complains of.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What `status` says of the only run.
pub fn status(lab: &Lab) -> Value {
    json(&injector::call(&lab.a.netns, &["status", "--json"]))["runs"][0].clone()
}

/// Ends the only run. Returns what that says.
#[track_caller]
pub fn clear(lab: &Lab) -> String {
    let output = injector::call(&lab.a.netns, &["clear", "-i", "eth0"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Whether a packet arrives, in each direction.
pub fn arrive(lab: &Lab) -> [bool; 2] {
    let flow = Flow::new(5).linger(Duration::from_millis(50));
    let there = flow.send(&lab.a, &lab.b);
    let back = flow.send(&lab.b, &lab.a);
    [there, back].map(|report| !report.arrivals.is_empty())
}

/// Of [`arrive`]: none does.
pub const SILENT: [bool; 2] = [false; 2];
/// Of [`arrive`]: both do.
pub const FREE: [bool; 2] = [true; 2];
