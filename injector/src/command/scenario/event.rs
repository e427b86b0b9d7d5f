//! What a scenario tells while it is played: from its stage to the command, and as `--json`.

use serde::{Deserialize, Serialize};

use crate::{error::Failure, profile::Source};

/// What the stage is asked to play.
#[derive(Serialize, Deserialize)]
pub(super) struct Request {
    /// The scenario, which was valid when it was read.
    pub source: Source,
    /// The seed of faults that have none.
    pub seed: u64,
    /// Whether everything is to stay when it is over, until nobody asks for it any more.
    pub is_kept: bool,
}

/// What happens.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Event {
    /// Hosts and links are there.
    Started {
        schema: String,
        seed: u64,
        elapsed_ms: u64,
    },
    /// A step is over.
    Step(Done),
    /// All steps are over, or one has failed, and everything is still there.
    Kept { hosts: Vec<Standing> },
    /// It could not be played to its end.
    Failed(Failure),
    /// All is over.
    Ended { passed: bool, elapsed_ms: u64 },
}

/// A step that is over.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Done {
    /// What it did.
    pub step: String,
    /// How long it took.
    pub elapsed_ms: u64,
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// What came of a step.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Verdict {
    /// What was not as expected; nothing where it passed.
    pub failures: Vec<String>,
    /// What faults did, in a line.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub note: Option<String>,
    /// What was said, where it failed: by the command, and lately by those in the background.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub said: Vec<Said>,
}

impl Verdict {
    /// That something failed.
    pub(super) fn failed(failure: impl Into<String>, said: Vec<Said>) -> Self {
        Self {
            failures: vec![failure.into()],
            note: None,
            said,
        }
    }
}

/// Something that a command said.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Said {
    /// By whom, and where.
    pub by: String,
    pub text: String,
}

/// A host that is still there: descriptors of the stage that lead into it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Standing {
    pub host: String,
    pub net: i32,
    pub mount: i32,
    pub uts: i32,
}
