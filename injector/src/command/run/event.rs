//! The lines of a run's JSON stream.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use serde::Serialize;

use crate::{
    datapath::{Attached, eviction::Part},
    observe::{report::Achieved, verdict::Verdict},
    units::HostName,
};

/// One line.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Event<'a> {
    /// There is no device of the name, and the run waits for one.
    Waiting {
        schema: &'static str,
        device: &'a str,
        /// What was achieved on the device before.
        #[serde(skip_serializing_if = "Option::is_none")]
        former: Option<&'a Achieved>,
    },
    /// The faults are in force: everywhere, where there are several interfaces, each of which has a line.
    Started {
        schema: &'static str,
        profile: &'a str,
        seed: u64,
        device: &'a str,
        /// What the profile calls it, where that has targets.
        #[serde(skip_serializing_if = "Option::is_none")]
        target: Option<&'a str>,
        ifindex: u32,
        attached: &'a [Attached],
        /// What no rule touches.
        protected: &'a [String],
        /// What the profile asks for, and this kernel cannot do.
        left_out: &'a [String],
        /// Where metrics are served.
        #[serde(skip_serializing_if = "Option::is_none")]
        metrics: Option<SocketAddr>,
        /// What is otherwise than was asked, in words.
        notes: &'a [String],
    },
    /// A phase is in force.
    Phase {
        elapsed_ms: u64,
        phase: &'a str,
        /// Counting from 1.
        repetition: u64,
        /// How long after its time.
        late_us: u64,
    },
    /// The counters, once a second; in a profile with phases, since the present one began.
    Counters {
        elapsed_ms: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        phase: Option<&'a str>,
        #[serde(flatten)]
        achieved: &'a Achieved,
    },
    /// Other rules are in force, since the file was saved.
    Reloaded {
        elapsed_ms: u64,
        profile: &'a str,
        seed: u64,
        /// What the former rules had achieved.
        former: &'a Achieved,
    },
    /// A name of hosts stands for other addresses, and so do the rules.
    Renamed {
        elapsed_ms: u64,
        name: &'a HostName,
        addresses: &'a BTreeSet<IpAddr>,
    },
    /// A name cannot be looked up any more, and its addresses stay.
    Unnamed {
        elapsed_ms: u64,
        name: &'a HostName,
        error: String,
    },
    /// Others have taken parts of the run away.
    Evicted {
        elapsed_ms: u64,
        /// Where, in a run on several interfaces.
        #[serde(skip_serializing_if = "Option::is_none")]
        at: Option<String>,
        parts: &'a [Part],
    },
    /// Everything is undone.
    Ended {
        reason: &'static str,
        elapsed_ms: u64,
        #[serde(flatten)]
        achieved: &'a Achieved,
        expectations: &'a [Verdict],
    },
}
