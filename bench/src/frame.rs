//! The small packet that everything is measured with.

use etherparse::PacketBuilder;

/// Offsets in it.
pub const DESTINATION: usize = 0;
/// Likewise.
pub const TTL: usize = 22;
/// Likewise.
pub const HEADER_CHECKSUM: usize = 24;

/// A UDP datagram in a frame of 64 bytes with the checksum sequence, which is not part of it.
pub fn udp(source: [u8; 4], destination: [u8; 4]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 9], [0; 6])
        .ipv4(source, destination, 64)
        .udp(1000, 2000);
    let mut frame = Vec::new();
    builder
        .write(&mut frame, &[0x5a; 18])
        .expect("a packet of that length");
    frame
}
