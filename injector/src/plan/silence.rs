//! Whether a profile leaves a device without a word.

use injector_common::{
    abi::{MatchEntry, flags},
    dimension,
};
use ipnet::IpNet;

use super::{Hook, Plan, PlannedRule, Predicates, matching};
use crate::profile::Match;

/// Packets whose coordinates lie between these, both included.
type Space = [(u64, u64); dimension::COUNT];

impl Plan {
    /// Whether the rules of one direction are certain to drop every packet of a version of IP, of which
    /// `everybody` is the network.
    pub fn silences(&self, hook: Hook, everybody: IpNet) -> bool {
        let rules: Vec<_> = (self.on(hook))
            .flat_map(|rule| rule.entries.iter().map(|entry| (entry, drops_all(rule))))
            // What asks for more than dimensions cannot be counted on.
            .filter(|(entry, drops)| !drops || entry.truths_mask == 0)
            .collect();
        survivors(version(everybody), &rules).is_none()
    }
}

/// Every packet of a version of IP.
fn version(everybody: IpNet) -> Space {
    let packets = matching::entries(
        &Match {
            src: vec![everybody],
            dst: vec![everybody],
            ..Match::default()
        },
        &mut Predicates::default(),
    );
    let all = [(0, u64::MAX); dimension::COUNT];
    common(&all, &packets[0]).unwrap_or(all)
}

/// Also where it comes to that only in the end, or now and then.
fn drops_all(rule: &PlannedRule) -> bool {
    let certain = rule.asked.drop.is_some_and(|share| share >= 1.0);
    certain && rule.spec.flags & flags::ECN == 0
}

/// Packets of `space` that the first rule that matches them does not drop for certain; `None` where there
/// are none. Rules are entries in the order of precedence, and whether they drop everything.
fn survivors(mut space: Space, rules: &[(&MatchEntry, bool)]) -> Option<Space> {
    let meets = |(entry, _): &(&MatchEntry, bool)| common(&space, entry).is_some();
    let Some(place) = rules.iter().position(meets) else {
        return Some(space);
    };
    let (entry, drops) = rules[place];
    let met = common(&space, entry)?;
    if !drops {
        return Some(met);
    }
    // What lies beside the entry is left to the rules after it, dimension by dimension. What is above comes
    // first: no rule about ports reaches what has none.
    for dimension in 0..dimension::COUNT {
        let ((first, last), (from, to)) = (space[dimension], met[dimension]);
        let above = (to < last).then(|| (to + 1, last));
        let below = (first < from).then(|| (first, from - 1));
        for part in above.into_iter().chain(below) {
            space[dimension] = part;
            let found = survivors(space, &rules[place + 1..]);
            if found.is_some() {
                return found;
            }
        }
        space[dimension] = met[dimension];
    }
    None
}

/// What of `space` an entry matches. Of the intervals of an entry one at most lies in one version of IP.
fn common(space: &Space, entry: &MatchEntry) -> Option<Space> {
    let mut common = *space;
    for (dimension, (first, last)) in common.iter_mut().enumerate() {
        let mut intervals = entry.intervals(dimension);
        let met = intervals.find(|met| *met.start() <= *last && *first <= *met.end())?;
        (*first, *last) = ((*first).max(*met.start()), (*last).min(*met.end()));
    }
    Some(common)
}

#[cfg(test)]
mod tests {
    use injector_common::wire::PacketKey;
    use proptest::{collection::vec, prelude::*};

    use super::{super::reference, *};
    use crate::profile;

    fn plan(text: &str) -> Vec<Plan> {
        Plan::all(&profile::parse("test", text).unwrap(), 1).unwrap()
    }

    fn everybody() -> [IpNet; 2] {
        ["0.0.0.0/0", "::/0"].map(|net| net.parse().unwrap())
    }

    /// What of `[egress, ingress]` falls silent in IPv4 and in IPv6.
    fn silences(rules: &str) -> [[bool; 2]; 2] {
        let plan = &plan(&format!("name: test\nrules: [{rules}]"))[0];
        everybody().map(|ip| Hook::ALL.map(|hook| plan.silences(hook, ip)))
    }

    #[test]
    fn only_what_drops_every_packet_silences() {
        assert_eq!(silences("{direction: both, drop: 100%}"), [[true; 2]; 2]);
        assert_eq!(silences("{drop: 100%}"), [[true, false]; 2]);
        assert_eq!(silences("{drop: {every: 1}}"), [[true, false]; 2]);
        assert_eq!(
            silences("{match: {protocol: ipv6}, drop: 100%}"),
            [[false; 2], [true, false]]
        );
        assert_eq!(
            silences("{match: {dst: [0.0.0.0/1, 128.0.0.0/1]}, drop: 100%}"),
            [[true, false], [false; 2]]
        );
        for rules in [
            "{direction: both, drop: 99.99%}",
            "{drop: {probability: 100%, ecn: true}}",
            "{match: {protocol: tcp}, drop: 100%}",
            "{match: {dst: 128.0.0.0/1}, drop: 100%}",
            "{match: {protocol: icmp}}, {drop: 100%}",
            "{match: {src_port: 0-65535}, drop: 100%}",
            "{rate: 1kbit}",
        ] {
            assert_eq!(silences(rules), [[false; 2]; 2], "{rules}");
        }
        // What the first rule drops, the second cannot let live.
        let shadowed = "{match: {protocol: tcp}, drop: 100%}, {match: {protocol: tcp, dst_port: 5}, delay: 1ms}";
        assert_eq!(
            silences(&format!("{shadowed}, {{drop: 100%}}")),
            [[true, false]; 2]
        );
    }

    #[test]
    fn one_phase_is_enough_also_where_it_only_ends_so() {
        let plans = plan(
            "
name: test
repeat: forever
phases:
  - {for: 30s, rules: [{delay: 40ms}]}
  - {for: 1s, rules: [{drop: 100%}]}
  - {for: 5s, rules: []}
  - {for: 5s, ramp: true, rules: [{drop: 100%}]}",
        );
        let silences = plans
            .iter()
            .map(|plan| plan.silences(Hook::Egress, everybody()[0]));
        assert_eq!(silences.collect::<Vec<_>>(), [false, true, false, true]);
    }

    /// Half of all addresses, an eighth and so on, so that rules together cover everything now and then.
    fn any_part() -> impl Strategy<Value = Match> {
        let net =
            |(address, len): (u32, u8)| IpNet::new(address.to_be_bytes().into(), len).unwrap();
        let nets = || {
            vec(
                (any::<u32>(), 0u8..3).prop_map(move |parts| net(parts).trunc()),
                0..4,
            )
        };
        (nets(), nets()).prop_map(|(src, dst)| Match {
            src,
            dst,
            ..Match::default()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3_000))]

        #[test]
        fn a_survivor_is_found_just_where_there_is_one(
            rules in vec((prop_oneof![4 => any_part(), 1 => reference::any_match()], 0u8..8), 0..8),
            packets in vec((reference::any_addresses(), reference::any_port_pair(), reference::any_number()), 100),
        ) {
            let entries: Vec<_> = rules.iter().map(|(matching, _)| matching::entries(&plain(matching), &mut Predicates::default())).collect();
            let kinds = rules.iter().map(|(_, kind)| *kind != 0);
            let rules: Vec<_> = (entries.iter().zip(kinds))
                .flat_map(|(entries, drops)| entries.iter().map(move |entry| (entry, drops)))
                .collect();
            let is_dropped = |packet: &PacketKey| {
                rules.iter().find(|(entry, _)| entry.matches(packet)).is_some_and(|(_, drops)| *drops)
            };
            let v4 = matching::entries(&Match { src: vec![everybody()[0]], ..Match::default() }, &mut Predicates::default())[0];
            match survivors(version(everybody()[0]), &rules) {
                Some(space) => {
                    let corners = [|side: (u64, u64)| side.0, |side: (u64, u64)| side.1];
                    for corner in corners {
                        prop_assert!(!is_dropped(&packet(space.map(corner))), "{space:x?}");
                    }
                }
                None => {
                    let mut v4 = packets
                        .iter()
                        .map(|(addresses, ports, number)| reference::packet(*addresses, *ports, *number))
                        .filter(|packet| v4.matches(packet));
                    prop_assert!(v4.all(|packet| is_dropped(&packet)));
                }
            }
        }
    }

    /// Without conditions that are no dimensions.
    fn plain(matching: &Match) -> Match {
        Match {
            protocol: matching.protocol,
            src: matching.src.clone(),
            dst: matching.dst.clone(),
            src_port: matching.src_port.clone(),
            dst_port: matching.dst_port.clone(),
            ..Match::default()
        }
    }

    fn packet(
        [src_high, src, dst_high, dst, src_port, dst_port, kind]: [u64; dimension::COUNT],
    ) -> PacketKey {
        let address = |high, low| {
            std::net::IpAddr::from((u128::from(high) << 64 | u128::from(low)).to_be_bytes()).into()
        };
        PacketKey {
            src: address(src_high, src),
            dst: address(dst_high, dst),
            src_port: src_port.min(u64::from(u32::MAX)) as u32,
            dst_port: dst_port.min(u64::from(u32::MAX)) as u32,
            ethertype: (kind >> 16) as u16,
            protocol: kind as u16,
            ..PacketKey::default()
        }
    }
}
