//! Frames as nobody should send them: good packets of every kind, tagged, chained, cut off, with wrong
//! bytes, and with lengths that lie.

use etherparse::{Ethernet2Header, IpNumber, PacketBuilder, PacketBuilderStep};
use injector_common::random::Stream;

use crate::seed::seed;

/// Length of an Ethernet header: no frame is shorter.
pub const SHORTEST: usize = 14;

/// Makes one after the other; the same ones from the same seed.
#[derive(Debug)]
pub struct Mutants {
    stream: Stream,
    next: u64,
}

impl Mutants {
    /// Those of a seed.
    pub fn new(seed: u64) -> Self {
        Self {
            stream: Stream::new(seed),
            next: 0,
        }
    }

    /// Those of a seed that is printed: `TEST_SEED`, or a new one each time.
    pub fn of_today() -> Self {
        Self::new(seed())
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.next += 1;
        self.stream.up_to(self.next, bound as u64 - 1) as usize
    }

    /// The next frame.
    pub fn frame(&mut self) -> Vec<u8> {
        let mut frame = match self.below(20) {
            0 => self.noise(),
            1 => self.other(),
            2..16 => self.packet(),
            _ => self.chain(),
        };
        if self.below(2) == 0 {
            self.lie(&mut frame);
        }
        if self.below(3) == 0 {
            for _ in 0..=self.below(6) {
                // Most of them where the headers are.
                let end = if self.below(4) == 0 { usize::MAX } else { 90 };
                let place = self.below(frame.len().min(end));
                frame[place] = self.byte();
            }
        }
        if self.below(3) == 0 {
            for _ in 0..self.below(4) {
                self.insert_tag(&mut frame);
            }
        }
        if self.below(3) == 0 {
            let len = SHORTEST + self.below(frame.len() - SHORTEST + 1);
            frame.truncate(len);
        }
        frame
    }

    fn byte(&mut self) -> u8 {
        self.below(256) as u8
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.byte()).collect()
    }

    fn noise(&mut self) -> Vec<u8> {
        let len = SHORTEST + self.below(300);
        self.bytes(len)
    }

    /// What is no IP, ARP for the most part.
    fn other(&mut self) -> Vec<u8> {
        let mut frame = self.noise();
        let kind: u16 = [0x0806, 0x0806, 0x88cc, 0x05dc][self.below(4)];
        frame[12..14].copy_from_slice(&kind.to_be_bytes());
        frame
    }

    /// A good packet, from and to few hosts and ports, so that rules find some.
    fn packet(&mut self) -> Vec<u8> {
        let payload = [0x5a; 200];
        let payload = &payload[..self.below(200)];
        let (src, dst) = (self.below(4) as u8, self.below(4) as u8);
        let (src_port, dst_port) = (self.port(), self.port());
        let is_v4 = self.below(2) == 0;
        let ip = if is_v4 {
            link().ipv4([10, 0, 0, src], [10, 0, 0, dst], 64)
        } else {
            link().ipv6(v6(src), v6(dst), 64)
        };
        let mut frame = Vec::with_capacity(400);
        let written = match self.below(8) {
            0..3 => ip.udp(src_port, dst_port).write(&mut frame, payload),
            3..6 => ip
                .tcp(src_port, dst_port, 7, 1000)
                .write(&mut frame, payload),
            6 if is_v4 => ip.icmpv4_echo_request(1, 2).write(&mut frame, payload),
            6 => ip.icmpv6_echo_request(1, 2).write(&mut frame, payload),
            _ => {
                let ports = [src_port, dst_port].map(u16::to_be_bytes);
                let sctp = [ports.as_flattened(), payload].concat();
                ip.write(&mut frame, IpNumber::SCTP, &sctp)
            }
        };
        written.expect("write a packet");
        if self.below(8) == 0 {
            let (offset, more) = self.part();
            let bits = offset | u16::from(more) << 13;
            frame[20..22].copy_from_slice(&bits.to_be_bytes());
        }
        frame
    }

    /// Where a fragment begins, in units of 8 bytes, and whether more follow: the first, or another. Few, so that some
    /// belong together.
    fn part(&mut self) -> (u16, bool) {
        let offset = [0, 0, 1, 185, self.below(1 << 13)][self.below(5)];
        (offset as u16, self.below(4) > 0)
    }

    fn port(&mut self) -> u16 {
        [9, 80, 443, 1000, 1007, 65535][self.below(6)]
    }

    /// IPv6 with extension headers of every kind, in any order and number.
    fn chain(&mut self) -> Vec<u8> {
        let (src, dst) = (v6(self.below(4) as u8), v6(self.below(4) as u8));
        let mut frame = Vec::with_capacity(400);
        let udp = link().ipv6(src, dst, 64).udp(self.port(), self.port());
        udp.write(&mut frame, &[0x5a; 60]).expect("write a packet");
        let mut next = frame[20];
        let mut headers = Vec::new();
        for _ in 0..self.below(12) {
            let (kind, len) = [(0, 8), (43, 16), (44, 8), (51, 12), (60, 24)][self.below(5)];
            let mut header = vec![0; len];
            header[0] = next;
            header[1] = if kind == 51 { len / 4 - 2 } else { len / 8 - 1 } as u8;
            if kind == 44 && self.below(2) == 0 {
                let (offset, more) = self.part();
                let bits = offset << 3 | u16::from(more);
                header[2..4].copy_from_slice(&bits.to_be_bytes());
            }
            headers.splice(0..0, header);
            next = kind;
        }
        frame[20] = next;
        frame.splice(54..54, headers);
        frame
    }

    /// Changes a field that says how long something is, or what comes next.
    fn lie(&mut self, frame: &mut [u8]) {
        // Of IPv4: version and length of the header, length of the packet, protocol, the high byte of
        // the UDP length, the TCP data offset. Of IPv6: length, next header, the UDP length, the TCP
        // data offset, length of an extension header.
        const FIELDS: [usize; 13] = [14, 16, 17, 23, 38, 46, 18, 19, 20, 58, 66, 55, 12];
        const LIES: [u8; 12] = [
            0, 1, 4, 0x40, 0x44, 0x45, 0x4f, 0x60, 0x7f, 0x80, 0xfe, 0xff,
        ];
        let place = FIELDS[self.below(FIELDS.len())];
        let lie = LIES[self.below(LIES.len())];
        if let Some(byte) = frame.get_mut(place) {
            *byte = lie;
        }
    }

    fn insert_tag(&mut self, frame: &mut Vec<u8>) {
        let kind: u16 = if self.below(2) == 0 { 0x8100 } else { 0x88a8 };
        let [high, low] = kind.to_be_bytes();
        let id = self.byte();
        frame.splice(12..12, [high, low, 0, id]);
    }
}

fn link() -> PacketBuilderStep<Ethernet2Header> {
    PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
}

fn v6(host: u8) -> [u8; 16] {
    let mut address = [0; 16];
    address[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    address[15] = host;
    address
}
