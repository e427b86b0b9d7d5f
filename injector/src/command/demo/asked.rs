//! What the profile asks of the packets that the demo sends.

use injector_common::{abi::flags, wire::PacketKey};
use serde::Serialize;

use super::{datagrams, echo, setting::ends};
use crate::{
    datapath::private_path::End,
    plan::{self, Hook, Needs, Plan, PlannedRule},
};

/// What to expect.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Asked {
    /// Added to a round trip.
    pub(super) round_trip: Option<Added>,
    /// For the datagrams of each direction that the profile has rules for.
    pub(super) datagrams: Vec<AskedOfDatagrams>,
}

/// Time added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Added {
    pub(super) delay_ns: u64,
    /// The largest deviation from it.
    pub(super) jitter_ns: u64,
}

/// What the rule asks that matches the datagrams of a direction.
#[derive(Clone, Debug, Serialize)]
pub(super) struct AskedOfDatagrams {
    pub(super) direction: Hook,
    /// The rule; absent where none matches.
    pub(super) rule: Option<String>,
    /// Corrupted datagrams get a checksum that fits, so that the socket gets them.
    pub(super) checksum_valid: bool,
    #[serde(flatten)]
    pub(super) faults: plan::Asked,
}

impl Asked {
    /// Works out what `plan` asks.
    pub(super) fn of(plan: &Plan) -> Self {
        let hooks = || Hook::ALL.into_iter().filter(|hook| plan.uses(*hook));
        let datagrams = hooks().map(|hook| {
            let rule = find(plan, hook, datagrams::SENDER_PORT, datagrams::PORT);
            AskedOfDatagrams {
                direction: hook,
                rule: rule.map(|rule| rule.name.clone()),
                checksum_valid: rule
                    .is_some_and(|rule| rule.spec.flags & flags::CHECKSUM_VALID != 0),
                faults: rule.map(faults).unwrap_or_default(),
            }
        });
        let delays = hooks().filter_map(|hook| {
            let (src, dst) = match hook {
                Hook::Egress => (echo::CLIENT_PORT, echo::PORT),
                Hook::Ingress => (echo::PORT, echo::CLIENT_PORT),
            };
            find(plan, hook, src, dst).map(faults)
        });
        Self {
            round_trip: added(delays),
            datagrams: datagrams.collect(),
        }
    }

    /// Whether no rule is about the demo's packets.
    pub(super) fn matches_nothing(&self) -> bool {
        self.round_trip.is_none() && self.datagrams.iter().all(|asked| asked.rule.is_none())
    }
}

/// The sum over both directions; `None` where nothing is delayed.
fn added(faults: impl Iterator<Item = plan::Asked>) -> Option<Added> {
    let sum = faults.fold(
        Added {
            delay_ns: 0,
            jitter_ns: 0,
        },
        |sum, asked| Added {
            delay_ns: sum.delay_ns + asked.delay_ns.unwrap_or(0),
            jitter_ns: sum.jitter_ns + asked.jitter_ns.unwrap_or(0),
        },
    );
    (sum.delay_ns > 0).then_some(sum)
}

fn faults(rule: &PlannedRule) -> plan::Asked {
    rule.asked
}

/// The rule that matches a UDP packet of the demo.
fn find(plan: &Plan, hook: Hook, src_port: u16, dst_port: u16) -> Option<&PlannedRule> {
    const IPV4: u16 = 0x0800;
    const UDP: u16 = 17;
    let (from, to): (End, End) = ends(hook);
    let address = |end: End| std::net::IpAddr::from(end.address()).into();
    let key = PacketKey {
        src: address(from),
        dst: address(to),
        src_port: src_port.into(),
        dst_port: dst_port.into(),
        ethertype: IPV4,
        protocol: UDP,
        ..PacketKey::default()
    };
    let slot = plan.table(hook, 0).find(Needs::of([plan]).features, &key)?;
    plan.rules.iter().find(|rule| rule.slot == slot)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile;

    fn asked(rules: &str) -> Asked {
        let profile = profile::parse("test", &format!("name: test\nrules: {rules}")).unwrap();
        Asked::of(&Plan::new(&profile, 1).unwrap())
    }

    #[test]
    fn a_delay_both_ways_counts_twice_in_a_round_trip() {
        let both = asked("[{direction: both, delay: {time: 40ms, jitter: 5ms}}]");
        let expected = Added {
            delay_ns: 80_000_000,
            jitter_ns: 10_000_000,
        };
        assert_eq!(both.round_trip, Some(expected));
        assert_eq!(both.datagrams.len(), 2);
    }

    #[test]
    fn the_first_rule_that_matches_counts() {
        let asked = asked(
            "[{name: tcp, match: {protocol: tcp}, drop: 50%}, {name: udp, drop: 2%}, {drop: 9%}]",
        );
        assert_eq!(asked.datagrams[0].rule.as_deref(), Some("udp"));
        assert_eq!(asked.round_trip, None);
    }

    #[test]
    fn a_profile_for_other_packets_asks_nothing() {
        assert!(asked("[{match: {dst: 10.0.0.0/8}, drop: 50%}]").matches_nothing());
    }
}
