//! Packets by their number.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use super::UnitError;
use super::error::Reason;
use super::range::{range, write_range};
use super::scalar::{self, Scalar};

/// Packets that follow each other, counted from 1; never none.
///
/// Written as a number (`3`) or as a range (`7-9`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PacketRange {
    first: u64,
    last: u64,
}

impl PacketRange {
    /// Returns the packets of `ranges`: in order, and as few ranges as will do.
    pub fn union(mut ranges: Vec<Self>) -> Vec<RangeInclusive<u64>> {
        ranges.sort_unstable();
        let mut union: Vec<RangeInclusive<u64>> = Vec::new();
        for Self { first, last } in ranges {
            match union.last_mut() {
                Some(before) if first <= before.end().saturating_add(1) => {
                    *before = *before.start()..=last.max(*before.end());
                }
                _ => union.push(first..=last),
            }
        }
        union
    }
}

impl Scalar for PacketRange {
    const EXPECTED: &'static str = "the number of a packet such as 3, or a range such as 7-9";
}

impl FromStr for PacketRange {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let most = "18446744073709551615";
        let (first, last) = range(text, "the number of a packet", most, Self::EXPECTED)?;
        if first == 0 {
            let error = UnitError::new(text, Reason::BelowMinimum("1"), Self::EXPECTED);
            return Err(error.hint("packets are counted from 1"));
        }
        Ok(Self { first, last })
    }
}

impl fmt::Display for PacketRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_range(f, self.first, self.last)
    }
}

impl<'de> Deserialize<'de> for PacketRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        scalar::deserialize(deserializer)
    }
}

#[cfg(test)]
scalar::schema_of!(PacketRange as "Packet", {
    "type": ["integer", "string"],
    "minimum": 1,
    "pattern": r"^0*[1-9][0-9]*(-0*[1-9][0-9]*)?$",
    "examples": [3, "7-9"],
});

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn refusal(text: &str) -> String {
        text.parse::<PacketRange>().unwrap_err().to_string()
    }

    #[test]
    fn packets_are_counted_from_1() {
        assert_eq!("3".parse(), Ok(PacketRange { first: 3, last: 3 }));
        assert_eq!("7-9".parse(), Ok(PacketRange { first: 7, last: 9 }));
        for text in ["0", "0-5"] {
            let expected =
                format!("`{text}` is below the minimum of 1: packets are counted from 1");
            assert_eq!(refusal(text), expected);
        }
        assert_eq!(refusal("9-7"), "`9-7` ends before it starts: write 7-9");
        assert!(refusal("1..5").contains("is not the number of a packet"));
    }

    #[test]
    fn what_overlaps_or_touches_is_one_range() {
        let ranges = ["7-9", "3", "8-12", "13", "1-1", "15"].map(|text| text.parse().unwrap());
        assert_eq!(
            PacketRange::union(ranges.to_vec()),
            [1..=1, 3..=3, 7..=13, 15..=15]
        );
        let all = PacketRange {
            first: 1,
            last: u64::MAX,
        };
        assert_eq!(PacketRange::union(vec![all, all]), [1..=u64::MAX]);
    }

    fn ranges() -> impl Strategy<Value = Vec<PacketRange>> {
        let range = (1..60u64, 0..9u64).prop_map(|(first, more)| PacketRange {
            first,
            last: first + more,
        });
        prop::collection::vec(range, 0..12)
    }

    proptest! {
        #[test]
        fn a_union_has_the_same_packets_and_gaps_between_its_ranges(ranges in ranges()) {
            let expected: BTreeSet<u64> = ranges.iter().flat_map(|range| range.first..=range.last).collect();
            let union = PacketRange::union(ranges);
            prop_assert!(union.windows(2).all(|pair| pair[0].end() + 1 < *pair[1].start()));
            prop_assert!(union.into_iter().flatten().eq(expected));
        }

        #[test]
        fn display_parses_back_to_the_same_range(first in 1..u64::MAX, more: u64) {
            let range = PacketRange { first, last: first.saturating_add(more) };
            prop_assert_eq!(range.to_string().parse(), Ok(range));
        }
    }
}
