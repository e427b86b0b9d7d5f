//! The match entries of one direction as the kernel side looks them up.

use std::{array, collections::HashMap, ops::RangeInclusive};

use injector_common::{
    abi::{
        BOUNDS_MAX, Dimension, Dimensions, ENTRIES_MAX, MatchEntry, PROTECTED_MAX, ROW_WORDS, Row,
        RuleTable, SCAN_MAX,
    },
    classify::{self, BitVectors},
    wire::PacketKey,
};

use super::PlannedRule;

/// A rule table with what belongs to it.
#[derive(Clone, Debug)]
pub struct Table {
    /// The entries, or at least how many there are.
    pub rules: Box<RuleTable>,
    /// Where there are too many to be compared one by one.
    pub vectors: Option<Vectors>,
}

impl Table {
    /// The entries of `rules`, and before them those that protect packets. Slots are counted from
    /// `first_slot`.
    pub(super) fn new<'a>(
        protected: &[MatchEntry],
        rules: impl Iterator<Item = &'a PlannedRule>,
        first_slot: u32,
    ) -> Self {
        let mut table = Box::new(RuleTable {
            len: 0,
            protected_len: protected.len() as u32,
            protected: [MatchEntry::default(); PROTECTED_MAX],
            entries: [MatchEntry::default(); SCAN_MAX],
            slots: [0; ENTRIES_MAX],
        });
        let mut entries = Vec::new();
        for rule in rules {
            for entry in &rule.entries {
                table.slots[entries.len()] = first_slot + rule.slot;
                entries.push(*entry);
            }
        }
        table.len = entries.len() as u32;
        let vectors = (entries.len() > SCAN_MAX).then(|| Vectors::new(&entries));
        for (place, entry) in table.entries.iter_mut().zip(entries) {
            *place = entry;
        }
        table.protected[..protected.len()].copy_from_slice(protected);
        Self {
            rules: table,
            vectors,
        }
    }

    /// The slot of the first rule that matches, found as the kernel side finds it; `None` also where the
    /// packet is protected.
    pub fn find(&self, features: u32, key: &PacketKey) -> Option<u32> {
        if self.rules.protects(key) {
            return None;
        }
        let entry = match &self.vectors {
            Some(vectors) => classify::search(vectors, features, key),
            None => self.rules.scan(key),
        };
        entry.map(|entry| self.rules.slots[entry])
    }
}

/// The bit vectors of a table.
#[derive(Clone, Debug)]
pub struct Vectors {
    /// Where the rows change.
    pub dimensions: Box<Dimensions>,
    /// What they point to.
    pub rows: Vec<Row>,
}

impl BitVectors for Vectors {
    fn dimensions(&self) -> &Dimensions {
        &self.dimensions
    }

    fn row(&self, number: u32) -> Option<&Row> {
        self.rows.get(number as usize)
    }
}

impl Vectors {
    fn new(entries: &[MatchEntry]) -> Self {
        let mut rows = Rows::default();
        let dimensions = array::from_fn(|dimension| cut(entries, dimension, &mut rows));
        Self {
            dimensions: Box::new(Dimensions(dimensions)),
            rows: rows.rows,
        }
    }

    /// The same, with rows counted from `first_row`.
    #[must_use]
    pub fn moved(mut self, first_row: u32) -> Self {
        for dimension in &mut self.dimensions.0 {
            for row in &mut dimension.rows {
                *row += first_row;
            }
        }
        self
    }
}

/// Cuts a dimension where entries begin and end.
fn cut(entries: &[MatchEntry], dimension: usize, rows: &mut Rows) -> Dimension {
    // Where an entry begins to match, or no longer does.
    let mut changes: Vec<(u64, usize)> = Vec::new();
    let mut row = Row::default();
    for (i, entry) in entries.iter().enumerate() {
        for (first, last) in entry.intervals(dimension).map(RangeInclusive::into_inner) {
            match first {
                0 => toggle(&mut row, i),
                _ => changes.push((first, i)),
            }
            if let Some(behind) = last.checked_add(1) {
                changes.push((behind, i));
            }
        }
    }
    changes.sort_unstable();
    let mut cut = Dimension {
        len: 0,
        step: 0,
        bounds: [0; BOUNDS_MAX],
        rows: [0; 2 * BOUNDS_MAX],
    };
    cut.rows[0] = rows.number(row);
    for change in changes.chunk_by(|a, b| a.0 == b.0) {
        for (_, i) in change {
            toggle(&mut row, *i);
        }
        cut.bounds[cut.len as usize] = change[0].0;
        cut.len += 1;
        cut.rows[cut.len as usize] = rows.number(row);
    }
    cut.step = cut.len.checked_ilog2().map_or(0, |bit| 1 << bit);
    cut
}

fn toggle(row: &mut Row, entry: usize) {
    row.words[entry / 64] ^= 1 << (entry % 64);
    let is_used = u64::from(row.words[entry / 64] != 0);
    row.summary = row.summary & !(1 << (entry / 64)) | is_used << (entry / 64);
}

/// Rows, each only once.
#[derive(Default)]
struct Rows {
    rows: Vec<Row>,
    numbers: HashMap<Row, u32>,
}

impl Rows {
    fn number(&mut self, row: Row) -> u32 {
        *self.numbers.entry(row).or_insert_with(|| {
            self.rows.push(row);
            self.rows.len() as u32 - 1
        })
    }
}

const _: () = assert!(ROW_WORDS * 64 == ENTRIES_MAX);

#[cfg(test)]
mod tests {
    use injector_common::{abi::features, dimension};
    use proptest::{collection::vec, prelude::*};

    use super::{
        super::{matching, reference},
        *,
    };
    use crate::profile::Match;

    /// The entries of all rules, and the rule of each.
    fn entries(rules: &[Match]) -> (Vec<MatchEntry>, Vec<usize>) {
        let each = rules.iter().enumerate().flat_map(|(rule, matching)| {
            let entries = matching::entries(matching);
            entries.into_iter().map(move |entry| (entry, rule))
        });
        each.take(ENTRIES_MAX).unzip()
    }

    fn used(entries: &[MatchEntry]) -> u32 {
        let restricted = |d: &usize| entries.iter().any(|entry| entry.restricts(*d));
        (0..dimension::COUNT)
            .filter(restricted)
            .fold(0, |bits, d| bits | 1 << d)
    }

    proptest! {
        // With all combinations of what packets are made of, a million in all.
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        #[test]
        fn both_ways_of_searching_find_the_first_rule_that_matches(
            rules in prop_oneof![
                vec(reference::any_match(), 1..4),
                vec(reference::any_match(), 1..20),
            ],
            addresses in vec(reference::any_addresses(), 20),
            ports in vec(reference::any_port_pair(), 10),
            numbers in vec(reference::any_number(), 5),
        ) {
            let (entries, rule_of) = entries(&rules);
            // Conditions that contradict each other make no entry.
            prop_assume!(!entries.is_empty());
            let vectors = Vectors::new(&entries);
            let used = used(&entries);
            let packets = addresses
                .iter()
                .flat_map(|a| ports.iter().map(move |p| (*a, *p)))
                .flat_map(|(a, p)| numbers.iter().map(move |n| (a, reference::packet(a, p, *n))));
            for (addresses, key) in packets {
                let rule = |entry: Option<usize>| entry.map(|entry| rule_of[entry]);
                let expected = rules
                    .iter()
                    .position(|rule| reference::matches(rule, &key, addresses));
                let scanned = entries.iter().position(|entry| entry.matches(&key));
                prop_assert_eq!(rule(scanned), expected);
                prop_assert_eq!(rule(classify::search(&vectors, used, &key)), expected);
            }
        }
    }

    #[test]
    fn as_many_bounds_as_there_can_be_are_told_apart() {
        // One port each, none beside another: two bounds an entry.
        let entry = |i: usize| MatchEntry {
            dst_port: 2 * i as u32 + 1,
            src_port_span: u32::MAX,
            ..MatchEntry::default()
        };
        let entries: Vec<_> = (0..ENTRIES_MAX).map(entry).collect();
        let vectors = Vectors::new(&entries);
        for port in 0..3000_u32 {
            let key = PacketKey {
                dst_port: port,
                ..PacketKey::default()
            };
            let is_matched = port % 2 == 1 && port < 2 * ENTRIES_MAX as u32;
            let expected = is_matched.then_some(port as usize / 2);
            assert_eq!(
                classify::search(&vectors, features::DST_PORT, &key),
                expected
            );
        }
    }
}
