//! Runs of packets with the same fate.

use std::collections::BTreeSet;

/// How long they are, in order. The first and the last run are left out: nobody saw where they began,
/// or where they end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runs {
    /// Packets lost one after the other.
    pub bursts: Vec<u64>,
    /// Packets that arrived one after the other.
    pub gaps: Vec<u64>,
}

impl Runs {
    /// Of the first `count` packets, of which those in `lost` were lost.
    pub fn new(lost: &BTreeSet<u64>, count: u64) -> Self {
        let changes: Vec<u64> = (1..count)
            .filter(|n| lost.contains(n) != lost.contains(&(n - 1)))
            .collect();
        let lengths = |is_lost: bool| {
            let complete = changes.windows(2);
            complete
                .filter(|run| lost.contains(&run[0]) == is_lost)
                .map(|run| run[1] - run[0])
                .collect()
        };
        Self {
            bursts: lengths(true),
            gaps: lengths(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_at_the_ends_are_left_out() {
        let runs = Runs::new(&BTreeSet::from([0, 1, 5, 7, 8, 9, 12]), 13);
        assert_eq!(runs.bursts, [1, 3]);
        assert_eq!(runs.gaps, [3, 1, 2]);
    }

    #[test]
    fn one_run_has_no_end() {
        let none = Runs {
            bursts: vec![],
            gaps: vec![],
        };
        assert_eq!(Runs::new(&BTreeSet::new(), 100), none);
        assert_eq!(Runs::new(&(0..100).collect(), 100), none);
        assert_eq!(Runs::new(&BTreeSet::new(), 0), none);
    }
}
