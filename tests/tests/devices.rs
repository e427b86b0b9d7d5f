//! Kinds of devices beside the veth that most tests use.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, Ipv6Addr, UdpSocket},
    time::Duration,
};

use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};
use injector::plan::Hook;
use injector_tests::{
    Family, Host, Injector, Lab, Netns, clock, echo::Echoes, kernel, predict::Oracle,
    residue::Snapshot, snmp::ChecksumErrors, socket, tcp::Transfer, tool, tun::Tun, udp::Flow,
};

const MS: Duration = Duration::from_millis(1);

const COUNT: u64 = 600;
const BYTES: u64 = 1 << 20;

/// A rule for each fault in each of the directions.
fn lossy(hooks: &[Hook]) -> String {
    let rules = hooks.iter().flat_map(|hook| {
        [("udp", 5000, "drop: 20%"), ("udp", 5002, "corrupt: 20%")]
            .into_iter()
            .chain([("udp", 5004, "duplicate: 20%"), ("tcp", 5001, "drop: 1%")])
            .map(move |(protocol, port, fault)| {
                format!(
                    "  - {{name: {hook}-{port}, direction: {hook}, \
                     match: {{protocol: {protocol}, dst_port: {port}}}, {fault}}}\n"
                )
            })
    });
    format!(
        "name: lossy\nseed: 21\nrules:\n{}",
        rules.collect::<String>()
    )
}

/// Asserts that every fault works on packets that pass `target` in each of the directions on the
/// way between two hosts, and that the run leaves nothing.
#[track_caller]
fn every_fault_works(target: &Host, ways: &[(Hook, &Host, &Host)]) {
    let hooks: Vec<Hook> = ways.iter().map(|(hook, _, _)| *hook).collect();
    let profile = lossy(&hooks);
    let before = Snapshot::of(&target.netns);
    let injector = Injector::start(target, &profile);
    for (hook, from, to) in ways {
        for (first, family) in [(0, Family::V4), (COUNT, Family::V6)] {
            faults_work(&profile, *hook, (from, to), (first, family));
        }
    }
    let end = injector.stop();
    end.achieved().assert_clean();
    before.assert_same(&target.netns);
}

/// Over IPv6 the rules go on where they stopped over IPv4: with their packet number `first`.
#[track_caller]
fn faults_work(
    profile: &str,
    hook: Hook,
    (from, to): (&Host, &Host),
    (first, family): (u64, Family),
) {
    let what = format!("{hook} {family:?}");
    let oracle = |port| Oracle::of(profile, &format!("{hook}-{port}"), hook);
    let later = |numbers: BTreeSet<u64>| -> BTreeSet<u64> {
        numbers
            .into_iter()
            .filter_map(|n| n.checked_sub(first))
            .collect()
    };
    let errors = ChecksumErrors::of(to).sum();
    let send = |port| Flow::new(COUNT).family(family).port(port).send(from, to);

    let report = send(5000);
    assert_eq!(report.errors, Vec::<String>::new(), "{what}");
    assert_eq!(
        report.lost(),
        later(oracle(5000).dropped(first + COUNT)),
        "{what}: lost"
    );
    let report = send(5002);
    let corrupted = later(oracle(5002).corrupted(first + COUNT));
    assert_eq!(
        (report.damaged(), report.lost()),
        (0, corrupted.clone()),
        "{what}: corrupted"
    );
    let noticed = ChecksumErrors::of(to).sum() - errors;
    assert_eq!(noticed, corrupted.len() as u64, "{what}: checksum errors");
    let report = send(5004);
    let copied = later(oracle(5004).duplicated(first + COUNT));
    assert_eq!(
        (report.lost(), report.duplicated()),
        (BTreeSet::new(), copied),
        "{what}"
    );
    let stream = Transfer::new(BYTES)
        .family(family)
        .on_one_cpu()
        .send(from, to);
    stream.assert_intact(BYTES);
}

/// Asserts that a delay on `target` is added to a round trip `times` times.
#[track_caller]
fn delay_works(from: &Host, to: &Host, target: &Host, direction: &str, times: u32) {
    if !kernel::can_delay() {
        return;
    }
    let _alone = clock::alone();
    let profile =
        format!("{{name: late, seed: 1, rules: [{{direction: {direction}, delay: 20ms}}]}}");
    let injector = Injector::start(target, &profile);
    for family in Family::ALL {
        let echoes = Echoes::new(50).family(family).gap(5 * MS).linger(500 * MS);
        let report = echoes.send(from, to);
        let what = format!("{} {direction} {family:?}", target.device);
        assert_eq!(report.replies.len(), 50, "{what}");
        let (time, least) = (report.quartile(), 20 * times * MS);
        let expected = least..least + 5 * MS + 2 * clock::late_max();
        assert!(expected.contains(&time), "{what}: {time:?}");
        Transfer::new(1 << 20)
            .family(family)
            .send(from, to)
            .assert_intact(1 << 20);
    }
    injector.stop().achieved().assert_clean();
}

/// Asserts that all works on a host's device, towards another host and back.
#[track_caller]
fn between(host: &Host, other: &Host) {
    every_fault_works(
        host,
        &[(Hook::Egress, host, other), (Hook::Ingress, other, host)],
    );
    delay_works(host, other, host, "both", 2);
}

#[test]
fn the_loopback_device_suffers_every_fault_on_the_way_out() {
    let host = Host::alone();
    every_fault_works(&host, &[(Hook::Egress, &host, &host)]);
    delay_works(&host, &host, &host, "egress", 2);
}

#[test]
fn the_loopback_device_suffers_every_fault_on_the_way_in() {
    let host = Host::alone();
    every_fault_works(&host, &[(Hook::Ingress, &host, &host)]);
    delay_works(&host, &host, &host, "ingress", 2);
}

/// A lab in which host A's addresses are those of another device, made by `make` from `eth0`.
fn with_device(device: &str, make: impl Fn(&Host) + Sync) -> Lab {
    let mut lab = Lab::new();
    let (a, b) = (&lab.a, &lab.b);
    a.run(|| {
        make(a);
        let neighbour = "lladdr 02:00:00:00:00:02";
        tool::ip_batch(&format!(
            "address flush dev eth0
             link set dev {device} up
             address add {}/24 dev {device}
             address add {}/64 dev {device} nodad
             neighbour replace {} {neighbour} dev {device} nud permanent
             neighbour replace {} {neighbour} dev {device} nud permanent\n",
            a.v4, a.v6, b.v4, b.v6
        ));
    });
    lab.a.device = device.into();
    let carries = || {
        lab.a
            .run(|| tool::ip("-d -o link show"))
            .contains("state UP")
    };
    assert!(clock::wait_until(clock::PATIENCE, carries));
    lab
}

#[test]
fn a_bridge_suffers_every_fault() {
    let lab = with_device("bridge0", |_| {
        tool::ip("link add name bridge0 address 02:00:00:00:00:01 type bridge forward_delay 0");
        tool::ip("link set dev eth0 master bridge0");
    });
    let forwards = || {
        lab.a
            .run(|| tool::ip("-d -o link show"))
            .contains("state forwarding")
    };
    assert!(clock::wait_until(clock::PATIENCE, forwards));
    between(&lab.a, &lab.b);
}

/// A lab whose hosts talk in VLAN 7.
fn in_vlan() -> Lab {
    tagged("eth0.7", || {
        tool::ip("link add link eth0 name eth0.7 type vlan id 7");
    })
}

/// A lab whose hosts talk in VLAN 8 within VLAN 7 (QinQ): one tag is in the frame, and the other beside it.
fn in_two_vlans() -> Lab {
    tagged("eth0.7.8", || {
        tool::ip("link add link eth0 name eth0.7 up type vlan proto 802.1ad id 7");
        tool::ip("link add link eth0.7 name eth0.7.8 mtu 1496 type vlan id 8");
    })
}

/// A lab whose hosts talk by a device that `make` makes on both from `eth0`.
fn tagged(device: &str, make: fn()) -> Lab {
    let mut lab = with_device(device, |_| make());
    let b = &lab.b;
    b.run(|| {
        make();
        tool::ip_batch(&format!(
            "address flush dev eth0
             link set dev {device} up
             address add {}/24 dev {device}
             address add {}/64 dev {device} nodad
             neighbour replace {} lladdr 02:00:00:00:00:01 dev {device} nud permanent
             neighbour replace {} lladdr 02:00:00:00:00:01 dev {device} nud permanent\n",
            b.v4, b.v6, lab.a.v4, lab.a.v6
        ));
    });
    lab.b.device = device.into();
    lab
}

#[test]
fn a_vlan_device_suffers_every_fault() {
    if !kernel::has_vlan() {
        return;
    }
    let lab = in_vlan();
    between(&lab.a, &lab.b);
}

/// What packets with a tag pass: `eth0`, below the device that has the addresses.
fn below(Lab { a, b }: Lab) -> (Host, Host) {
    let device = "eth0".into();
    (Host { device, ..a }, b)
}

#[test]
fn tagged_packets_suffer_every_fault_on_the_device_below() {
    if kernel::has_vlan() {
        let (below, b) = below(in_vlan());
        between(&below, &b);
    }
}

#[test]
fn packets_with_two_tags_suffer_every_fault_on_the_device_below() {
    if kernel::has_vlan() {
        let (below, b) = below(in_two_vlans());
        every_fault_works(
            &below,
            &[(Hook::Egress, &below, &b), (Hook::Ingress, &b, &below)],
        );
    }
}

/// Fewer than the 500 that the device holds until they are read.
const PACKETS: u64 = 400;
const TUN_HOST: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
const TUN_PEER: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);
const TUN_HOST_V6: Ipv6Addr = Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, 1);
const TUN_PEER_V6: Ipv6Addr = Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, 2);

fn tun() -> (Netns, Tun) {
    let netns = Netns::new();
    let tun = Tun::new(&netns, "tun0");
    netns.run(|| {
        tool::ip(&format!("address add {TUN_HOST}/24 dev tun0"));
        tool::ip(&format!("address add {TUN_HOST_V6}/64 dev tun0 nodad"));
    });
    (netns, tun)
}

/// The numbers of the UDP packets to a port, and whether each has a good checksum.
fn numbered(packets: &[Vec<u8>], port: u16) -> Vec<(u64, bool)> {
    let numbers = packets.iter().filter_map(|packet| {
        let sliced = SlicedPacket::from_ip(packet).expect("an IP packet");
        let Some(TransportSlice::Udp(udp)) = &sliced.transport else {
            return None;
        };
        let number = udp
            .payload()
            .first_chunk()
            .map(|bytes| u32::from_be_bytes(*bytes));
        let good = match &sliced.net {
            Some(etherparse::NetSlice::Ipv4(ip)) => {
                let [src, dst] = [ip.header().source(), ip.header().destination()];
                udp.to_header()
                    .calc_checksum_ipv4_raw(src, dst, udp.payload())
            }
            Some(etherparse::NetSlice::Ipv6(ip)) => {
                let [src, dst] = [ip.header().source(), ip.header().destination()];
                udp.to_header()
                    .calc_checksum_ipv6_raw(src, dst, udp.payload())
            }
            _ => return None,
        };
        let good = good.expect("a checksum") == udp.checksum();
        (udp.destination_port() == port).then(|| (number.expect("a number").into(), good))
    });
    numbers.collect()
}

#[test]
fn packets_into_a_tunnel_suffer_every_fault() {
    let profile = lossy(&[Hook::Egress]);
    let oracle = |rule: &str| Oracle::of(&profile, rule, Hook::Egress);
    let (netns, tun) = tun();
    let before = Snapshot::of(&netns);
    let injector = Injector::start_on(&netns, "tun0", &profile, &[]);
    let send = |port: u16| {
        netns.run(|| {
            socket::stay_on_one_cpu();
            let v4 = UdpSocket::bind((TUN_HOST, 0)).expect("bind");
            let v6 = UdpSocket::bind((TUN_HOST_V6, 0)).expect("bind");
            for number in 0..PACKETS as u32 {
                let bytes = number.to_be_bytes();
                // The kind of IP alternates: one rule counts both.
                let sent = match number % 2 {
                    0 => v4.send_to(&bytes, (TUN_PEER, port)),
                    _ => v6.send_to(&bytes, (TUN_PEER_V6, port)),
                };
                sent.expect("send");
            }
        });
        numbered(&tun.drain(200 * MS), port)
    };
    let numbers = |packets: &[(u64, bool)], good: bool| -> BTreeSet<u64> {
        packets
            .iter()
            .filter(|packet| packet.1 == good)
            .map(|packet| packet.0)
            .collect()
    };
    let all: BTreeSet<u64> = (0..PACKETS).collect();

    let arrived = numbers(&send(5000), true);
    assert_eq!(
        &all - &arrived,
        oracle("egress-5000").dropped(PACKETS),
        "lost"
    );
    let packets = send(5002);
    let corrupted = oracle("egress-5002").corrupted(PACKETS);
    assert_eq!(packets.len() as u64, PACKETS);
    assert_eq!(&all - &numbers(&packets, true), corrupted, "corrupted");
    let packets = send(5004);
    let copied = oracle("egress-5004").duplicated(PACKETS);
    assert_eq!(
        packets.len() as u64,
        PACKETS + copied.len() as u64,
        "with copies"
    );
    assert_eq!(numbers(&packets, true), all);
    injector.stop().achieved().assert_clean();
    before.assert_same(&netns);
}

#[test]
fn packets_out_of_a_tunnel_suffer_every_fault() {
    let profile = lossy(&[Hook::Ingress]);
    let oracle = |rule: &str| Oracle::of(&profile, rule, Hook::Ingress);
    let (netns, tun) = tun();
    let before = Snapshot::of(&netns);
    let injector = Injector::start_on(&netns, "tun0", &profile, &[]);
    let all: BTreeSet<u64> = (0..PACKETS).collect();
    let send = |port: u16| -> Vec<u64> {
        let receiver = netns.run(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)).expect("bind"));
        socket::enlarge_receive_buffer(&receiver);
        receiver
            .set_read_timeout(Some(200 * MS))
            .expect("set a timeout");
        for number in 0..PACKETS as u32 {
            let mut packet = Vec::new();
            let written = match number % 2 {
                0 => PacketBuilder::ipv4(TUN_PEER.octets(), TUN_HOST.octets(), 64)
                    .udp(1000, port)
                    .write(&mut packet, &number.to_be_bytes()),
                _ => PacketBuilder::ipv6(TUN_PEER_V6.octets(), TUN_HOST_V6.octets(), 64)
                    .udp(1000, port)
                    .write(&mut packet, &number.to_be_bytes()),
            };
            written.expect("write a packet");
            tun.send(&packet).expect("let a packet arrive");
        }
        let mut bytes = [0; 4];
        let receive = || {
            receiver
                .recv(&mut bytes)
                .ok()
                .map(|_| u32::from_be_bytes(bytes).into())
        };
        std::iter::from_fn(receive).collect()
    };

    let arrived: BTreeSet<u64> = send(5000).into_iter().collect();
    assert_eq!(
        &all - &arrived,
        oracle("ingress-5000").dropped(PACKETS),
        "lost"
    );
    let arrived: BTreeSet<u64> = send(5002).into_iter().collect();
    assert_eq!(
        &all - &arrived,
        oracle("ingress-5002").corrupted(PACKETS),
        "corrupted"
    );
    let arrived = send(5004);
    let copied = oracle("ingress-5004").duplicated(PACKETS);
    assert_eq!(
        arrived.len() as u64,
        PACKETS + copied.len() as u64,
        "with copies"
    );
    assert_eq!(arrived.into_iter().collect::<BTreeSet<u64>>(), all);
    injector.stop().achieved().assert_clean();
    before.assert_same(&netns);
}
