//! The runs on this machine, as others see them.

use std::{
    fmt::Write as _,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use nix::libc;
use serde::Serialize;

use super::{
    format,
    report::{self, Achieved, AchievedRule},
};
use crate::datapath::{
    Attached, Result,
    control::{self, Control, Term},
    counters::{Counters, Snapshot},
    eviction::{self, Part},
    journal::{Place, Record, RunMaps},
};

/// A run.
#[derive(Debug, Serialize)]
pub struct Run {
    /// The device.
    pub device: String,
    /// Its namespace, by inode number.
    pub netns: u64,
    /// The process.
    pub pid: u32,
    alive: bool,
    /// What has become of it.
    pub state: State,
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
    /// What its rules achieved; absent where their counters cannot be read.
    #[serde(flatten)]
    pub achieved: Option<Achieved>,
}

/// What has become of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
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
#[derive(Debug, Serialize)]
struct Next {
    phase: String,
    in_ms: u64,
}

impl Run {
    /// Those on this device, or on any.
    ///
    /// # Errors
    ///
    /// Where the kernel refuses to tell.
    pub fn all(records: Vec<(Record, bool)>, device: Option<&str>) -> Result<Vec<Self>> {
        let is_meant =
            |(record, _): &(Record, bool)| device.is_none_or(|name| name == record.device);
        let records = records.into_iter().filter(is_meant);
        records
            .map(|(record, alive)| Self::of(record, alive))
            .collect()
    }

    /// What the record of a run says, and what its programs know.
    fn of(record: Record, alive: bool) -> Result<Self> {
        let read = match record.maps {
            Some(maps) if alive => match read(maps, &record) {
                Ok(read) => Some(read),
                // They go with the process, whose last breath we have caught.
                Err(error) if error.errno() == Some(libc::ENOENT) => None,
                Err(error) => return Err(error),
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
        Ok(Self {
            state,
            term,
            achieved,
            device: record.device,
            netns: record.netns.inode,
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

    /// What its rules achieved; none where that cannot be read.
    pub fn rules(&self) -> &[AchievedRule] {
        self.achieved
            .as_ref()
            .map_or(&[], |achieved| &achieved.rules)
    }

    /// All of it, in lines.
    pub fn text(&self, histograms: bool) -> String {
        let mut text = format!("{}\n  {}\n", self.heading(), self.times());
        for attached in &self.attached {
            let _ = writeln!(text, "  {} by {}", attached.hook, attached.via);
        }
        let protected = format!("protected: {}", report::protected(&self.protected));
        for line in self
            .troubles()
            .into_iter()
            .chain([protected])
            .chain(self.remarks())
        {
            let _ = writeln!(text, "  {line}");
        }
        if let Some(achieved) = &self.achieved {
            text += &report::text(achieved);
            if histograms {
                text += &report::histograms(achieved);
            }
        }
        text
    }

    /// What it is.
    pub fn heading(&self) -> String {
        let phase = self.phase.as_ref().map(|phase| format!(", phase {phase}"));
        format!(
            "{}: profile {}{}, seed {}, pid {} ({})",
            self.device,
            self.profile,
            phase.unwrap_or_default(),
            self.seed,
            self.pid,
            self.state(),
        )
    }

    /// What has become of it, in words.
    pub fn state(&self) -> &'static str {
        match (self.state, self.background) {
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
    pub fn times(&self) -> String {
        let started = UNIX_EPOCH + Duration::from_secs(self.started);
        let mut text = format!("since {}", humantime::format_rfc3339_seconds(started));
        if let Some(ms) = self.term.and_then(|term| term.ends_in_ms) {
            let _ = write!(text, ", ends in {}", format::remaining(ms));
        }
        if let Some(next) = &self.next_phase {
            let _ = write!(
                text,
                ", phase {} in {}",
                next.phase,
                format::remaining(next.in_ms)
            );
        }
        text
    }

    /// How much of its time has passed, 0 to 1, where it is known when it ends.
    pub fn progress(&self, now: SystemTime) -> Option<f64> {
        let left = Duration::from_millis(self.term?.ends_in_ms?).as_secs_f64();
        let since_1970 = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let passed = since_1970.saturating_sub(Duration::from_secs(self.started));
        let passed = passed.as_secs_f64();
        (passed + left > 0.0).then(|| passed / (passed + left))
    }

    /// What others have taken away, in a line.
    pub fn troubles(&self) -> Option<String> {
        let is_whole = self.evicted.is_empty();
        (!is_whole).then(|| format!("evicted: {}", eviction::list(&self.evicted)))
    }

    /// What is otherwise than was asked, in lines.
    pub fn remarks(&self) -> Vec<String> {
        let notes = self.notes.iter().map(|note| format!("note: {note}"));
        report::left_out(&self.left_out)
            .into_iter()
            .chain(notes)
            .collect()
    }
}

/// Reads what the programs know.
fn read(maps: RunMaps, record: &Record) -> Result<(Achieved, Term)> {
    let snapshot = Snapshot {
        // Only inside its namespace the kernel tells of a qdisc; the run has looked there.
        qdisc_drops: record.qdisc_drops,
        ..Counters::open(maps.counters)?.read(record.slots())?
    };
    let term = Control::open(maps.control)?.term()?;
    Ok((Achieved::new(&record.rules, &snapshot), term))
}

#[cfg(test)]
impl Run {
    /// On a device, for ten minutes of which half have passed.
    pub(super) fn example(device: &str, achieved: Option<Achieved>) -> Self {
        Self {
            device: device.into(),
            netns: 4_026_531_840,
            pid: 4711,
            alive: true,
            state: State::Running,
            background: true,
            profile: "flaky".into(),
            phase: Some("outage".into()),
            next_phase: Some(Next {
                phase: "good".into(),
                in_ms: 12_000,
            }),
            seed: 7,
            started: 1_800_000_000,
            attached: Vec::new(),
            evicted: Vec::new(),
            protected: Vec::new(),
            left_out: Vec::new(),
            notes: Vec::new(),
            term: Some(Term {
                lease_ms: 5_000,
                ends_in_ms: Some(300_000),
            }),
            achieved,
        }
    }
}
