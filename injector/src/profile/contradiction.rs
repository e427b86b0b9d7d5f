//! Rules that are well written and yet make no sense.

use ipnet::IpNet;

use super::{Delay, Match, Protocol, Rule};
use crate::units::DurationNs;

/// Why a rule could not do what it says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Contradiction {
    /// The smallest delay would be negative.
    #[error("the jitter of {jitter} exceeds the delay of {time}")]
    JitterAboveTime {
        /// Middle of the delay.
        time: DurationNs,
        /// Deviation asked for.
        jitter: DurationNs,
    },
    /// Ports are asked of a protocol that has none.
    #[error("{protocol} packets have no ports")]
    PortsWithoutTransport {
        /// `src_port` or `dst_port`.
        field: &'static str,
        /// Protocol of the rule.
        protocol: Protocol,
    },
    /// IP addresses are asked of a packet that has none.
    #[error("arp packets have no IP addresses to match")]
    AddressesOfArp {
        /// `src` or `dst`.
        field: &'static str,
    },
    /// The protocol is of one IP version, the addresses are all of the other.
    #[error("no {protocol} packet has an {} address", family_name(.addresses_are_v4))]
    ProtocolOfOtherFamily {
        /// `src` or `dst`.
        field: &'static str,
        /// Protocol of the rule.
        protocol: Protocol,
        /// Whether the addresses are IPv4.
        addresses_are_v4: bool,
    },
    /// Sources and destinations have no IP version in common.
    #[error("no packet goes from an {} to an {} address", family_name(.src_is_v4), family_name(&!.src_is_v4))]
    FamiliesDiffer {
        /// Whether the sources are IPv4.
        src_is_v4: bool,
    },
}

fn family_name(is_v4: &bool) -> &'static str {
    if *is_v4 { "IPv4" } else { "IPv6" }
}

impl Contradiction {
    /// Returns where in the rule the contradiction shows, as keys from the outside in.
    pub fn field(&self) -> [&'static str; 2] {
        match self {
            Self::JitterAboveTime { .. } => ["delay", "jitter"],
            Self::PortsWithoutTransport { field, .. }
            | Self::AddressesOfArp { field }
            | Self::ProtocolOfOtherFamily { field, .. } => ["match", field],
            Self::FamiliesDiffer { .. } => ["match", "dst"],
        }
    }

    /// Returns the other half of the contradiction, as keys from the outside in.
    pub fn against(&self) -> [&'static str; 2] {
        match self {
            Self::JitterAboveTime { .. } => ["delay", "time"],
            Self::FamiliesDiffer { .. } => ["match", "src"],
            _ => ["match", "protocol"],
        }
    }

    /// Returns what would make sense in place of [`Self::field`].
    pub fn expected(&self) -> String {
        match self {
            Self::JitterAboveTime { time, .. } => format!("at most {time}"),
            Self::PortsWithoutTransport { .. } => {
                "no ports, or protocol `tcp`, `udp` or `sctp`".to_owned()
            }
            Self::AddressesOfArp { .. } => "no address beside `protocol: arp`".to_owned(),
            Self::ProtocolOfOtherFamily {
                addresses_are_v4, ..
            } => {
                format!("an {} address", family_name(&!addresses_are_v4))
            }
            Self::FamiliesDiffer { src_is_v4 } => format!("an {} address", family_name(src_is_v4)),
        }
    }
}

impl Rule {
    /// Finds what the rule asks for and cannot have.
    ///
    /// # Errors
    ///
    /// The first contradiction, when the delay could be negative or no packet could ever match.
    pub fn check(&self) -> Result<(), Contradiction> {
        self.delay.as_ref().map_or(Ok(()), check_delay)?;
        check_ports(&self.matching)?;
        check_protocol_family(&self.matching)?;
        check_same_family(&self.matching)
    }
}

fn check_delay(delay: &Delay) -> Result<(), Contradiction> {
    let Delay { time, jitter } = *delay;
    if jitter > time {
        return Err(Contradiction::JitterAboveTime { time, jitter });
    }
    Ok(())
}

fn check_ports(matching: &Match) -> Result<(), Contradiction> {
    let fields = [
        ("src_port", &matching.src_port),
        ("dst_port", &matching.dst_port),
    ];
    let field = fields.iter().find(|(_, ports)| !ports.is_empty());
    match (field, matching.protocol) {
        (Some((field, _)), Some(protocol)) if !protocol.has_ports() => {
            Err(Contradiction::PortsWithoutTransport { field, protocol })
        }
        _ => Ok(()),
    }
}

fn check_protocol_family(matching: &Match) -> Result<(), Contradiction> {
    let Some(protocol) = matching.protocol else {
        return Ok(());
    };
    for (field, nets) in [("src", &matching.src), ("dst", &matching.dst)] {
        match (protocol, only_family(nets)) {
            (Protocol::Arp, _) if !nets.is_empty() => {
                return Err(Contradiction::AddressesOfArp { field });
            }
            (Protocol::Ip, Some(false)) | (Protocol::Ipv6, Some(true)) => {
                let addresses_are_v4 = protocol == Protocol::Ipv6;
                return Err(Contradiction::ProtocolOfOtherFamily {
                    field,
                    protocol,
                    addresses_are_v4,
                });
            }
            _ => {}
        }
    }
    Ok(())
}

fn check_same_family(matching: &Match) -> Result<(), Contradiction> {
    match (only_family(&matching.src), only_family(&matching.dst)) {
        (Some(src_is_v4), Some(dst_is_v4)) if src_is_v4 != dst_is_v4 => {
            Err(Contradiction::FamiliesDiffer { src_is_v4 })
        }
        _ => Ok(()),
    }
}

/// Returns whether the networks are all IPv4, or `None` when they are mixed or there are none.
fn only_family(nets: &[IpNet]) -> Option<bool> {
    let is_v4 = |net: &IpNet| matches!(net, IpNet::V4(_));
    let first = nets.first().map(is_v4)?;
    nets.iter().all(|net| is_v4(net) == first).then_some(first)
}
