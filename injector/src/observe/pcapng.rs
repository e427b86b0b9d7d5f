//! Packets in a file that Wireshark reads, each with a comment
//! ([draft-ietf-opsawg-pcapng](https://datatracker.ietf.org/doc/draft-ietf-opsawg-pcapng/)).

use std::{
    borrow::Cow,
    fs::File,
    io::{self, Write as _},
    path::Path,
    time::Duration,
};

use pcap_file::{
    DataLink, PcapError,
    pcapng::{
        PcapNgBlock, PcapNgWriter,
        blocks::{
            enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption},
            interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption},
        },
    },
};

use crate::plan::Hook;

/// Times are in ns: 10^-9 s.
const NANOSECONDS: u8 = 9;

/// A packet for a file.
pub struct Packet<'a> {
    /// When it was seen, since 1970.
    pub time: Duration,
    /// Which way it went.
    pub direction: Hook,
    /// Whether its bytes start with the IP header.
    pub raw_ip: bool,
    /// Its first bytes.
    pub bytes: &'a [u8],
    /// How long it is.
    pub len: u32,
    /// What there is to say of it.
    pub comment: String,
}

/// A file, or standard output, that is being written.
pub struct Capture {
    /// What has not been written yet.
    writer: PcapNgWriter<Vec<u8>>,
    /// Where its blocks end.
    ends: Vec<u64>,
    out: Out,
}

enum Out {
    /// And how much of it is whole blocks.
    File(File, u64),
    Stdout(io::Stdout),
}

impl Capture {
    /// Begins a file for the packets of `device`.
    pub fn create(path: &Path, device: &str) -> io::Result<Self> {
        let out = match path.to_str() {
            Some("-") => Out::Stdout(io::stdout()),
            _ => Out::File(File::create(path)?, 0),
        };
        let writer = PcapNgWriter::new(Vec::new()).map_err(into_io)?;
        let mut capture = Self {
            writer,
            ends: Vec::new(),
            out,
        };
        // In the order of `Packet::raw_ip`.
        for linktype in [DataLink::ETHERNET, DataLink::RAW] {
            capture.add(InterfaceDescriptionBlock {
                linktype,
                snaplen: 0,
                options: vec![
                    InterfaceDescriptionOption::IfName(Cow::Owned(device.to_owned())),
                    InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
                ],
            })?;
        }
        capture.flush()?;
        Ok(capture)
    }

    /// Adds a packet.
    pub fn packet(&mut self, packet: Packet<'_>) -> io::Result<()> {
        const INBOUND: u32 = 1;
        const OUTBOUND: u32 = 2;
        let direction = match packet.direction {
            Hook::Ingress => INBOUND,
            Hook::Egress => OUTBOUND,
        };
        self.add(EnhancedPacketBlock {
            interface_id: packet.raw_ip.into(),
            timestamp: packet.time,
            original_len: packet.len,
            data: Cow::Borrowed(packet.bytes),
            options: vec![
                EnhancedPacketOption::Comment(Cow::Owned(packet.comment)),
                EnhancedPacketOption::Flags(direction),
            ],
        })
    }

    fn add<'a>(&mut self, block: impl PcapNgBlock<'a>) -> io::Result<()> {
        self.writer.write_pcapng_block(block).map_err(into_io)?;
        self.ends.push(self.writer.get_ref().len() as u64);
        Ok(())
    }

    /// Writes what was added. Where that fails, as on a full disk, the file ends with the last packet that
    /// is whole.
    pub fn flush(&mut self) -> io::Result<()> {
        let blocks = std::mem::take(self.writer.get_mut());
        let ends = std::mem::take(&mut self.ends);
        match &mut self.out {
            Out::Stdout(out) => out.write_all(&blocks).and_then(|()| out.flush()),
            Out::File(file, whole) => {
                if let Err(error) = file.write_all(&blocks) {
                    let written = file.metadata()?.len().saturating_sub(*whole);
                    let fitting = ends.into_iter().take_while(|end| *end <= written);
                    file.set_len(*whole + fitting.last().unwrap_or(0))?;
                    return Err(error);
                }
                *whole += blocks.len() as u64;
                Ok(())
            }
        }
    }
}

fn into_io(error: PcapError) -> io::Error {
    match error {
        PcapError::IoError(error) => error,
        other => io::Error::other(other),
    }
}
