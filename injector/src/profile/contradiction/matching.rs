//! Conditions that no packet meets.

use ipnet::IpNet;

use super::Contradiction;
use crate::profile::{Match, Protocol};

pub(super) fn check(matching: &Match) -> Result<(), Contradiction> {
    check_ports(matching)?;
    check_protocol_family(matching)?;
    check_same_family(matching)
}

fn check_ports(matching: &Match) -> Result<(), Contradiction> {
    let fields = [
        ("src_port", &matching.src_port),
        ("dst_port", &matching.dst_port),
    ];
    let field = fields.iter().find(|(_, ports)| !ports.is_empty());
    match (field, matching.protocol) {
        (Some((field, _)), Some(protocol)) if !protocol.has_ports() => Err(beside_protocol(
            field,
            format!("{protocol} packets have no ports"),
            "no ports, or protocol `tcp`, `udp` or `sctp`",
        )),
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
                let message = "arp packets have no IP addresses to match";
                return Err(beside_protocol(
                    field,
                    message,
                    "no address beside `protocol: arp`",
                ));
            }
            (Protocol::Ip, Some(is_v4 @ false)) | (Protocol::Ipv6, Some(is_v4 @ true)) => {
                return Err(beside_protocol(
                    field,
                    format!("no {protocol} packet has {} address", family_name(is_v4)),
                    format!("{} address", family_name(!is_v4)),
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

fn beside_protocol(
    field: &'static str,
    message: impl Into<String>,
    expected: impl Into<String>,
) -> Contradiction {
    Contradiction::new(["match", field], message, expected).because_of(["match", "protocol"])
}

fn check_same_family(matching: &Match) -> Result<(), Contradiction> {
    match (only_family(&matching.src), only_family(&matching.dst)) {
        (Some(src_is_v4), Some(dst_is_v4)) if src_is_v4 != dst_is_v4 => {
            let [src, dst] = [src_is_v4, dst_is_v4].map(family_name);
            let message = format!("no packet goes from {src} to {dst} address");
            let contradiction =
                Contradiction::new(["match", "dst"], message, format!("{src} address"));
            Err(contradiction.because_of(["match", "src"]))
        }
        _ => Ok(()),
    }
}

fn family_name(is_v4: bool) -> &'static str {
    if is_v4 { "an IPv4" } else { "an IPv6" }
}

/// Returns whether the networks are all IPv4, or `None` when they are mixed or there are none.
fn only_family(nets: &[IpNet]) -> Option<bool> {
    let is_v4 = |net: &IpNet| matches!(net, IpNet::V4(_));
    let first = nets.first().map(is_v4)?;
    nets.iter().all(|net| is_v4(net) == first).then_some(first)
}
