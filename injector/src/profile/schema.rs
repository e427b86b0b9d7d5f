//! What may be written in a profile: the raw form, as typed by a person.
//!
//! Every struct here is one mapping of the YAML, every field one key. Structs of options and no
//! tagged enums: with those the parser loses the place of an error. A key that a later version
//! brings is announced in `LATER` until it becomes a field.

use serde::{Deserialize, Deserializer};

use super::keyword::Distribution;
use super::shape::{Fault, HasRules, Name, OneOrMany, Phases, Rules, Seed, ShortOr, Text};
use super::strict::{Table, Vocabulary};
use super::{Checksum, Direction, Protocol, Repeat};
use crate::units::{DurationNs, Network, PortRange, Probability};

/// A whole profile.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawProfile {
    pub name: Name,
    #[serde(default, deserialize_with = "given")]
    pub description: Option<Text>,
    #[serde(default, deserialize_with = "given")]
    pub seed: Option<Seed>,
    /// In place of `phases`.
    #[serde(default, deserialize_with = "given")]
    pub rules: Option<Rules<RawRule, 1>>,
    #[serde(default, deserialize_with = "given")]
    pub phases: Option<Phases<RawPhase>>,
    #[serde(default, deserialize_with = "given")]
    pub repeat: Option<Repeat>,
}

impl Vocabulary for RawProfile {
    const WHAT: &'static str = "a profile";
    const LATER: &'static [&'static str] = &["expect"];
    const ELSEWHERE: &'static [(&'static [&'static str], &'static str)] = &[
        (KEYS_OF_A_RULE, "into a rule, under `rules`"),
        (&["for"], "into a phase, under `phases`"),
    ];
}

const KEYS_OF_A_RULE: &[&str] = &[
    "direction",
    "match",
    "drop",
    "delay",
    "corrupt",
    "duplicate",
];

/// One phase.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPhase {
    #[serde(default, deserialize_with = "given")]
    pub name: Option<Name>,
    #[serde(rename = "for")]
    pub duration: DurationNs,
    pub rules: Rules<RawRule, 0>,
}

impl Vocabulary for RawPhase {
    const WHAT: &'static str = "a phase";
    const LATER: &'static [&'static str] = &["ramp"];
    const ELSEWHERE: &'static [(&'static [&'static str], &'static str)] = &[
        (KEYS_OF_A_RULE, "into a rule, under `rules`"),
        (&["repeat"], "beside `phases`"),
    ];
}

impl HasRules for RawPhase {
    fn rules(&self) -> usize {
        self.rules.0.len()
    }
}

/// One rule.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRule {
    #[serde(default, deserialize_with = "given")]
    pub name: Option<Name>,
    #[serde(default, deserialize_with = "given")]
    pub direction: Option<Direction>,
    #[serde(default, rename = "match", deserialize_with = "given")]
    pub matching: Option<Table<RawMatch>>,
    #[serde(default, deserialize_with = "given")]
    pub drop: Option<ShortOr<RawDrop>>,
    #[serde(default, deserialize_with = "given")]
    pub delay: Option<ShortOr<RawDelay>>,
    #[serde(default, deserialize_with = "given")]
    pub corrupt: Option<ShortOr<RawCorrupt>>,
    #[serde(default, deserialize_with = "given")]
    pub duplicate: Option<ShortOr<RawDuplicate>>,
}

impl Vocabulary for RawRule {
    const WHAT: &'static str = "a rule";
    const LATER: &'static [&'static str] = &["rate", "reorder"];
    const ELSEWHERE: &'static [(&'static [&'static str], &'static str)] = &[
        (
            &["protocol", "src", "dst", "src_port", "dst_port"],
            "under `match`",
        ),
        (&["jitter", "distribution"], "under `delay`"),
        (&["checksum"], "under `corrupt`"),
    ];
}

/// Conditions of a rule.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMatch {
    #[serde(default, deserialize_with = "given")]
    pub protocol: Option<Protocol>,
    #[serde(default)]
    pub src: OneOrMany<Network>,
    #[serde(default)]
    pub dst: OneOrMany<Network>,
    #[serde(default)]
    pub src_port: OneOrMany<PortRange>,
    #[serde(default)]
    pub dst_port: OneOrMany<PortRange>,
}

impl Vocabulary for RawMatch {
    const WHAT: &'static str = "a match";
}

/// `drop: 1%` or `drop: {probability: 1%}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDrop {
    pub probability: Probability,
}

impl Vocabulary for RawDrop {
    const WHAT: &'static str = "`drop`";
    const LATER: &'static [&'static str] = &["correlation"];
}

impl Fault for RawDrop {
    type Short = Probability;
    const EXPECTED: &'static str = "a probability such as 1%, or `{probability: 1%}`";

    fn from_short(probability: Probability) -> Self {
        Self { probability }
    }
}

/// `delay: 80ms` or `delay: {time: 80ms, jitter: 10ms}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDelay {
    pub time: DurationNs,
    #[serde(default, deserialize_with = "given")]
    pub jitter: Option<DurationNs>,
    /// Uniform so far; the key exists so that a profile can say so.
    #[serde(default, rename = "distribution", deserialize_with = "given")]
    pub _distribution: Option<Distribution>,
}

impl Vocabulary for RawDelay {
    const WHAT: &'static str = "`delay`";
    const LATER: &'static [&'static str] = &["correlation"];
}

impl Fault for RawDelay {
    type Short = DurationNs;
    const EXPECTED: &'static str = "a duration such as 80ms, or `{time: 80ms, jitter: 10ms}`";

    fn from_short(time: DurationNs) -> Self {
        Self {
            time,
            jitter: None,
            _distribution: None,
        }
    }
}

/// `corrupt: 1%` or `corrupt: {probability: 1%, checksum: valid}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCorrupt {
    pub probability: Probability,
    #[serde(default, deserialize_with = "given")]
    pub checksum: Option<Checksum>,
}

impl Vocabulary for RawCorrupt {
    const WHAT: &'static str = "`corrupt`";
    const LATER: &'static [&'static str] = &["correlation"];
}

impl Fault for RawCorrupt {
    type Short = Probability;
    const EXPECTED: &'static str =
        "a probability such as 1%, or `{probability: 1%, checksum: valid}`";

    fn from_short(probability: Probability) -> Self {
        Self {
            probability,
            checksum: None,
        }
    }
}

/// `duplicate: 1%` or `duplicate: {probability: 1%}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDuplicate {
    pub probability: Probability,
}

impl Vocabulary for RawDuplicate {
    const WHAT: &'static str = "`duplicate`";
    const LATER: &'static [&'static str] = &["correlation"];
}

impl Fault for RawDuplicate {
    type Short = Probability;
    const EXPECTED: &'static str = "a probability such as 1%, or `{probability: 1%}`";

    fn from_short(probability: Probability) -> Self {
        Self { probability }
    }
}

/// Reads an optional key that is there; left empty, it is refused and not taken for absent.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(d: D) -> Result<Option<T>, D::Error> {
    T::deserialize(d).map(Some)
}
