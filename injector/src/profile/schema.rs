//! What may be written in a profile: the raw form, as typed by a person.
//!
//! Every struct here is one mapping of the YAML, every field one key. Structs of options and no
//! tagged enums: with those the parser loses the place of an error.

mod chance;
mod fault;

use serde::{Deserialize, Deserializer};

use super::shape::{HasRules, OneOrMany, Phases, Rules, ShortOr};
use super::strict::{Elsewhere, Table, Vocabulary};
use super::text::{Name, Seed, Text};
use super::{Direction, Expectation, Protocol, Repeat};
use crate::units::{DurationNs, Network, PortRange};

pub(super) use self::chance::RawChance;
pub(super) use self::fault::{
    RawCorrupt, RawDelay, RawDistribution, RawDrop, RawDuplicate, RawRate, RawReorder, RawReplay,
    RawSlot,
};

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
    #[serde(default)]
    pub expect: OneOrMany<Expectation>,
}

impl Vocabulary for RawProfile {
    const WHAT: &'static str = "a profile";
    const ELSEWHERE: &'static [Elsewhere] = &[
        IN_A_RULE,
        (&["for", "ramp"], "into a phase, under `phases`"),
    ];
}

pub(super) const IN_A_RULE: Elsewhere = (
    &[
        "direction",
        "match",
        "drop",
        "delay",
        "corrupt",
        "duplicate",
        "reorder",
        "rate",
        "slot",
        "replay",
    ],
    "into a rule, under `rules`",
);

/// One phase.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPhase {
    #[serde(default, deserialize_with = "given")]
    pub name: Option<Name>,
    #[serde(rename = "for")]
    pub duration: DurationNs,
    #[serde(default, deserialize_with = "given")]
    pub ramp: Option<bool>,
    pub rules: Rules<RawRule, 0>,
}

impl Vocabulary for RawPhase {
    const WHAT: &'static str = "a phase";
    const ELSEWHERE: &'static [Elsewhere] = &[IN_A_RULE, (&["repeat"], "beside `phases`")];
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
    #[serde(default, deserialize_with = "given")]
    pub reorder: Option<ShortOr<RawReorder>>,
    #[serde(default, deserialize_with = "given")]
    pub rate: Option<ShortOr<RawRate>>,
    #[serde(default, deserialize_with = "given")]
    pub slot: Option<Table<RawSlot>>,
    #[serde(default, deserialize_with = "given")]
    pub replay: Option<ShortOr<RawReplay>>,
}

impl Vocabulary for RawRule {
    const WHAT: &'static str = "a rule";
    const ELSEWHERE: &'static [Elsewhere] = &[
        (
            &["protocol", "src", "dst", "src_port", "dst_port"],
            "under `match`",
        ),
        (
            &["time", "jitter", "distribution", "keep_order"],
            "under `delay`",
        ),
        (&["checksum", "bits", "where"], "under `corrupt`"),
        (&["copies"], "under `duplicate`"),
        (&["gap"], "under `reorder`"),
        (
            &["bandwidth", "burst", "queue", "overhead", "cell_size"],
            "under `rate`",
        ),
        (&["model"], "under `drop`"),
        (&["ecn"], "under `drop` or `rate`"),
        (&["file", "loop", "interpolation"], "under `replay`"),
        (
            &["probability", "correlation", "every", "first", "packets"],
            "under a fault, such as `drop`",
        ),
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

/// Reads an optional key that is there; left empty, it is refused and not taken for absent.
pub(crate) fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    d: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(d).map(Some)
}
