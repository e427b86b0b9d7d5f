//! Replacing the rules of a run.

use std::{fmt::Write as _, time::Instant};

use injector::{
    datapath::{Options, Session},
    plan::{Needs, Plan},
    profile,
};
use injector_tests::Lab;

use crate::contest::Measured;

/// From the call to its return: the new rules written and put into force, and no packet under the old
/// ones any more.
pub fn swap(lab: &Lab, rules: usize) -> Measured {
    let failed = |error: &dyn std::fmt::Display| error.to_string();
    let plan = plan(rules)?;
    let netns = lab.a.netns.path().display().to_string();
    let netns = netns.parse().map_err(|error| failed(&error))?;
    let (device, options) = (&lab.a.device, Options::default());
    let mut session = Session::start(&netns, device, &plan, Needs::ANY, options)
        .map_err(|error| failed(&error))?;
    let start = Instant::now();
    session.swap(&plan).map_err(|error| failed(&error))?;
    let elapsed = start.elapsed();
    session.stop(|_| true).map_err(|error| failed(&error))?;
    Ok(elapsed.as_secs_f64() * 1e3)
}

fn plan(rules: usize) -> Result<Plan, String> {
    let mut text = "name: bench\nrules:\n".to_owned();
    for i in 0..rules {
        let (high, low, port) = (i >> 8, i & 255, i + 1);
        let conditions = format!("protocol: udp, dst: 10.{high}.{low}.8, dst_port: {port}");
        let _ = writeln!(text, "  - {{match: {{{conditions}}}, drop: 1%}}");
    }
    let profile = profile::parse("bench", &text).map_err(|error| error.to_string())?;
    Plan::new(&profile, 1).map_err(|error| error.to_string())
}
