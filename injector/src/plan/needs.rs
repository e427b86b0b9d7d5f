//! What plans make use of: for that the programs are specialised, and the maps are sized.

use std::ops::Range;

use injector_common::{
    abi::{
        BOUNDS_MAX, FaultSpec, GENERATIONS, GROUP_LEN, GROUP_VALUES, GROUPS_MAX, MatchEntry,
        RULES_MAX, SCAN_MAX, fault, features, flags, model,
    },
    dimension, field,
    wire::{ICMPV6_TYPES, ethertype},
};

use super::{HELD_MAX_NS, Hook, Places, Plan};
use crate::profile::Fragments;

/// What every plan that may come into force during a run makes use of. Fixed when the run starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// See [`features`].
    pub features: u64,
    /// Rules act on packets that leave, and on packets that arrive.
    pub hooks: [bool; 2],
    /// Super-packets may have to be split.
    pub splits: bool,
    /// Rules of both directions together.
    pub slots: u32,
    /// Rows of bit vectors in one direction, at most.
    pub rows: u32,
    /// What faults refer to by number.
    pub models: Places,
    /// The longest time that any packet can be held, in ns.
    pub delay_max_ns: u64,
}

impl Needs {
    /// Whether rules may ask whose socket a packet's is.
    pub fn looks_for_owners(&self) -> bool {
        self.features & features::field(field::OWNER) != 0
    }

    /// Those of any plan there may be.
    pub const ANY: Self = Self {
        features: features::ALL,
        hooks: [true; 2],
        splits: true,
        slots: 2 * RULES_MAX as u32,
        rows: (dimension::COUNT * (BOUNDS_MAX + 1) + GROUPS_MAX * GROUP_VALUES) as u32,
        models: Places {
            chains: 256,
            bounds: 4096,
            distributions: 16,
            points: 4096,
            opportunities: 65_536,
        },
        delay_max_ns: HELD_MAX_NS,
    };

    /// Those of all these plans, of which one at a time is in force.
    pub fn of<'a>(plans: impl IntoIterator<Item = &'a Plan>) -> Self {
        let each = plans.into_iter().map(Self::of_one);
        each.reduce(|a, b| Self {
            features: a.features | b.features | features::SWAP,
            hooks: [a.hooks[0] || b.hooks[0], a.hooks[1] || b.hooks[1]],
            splits: a.splits || b.splits,
            slots: a.slots.max(b.slots),
            rows: a.rows.max(b.rows),
            models: a.models.max(b.models),
            delay_max_ns: a.delay_max_ns.max(b.delay_max_ns),
        })
        .unwrap_or_default()
    }

    fn of_one(plan: &Plan) -> Self {
        let entries = |hook| plan.on(hook).flat_map(|rule| &rule.entries);
        let many = Hook::ALL
            .iter()
            .any(|hook| entries(*hook).count() > SCAN_MAX);
        let rules = &plan.rules;
        let of_rules = |entry| of_entry(entry, plan.predicates.fields_of(entry));
        let protected = Hook::ALL.map(|hook| plan.protected(hook)).concat();
        let protects = protected
            .iter()
            .map(|entry| features::PROTECT | of_entry(entry, 0));
        let features = (rules.iter().map(|rule| of_faults(&rule.spec)))
            .chain(Hook::ALL.into_iter().flat_map(entries).map(of_rules))
            .chain(protects)
            .chain(many.then_some(features::BIT_VECTORS))
            .fold(features::COUNTERS, |a, b| a | b);
        Self {
            features: features | of_fragments(plan.predicates.fragments(), features),
            hooks: Hook::ALL.map(|hook| plan.uses(hook)),
            // What is dropped in any case is dropped whole.
            splits: (rules.iter())
                .any(|rule| rule.spec.flags & flags::SPLIT != 0 && !rule.spec.drops_all()),
            slots: rules.len() as u32,
            rows: Hook::ALL
                .map(|hook| rows(entries(hook)) + plan.predicates.rows())
                .into_iter()
                .max()
                .unwrap_or(0),
            models: plan.models.sizes(),
            delay_max_ns: plan.delay_max_ns(),
        }
    }

    /// Whether a run with these needs has rules in this direction.
    pub const fn uses(&self, hook: Hook) -> bool {
        self.hooks[hook.direction() as usize]
    }

    /// What a run with these needs lacks for one with `others`; `None` where it can serve it.
    pub fn lacks(&self, others: &Self) -> Option<&'static str> {
        let more = [
            (others.hooks[0] && !self.hooks[0], "rules for egress"),
            (others.hooks[1] && !self.hooks[1], "rules for ingress"),
            (
                others.slots > self.slots || others.rows > self.rows,
                "so many rules",
            ),
            (
                others.models.max(self.models) != self.models,
                "so many models of faults",
            ),
            (others.delay_max_ns > self.delay_max_ns, "such long delays"),
            (
                others.splits && !self.splits,
                "faults that act on single packets",
            ),
            (
                others.features & !self.features != 0,
                "such conditions or faults",
            ),
        ];
        more.into_iter()
            .find_map(|(lacks, what)| lacks.then_some(what))
    }

    /// The slots that the rules of `plan` have in a generation.
    pub const fn slots_of(&self, plan: &Plan, generation: u32) -> Range<u32> {
        let first = generation * self.slots;
        first..first + plan.rules.len() as u32
    }

    /// Where the models of a generation's plan begin in the maps.
    pub const fn models_of(&self, generation: u32) -> Places {
        self.models.times(generation)
    }

    /// Whether rules may be swapped.
    pub const fn swaps(&self) -> bool {
        self.features & features::SWAP != 0
    }

    /// How many generations of rules there are.
    pub const fn generations(&self) -> u32 {
        if self.swaps() { GENERATIONS } else { 1 }
    }
}

/// At most how many rows the bit vectors of these entries have: one for each interval.
fn rows<'a>(entries: impl Iterator<Item = &'a MatchEntry>) -> u32 {
    let bounds = entries.map(|entry| {
        let restricted = (0..dimension::COUNT).filter(|d| entry.restricts(*d));
        restricted
            .map(|d| 2 * entry.intervals(d).count())
            .sum::<usize>()
    });
    (bounds.sum::<usize>() + dimension::COUNT) as u32
}

/// What an entry looks at that asks for these fields.
fn of_entry(entry: &MatchEntry, fields: u64) -> u64 {
    let mut looks = (0..dimension::COUNT)
        .filter(|d| entry.restricts(*d))
        .fold(fields, |bits, d| bits | 1 << d);
    for group in 0..GROUPS_MAX {
        if entry.truths_mask >> (GROUP_LEN * group) & (GROUP_VALUES as u64 - 1) != 0 {
            looks |= features::group(group);
        }
    }
    if entry.protocol_mask != 0 {
        looks |= features::PROTOCOL;
    }
    // What a dimension is not has to be read, too.
    for dimension in (0..dimension::COUNT).filter(|d| fields & features::field(*d) != 0) {
        looks |= 1 << dimension | features::PROTOCOL;
    }
    if entry.dst_port >= ICMPV6_TYPES {
        looks |= features::ICMPV6_TYPE;
    }
    if fields & features::field(field::OWNER) != 0 {
        // A socket is found by all of these.
        looks |= features::PROTOCOL | features::PORTS;
    }
    let looks_into = |kind, feature| {
        let may_match = entry.ethertype_mask == 0 || entry.ethertype == kind;
        if may_match && looks & features::NETWORK != 0 {
            feature
        } else {
            0
        }
    };
    looks
        | looks_into(ethertype::IPV4, features::IPV4)
        | looks_into(ethertype::IPV6, features::IPV6)
}

/// What it takes that later fragments have what somebody asks for, and they lack.
const fn of_fragments(fragments: Fragments, asked: u64) -> u64 {
    match fragments {
        Fragments::Follow if asked & features::TRANSPORT_HEADER != 0 => {
            features::FOLLOW | features::field(field::FRAGMENT)
        }
        _ => 0,
    }
}

fn of_faults(spec: &FaultSpec) -> u64 {
    let can = |fault: usize| spec.chances[fault].is_possible();
    let chooses_by = |model| spec.chances.iter().any(|chance| chance.model == model);
    let is_set = |flag| spec.flags & flag != 0;
    [
        (can(fault::DROP), features::DROP),
        (can(fault::CORRUPT), features::CORRUPT),
        (can(fault::DUPLICATE), features::DUPLICATE),
        (can(fault::REORDER), features::REORDER),
        (chooses_by(model::MARKOV), features::MARKOV),
        (chooses_by(model::LISTED), features::LISTED),
        (is_set(flags::CHECKSUM_VALID), features::CHECKSUM_VALID),
        (is_set(flags::ECN | flags::QUEUE_ECN), features::ECN),
        (is_set(flags::XDP), features::XDP),
        (spec.paces(), features::PACE),
        (spec.delays(), features::DELAY),
        (spec.changes(), features::TRACK),
        (spec.pace.opportunities.len != 0, features::OPPORTUNITIES),
        (spec.delay.keep_odds != 0, features::CORRELATION),
        (spec.delay.distribution != 0, features::DISTRIBUTION),
    ]
    .into_iter()
    .filter(|(is_used, _)| *is_used)
    .fold(0, |bits, (_, feature)| bits | feature)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile;

    fn follows(fragments: &str, conditions: &str) -> bool {
        let text = format!(
            "{{name: test, fragments: {fragments}, rules: [{{match: {{{conditions}}}, drop: 1%}}]}}"
        );
        let plan = Plan::new(&profile::parse("test", &text).unwrap(), 1).unwrap();
        Needs::of([&plan]).features & features::FOLLOW != 0
    }

    #[test]
    fn fragments_follow_only_where_somebody_asks_for_what_later_ones_lack() {
        for lacked in [
            "src_port: 53",
            "not: {dst_port: 53}",
            "tcp_flags: syn",
            "icmp_type: echo-request",
            "connection: {first: 1}",
            "flows: 10%",
            "user: 0",
        ] {
            assert!(follows("follow", lacked), "{lacked}");
            assert!(!follows("separate", lacked), "{lacked}");
        }
        for had in [
            "",
            "protocol: udp",
            "dst: 10.0.0.1",
            "ttl: 1",
            "mark: 1",
            "fragment: laterfrag",
        ] {
            assert!(!follows("follow", had), "{had}");
        }
        // What only they have, and what they lack.
        assert!(follows(
            "follow",
            "dst_port: 53, any: [{fragment: laterfrag, src_port: 9}]"
        ));
    }
}
