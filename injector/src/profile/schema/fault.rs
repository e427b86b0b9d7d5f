//! Faults, as typed.

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess};

use super::super::files::FileName;
use super::super::keyword::Model;
use super::super::number::{CellSize, Count, Few, Overhead, SlotPackets};
use super::super::shape::{Fault, OneOrMany};
use super::super::strict::{Vocabulary, table};
use super::super::{Checksum, Distribution, Interpolation, Place, QueueLimit};
use super::chance::{RawChance, with_chance};
use super::given;
use crate::units::scalar::{Scalar, Shape, deserialize_shape};
use crate::units::{Bandwidth, DurationNs, PacketRange, Probability, Size, UnitError};

with_chance! {
    /// `drop: 1%`, `drop: {every: 100}`, or `drop: {model: gemodel, p: 1%}`.
    RawDrop("`drop`", "a probability such as 1%, or `{probability: 1%}`") {
        model: Model,
        p: Probability,
        r: Probability,
        one_minus_h: Probability,
        one_minus_k: Probability,
        p13: Probability,
        p31: Probability,
        p32: Probability,
        p23: Probability,
        p14: Probability,
        ecn: bool,
    }

    /// `corrupt: 1%` or `corrupt: {probability: 1%, checksum: valid}`.
    RawCorrupt("`corrupt`", "a probability such as 1%, or `{probability: 1%, checksum: valid}`") {
        bits: Few,
        checksum: Checksum,
        r#where: Place,
    }

    /// `duplicate: 1%` or `duplicate: {probability: 1%, copies: 2}`.
    RawDuplicate("`duplicate`", "a probability such as 1%, or `{probability: 1%}`") {
        copies: Few,
    }

    /// `reorder: 2%` or `reorder: {probability: 2%, gap: 5}`.
    RawReorder("`reorder`", "a probability such as 2%, or `{probability: 2%, gap: 5}`") {
        gap: Count,
    }
}

/// `delay: 80ms` or `delay: {time: 80ms, jitter: 10ms}`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::profile) struct RawDelay {
    /// Absent only where a recording gives it.
    #[serde(default, deserialize_with = "given")]
    pub time: Option<DurationNs>,
    #[serde(default, deserialize_with = "given")]
    pub jitter: Option<DurationNs>,
    #[serde(default, deserialize_with = "given")]
    pub distribution: Option<RawDistribution>,
    #[serde(default, deserialize_with = "given")]
    pub correlation: Option<Probability>,
    #[serde(default, deserialize_with = "given")]
    pub keep_order: Option<bool>,
}

impl Vocabulary for RawDelay {
    const WHAT: &'static str = "`delay`";
}

impl Fault for RawDelay {
    type Short = DurationNs;
    const EXPECTED: &'static str = "a duration such as 80ms, or `{time: 80ms, jitter: 10ms}`";

    fn from_short(time: DurationNs) -> Self {
        Self {
            time: Some(time),
            ..Self::default()
        }
    }
}

/// `distribution: normal` or `distribution: {table: FILE}`.
pub(in crate::profile) enum RawDistribution {
    Named(Distribution),
    Table(FileName),
}

/// The name of a distribution, where a table would do too.
pub(in crate::profile) struct DistributionName(Distribution);

impl Scalar for DistributionName {
    const EXPECTED: &'static str =
        "`uniform`, `normal`, `pareto`, `paretonormal` or `{table: FILE}`";
}

impl std::str::FromStr for DistributionName {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let name = text.parse().map(Self);
        name.map_err(|error: UnitError| error.expecting(Self::EXPECTED))
    }
}

/// `{table: FILE}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTable {
    table: FileName,
}

impl Vocabulary for RawTable {
    const WHAT: &'static str = "a distribution";
}

impl<'de> Shape<'de> for RawDistribution {
    type Scalar = DistributionName;
    const EXPECTED: &'static str = DistributionName::EXPECTED;

    fn from_scalar(DistributionName(name): DistributionName) -> Self {
        Self::Named(name)
    }

    fn from_map<A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        table(map).map(|RawTable { table }| Self::Table(table))
    }
}

impl<'de> Deserialize<'de> for RawDistribution {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_shape(deserializer)
    }
}

/// `rate: 20mbit` or `rate: {bandwidth: 20mbit, queue: 100ms}`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::profile) struct RawRate {
    /// Absent only where a recording gives it.
    #[serde(default, deserialize_with = "given")]
    pub bandwidth: Option<Bandwidth>,
    #[serde(default, deserialize_with = "given")]
    pub burst: Option<Size>,
    #[serde(default, deserialize_with = "given")]
    pub queue: Option<QueueLimit>,
    #[serde(default, deserialize_with = "given")]
    pub overhead: Option<Overhead>,
    #[serde(default, deserialize_with = "given")]
    pub cell_size: Option<CellSize>,
    #[serde(default, deserialize_with = "given")]
    pub ecn: Option<bool>,
}

impl Vocabulary for RawRate {
    const WHAT: &'static str = "`rate`";
}

impl Fault for RawRate {
    type Short = Bandwidth;
    const EXPECTED: &'static str =
        "a bandwidth such as 20mbit, or `{bandwidth: 20mbit, queue: 100ms}`";

    fn from_short(bandwidth: Bandwidth) -> Self {
        Self {
            bandwidth: Some(bandwidth),
            ..Self::default()
        }
    }
}

/// `slot: {min: 800us, max: 10ms, packets: 42}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::profile) struct RawSlot {
    pub min: DurationNs,
    #[serde(default, deserialize_with = "given")]
    pub max: Option<DurationNs>,
    #[serde(default, deserialize_with = "given")]
    pub packets: Option<SlotPackets>,
    #[serde(default, deserialize_with = "given")]
    pub bytes: Option<Size>,
}

impl Vocabulary for RawSlot {
    const WHAT: &'static str = "`slot`";
}

/// `replay: FILE` or `replay: {file: FILE, loop: true}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::profile) struct RawReplay {
    pub file: FileName,
    #[serde(default, deserialize_with = "given")]
    pub r#loop: Option<bool>,
    #[serde(default, deserialize_with = "given")]
    pub interpolation: Option<Interpolation>,
}

impl Vocabulary for RawReplay {
    const WHAT: &'static str = "`replay`";
}

impl Fault for RawReplay {
    type Short = FileName;
    const EXPECTED: &'static str = "the name of a file, or `{file: NAME, loop: true}`";

    fn from_short(file: FileName) -> Self {
        Self {
            file,
            r#loop: None,
            interpolation: None,
        }
    }
}
