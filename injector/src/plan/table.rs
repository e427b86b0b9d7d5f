//! The match entries of one direction as the kernel side looks them up.

use std::{array, collections::HashMap, ops::RangeInclusive};

use injector_common::{
    abi::{
        BOUNDS_MAX, Dimension, Dimensions, ENTRIES_MAX, GROUP_LEN, GROUP_VALUES, MatchEntry,
        PROTECTED_MAX, ROW_WORDS, Row, RuleTable, SCAN_MAX,
    },
    classify::{self, BitVectors},
    wire::PacketKey,
};

use super::{PlannedRule, Predicates};

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
        predicates: &Predicates,
        rules: impl Iterator<Item = &'a PlannedRule>,
        first_slot: u32,
    ) -> Self {
        let mut table = Box::new(RuleTable {
            len: 0,
            protected_len: protected.len() as u32,
            protected: [MatchEntry::default(); PROTECTED_MAX],
            predicates: predicates.record(),
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
    pub fn find(&self, features: u64, key: &PacketKey) -> Option<u32> {
        if self.rules.protects(key) {
            return None;
        }
        let mut key = *key;
        key.truths = self.rules.predicates.truths(features, &mut key);
        let key = &key;
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
        let places = array::from_fn(|dimension| cut(entries, dimension, &mut rows));
        let truths = array::from_fn(|group| allowing(entries, group, &mut rows));
        Self {
            dimensions: Box::new(Dimensions { places, truths }),
            rows: rows.rows,
        }
    }

    /// The same, with rows counted from `first_row`.
    #[must_use]
    pub fn moved(mut self, first_row: u32) -> Self {
        let Dimensions { places, truths } = self.dimensions.as_mut();
        let rows = places.iter_mut().flat_map(|dimension| &mut dimension.rows);
        for row in rows.chain(truths.iter_mut().flatten()) {
            *row += first_row;
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

/// The rows of a group of predicates: for each way in which these can be so or not, the entries that allow it.
fn allowing(entries: &[MatchEntry], group: usize, rows: &mut Rows) -> [u32; GROUP_VALUES] {
    let shift = GROUP_LEN * group;
    let looked_at = (entries.iter()).fold(0, |bits, entry| bits | entry.truths_mask >> shift);
    let mut numbers = [0; GROUP_VALUES];
    for value in 0..GROUP_VALUES {
        let seen = value & looked_at as usize;
        if seen != value {
            numbers[value] = numbers[seen];
            continue;
        }
        let allows = |entry: &MatchEntry| {
            (entry.truths >> shift ^ value as u64) & entry.truths_mask >> shift & LAST_VALUE == 0
        };
        let mut row = Row::default();
        for (i, _) in (entries.iter().enumerate()).filter(|(_, entry)| allows(entry)) {
            toggle(&mut row, i);
        }
        numbers[value] = rows.number(row);
    }
    numbers
}

const LAST_VALUE: u64 = GROUP_VALUES as u64 - 1;

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
    use injector_common::{
        abi::{GROUPS_MAX, PREDICATES_MAX, features},
        dimension,
    };
    use proptest::{collection::vec, prelude::*};

    use super::{
        super::{matching, reference},
        *,
    };
    use crate::profile::Match;

    /// The entries of all rules, and the rule of each.
    fn entries(rules: &[Match], predicates: &mut Predicates) -> (Vec<MatchEntry>, Vec<usize>) {
        let each = rules.iter().enumerate().flat_map(|(rule, matching)| {
            let entries = matching::entries(matching, predicates);
            entries.into_iter().map(move |entry| (entry, rule))
        });
        each.take(ENTRIES_MAX).unzip()
    }

    fn used(entries: &[MatchEntry]) -> u64 {
        let restricted = |d: &usize| entries.iter().any(|entry| entry.restricts(*d));
        let asks = |group: &usize| {
            let bits = entries.iter().map(|entry| entry.truths_mask);
            bits.fold(0, |all, bits| all | bits) >> (GROUP_LEN * group) & LAST_VALUE != 0
        };
        let dimensions = (0..dimension::COUNT).filter(restricted);
        let groups = (0..GROUPS_MAX).filter(asks).map(features::group);
        dimensions
            .map(|d| 1 << d)
            .chain(groups)
            .fold(0, |bits, bit| bits | bit)
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
            fields in vec(reference::any_fields(), 97),
        ) {
            let mut predicates = Predicates::default();
            let (entries, rule_of) = entries(&rules, &mut predicates);
            prop_assume!(predicates.len() <= PREDICATES_MAX);
            // Conditions that contradict each other make no entry.
            prop_assume!(!entries.is_empty());
            let vectors = Vectors::new(&entries);
            let used = used(&entries);
            let packets = addresses
                .iter()
                .flat_map(|a| ports.iter().map(move |p| (*a, *p)))
                .flat_map(|(a, p)| numbers.iter().map(move |n| (a, reference::packet(a, p, *n))));
            for (i, (addresses, key)) in packets.enumerate() {
                let key = reference::with(key, fields[i % fields.len()]);
                let judged = predicates.judged(&key);
                let rule = |entry: Option<usize>| entry.map(|entry| rule_of[entry]);
                let expected = rules
                    .iter()
                    .position(|rule| reference::matches(rule, &key, addresses));
                let scanned = entries.iter().position(|entry| entry.matches(&judged));
                prop_assert_eq!(rule(scanned), expected);
                prop_assert_eq!(rule(classify::search(&vectors, used, &judged)), expected);
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
