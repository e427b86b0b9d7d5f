//! Conditions that no packet meets.

use ipnet::IpNet;

use super::Contradiction;
use crate::profile::{Fragment, Fragments, Match, Protocol};
use crate::units::HostName;

pub(super) fn check(matching: &Match, fragments: Fragments) -> Result<(), Contradiction> {
    check_ports(matching)?;
    check_protocol_family(matching)?;
    check_same_family(matching)?;
    check_headers(matching)?;
    if fragments == Fragments::Separate {
        check_fragments(matching)?;
    }
    check_nested(matching, fragments)
}

/// Checks what only packets of some protocols have.
fn check_headers(matching: &Match) -> Result<(), Contradiction> {
    let Some(protocol) = matching.protocol else {
        return Ok(());
    };
    let is_ip = matches!(protocol, Protocol::Ip | Protocol::Ipv6);
    let is_icmp = matches!(protocol, Protocol::Icmp | Protocol::ICMPV6 | ICMP);
    if !matching.tcp_flags.is_empty() && !is_ip && protocol != Protocol::TCP {
        return Err(beside_protocol(
            "tcp_flags",
            format!("{protocol} packets have no flags of TCP"),
            "no flags, or protocol `tcp`",
        ));
    }
    if !matching.icmp_type.is_empty() && !is_ip && !is_icmp {
        return Err(beside_protocol(
            "icmp_type",
            format!("{protocol} packets have no type of ICMP"),
            "no type, or protocol `icmp` or `icmpv6`",
        ));
    }
    let of_ip = [
        ("ttl", matching.ttl.is_empty()),
        ("dscp", matching.dscp.is_empty()),
        ("ecn", matching.ecn.is_empty()),
        ("fragment", matching.fragment.is_empty()),
        ("length", matching.length.is_empty()),
        ("connection", matching.first.is_none()),
        ("flows", matching.flows.is_empty()),
    ];
    let asked = of_ip.iter().find(|(_, is_absent)| !is_absent);
    match asked.filter(|_| protocol == Protocol::Arp) {
        Some((field, _)) => Err(beside_protocol(
            field,
            format!("arp packets have no IP header, and so no `{field}`"),
            format!("no `{field}` beside `protocol: arp`"),
        )),
        None => Ok(()),
    }
}

/// Protocol number of ICMP, as one may write it.
const ICMP: Protocol = Protocol::Transport(1);

/// Checks that what only the first fragment has is not looked for in others.
fn check_fragments(matching: &Match) -> Result<(), Contradiction> {
    let of_the_first = [
        ("src_port", matching.src_port.is_empty()),
        ("dst_port", matching.dst_port.is_empty()),
        ("tcp_flags", matching.tcp_flags.is_empty()),
        ("icmp_type", matching.icmp_type.is_empty()),
    ];
    let asked = of_the_first.iter().find(|(_, is_absent)| !is_absent);
    let are_later = !matching.fragment.is_empty()
        && matching
            .fragment
            .iter()
            .all(|part| *part == Fragment::Later);
    match asked.filter(|_| are_later) {
        Some((field, _)) => {
            let message = format!("only the first fragment of a packet has `{field}`");
            let expected =
                format!("no `{field}`, other fragments, or `fragments: follow` in the profile");
            let contradiction = Contradiction::new(["match", field], message, expected);
            Err(contradiction.because_of(["match", "fragment"]))
        }
        None => Ok(()),
    }
}

/// Checks alternatives, and what must not be.
fn check_nested(matching: &Match, fragments: Fragments) -> Result<(), Contradiction> {
    if depth(matching) > NESTED_MAX {
        let field = if matching.not.is_some() { "not" } else { "any" };
        let message = format!("`any` and `not` are nested more than {NESTED_MAX} times");
        let expected = format!("at most {NESTED_MAX} of them within each other");
        return Err(Contradiction::new(["match", field], message, expected));
    }
    let any = matching.any.iter().map(|one| ("any", one));
    let not = matching.not.iter().map(|not| ("not", &**not));
    for (field, nested) in any.chain(not) {
        if *nested == Match::default() && field == "not" {
            let message = "no packet fails to meet no conditions";
            let expected = "at least one condition";
            return Err(Contradiction::new(["match", field], message, expected));
        }
        check(nested, fragments).map_err(|inner| {
            let message = format!("in `{field}`: {inner}");
            Contradiction::new(["match", field], message, inner.expected())
        })?;
    }
    Ok(())
}

/// Most matches that are nested within each other.
const NESTED_MAX: usize = 4;

fn depth(matching: &Match) -> usize {
    let nested = matching.any.iter().chain(matching.not.as_deref());
    nested.map(|nested| 1 + depth(nested)).max().unwrap_or(0)
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
    let fields = [
        ("src", &matching.src, &matching.src_names),
        ("dst", &matching.dst, &matching.dst_names),
    ];
    for (field, nets, names) in fields {
        match (protocol, only_family(nets, names)) {
            (Protocol::Arp, _) if !(nets.is_empty() && names.is_empty()) => {
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
    let src = only_family(&matching.src, &matching.src_names);
    let dst = only_family(&matching.dst, &matching.dst_names);
    match (src, dst) {
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

/// Returns whether the networks are all IPv4, or `None` when they are mixed, there are none, or nobody knows
/// yet what a name stands for.
fn only_family(nets: &[IpNet], names: &[HostName]) -> Option<bool> {
    let is_v4 = |net: &IpNet| matches!(net, IpNet::V4(_));
    let first = nets.first().map(is_v4).filter(|_| names.is_empty())?;
    nets.iter().all(|net| is_v4(net) == first).then_some(first)
}
