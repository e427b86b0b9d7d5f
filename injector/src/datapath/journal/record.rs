//! What a run's file says.

use std::{fmt, ops::Range};

use serde::{Deserialize, Serialize};

use crate::{
    datapath::{
        Error, counters::MapIds, eviction::Part, netns::NetnsId, trace::TraceIds, undo::Undo,
    },
    plan::{Asked, Hook, PlannedRule},
    profile::Share,
};

/// The format's name and version.
pub const SCHEMA: &str = "injector.state/v1";

/// A run, as others see it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// [`SCHEMA`].
    pub schema: String,
    /// The process.
    pub pid: u32,
    /// Whether it runs in the background.
    #[serde(default)]
    pub background: bool,
    /// The device.
    pub device: String,
    /// Its index; 0 while the run waits for it.
    pub ifindex: u32,
    /// Its namespace.
    pub netns: NetnsId,
    /// The profile's name.
    pub profile: String,
    /// The phase, where the profile has phases.
    #[serde(default)]
    pub phase: Option<String>,
    /// The phase after it, where it is known which.
    #[serde(default)]
    pub next: Option<NextPhase>,
    /// The seed.
    pub seed: u64,
    /// When it started, in seconds since 1970.
    pub started: u64,
    /// The rules, in the order of their slots.
    pub rules: Vec<RecordedRule>,
    /// The slot of the first rule.
    pub first_slot: u32,
    /// The longest delay of these rules and of those that were in force before, in ns.
    pub delay_max_ns: u64,
    /// What no rule touches.
    #[serde(default)]
    pub protected: Vec<String>,
    /// The keys of faults that the profile asks for, and the rules do not have.
    #[serde(default)]
    pub left_out: Vec<String>,
    /// What is otherwise than was asked, in words.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Where it is attached; empty until it is.
    pub attached: Vec<Attached>,
    /// The parts that others have taken away since.
    #[serde(default)]
    pub evicted: Vec<Part>,
    /// Packets that fq had dropped when it was last looked; absent where there is none.
    #[serde(default)]
    pub qdisc_drops: Option<u64>,
    /// The maps of which others may read, once loaded.
    pub maps: Option<RunMaps>,
    /// What to undo, in the order in which it was done.
    pub undo: Vec<Undo>,
}

/// Where a run is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// On the device of this index.
    Device(u32),
    /// Nowhere: it waits for a device of this name.
    Absent(String),
}

impl fmt::Display for Place {
    /// As the names of its files have it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(ifindex) => write!(f, "{ifindex}"),
            Self::Absent(name) => write!(f, "absent-{name}"),
        }
    }
}

impl Record {
    /// Where the run is.
    pub fn place(&self) -> Place {
        match self.ifindex {
            0 => Place::Absent(self.device.clone()),
            ifindex => Place::Device(ifindex),
        }
    }

    /// The rules' slots.
    pub fn slots(&self) -> Range<u32> {
        self.first_slot..self.first_slot + self.rules.len() as u32
    }

    /// That the run has its device.
    pub fn busy(&self) -> Error {
        Error::Busy {
            device: self.device.clone(),
            pid: self.pid,
            profile: self.profile.clone(),
        }
    }
}

/// The kernel's numbers of maps of which others may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunMaps {
    /// Those that hold the counters.
    #[serde(flatten)]
    pub counters: MapIds,
    /// The one by which the loader talks to the programs.
    pub control: u32,
    /// Those by which they tell of packets.
    pub trace: TraceIds,
}

/// A phase that is to come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextPhase {
    /// Its name.
    pub phase: String,
    /// When it begins, on the boot-time clock.
    pub at_boot_ns: u64,
}

/// What `status` needs to know of a rule.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RecordedRule {
    /// The rule's name.
    pub name: String,
    /// Its direction.
    pub hook: Hook,
    /// What it asks for.
    pub asked: Asked,
    /// The shares of which it is known how far chance may stray.
    #[serde(default)]
    pub independent: Vec<Share>,
}

impl From<&PlannedRule> for RecordedRule {
    fn from(rule: &PlannedRule) -> Self {
        Self {
            name: rule.name.clone(),
            hook: rule.hook,
            asked: rule.asked,
            independent: rule.independent(),
        }
    }
}

/// How a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// A tcx link.
    Tcx,
    /// A cls_bpf filter on clsact.
    Clsact,
    /// XDP in the driver.
    XdpNative,
    /// Generic XDP.
    XdpGeneric,
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
            Self::XdpNative => "XDP (native)",
            Self::XdpGeneric => "XDP (generic)",
        })
    }
}

/// A hook of the device, and how our program is attached to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    /// The hook.
    pub hook: Hook,
    /// The way.
    pub via: Via,
}
