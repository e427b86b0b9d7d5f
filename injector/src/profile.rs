//! Profiles: which packets suffer which faults.
//!
//! A profile is YAML. It passes through four steps, each in its own module, and each may refuse it
//! with a [`ProfileError`] that names file, line, column and field:
//!
//! 1. `guard` bounds what the YAML parser gets to see, in one linear scan;
//! 2. `yaml` runs the parser, and is alone in knowing which one it is;
//! 3. `schema` says what may be written: keys, short forms, units;
//! 4. `resolve` says what it means: it fills in defaults, reads the files that are named, and with
//!    [`Rule::check`] and `ramp` finds what is well written and yet makes no sense.
//!
//! What comes out needs no further validation.
//!
//! What reads YAML strictly here, reads scenarios, too ([`Source::understand`]).

pub mod builtin;
pub(crate) mod conflict;
mod contradiction;
mod error;
mod expectation;
mod fault;
mod file;
pub(crate) mod files;
mod guard;
mod icmp;
mod inline;
pub(crate) mod issue;
#[cfg(test)]
mod json_schema;
mod keyword;
mod lines;
mod load;
mod names;
pub(crate) mod nearest;
mod number;
mod quantiles;
mod queue;
mod ramp;
mod replay;
mod resolve;
mod schema;
pub(crate) mod shape;
pub(crate) mod strict;
mod target;
pub(crate) mod text;
mod timeline;
mod without;
pub(crate) mod yaml;

use ipnet::IpNet;

use crate::units::{
    Dscp, Flows, HostName, Interface, Length, Mac, Mark, Owner, PortRange, Span, TcpFlags, Ttl,
    Vlan,
};

pub use self::contradiction::Contradiction;
pub use self::error::{Diagnostic, ProfileError, Report};
pub use self::expectation::{Count, Expectation, PathCount, Quantity, Selection, Share};
pub use self::fault::{
    Chance, Checksum, Corrupt, Delay, Distribution, Drop, Duplicate, FourStates, Gemodel, Loss,
    Place, Rate, Reorder, Slot,
};
pub use self::files::RECORDED_LINES_MAX;
pub use self::guard::SIZE_MAX;
pub use self::icmp::IcmpType;
pub(crate) use self::inline::Inline;
pub use self::load::{Source, file_of, load, parse, read};
pub use self::names::{Answers, NAMES_MAX};
pub use self::queue::QueueLimit;
pub use self::replay::{Conditions, Interpolation, Point, Recording, Replay};
pub(crate) use self::resolve::{default_name, names_are_distinct};
pub(crate) use self::schema::given;
pub use self::shape::{LIST_MAX, PHASES_MAX, RULES_MAX};
pub use self::target::{Addresses, Home, PARTITION, Partition, TARGETS_MAX, Target};
pub use self::text::NAME_CHARS_MAX;
pub use self::timeline::{Course, Phase, Repeat, Timeline};

/// Faults for the packets of one interface.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// Name for people: 1 to 63 letters, digits, dots, underscores and hyphens.
    pub name: String,
    /// What the profile imitates.
    pub description: Option<String>,
    /// Seed of every random decision; drawn at the start when absent.
    pub seed: Option<u64>,
    /// The rules.
    pub course: Course,
    /// What a run is expected to achieve.
    pub expect: Vec<Expectation>,
    /// Interfaces on which it is played where the command line names none.
    pub interfaces: Vec<Interface>,
    /// Interfaces by names; where there are some, `interfaces` is empty.
    pub targets: Vec<Target>,
    /// What rules take later fragments for.
    pub fragments: Fragments,
}

impl Profile {
    /// The phases; `None` where the rules are the same throughout.
    pub fn timeline(&self) -> Option<&Timeline> {
        match &self.course {
            Course::Steady(_) => None,
            Course::Phased(timeline) => Some(timeline),
        }
    }

    /// The rules of each phase; where there are no phases, all of them.
    pub fn rules(&self) -> impl Iterator<Item = &[Rule]> {
        self.course.rules()
    }

    /// The profile with rules that are about an owner's packets alone.
    #[must_use]
    pub fn only_of(mut self, owner: &Owner) -> Self {
        for rule in self.course.rules_mut() {
            rule.matching.owners.push(vec![owner.clone()]);
        }
        self
    }
}

/// Faults for the packets that match, and that no earlier rule matched.
///
/// A rule without faults exempts its packets from the rules after it.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Name used in counters and traces: as given, or `rule-N` counting from 1.
    pub name: String,
    /// Which way the packets go.
    pub direction: Direction,
    /// Which packets are meant.
    pub matching: Match,
    /// Loss.
    pub drop: Option<Drop>,
    /// Latency.
    pub delay: Option<Delay>,
    /// Flipped bits.
    pub corrupt: Option<Corrupt>,
    /// More copies.
    pub duplicate: Option<Duplicate>,
    /// A bottleneck.
    pub rate: Option<Rate>,
    /// Access to the medium now and then.
    pub slot: Option<Slot>,
    /// Packets that overtake others.
    pub reorder: Option<Reorder>,
    /// Recorded conditions. What they give, the faults above do not; where those need a value all the
    /// same, as a delay with a distribution its time, it is the first recorded one.
    pub replay: Option<Replay>,
    /// The targets that it cuts off from each other, while it is not known for which of them it is: until then it
    /// matches nothing.
    pub partition: Option<Partition>,
}

impl Rule {
    /// Returns a rule without faults.
    pub const fn exempting(name: String, direction: Direction, matching: Match) -> Self {
        Self {
            name,
            direction,
            matching,
            drop: None,
            delay: None,
            corrupt: None,
            duplicate: None,
            rate: None,
            slot: None,
            reorder: None,
            replay: None,
            partition: None,
        }
    }
}

/// Which way a packet goes, seen from the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Direction {
    /// Out of this machine.
    #[default]
    Egress,
    /// Into this machine.
    Ingress,
    /// Either way; each packet is still judged once per crossing.
    Both,
}

/// Which packets a rule is about: those that meet every condition.
///
/// An empty list is no condition, so the default matches every packet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Match {
    /// Protocol of the packet.
    pub protocol: Option<Protocol>,
    /// Source address lies in one of these; host bits are clear.
    pub src: Vec<IpNet>,
    /// Destination address lies in one of these; host bits are clear.
    pub dst: Vec<IpNet>,
    /// Names whose addresses are meant beside `src`, once they are looked up.
    pub src_names: Vec<HostName>,
    /// Names whose addresses are meant beside `dst`, once they are looked up.
    pub dst_names: Vec<HostName>,
    /// Source port lies in one of these.
    pub src_port: Vec<PortRange>,
    /// Destination port lies in one of these.
    pub dst_port: Vec<PortRange>,
    /// Time to live lies in one of these.
    pub ttl: Vec<Span<Ttl>>,
    /// DSCP lies in one of these.
    pub dscp: Vec<Span<Dscp>>,
    /// The mark is one of these.
    pub mark: Vec<Mark>,
    /// One of each of these owns its socket; every list has some.
    pub owners: Vec<Vec<Owner>>,
    /// Congestion notification is one of these.
    pub ecn: Vec<Ecn>,
    /// One of these flags of TCP are as they say.
    pub tcp_flags: Vec<TcpFlags>,
    /// The type of ICMP, or ICMPv6, is one of these.
    pub icmp_type: Vec<IcmpType>,
    /// The packet is one of these parts of one.
    pub fragment: Vec<Fragment>,
    /// Bytes of the IP packet lie in one of these.
    pub length: Vec<Span<Length>>,
    /// The outermost VLAN lies in one of these.
    pub vlan: Vec<Span<Vlan>>,
    /// The source address of Ethernet is one of these.
    pub src_mac: Vec<Mac>,
    /// The destination address of Ethernet is one of these.
    pub dst_mac: Vec<Mac>,
    /// The packet is one of so many that came first in its flow and direction.
    pub first: Option<u32>,
    /// Its flow is one of these.
    pub flows: Vec<Flows>,
    /// It meets all conditions of one of these.
    pub any: Vec<Self>,
    /// It does not meet all conditions of this.
    pub not: Option<Box<Self>>,
}

/// What a packet says about congestion (RFC 3168).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ecn {
    /// Its flow does not understand such.
    NotEct = 0,
    /// Its flow does, by the second code.
    Ect1 = 1,
    /// Its flow does.
    Ect0 = 2,
    /// It has met congestion.
    Ce = 3,
}

/// What rules take later fragments for, which have no transport header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Fragments {
    /// Packets without ports, flags and types.
    #[default]
    Separate,
    /// Packets with those of the first fragment.
    Follow,
}

/// Which part of a packet one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fragment {
    /// None: it is whole.
    No,
    /// Any.
    Any,
    /// The first, which has the ports.
    First,
    /// Another, which has none.
    Later,
}

/// A protocol, at whichever layer it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// An IP protocol number, over IPv4 and IPv6 alike.
    Transport(u8),
    /// ICMP over IPv4 or ICMPv6 over IPv6.
    Icmp,
    /// IPv4.
    Ip,
    /// IPv6.
    Ipv6,
    /// ARP.
    Arp,
}

impl Protocol {
    /// TCP, protocol number 6.
    pub const TCP: Self = Self::Transport(6);
    /// UDP, protocol number 17.
    pub const UDP: Self = Self::Transport(17);
    /// SCTP, protocol number 132.
    pub const SCTP: Self = Self::Transport(132);
    /// ICMPv6 alone, protocol number 58.
    pub const ICMPV6: Self = Self::Transport(58);

    /// Returns whether packets of the protocol carry port numbers where TCP does.
    pub const fn has_ports(self) -> bool {
        matches!(self, Self::TCP | Self::UDP | Self::SCTP)
    }
}
