//! The small packets that everything is measured with.

use etherparse::{PacketBuilder, PacketBuilderStep, VlanId, err::packet::BuildWriteError};

/// Offsets in a datagram of [`udp`].
pub const DESTINATION: usize = 0;
/// Likewise.
pub const TTL: usize = 22;
/// Likewise.
pub const HEADER_CHECKSUM: usize = 24;

/// The hardware address that they come from.
const SENDER: [u8; 6] = [2, 0, 0, 0, 0, 9];
const HOPS: u8 = 64;
const PORTS: (u16, u16) = (1000, 2000);
/// Makes a frame of 64 bytes, with the checksum sequence, which is not part of it, of a datagram.
const PAYLOAD: [u8; 18] = [0x5a; 18];

/// A UDP datagram.
pub fn udp(source: [u8; 4], destination: [u8; 4]) -> Vec<u8> {
    udp_to_port(source, destination, PORTS.1)
}

/// A UDP datagram to a port.
pub fn udp_to_port(source: [u8; 4], destination: [u8; 4], port: u16) -> Vec<u8> {
    let ip = ethernet().ipv4(source, destination, HOPS);
    made(|frame| ip.udp(PORTS.0, port).write(frame, &PAYLOAD))
}

/// A UDP datagram in a VLAN.
pub fn tagged_udp(source: [u8; 4], destination: [u8; 4], vlan: u16) -> Vec<u8> {
    let vlan = VlanId::try_new(vlan).expect("a number of a VLAN");
    let ip = ethernet().single_vlan(vlan).ipv4(source, destination, HOPS);
    made(|frame| ip.udp(PORTS.0, PORTS.1).write(frame, &PAYLOAD))
}

/// The first segment of a TCP connection.
pub fn tcp_syn(source: [u8; 4], destination: [u8; 4]) -> Vec<u8> {
    let ip = ethernet().ipv4(source, destination, HOPS);
    made(|frame| {
        ip.tcp(PORTS.0, PORTS.1, 0, 1024)
            .syn()
            .write(frame, &PAYLOAD)
    })
}

/// An ICMP echo request.
pub fn echo_request(source: [u8; 4], destination: [u8; 4]) -> Vec<u8> {
    let ip = ethernet().ipv4(source, destination, HOPS);
    made(|frame| ip.icmpv4_echo_request(1, 1).write(frame, &PAYLOAD))
}

fn ethernet() -> PacketBuilderStep<etherparse::Ethernet2Header> {
    PacketBuilder::ethernet2(SENDER, [0; 6])
}

fn made(write: impl FnOnce(&mut Vec<u8>) -> Result<(), BuildWriteError>) -> Vec<u8> {
    let mut frame = Vec::new();
    write(&mut frame).expect("a packet of that length");
    frame
}
