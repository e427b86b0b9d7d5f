//! How a run ended.

use super::signals::Told;
use crate::{
    command::place::Place,
    datapath::eviction::{self, Part},
    error::{Code, Failure},
};

/// How the run ended.
#[derive(Debug, Default)]
pub(in crate::command) struct Ending {
    pub told: Option<Told>,
    pub lost: Option<Lost>,
    pub unconfirmed: bool,
    pub command_status: Option<u8>,
}

/// What faults cannot go on without.
#[derive(Debug)]
pub(in crate::command) enum Lost {
    /// The interface.
    Device(Place),
    /// Parts of the run there, which others took away.
    Parts(Place, Vec<Part>),
}

impl Ending {
    /// In a few words.
    pub(in crate::command) fn reason(&self) -> &'static str {
        match (&self.lost, self.told, self.command_status) {
            (Some(Lost::Device(_)), ..) => "interface gone",
            (Some(Lost::Parts(..)), ..) => "evicted",
            (_, Some(Told::Interrupted), _) => "interrupted",
            (_, Some(Told::Terminated), _) => "terminated",
            (_, _, Some(_)) => "command exited",
            _ if self.unconfirmed => "not confirmed",
            _ => "time elapsed",
        }
    }

    /// Whether it was the device that ended.
    pub(in crate::command) fn is_absence(&self) -> bool {
        matches!(self.lost, Some(Lost::Device(_)))
    }
}

impl Lost {
    /// Why the faults could not go on.
    pub(super) fn conflict(&self) -> Failure {
        let (message, hint) = match self {
            Self::Device(place) => (
                format!("interface `{place}` is gone"),
                "it was deleted or moved to another namespace while faults were on".to_owned(),
            ),
            Self::Parts(place, parts) => (
                format!("`{place}`: evicted: {}", eviction::list(parts)),
                format!(
                    "see who is there with `bpftool net show dev {}`; without `--strict` a run goes on",
                    place.device
                ),
            ),
        };
        Failure::new(Code::Conflict, message).hint(hint)
    }
}
