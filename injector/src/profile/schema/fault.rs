//! Faults, as typed.

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess};

use super::super::files::FileName;
use super::super::keyword::Model;
#[cfg(test)]
use super::super::keyword::words;
use super::super::number::{CellSize, Count, Few, Overhead, SlotPackets};
use super::super::shape::{Fault, OneOrMany};
use super::super::strict::{Vocabulary, table};
use super::super::{Checksum, Distribution, Interpolation, Place, QueueLimit};
use super::chance::{RawChance, with_chance};
use super::given;
#[cfg(test)]
use crate::units::scalar::schema_of;
use crate::units::scalar::{Scalar, Shape, deserialize_shape};
use crate::units::{Bandwidth, DurationNs, PacketRange, Probability, Size, UnitError};

with_chance! {
    /// `drop: 1%`, `drop: {every: 100}`, or `drop: {model: gemodel, p: 1%}`.
    RawDrop("`drop`", "a probability such as 1%, or `{probability: 1%}`") {
        /// A model of loss with memory, in place of `probability`: `gemodel` is Gilbert and Elliott's, `state` has four states.
        model: Model,
        /// `gemodel`: from the good state to the bad one.
        p: Probability,
        /// `gemodel`: from the bad state to the good one; 1 - p where it is absent.
        r: Probability,
        /// `gemodel`: loss in the bad state.
        #[cfg_attr(test, schemars(extend("default" = "100%")))]
        one_minus_h: Probability,
        /// `gemodel`: loss in the good state.
        #[cfg_attr(test, schemars(extend("default" = "0%")))]
        one_minus_k: Probability,
        /// `state`: from good reception to a burst of loss; with `p14` at most 100%.
        p13: Probability,
        /// `state`: from a burst of loss to good reception; with `p32` at most 100%. 1 - p13 where it is absent.
        p31: Probability,
        /// `state`: from a burst of loss to reception within it.
        #[cfg_attr(test, schemars(extend("default" = "0%")))]
        p32: Probability,
        /// `state`: from reception within a burst back to loss.
        #[cfg_attr(test, schemars(extend("default" = "100%")))]
        p23: Probability,
        /// `state`: from good reception to the loss of a single packet.
        #[cfg_attr(test, schemars(extend("default" = "0%")))]
        p14: Probability,
        /// Packets that understand ECN are marked, and arrive. Beside any model, and a probability.
        #[cfg_attr(test, schemars(extend("default" = false)))]
        ecn: bool,
    }

    /// `corrupt: 1%` or `corrupt: {probability: 1%, checksum: valid}`.
    RawCorrupt("`corrupt`", "a probability such as 1%, or `{probability: 1%, checksum: valid}`") {
        /// How many bits, all different.
        #[cfg_attr(test, schemars(extend("default" = 1)))]
        bits: Few,
        /// `valid`: the checksum is made to fit, and the bad bytes reach the application; in the payload only.
        #[cfg_attr(test, schemars(extend("default" = "stale")))]
        checksum: Checksum,
        /// Which part of the packet.
        #[cfg_attr(test, schemars(extend("default" = "payload")))]
        r#where: Place,
    }

    /// `duplicate: 1%` or `duplicate: {probability: 1%, copies: 2}`.
    RawDuplicate("`duplicate`", "a probability such as 1%, or `{probability: 1%}`") {
        /// How many, beside the packet itself.
        #[cfg_attr(test, schemars(extend("default" = 1)))]
        copies: Few,
    }

    /// `reorder: 2%` or `reorder: {probability: 2%, gap: 5}`.
    RawReorder("`reorder`", "a probability such as 2%, or `{probability: 2%, gap: 5}`") {
        /// N: at least N - 1 packets between two that overtake.
        #[cfg_attr(test, schemars(extend("default" = 1)))]
        gap: Count,
    }
}

/// `delay: 80ms` or `delay: {time: 80ms, jitter: 10ms}`.
#[derive(Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(in crate::profile) struct RawDelay {
    /// How long, one way; absent only where a recording gives it.
    #[serde(default, deserialize_with = "given")]
    pub time: Option<DurationNs>,
    /// How much the delay varies: where it is `uniform` at most, and then no more than `time`; else the standard deviation,
    /// and what would be below 0 is 0.
    #[serde(default, deserialize_with = "given")]
    pub jitter: Option<DurationNs>,
    /// How the delay varies; needs `jitter`, or a recording of it.
    #[cfg_attr(test, schemars(extend("default" = "uniform")))]
    #[serde(default, deserialize_with = "given")]
    pub distribution: Option<RawDistribution>,
    /// Autocorrelation of the delays of packets that follow each other; below 100%. Needs `jitter`, or a recording of it.
    #[cfg_attr(test, schemars(extend("default" = "0%")))]
    #[serde(default, deserialize_with = "given")]
    pub correlation: Option<Probability>,
    /// Jitter does not reorder; needs `jitter`, or a recording of it, and not `reorder`.
    #[cfg_attr(test, schemars(extend("default" = false)))]
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

#[cfg(test)]
schema_of!(DistributionName as "DistributionName", { "enum": words::<Distribution>() });

/// `{table: FILE}`.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(in crate::profile) struct RawTable {
    /// A table in the format of netem's `.dist` files: up to 16384 whole numbers from -32768 to 32767.
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(in crate::profile) struct RawRate {
    /// On the wire, link-layer headers included; absent only where a recording gives it.
    #[serde(default, deserialize_with = "given")]
    pub bandwidth: Option<Bandwidth>,
    /// How much may go at once after a pause; nothing where it is absent.
    #[serde(default, deserialize_with = "given")]
    pub burst: Option<Size>,
    /// How much may wait: a time, a size, or packets of full size.
    #[cfg_attr(test, schemars(extend("default" = "1000 packets")))]
    #[serde(default, deserialize_with = "given")]
    pub queue: Option<QueueLimit>,
    /// Bytes more, or below 0 fewer, for each packet.
    #[cfg_attr(test, schemars(extend("default" = 0)))]
    #[serde(default, deserialize_with = "given")]
    pub overhead: Option<Overhead>,
    /// Packets take whole cells of so many bytes.
    #[serde(default, deserialize_with = "given")]
    pub cell_size: Option<CellSize>,
    /// Beyond `queue`, packets that understand ECN are marked, and dropped only beyond twice as much.
    #[cfg_attr(test, schemars(extend("default" = false)))]
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(in crate::profile) struct RawSlot {
    /// The shortest time from one slot to the next; above 0.
    pub min: DurationNs,
    /// The longest time from one slot to the next; `min` where it is absent.
    #[serde(default, deserialize_with = "given")]
    pub max: Option<DurationNs>,
    /// How many packets end a slot.
    #[serde(default, deserialize_with = "given")]
    pub packets: Option<SlotPackets>,
    /// How many bytes end a slot.
    #[serde(default, deserialize_with = "given")]
    pub bytes: Option<Size>,
}

impl Vocabulary for RawSlot {
    const WHAT: &'static str = "`slot`";
}

/// `replay: FILE` or `replay: {file: FILE, loop: true}`.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(in crate::profile) struct RawReplay {
    /// A table of conditions, or a Mahimahi trace; a relative name starts at the profile's directory.
    pub file: FileName,
    /// Begin anew at the end of a table; a trace always does.
    #[cfg_attr(test, schemars(extend("default" = false)))]
    #[serde(default, deserialize_with = "given")]
    pub r#loop: Option<bool>,
    /// What holds between two lines of a table: values on a straight line, or those of the first.
    #[cfg_attr(test, schemars(extend("default" = "linear")))]
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
