//! `injector status`

use std::fmt::Write as _;

use serde::Serialize;

use super::{Outcome, print, print_json};
use crate::{
    cli::{Global, Status},
    datapath::{
        counters::{Counters, Snapshot},
        journal::{self, Record},
    },
    error::Failure,
    observe::report::{self, Achieved},
};

#[derive(Serialize)]
struct Answer {
    schema: &'static str,
    runs: Vec<Run>,
}

#[derive(Serialize)]
struct Run {
    device: String,
    pid: u32,
    alive: bool,
    profile: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    phase: Option<String>,
    seed: u64,
    started: u64,
    attached: Vec<crate::datapath::Attached>,
    #[serde(flatten)]
    achieved: Option<Achieved>,
}

pub(super) fn status(args: &Status, global: &Global) -> Outcome {
    let netns = global.netns();
    let runs = journal::records(netns.id()?)
        .into_iter()
        .filter(|(record, _)| {
            args.interface
                .as_ref()
                .is_none_or(|name| *name == record.device)
        })
        .map(|(record, alive)| describe(record, alive))
        .collect::<Result<Vec<_>, Failure>>()?;
    if global.json {
        print_json(&Answer {
            schema: "injector.status/v1",
            runs,
        })?;
        return Ok(0);
    }
    if runs.is_empty() {
        return print("no runs\n");
    }
    print(&runs.iter().map(text).collect::<String>())
}

fn describe(record: Record, alive: bool) -> Result<Run, Failure> {
    let snapshot = if alive { read(&record)? } else { None };
    Ok(Run {
        achieved: snapshot.map(|snapshot| Achieved::new(&record.rules, &snapshot)),
        device: record.device,
        pid: record.pid,
        alive,
        profile: record.profile,
        phase: record.phase,
        seed: record.seed,
        started: record.started,
        attached: record.attached,
    })
}

/// Reads the counters; `None` while the run is being set up.
fn read(record: &Record) -> Result<Option<Snapshot>, Failure> {
    let Some(ids) = record.maps else {
        return Ok(None);
    };
    Ok(Some(Counters::open(ids)?.read(record.slots())?))
}

fn text(run: &Run) -> String {
    let state = if run.alive {
        "running"
    } else {
        "killed; `injector clear` removes the rest"
    };
    let phase = run.phase.as_ref().map(|phase| format!(", phase {phase}"));
    let mut text = format!(
        "{}: profile {}{}, seed {}, pid {} ({state})\n",
        run.device,
        run.profile,
        phase.unwrap_or_default(),
        run.seed,
        run.pid
    );
    for attached in &run.attached {
        let _ = writeln!(text, "  {} by {}", attached.hook, attached.via);
    }
    if let Some(achieved) = &run.achieved {
        text += &report::text(achieved);
    }
    text
}
