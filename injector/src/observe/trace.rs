//! A packet to which something happened, for people and for programs.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    time::{Duration, UNIX_EPOCH},
};

use injector_common::{
    abi::{Hit, faults, features, hit},
    wire::{self, NO_PORT, NO_PROTOCOL, PacketKey, ethertype, protocol},
};
use serde::{Serialize, Serializer};

use super::format::{count, duration};
use crate::plan::Hook;

/// A packet, and what happened to it.
#[derive(Clone, Debug, Serialize)]
pub struct Traced<'a> {
    /// When, since 1970.
    #[serde(serialize_with = "as_rfc3339")]
    pub time: Duration,
    /// The device.
    pub device: &'a str,
    /// Which way it went.
    pub direction: Hook,
    /// The rule's name.
    pub rule: &'a str,
    /// Its index among the packets of the rule, as `predict` counts them; absent where all are dropped, so
    /// that none has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packet: Option<u64>,
    /// How many packets it is on the wire.
    pub packets: u32,
    /// What happened to it.
    pub faults: Vec<&'static str>,
    /// For how long it was delayed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_ns: Option<u64>,
    /// How many copies were made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copies: Option<u32>,
    /// The first bit that was flipped, counted from the frame's first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bit: Option<u32>,
    /// Where from and where to.
    #[serde(flatten)]
    pub path: Path,
    /// How long it is, link-layer header included.
    pub length: u32,
    /// The control group (version 2) whose socket sent it, by its path; absent where it has no socket, and where the
    /// group is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// The user whose socket sent it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
}

/// Where a packet comes from and where it goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Path {
    /// By name, or by number.
    pub protocol: String,
    /// Source address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub src: Option<IpAddr>,
    /// Source port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub src_port: Option<u16>,
    /// Destination address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dst: Option<IpAddr>,
    /// Destination port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dst_port: Option<u16>,
}

/// What the bits of a hit mean, in the order in which faults act.
const FAULTS: [(u32, &str); 7] = [
    (faults::DROP, "drop"),
    (faults::MARK, "mark"),
    (faults::OVERLIMIT, "overlimit"),
    (faults::CORRUPT, "corrupt"),
    (faults::DUPLICATE, "duplicate"),
    (faults::REORDER, "reorder"),
    (faults::DELAY, "delay"),
];

impl<'a> Traced<'a> {
    /// What was told of a packet; `time` is when, since 1970, `cgroup` whose socket sent it.
    pub fn new(
        told: &Hit,
        bytes: &[u8],
        time: Duration,
        device: &'a str,
        (rule, direction): (&'a str, Hook),
        cgroup: Option<String>,
    ) -> Self {
        let has = |fault| told.faults & fault != 0;
        let names = FAULTS.into_iter().filter(|(fault, _)| has(*fault));
        Self {
            time,
            device,
            direction,
            rule,
            packet: Some(told.n).filter(|n| *n != u64::MAX),
            packets: told.packets,
            faults: names.map(|(_, name)| name).collect(),
            delay_ns: has(faults::DELAY).then_some(told.delay_ns),
            copies: has(faults::DUPLICATE).then_some(told.copies),
            bit: has(faults::CORRUPT).then_some(told.bit),
            path: Path::of(bytes, told.flags & hit::RAW_IP != 0),
            length: told.len,
            cgroup,
            uid: (told.sender.cgroup != 0).then_some(told.sender.user),
        }
    }

    /// Who sent it, in words; empty where nobody on this machine did.
    pub fn sender(&self) -> String {
        let group = self.cgroup.as_ref();
        let group = group.map_or_else(String::new, |path| format!(" in {path}"));
        self.uid
            .map_or_else(String::new, |uid| format!(", sent by user {uid}{group}"))
    }

    /// What happened, in words.
    pub fn fate(&self) -> String {
        let word = |fault: &&'static str| match *fault {
            "drop" => "dropped".to_owned(),
            "mark" => "marked CE".to_owned(),
            "overlimit" => "dropped, the queue was full".to_owned(),
            "corrupt" => format!("bit {} flipped", self.bit.unwrap_or_default()),
            "duplicate" => match self.copies {
                Some(1) | None => "1 copy made".to_owned(),
                Some(copies) => format!("{copies} copies made"),
            },
            "reorder" => "let ahead".to_owned(),
            _ => format!("delayed by {}", duration(self.delay_ns.unwrap_or_default())),
        };
        self.faults.iter().map(word).collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Traced<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = humantime::format_rfc3339_micros(UNIX_EPOCH + self.time);
        write!(f, "{time} {} {} {}", self.device, self.direction, self.rule)?;
        if let Some(packet) = self.packet {
            write!(f, " #{packet}")?;
        }
        write!(
            f,
            ": {}: {}, {} bytes",
            self.fate(),
            self.path,
            count(self.length.into())
        )?;
        if self.packets > 1 {
            write!(f, " ({} packets)", self.packets)?;
        }
        f.write_str(&self.sender())
    }
}

impl Path {
    fn of(bytes: &[u8], raw_ip: bool) -> Self {
        let mut key = PacketKey::default();
        if wire::parse(bytes, raw_ip, features::LAYOUT, &mut key).is_err() {
            return Self {
                protocol: "unknown".into(),
                src: None,
                src_port: None,
                dst: None,
                dst_port: None,
            };
        }
        let is_ip = matches!(key.ethertype, ethertype::IPV4 | ethertype::IPV6);
        let address = |address: wire::Address| is_ip.then(|| ip(address));
        let port = |port: u32| (port < NO_PORT).then_some(port as u16);
        Self {
            protocol: name(&key),
            src: address(key.src),
            src_port: port(key.src_port),
            dst: address(key.dst),
            dst_port: port(key.dst_port),
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.protocol)?;
        if let (Some(src), Some(dst)) = (self.src, self.dst) {
            write!(
                f,
                " {} > {}",
                end(src, self.src_port),
                end(dst, self.dst_port)
            )?;
        }
        Ok(())
    }
}

fn end(address: IpAddr, port: Option<u16>) -> String {
    match port {
        Some(port) => SocketAddr::new(address, port).to_string(),
        None => address.to_string(),
    }
}

fn ip(address: wire::Address) -> IpAddr {
    let mut octets = [0; 16];
    for (bytes, half) in octets.chunks_exact_mut(8).zip(address.halves()) {
        bytes.copy_from_slice(&half.to_ne_bytes());
    }
    Ipv6Addr::from(octets).to_canonical()
}

fn name(key: &PacketKey) -> String {
    match (key.ethertype, u8::try_from(key.protocol)) {
        (_, Ok(protocol::TCP)) => "tcp".into(),
        (_, Ok(protocol::UDP)) => "udp".into(),
        (_, Ok(protocol::ICMP)) => "icmp".into(),
        (_, Ok(protocol::ICMPV6)) => "icmpv6".into(),
        (_, Ok(protocol::SCTP)) => "sctp".into(),
        (ethertype::ARP, _) => "arp".into(),
        (ethertype::IPV4, _) if key.protocol == NO_PROTOCOL => "ip".into(),
        (ethertype::IPV6, _) if key.protocol == NO_PROTOCOL => "ipv6".into(),
        (_, Ok(protocol)) => protocol.to_string(),
        (ethertype, Err(_)) => format!("ethertype {ethertype:#06x}"),
    }
}

fn as_rfc3339<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_nanos(UNIX_EPOCH + *time))
}

#[cfg(test)]
mod tests {
    use injector_common::abi::Sender;

    use super::*;

    fn frame() -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0x00, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0]);
        frame.extend([10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend([0x13, 0x88, 0x15, 0x38, 0, 8, 0, 0]);
        frame
    }

    fn traced(hit: &Hit, bytes: &[u8]) -> Traced<'static> {
        Traced::new(
            hit,
            bytes,
            Duration::from_micros(1_500_000),
            "eth0",
            ("db", Hook::Egress),
            (hit.sender.cgroup == 7).then(|| "/app".into()),
        )
    }

    #[test]
    fn a_line_tells_when_what_and_to_which_packet() {
        let hit = Hit {
            n: 7,
            faults: faults::CORRUPT | faults::DUPLICATE | faults::DELAY,
            delay_ns: 40_000_000,
            packets: 1,
            copies: 2,
            bit: 300,
            len: 1514,
            ..Hit::default()
        };
        let traced = traced(&hit, &frame());
        assert_eq!(
            traced.to_string(),
            "1970-01-01T00:00:01.500000Z eth0 egress db #7: bit 300 flipped, 2 copies made, delayed by 40ms: \
             udp 10.0.0.1:5000 > 10.0.0.2:5432, 1,514 bytes"
        );
        let json = serde_json::to_value(&traced).unwrap();
        assert_eq!(
            json["faults"],
            serde_json::json!(["corrupt", "duplicate", "delay"])
        );
        assert_eq!(
            (&json["src"], &json["dst_port"]),
            (&"10.0.0.1".into(), &5432.into())
        );
        assert_eq!(json["time"], "1970-01-01T00:00:01.500000000Z");
    }

    #[test]
    fn the_sender_is_told_as_far_as_it_is_known() {
        for (cgroup, said) in [
            (7, ", sent by user 1000 in /app"),
            (8, ", sent by user 1000"),
            (0, ""),
        ] {
            let sender = Sender {
                cgroup,
                user: 1000,
                reserved: 0,
            };
            let hit = Hit {
                sender,
                faults: faults::DROP,
                ..Hit::default()
            };
            let traced = traced(&hit, &frame());
            assert!(
                traced.to_string().ends_with(&format!(" bytes{said}")),
                "{traced}"
            );
            let json = serde_json::to_value(&traced).unwrap();
            assert_eq!(json.get("uid").is_some(), cgroup != 0);
            assert_eq!(json.get("cgroup").is_some(), cgroup == 7);
        }
    }

    #[test]
    fn what_is_dropped_whole_has_no_index_and_says_how_many_it_was() {
        let hit = Hit {
            n: u64::MAX,
            faults: faults::DROP,
            packets: 45,
            len: 65_000,
            ..Hit::default()
        };
        let traced = traced(&hit, &[]);
        assert_eq!(
            traced.to_string(),
            "1970-01-01T00:00:01.500000Z eth0 egress db: dropped: unknown, 65,000 bytes (45 packets)"
        );
        assert!(
            serde_json::to_value(&traced)
                .unwrap()
                .get("packet")
                .is_none()
        );
    }
}
