//! `injector status`

use std::{fmt::Write as _, time::Duration};

use serde::Serialize;

use super::{Outcome, print, print_json};
use crate::{
    cli::{Global, Status},
    datapath::{
        self, Attached, clear,
        control::{self, Control, Term},
        counters::Counters,
        eviction::{self, Part},
        journal::{self, Place, Record, RunMaps},
    },
    error::Failure,
    observe::{
        format,
        report::{self, Achieved},
    },
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
    state: State,
    background: bool,
    profile: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    phase: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_phase: Option<Next>,
    seed: u64,
    started: u64,
    attached: Vec<Attached>,
    evicted: Vec<Part>,
    /// What no rule touches.
    protected: Vec<String>,
    /// What the profile asks for, and this kernel cannot do.
    left_out: Vec<String>,
    /// What is otherwise than was asked, in words.
    notes: Vec<String>,
    #[serde(flatten)]
    term: Option<Term>,
    #[serde(flatten)]
    achieved: Option<Achieved>,
}

/// What has become of a run.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// There is no device of the name, and it waits for one.
    Waiting,
    /// It is being set up.
    Starting,
    /// Its faults are in force.
    Running,
    /// Its process lives, but has not renewed its lease: the programs let everything pass.
    Lapsed,
    /// Its process is about to be no more.
    Ending,
    /// Its process is no more.
    Killed,
}

/// The phase that comes next.
#[derive(Serialize)]
struct Next {
    phase: String,
    in_ms: u64,
}

pub(super) fn status(args: &Status, global: &Global) -> Outcome {
    clear::reap()?;
    let runs = journal::records(global.netns().id()?)?
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
    let text = |run| text(run, args.histograms);
    print(&runs.iter().map(text).collect::<String>())
}

fn describe(record: Record, alive: bool) -> Result<Run, Failure> {
    let read = match record.maps {
        Some(maps) if alive => match read(maps, &record) {
            Ok(read) => Some(read),
            // They go with the process, whose last breath we have caught.
            Err(error) if error.errno() == Some(nix::libc::ENOENT) => None,
            Err(error) => return Err(error.into()),
        },
        _ => None,
    };
    let (achieved, term) = read.unzip();
    let state = match term {
        _ if !alive => State::Killed,
        None if matches!(record.place(), Place::Absent(_)) => State::Waiting,
        None if record.maps.is_some() => State::Ending,
        None => State::Starting,
        Some(term) if term.has_lapsed() => State::Lapsed,
        Some(_) => State::Running,
    };
    let boot = control::boot_time()?;
    let next = record.next.filter(|_| alive).map(|next| {
        let left = Duration::from_nanos(next.at_boot_ns).saturating_sub(boot);
        Next {
            phase: next.phase,
            in_ms: left.as_millis() as u64,
        }
    });
    Ok(Run {
        state,
        term,
        achieved,
        device: record.device,
        pid: record.pid,
        alive,
        background: record.background,
        profile: record.profile,
        phase: record.phase,
        next_phase: next,
        seed: record.seed,
        started: record.started,
        attached: record.attached,
        protected: record.protected,
        left_out: record.left_out,
        notes: record.notes,
        evicted: record.evicted,
    })
}

/// Reads what the programs know.
fn read(maps: RunMaps, record: &Record) -> datapath::Result<(Achieved, Term)> {
    let snapshot = Counters::open(maps.counters)?.read(record.slots())?;
    let term = Control::open(maps.control)?.term()?;
    Ok((Achieved::new(&record.rules, &snapshot), term))
}

fn text(run: &Run, histograms: bool) -> String {
    let phase = run.phase.as_ref().map(|phase| format!(", phase {phase}"));
    let mut text = format!(
        "{}: profile {}{}, seed {}, pid {} ({})\n",
        run.device,
        run.profile,
        phase.unwrap_or_default(),
        run.seed,
        run.pid,
        state(run),
    );
    let _ = writeln!(text, "  {}", times(run));
    for attached in &run.attached {
        let _ = writeln!(text, "  {} by {}", attached.hook, attached.via);
    }
    if !run.evicted.is_empty() {
        let _ = writeln!(text, "  evicted: {}", eviction::list(&run.evicted));
    }
    let _ = writeln!(text, "  protected: {}", report::protected(&run.protected));
    if let Some(line) = report::left_out(&run.left_out) {
        let _ = writeln!(text, "  {line}");
    }
    for note in &run.notes {
        let _ = writeln!(text, "  note: {note}");
    }
    if let Some(achieved) = &run.achieved {
        text += &report::text(achieved);
        if histograms {
            text += &report::histograms(achieved);
        }
    }
    text
}

fn state(run: &Run) -> &'static str {
    match (run.state, run.background) {
        (State::Waiting, _) => "waiting for the device",
        (State::Starting, _) => "starting",
        (State::Ending, _) => "ending",
        (State::Running, true) => "running in the background",
        (State::Running, false) => "running",
        (State::Lapsed, _) => "lapsed: its process is stopped or hangs, and everything passes",
        (State::Killed, _) => "killed; `injector clear` removes the rest",
    }
}

/// Since when, until when, and what comes next.
fn times(run: &Run) -> String {
    let started = std::time::UNIX_EPOCH + Duration::from_secs(run.started);
    let mut text = format!("since {}", humantime::format_rfc3339_seconds(started));
    if let Some(ms) = run.term.and_then(|term| term.ends_in_ms) {
        let _ = write!(text, ", ends in {}", format::remaining(ms));
    }
    if let Some(next) = &run.next_phase {
        let _ = write!(
            text,
            ", phase {} in {}",
            next.phase,
            format::remaining(next.in_ms)
        );
    }
    text
}
