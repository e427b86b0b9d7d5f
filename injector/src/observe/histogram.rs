//! Histograms as bpftrace and BCC print them.

use std::{fmt::Write as _, ops::RangeInclusive};

use injector_common::abi;
use serde::{Serialize, Serializer};

use super::format::count;

/// Columns of the longest bar.
const BAR: usize = 40;

/// How often values lay in each of some ranges: as many as are between the lowest and the highest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram(Vec<Bucket>);

/// One of these ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Bucket {
    /// The lowest value of the range.
    pub min: u64,
    /// The highest one; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<u64>,
    /// How many values are in it.
    pub count: u64,
}

impl<const BUCKETS: usize> From<&abi::Histogram<BUCKETS>> for Histogram {
    fn from(histogram: &abi::Histogram<BUCKETS>) -> Self {
        let buckets: Vec<_> = histogram.buckets().collect();
        let is_used = |(_, count): &(RangeInclusive<u64>, u64)| *count != 0;
        let first = buckets.iter().position(is_used).unwrap_or(BUCKETS);
        let end = buckets
            .iter()
            .rposition(is_used)
            .map_or(first, |last| last + 1);
        let bucket = |(values, count): &(RangeInclusive<u64>, u64)| Bucket {
            min: *values.start(),
            max: Some(*values.end()).filter(|max| *max != u64::MAX),
            count: *count,
        };
        Self(buckets[first..end].iter().map(bucket).collect())
    }
}

impl Serialize for Histogram {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl Histogram {
    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A line for each range, with a bar; values are written by `value`.
    pub fn text(&self, title: &str, value: impl Fn(u64) -> String) -> String {
        let most = self.0.iter().map(|bucket| bucket.count).max().unwrap_or(0);
        let range = |bucket: &Bucket| match bucket.max {
            Some(max) if max == bucket.min => value(max),
            Some(max) => format!("{} .. {}", value(bucket.min), value(max)),
            None => format!("{} ..", value(bucket.min)),
        };
        let width = |texts: &[String]| texts.iter().map(|text| text.chars().count()).max();
        let ranges: Vec<_> = self.0.iter().map(range).collect();
        let counts: Vec<_> = self.0.iter().map(|bucket| count(bucket.count)).collect();
        let (left, right) = (width(&ranges).unwrap_or(0), width(&counts).unwrap_or(0));
        let mut text = format!("  {title}\n");
        for ((bucket, range), count) in self.0.iter().zip(ranges).zip(counts) {
            let bar = "@".repeat(bar(bucket.count, most));
            let _ = writeln!(text, "  {range:>left$}  {count:>right$} |{bar:BAR$}|");
        }
        text
    }
}

/// How long the bar of a count is: at least one column where it is not 0.
fn bar(count: u64, most: u64) -> usize {
    let columns = u128::from(count) * BAR as u128 / u128::from(most.max(1));
    (columns as usize).max(usize::from(count != 0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[u64]) -> Histogram {
        let mut histogram = abi::Histogram::<16>::default();
        values.iter().for_each(|value| histogram.add(*value, 1));
        Histogram::from(&histogram)
    }

    #[test]
    fn text_is_aligned_and_shows_the_gaps() {
        let values: Vec<u64> = [vec![1; 80], vec![4], vec![5], vec![u64::MAX]].concat();
        let mut lines: Vec<_> = of(&values)
            .text("sizes", |n| n.to_string())
            .lines()
            .map(str::to_owned)
            .collect();
        assert_eq!(lines.remove(0), "  sizes");
        assert_eq!(lines.len(), 15);
        let line = |range: &str, count: &str, bar: usize| {
            format!("  {range:>13}  {count:>2} |{:40}|", "@".repeat(bar))
        };
        assert_eq!(lines[0], line("1", "80", 40));
        assert_eq!(lines[1], line("2 .. 3", "0", 0));
        assert_eq!(lines[2], line("4 .. 7", "2", 1));
        assert_eq!(lines[14], line("16384 ..", "1", 1));
        assert!(
            lines
                .iter()
                .all(|line| line.chars().count() == lines[0].chars().count())
        );
    }

    #[test]
    fn there_is_nothing_of_no_values() {
        assert!(of(&[]).is_empty());
        assert_eq!(serde_json::to_string(&of(&[])).unwrap(), "[]");
        assert_eq!(
            serde_json::to_string(&of(&[3])).unwrap(),
            r#"[{"min":2,"max":3,"count":1}]"#
        );
    }

    proptest! {
        #[test]
        fn nothing_is_left_out(values in prop::collection::vec(any::<u64>(), 0..50), shift in 0u32..64) {
            let values: Vec<_> = values.iter().map(|value| value >> shift).collect();
            let histogram = of(&values);
            let total: u64 = histogram.0.iter().map(|bucket| bucket.count).sum();
            prop_assert_eq!(total, values.len() as u64);
            let ends = [histogram.0.first(), histogram.0.last()];
            prop_assert!(ends.into_iter().flatten().all(|bucket| bucket.count != 0));
        }
    }
}
