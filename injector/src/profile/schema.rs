//! What may be written in a profile: the raw form, as typed by a person.
//!
//! Every struct here is one mapping of the YAML, every field one key. Structs of options and no
//! tagged enums: with those the parser loses the place of an error.

mod chance;
mod fault;

use serde::{Deserialize, Deserializer};

use super::number::FirstPackets;
use super::shape::{Alternatives, ByName, HasRules, List, OneOrMany, Phases, Rules, ShortOr};
use super::strict::{Elsewhere, Table, Vocabulary};
use super::text::{Name, Seed, Text};
use super::{
    Direction, Ecn, Expectation, Fragment, Fragments, IcmpType, Protocol, Repeat, TARGETS_MAX,
};
use crate::units::{
    Address, CgroupPath, ContainerName, Dscp, DurationNs, Flows, Interface, Length, Mac, Mark,
    Namespace, Network, Pid, PortRange, ProcessName, Span, TcpFlags, Ttl, UserName, Vlan,
};

pub(super) use self::chance::RawChance;
#[cfg(test)]
pub(super) use self::fault::{DistributionName, RawTable};
pub(super) use self::fault::{
    RawCorrupt, RawDelay, RawDistribution, RawDrop, RawDuplicate, RawRate, RawReorder, RawReplay,
    RawSlot,
};

/// A whole profile.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct RawProfile {
    /// What reports, counters and the audit call the profile.
    pub name: Name,
    /// What the profile imitates.
    #[serde(default, deserialize_with = "given")]
    pub description: Option<Text>,
    /// Seed of all chance: the same seed and packets give the same fates. Drawn, and printed, where it is absent.
    #[serde(default, deserialize_with = "given")]
    pub seed: Option<Seed>,
    /// Which packets suffer what, in place of `phases`. The first rule that matches a packet wins.
    #[serde(default, deserialize_with = "given")]
    pub rules: Option<Rules<RawRule, 1>>,
    /// Rules that change over time, in place of `rules`: one phase after the other.
    #[serde(default, deserialize_with = "given")]
    pub phases: Option<Phases<RawPhase>>,
    /// How often the phases are played.
    #[cfg_attr(test, schemars(extend("default" = 1)))]
    #[serde(default, deserialize_with = "given")]
    pub repeat: Option<Repeat>,
    /// What rules take later fragments of a packet for. `separate`: they have no ports, flags and types, and are a flow
    /// of their own. `follow`: they have those of the first fragment, if that came before them, and are of its flow.
    #[cfg_attr(test, schemars(extend("default" = "separate")))]
    #[serde(default, deserialize_with = "given")]
    pub fragments: Option<Fragments>,
    /// What a run is to achieve: one expectation, or a list.
    #[serde(default)]
    pub expect: OneOrMany<Expectation>,
    /// Interfaces on which the profile is played where the command line names none: one, or a list; names, or
    /// patterns.
    #[serde(default)]
    pub interfaces: OneOrMany<Interface>,
    /// Interfaces by names of the profile's own, which may be in several namespaces, in place of `interfaces`.
    #[serde(default, deserialize_with = "given")]
    pub targets: Option<ByName<RawTarget, TARGETS_MAX>>,
    /// Groups of targets of which none hears another.
    #[serde(default, deserialize_with = "given")]
    pub partition: Option<Groups>,
}

/// Groups of names.
pub(super) type Groups = List<List<Name, TARGETS_MAX>, TARGETS_MAX>;

/// Where a target is.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct RawTarget {
    /// Its network namespace, as `--netns` takes it: a name of `ip netns`, a path, or `pid:N`. That of the run where it is
    /// absent.
    #[serde(default, deserialize_with = "given")]
    pub netns: Option<Namespace>,
    /// Container in whose network namespace it is, by name or identifier, in place of `netns`.
    #[serde(default, deserialize_with = "given")]
    pub container: Option<ContainerName>,
    /// Its interface, or a pattern that only one fits. Where it is absent, the only one that there is but `lo`.
    #[serde(default, deserialize_with = "given")]
    pub interface: Option<Interface>,
    /// Its addresses, or networks: one, or a list. Where it is absent, all that the interface has when the run starts, in
    /// both versions of IP; later ones are not known.
    #[serde(default)]
    pub addresses: OneOrMany<Network>,
}

impl Vocabulary for RawTarget {
    const WHAT: &'static str = "a target";
}

impl Vocabulary for RawProfile {
    const WHAT: &'static str = "a profile";
    const ELSEWHERE: &'static [Elsewhere] = &[
        IN_A_RULE,
        (&["for", "ramp"], "into a phase, under `phases`"),
        (
            &["netns", "container", "interface", "addresses"],
            "into a target, under `targets`",
        ),
    ];
}

pub(super) const IN_A_RULE: Elsewhere = (
    &[
        "direction",
        "match",
        "drop",
        "delay",
        "corrupt",
        "duplicate",
        "reorder",
        "rate",
        "slot",
        "replay",
    ],
    "into a rule, under `rules`",
);

/// One phase.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct RawPhase {
    /// What reports, counters and expectations call the phase; `phase-N` where it is absent, counting from 1.
    #[serde(default, deserialize_with = "given")]
    pub name: Option<Name>,
    /// How long the phase lasts; above 0.
    #[serde(rename = "for")]
    pub duration: DurationNs,
    /// Values move on a straight line from those of the phase before to these.
    #[cfg_attr(test, schemars(extend("default" = false)))]
    #[serde(default, deserialize_with = "given")]
    pub ramp: Option<bool>,
    /// Without any, every packet is untouched.
    #[serde(default, deserialize_with = "given")]
    pub rules: Option<Rules<RawRule, 0>>,
    /// Groups of targets of which none hears another.
    #[serde(default, deserialize_with = "given")]
    pub partition: Option<Groups>,
}

impl Vocabulary for RawPhase {
    const WHAT: &'static str = "a phase";
    const ELSEWHERE: &'static [Elsewhere] = &[
        IN_A_RULE,
        (
            &["repeat", "fragments", "interfaces", "targets"],
            "beside `phases`",
        ),
    ];
}

impl HasRules for RawPhase {
    fn rules(&self) -> usize {
        self.rules.as_ref().map_or(0, |rules| rules.0.len())
    }
}

/// One rule.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct RawRule {
    /// What reports, counters and expectations call the rule; `rule-N` where it is absent, counting from 1.
    #[serde(default, deserialize_with = "given")]
    pub name: Option<Name>,
    /// Which way the packets go.
    #[cfg_attr(test, schemars(extend("default" = "egress")))]
    #[serde(default, deserialize_with = "given")]
    pub direction: Option<Direction>,
    /// Which packets the rule is about; all where it is absent.
    #[serde(default, rename = "match", deserialize_with = "given")]
    pub matching: Option<Table<RawMatch>>,
    /// Loss: nobody is told, as on a wire.
    #[serde(default, deserialize_with = "given")]
    pub drop: Option<ShortOr<RawDrop>>,
    /// Latency, one way.
    #[serde(default, deserialize_with = "given")]
    pub delay: Option<ShortOr<RawDelay>>,
    /// Flipped bits.
    #[serde(default, deserialize_with = "given")]
    pub corrupt: Option<ShortOr<RawCorrupt>>,
    /// Further copies, each with a delay of its own.
    #[serde(default, deserialize_with = "given")]
    pub duplicate: Option<ShortOr<RawDuplicate>>,
    /// Packets that are not delayed, and so overtake those that are; needs `delay`.
    #[serde(default, deserialize_with = "given")]
    pub reorder: Option<ShortOr<RawReorder>>,
    /// A bottleneck: packets leave one after the other.
    #[serde(default, deserialize_with = "given")]
    pub rate: Option<ShortOr<RawRate>>,
    /// A medium that is free now and then: packets leave together.
    #[serde(default, deserialize_with = "given")]
    pub slot: Option<Table<RawSlot>>,
    /// Recorded conditions, or a recorded link.
    #[serde(default, deserialize_with = "given")]
    pub replay: Option<ShortOr<RawReplay>>,
}

impl Vocabulary for RawRule {
    const WHAT: &'static str = "a rule";
    const ELSEWHERE: &'static [Elsewhere] = &[
        (
            &[
                "protocol",
                "src",
                "dst",
                "src_port",
                "dst_port",
                "ttl",
                "dscp",
                "mark",
                "tcp_flags",
                "icmp_type",
                "fragment",
                "length",
                "vlan",
                "src_mac",
                "dst_mac",
                "connection",
                "flows",
                "process",
                "pid",
                "cgroup",
                "container",
                "user",
                "any",
                "not",
            ],
            "under `match`",
        ),
        (
            &["time", "jitter", "distribution", "keep_order"],
            "under `delay`",
        ),
        (&["checksum", "bits", "where"], "under `corrupt`"),
        (&["copies"], "under `duplicate`"),
        (&["gap"], "under `reorder`"),
        (
            &["bandwidth", "burst", "queue", "overhead", "cell_size"],
            "under `rate`",
        ),
        (&["model"], "under `drop`"),
        (&["ecn"], "under `drop` or `rate`"),
        (&["file", "loop", "interpolation"], "under `replay`"),
        (
            &["probability", "correlation", "every", "first", "packets"],
            "under a fault, such as `drop`",
        ),
    ];
}

/// Conditions of a rule.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct RawMatch {
    /// One protocol, at whichever layer it lives. `icmp` is ICMP over IPv4 and ICMPv6 over IPv6, `icmpv6` the latter alone,
    /// `ip` is IPv4; a number is that of an IP protocol.
    #[serde(default, deserialize_with = "given")]
    pub protocol: Option<Protocol>,
    /// Source addresses, networks, whose host bits are 0, or names of hosts: one, or a list. Not beside `arp`.
    #[serde(default)]
    pub src: OneOrMany<Address>,
    /// Destination addresses, networks, whose host bits are 0, or names of hosts: one, or a list. Not beside `arp`.
    #[serde(default)]
    pub dst: OneOrMany<Address>,
    /// Source ports of TCP, UDP or SCTP: one, a range, or a list.
    #[serde(default)]
    pub src_port: OneOrMany<PortRange>,
    /// Destination ports of TCP, UDP or SCTP: one, a range, or a list.
    #[serde(default)]
    pub dst_port: OneOrMany<PortRange>,
    /// Time to live of IPv4, hop limit of IPv6: one, a range, or a list.
    #[serde(default)]
    pub ttl: OneOrMany<Span<Ttl>>,
    /// Differentiated services code point: one by name (`ef`, `va`, `le`, `cs0` to `cs7`, `af11` to `af43`, `default`) or
    /// number, a range, or a list.
    #[serde(default)]
    pub dscp: OneOrMany<Span<Dscp>>,
    /// Mark that the packet has in this kernel (`skb->mark`: iptables `MARK`, nft `meta mark`, `SO_MARK`): one, maybe with a
    /// mask of the bits that count, or a list.
    #[serde(default)]
    pub mark: OneOrMany<Mark>,
    /// What the packet says about congestion: one, or a list.
    #[serde(default)]
    pub ecn: OneOrMany<Ecn>,
    /// Flags of TCP that are set, and with `!` flags that are not; those that are not named may be either: all of one, or of
    /// one of a list.
    #[serde(default)]
    pub tcp_flags: OneOrMany<TcpFlags>,
    /// Type of ICMP or ICMPv6: one by name, which stands for the number that it has in each, or by number, which is what it
    /// is in both, a range, or a list.
    #[serde(default)]
    pub icmp_type: OneOrMany<IcmpType>,
    /// Whether the packet is a part of one: `nofrag`, a whole packet; `frag`, a part; `firstfrag`, the part with the ports;
    /// `laterfrag`, any other part. One, or a list.
    #[serde(default)]
    pub fragment: OneOrMany<Fragment>,
    /// Bytes of the IP packet on the wire, its header included: one number, a range, or a list. The packets of a
    /// super-packet all count as long as the longest: only the last one can be shorter.
    #[serde(default)]
    pub length: OneOrMany<Span<Length>>,
    /// VLAN of the outermost tag, whether it stands in the frame or the device has taken it off: one, a range, or a list.
    #[serde(default)]
    pub vlan: OneOrMany<Span<Vlan>>,
    /// Source address of Ethernet: one, maybe with a mask, or a list.
    #[serde(default)]
    pub src_mac: OneOrMany<Mac>,
    /// Destination address of Ethernet: one, maybe with a mask, or a list.
    #[serde(default)]
    pub dst_mac: OneOrMany<Mac>,
    /// Where in its flow the packet comes.
    #[serde(default, deserialize_with = "given")]
    pub connection: Option<Table<RawConnection>>,
    /// A share of all flows, which is always the same one under a seed, in both directions: one, a range, or a list.
    /// Rules that name the same share mean the same flows; `10%-30%` is a fifth of all, none of which is among `10%`.
    #[serde(default)]
    pub flows: OneOrMany<Flows>,
    /// Alternatives, each a match of its own, of which one has to be met.
    #[serde(default)]
    pub any: Alternatives<RawMatch>,
    /// A match of its own, which must not be met: `not: {protocol: tcp, dst_port: 22}` is all but that.
    #[serde(default, deserialize_with = "given")]
    pub not: Option<Box<Table<RawMatch>>>,
    /// Process whose socket it is, by name or by the path of its executable: one, or a list.
    #[serde(default)]
    pub process: OneOrMany<ProcessName>,
    /// Process whose socket it is, or that of a process that came of it, by number: one, or a list.
    #[serde(default)]
    pub pid: OneOrMany<Pid>,
    /// Control group (version 2) whose socket it is, or one below it: one, or a list.
    #[serde(default)]
    pub cgroup: OneOrMany<CgroupPath>,
    /// Container whose socket it is, by name or identifier: one, or a list.
    #[serde(default)]
    pub container: OneOrMany<ContainerName>,
    /// User whose socket it is, by name or number: one, or a list.
    #[serde(default)]
    pub user: OneOrMany<UserName>,
}

impl Vocabulary for RawMatch {
    const WHAT: &'static str = "a match";
}

/// Where in its flow a packet comes.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct RawConnection {
    /// The packet is among so many that came first in its flow (addresses, ports, protocol), in packets on the wire,
    /// counted for each direction by itself, from the moment when a rule first asks for it; a super-packet belongs to
    /// where its first packet does. Of flows on which nothing has come for longest those beyond 65,536 are forgotten.
    pub first: FirstPackets,
}

impl Vocabulary for RawConnection {
    const WHAT: &'static str = "`connection`";
}

/// Reads an optional key that is there; left empty, it is refused and not taken for absent.
pub(crate) fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    d: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(d).map(Some)
}
