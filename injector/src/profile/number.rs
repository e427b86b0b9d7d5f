//! The whole numbers of a profile, each kind with bounds of its own.

use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use super::{Corrupt, Duplicate};
use crate::units::scalar::{self, Scalar};
use crate::units::{UnitError, whole_number};

/// Declares whole numbers by their type, bounds, and what a correct text looks like.
macro_rules! whole_numbers {
    ($($(#[$doc:meta])* $name:ident($type:ty, $what:literal): $least:literal to $most:literal, $expected:literal;)*) => {$(
        $(#[$doc])*
        pub(super) struct $name(pub(super) $type);

        impl Scalar for $name {
            const EXPECTED: &'static str = $expected;
        }

        impl FromStr for $name {
            type Err = UnitError;

            fn from_str(text: &str) -> Result<Self, UnitError> {
                let named = [stringify!($least), stringify!($most)];
                let number = whole_number(text, &($least..=$most), named, $expected)?;
                Ok(Self(<$type>::try_from(number).expect("bounds within the type")))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                scalar::deserialize(deserializer)
            }
        }

        #[cfg(test)]
        scalar::schema_of!($name as $what, {
            "type": ["integer", "string"],
            "minimum": $least as i128,
            "maximum": $most as i128,
            "pattern": "^-?[0-9]+$",
        });
    )*};
}

whole_numbers! {
    /// How many packets, or which.
    Count(u64, "Count"): 1 to 18446744073709551615, "a whole number of 1 or more";
    /// How many packets of a flow come first.
    FirstPackets(u32, "FirstPackets"): 1 to 4294967295, "a whole number of 1 or more";
    /// How many packets fit into a slot.
    SlotPackets(u32, "SlotPackets"): 1 to 4294967295, "a whole number of 1 or more";
    /// How many bits, or copies.
    Few(u8, "Few"): 1 to 8, "a whole number from 1 to 8";
    /// What a link adds to each packet: tunnels and framing at most.
    Overhead(i32, "Overhead"): -64 to 1500, "a number of bytes from -64 to 1500";
    /// What a link divides packets into. 1 would be no division, and 9000 is a jumbo frame.
    CellSize(u32, "CellSize"): 2 to 9000, "a number of bytes from 2 to 9000";
}

const _: () = assert!(Corrupt::BITS_MAX == 8 && Duplicate::COPIES_MAX == 8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_those_of_the_declaration() {
        for (text, is_right) in [
            ("-65", false),
            ("-64", true),
            ("1500", true),
            ("1501", false),
        ] {
            assert_eq!(text.parse::<Overhead>().is_ok(), is_right, "{text}");
        }
        for (text, is_right) in [("0", false), ("1", true), ("8", true), ("9", false)] {
            assert_eq!(text.parse::<Few>().is_ok(), is_right, "{text}");
        }
        let most = u64::MAX.to_string();
        assert_eq!(most.parse::<Count>().unwrap().0, u64::MAX);
        assert!("4294967296".parse::<SlotPackets>().is_err());
    }
}
