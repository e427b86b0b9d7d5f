//! The keys that say which packets a fault hits.

use super::super::number::Count;
use super::super::shape::OneOrMany;
use crate::units::{PacketRange, Probability};

/// Which packets a fault hits, as typed.
pub(in crate::profile) struct RawChance {
    pub probability: Option<Probability>,
    pub correlation: Option<Probability>,
    pub every: Option<Count>,
    pub first: Option<Count>,
    pub packets: Option<OneOrMany<PacketRange>>,
}

/// Declares mappings that have the keys of [`RawChance`] beside those listed, all of them optional, and
/// a probability as their short form.
macro_rules! with_chance {
    ($(
        $(#[$doc:meta])*
        $name:ident($what:literal, $expected:literal) { $($(#[$key_doc:meta])* $key:ident: $type:ty,)* }
    )*) => {$(
        $(#[$doc])*
        #[derive(Default, Deserialize)]
        #[cfg_attr(test, derive(schemars::JsonSchema))]
        #[serde(deny_unknown_fields)]
        pub(in crate::profile) struct $name {
            /// Each packet with this probability.
            #[serde(default, deserialize_with = "given")]
            pub probability: Option<Probability>,
            /// Beside `probability`: autocorrelation at lag 1, below 100%. The share of packets stays what it is.
            #[serde(default, deserialize_with = "given")]
            pub correlation: Option<Probability>,
            /// N: packets N, 2N, 3N and so on, counted from 1.
            #[serde(default, deserialize_with = "given")]
            pub every: Option<Count>,
            /// N: the first N packets.
            #[serde(default, deserialize_with = "given")]
            pub first: Option<Count>,
            /// These packets, counted from 1: a number, a range, or a list.
            #[serde(default, deserialize_with = "given")]
            pub packets: Option<OneOrMany<PacketRange>>,
            $(
                $(#[$key_doc])*
                #[serde(default, deserialize_with = "given")]
                pub $key: Option<$type>,
            )*
        }

        impl $name {
            /// Takes what says which packets are hit.
            pub(in crate::profile) fn take_chance(&mut self) -> RawChance {
                RawChance {
                    probability: self.probability.take(),
                    correlation: self.correlation.take(),
                    every: self.every.take(),
                    first: self.first.take(),
                    packets: self.packets.take(),
                }
            }
        }

        impl Vocabulary for $name {
            const WHAT: &'static str = $what;
        }

        impl Fault for $name {
            type Short = Probability;
            const EXPECTED: &'static str = $expected;

            fn from_short(probability: Probability) -> Self {
                Self {
                    probability: Some(probability),
                    ..Self::default()
                }
            }
        }
    )*};
}

pub(super) use with_chance;
