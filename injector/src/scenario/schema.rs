//! What may be written in a scenario: the raw form, as typed by a person.

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess},
};

use super::{
    HOSTS_MAX, Pattern, STEPS_MAX,
    shape::{Mtu, Patterns, Port, RawCommand, RawPattern, RawStatus, Word},
};
use crate::{
    profile::{
        Expectation, Inline, given,
        shape::{List, OneOrMany},
        strict::{Elsewhere, Table, Vocabulary, table},
        text::{Name, Seed, Text},
    },
    units::{
        DurationNs, Network,
        scalar::{Shape, deserialize_shape},
    },
};

/// A whole scenario.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawScenario {
    pub name: Name,
    #[serde(default, deserialize_with = "given")]
    pub description: Option<Text>,
    #[serde(default, deserialize_with = "given")]
    pub seed: Option<Seed>,
    #[serde(default)]
    pub requires: OneOrMany<Word>,
    pub hosts: List<Name, HOSTS_MAX>,
    /// One that joins all hosts, where it is absent.
    #[serde(default, deserialize_with = "given")]
    pub links: Option<List<Table<RawLink>, HOSTS_MAX>>,
    pub steps: List<Table<RawStep>, STEPS_MAX>,
}

impl Vocabulary for RawScenario {
    const WHAT: &'static str = "a scenario";
    const ELSEWHERE: &'static [Elsewhere] = &[
        (
            &["start", "run", "wait", "faults", "stop", "sleep"],
            "into a step, under `steps`",
        ),
        (&["between", "network", "mtu"], "into a link, under `links`"),
        (&["rules", "phases"], "under `faults`, in a step"),
    ];
}

/// A link.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLink {
    #[serde(default, deserialize_with = "given")]
    pub name: Option<Name>,
    pub between: List<Name, HOSTS_MAX>,
    #[serde(default, deserialize_with = "given")]
    pub network: Option<OneOrMany<Network>>,
    #[serde(default, deserialize_with = "given")]
    pub mtu: Option<Mtu>,
}

impl Vocabulary for RawLink {
    const WHAT: &'static str = "a link";
}

/// A step: one of the first six keys, and what goes with it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawStep {
    #[serde(default, deserialize_with = "given")]
    pub start: Option<RawCommand>,
    #[serde(default, deserialize_with = "given")]
    pub run: Option<RawCommand>,
    #[serde(default, deserialize_with = "given")]
    pub wait: Option<Name>,
    #[serde(default, deserialize_with = "given")]
    pub faults: Option<RawFaults>,
    #[serde(default, deserialize_with = "given")]
    pub stop: Option<Name>,
    #[serde(default, deserialize_with = "given")]
    pub sleep: Option<DurationNs>,
    #[serde(default, deserialize_with = "given")]
    pub on: Option<Name>,
    #[serde(default, deserialize_with = "given")]
    pub link: Option<Name>,
    #[serde(default, deserialize_with = "given")]
    pub r#as: Option<Name>,
    #[serde(default, deserialize_with = "given")]
    pub ready: Option<Table<RawReady>>,
    #[serde(default, deserialize_with = "given")]
    pub timeout: Option<DurationNs>,
    #[serde(default, deserialize_with = "given")]
    pub expect: Option<RawExpect>,
}

impl Vocabulary for RawStep {
    const WHAT: &'static str = "a step";
    const ELSEWHERE: &'static [Elsewhere] = &[
        (
            &["status", "stdout", "stderr", "at_least"],
            "under `expect`",
        ),
        (&["within"], "under `expect` or `ready`"),
        (&["tcp", "udp", "command", "output"], "under `ready`"),
        (&["rules", "phases", "repeat", "seed"], "under `faults`"),
    ];
}

/// `faults: lossy`, or `faults: {rules: […]}`.
pub(super) enum RawFaults {
    Named(String),
    Inline(Inline),
}

impl<'de> Shape<'de> for RawFaults {
    type Scalar = Word;
    const EXPECTED: &'static str = "a profile: a file, the name of a built-in one, or `{rules: …}`";

    fn from_scalar(Word(name): Word) -> Self {
        Self::Named(name)
    }

    fn from_map<A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        table(map).map(Self::Inline)
    }
}

impl<'de> Deserialize<'de> for RawFaults {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_shape(deserializer)
    }
}

/// When a command is ready: one of the first four keys.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawReady {
    #[serde(default, deserialize_with = "given")]
    pub tcp: Option<Port>,
    #[serde(default, deserialize_with = "given")]
    pub udp: Option<Port>,
    #[serde(default, deserialize_with = "given")]
    pub command: Option<RawCommand>,
    #[serde(default, deserialize_with = "pattern")]
    pub output: Option<Pattern>,
    #[serde(default, deserialize_with = "given")]
    pub within: Option<DurationNs>,
}

impl Vocabulary for RawReady {
    const WHAT: &'static str = "`ready`";
}

/// What is expected: of a command a mapping, of faults conditions of `run --expect`.
pub(super) enum RawExpect {
    Outcome(RawOutcome),
    Conditions(Vec<Expectation>),
}

impl<'de> Shape<'de> for RawExpect {
    type Scalar = Expectation;
    const EXPECTED: &'static str =
        "of a command `{status: 0, stdout: TEXT, within: 2s}`, of faults a list of expectations";

    fn from_scalar(condition: Expectation) -> Self {
        Self::Conditions(vec![condition])
    }

    fn from_map<A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        table(map).map(Self::Outcome)
    }

    fn from_seq<A: SeqAccess<'de>>(seq: A) -> Result<Self, A::Error> {
        OneOrMany::from_seq(seq).map(|OneOrMany(conditions)| Self::Conditions(conditions))
    }
}

impl<'de> Deserialize<'de> for RawExpect {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_shape(deserializer)
    }
}

/// What a command must have done.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawOutcome {
    #[serde(default)]
    pub status: OneOrMany<RawStatus>,
    #[serde(default)]
    pub stdout: Patterns,
    #[serde(default)]
    pub stderr: Patterns,
    #[serde(default, deserialize_with = "given")]
    pub within: Option<DurationNs>,
    #[serde(default, deserialize_with = "given")]
    pub at_least: Option<DurationNs>,
}

impl Vocabulary for RawOutcome {
    const WHAT: &'static str = "`expect`";
}

/// Reads an optional pattern that is there.
fn pattern<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Pattern>, D::Error> {
    RawPattern::deserialize(deserializer).map(|RawPattern(pattern)| Some(pattern))
}
