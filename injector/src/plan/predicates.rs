//! What rules ask of a packet beside its dimensions.

use injector_common::{
    abi::{self, GROUP_LEN, GROUPS_MAX, MatchEntry, PREDICATES_MAX, Predicate, features},
    field,
    wire::PacketKey,
};

use crate::{profile::Fragments, units::Owner};

/// The distinct predicates of a plan. Each is a bit of a packet's truths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Predicates {
    list: Vec<Predicate>,
    /// Whose sockets some are about: bit i of [`field::OWNER`] stands for number i.
    owners: Vec<Owner>,
    /// Seed of what is chosen by flow.
    flow_key: u64,
    /// What they take later fragments for.
    fragments: Fragments,
}

impl Predicates {
    /// None yet; `flow_key` is the seed of what is chosen by flow.
    pub const fn new(flow_key: u64, fragments: Fragments) -> Self {
        Self {
            list: Vec::new(),
            owners: Vec::new(),
            flow_key,
            fragments,
        }
    }

    /// What they take later fragments for.
    pub const fn fragments(&self) -> Fragments {
        self.fragments
    }

    /// How many there are; more than [`PREDICATES_MAX`] cannot be.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The fields that an entry asks for, as [`features`].
    pub(super) fn fields_of(&self, entry: &MatchEntry) -> u64 {
        self.fields(entry.truths_mask)
    }

    fn fields(&self, asked: u64) -> u64 {
        let all = self.list.iter().take(PREDICATES_MAX).enumerate();
        let asked = all.filter(|(number, _)| asked >> number & 1 != 0);
        asked.fold(0, |bits, (_, predicate)| {
            bits | features::field(predicate.field as usize)
        })
    }

    /// At most how many rows they take in bit vectors: one for each way in which those of a group can be so or not.
    pub(super) fn rows(&self) -> u32 {
        let groups = self.list.chunks(GROUP_LEN).take(GROUPS_MAX);
        // An unused group has one, too.
        groups.map(|group| 1 << group.len()).sum::<u32>() + GROUPS_MAX as u32
    }

    /// The bit of a predicate; 0 where there is none left.
    pub(super) fn bit(&mut self, predicate: Predicate) -> u64 {
        let known = self.list.iter().position(|known| *known == predicate);
        let number = known.unwrap_or_else(|| {
            self.list.push(predicate);
            self.list.len() - 1
        });
        1_u64.checked_shl(number as u32).unwrap_or(0)
    }

    /// Whose sockets they are about.
    pub fn owners(&self) -> &[Owner] {
        &self.owners
    }

    /// That a packet's socket is an owner's.
    pub(super) fn owner(&mut self, owner: &Owner) -> Predicate {
        let known = self.owners.iter().position(|known| known == owner);
        let number = known.unwrap_or_else(|| {
            self.owners.push(owner.clone());
            self.owners.len() - 1
        });
        // Where there are too many, there are too many predicates, too.
        let bit = 1_u64.checked_shl(number as u32).unwrap_or(0);
        Predicate {
            field: field::OWNER as u32,
            mask: bit,
            first: bit,
            ..Predicate::default()
        }
    }

    /// The same packet, of which it is known what of these is so.
    pub fn judged(&self, key: &PacketKey) -> PacketKey {
        let mut key = *key;
        key.truths = self.record().truths(features::ALL, &mut key);
        key
    }

    /// As the kernel side has them.
    pub(super) fn record(&self) -> abi::Predicates {
        let mut record = abi::Predicates::NONE;
        record.len = self.list.len().min(PREDICATES_MAX) as u32;
        record.flow_key = self.flow_key;
        record.fields = self.fields(u64::MAX)
            | match self.fragments {
                Fragments::Separate => 0,
                Fragments::Follow => features::FOLLOW,
            };
        for (place, predicate) in record.list.iter_mut().zip(&self.list) {
            *place = *predicate;
        }
        record
    }
}

#[cfg(test)]
mod tests {
    use injector_common::abi::flags;

    use crate::{plan::Plan, profile};

    #[test]
    fn from_the_first_rule_on_that_xdp_cannot_judge_none_is_left_to_it() {
        let is_xdp = |rules: &str| {
            let text = format!("name: test\nrules: [{rules}]");
            let plan = Plan::new(&profile::parse("test", &text).unwrap(), 1).unwrap();
            let rules = plan.rules.iter();
            rules
                .map(|rule| rule.spec.flags & flags::XDP != 0)
                .collect::<Vec<_>>()
        };
        let drops = |matching: &str| format!("{{direction: ingress, match: {matching}, drop: 1%}}");
        let seen = drops("{ttl: 1, tcp_flags: syn, flows: 1%}");
        let all = drops("{}");
        assert_eq!(is_xdp(&format!("{seen}, {all}")), [true, true]);
        for unseen in [
            "mark: 1",
            "vlan: 1",
            "length: 40",
            "connection: {first: 1}",
            "not: {mark: 1}",
        ] {
            let unseen = drops(&format!("{{{unseen}}}"));
            assert_eq!(
                is_xdp(&format!("{seen}, {unseen}, {all}")),
                [true, false, false]
            );
        }
        // What leaves is another matter.
        let leaves = "{match: {mark: 1}, drop: 1%}";
        assert_eq!(is_xdp(&format!("{leaves}, {all}")), [false, true]);
    }
}
