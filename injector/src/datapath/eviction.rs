//! Noticing that somebody took a part of a run away.

use std::{collections::BTreeSet, fmt};

use aya::programs::{ProgramError, ProgramInfo};
use netlink_packet_route::tc::TcHandle;
use serde::{Deserialize, Serialize};

use super::{
    Error, Result,
    journal::{Attached, Via},
    netlink::{Link, Netlink},
    pair::Pair,
    probe::device::attached_xdp,
    tcx,
};
use crate::plan::Hook;

/// A part of a run, without which some of its faults are off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The program on the device's egress.
    Egress,
    /// The program on its ingress.
    Ingress,
    /// The XDP program.
    Xdp,
    /// The private pair, and the programs on it.
    Pair,
    /// The pair's fq.
    Fq,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Egress => "egress",
            Self::Ingress => "ingress",
            Self::Xdp => "xdp",
            Self::Pair => "pair",
            Self::Fq => "fq",
        })
    }
}

/// `egress, fq`.
pub fn list(parts: &[Part]) -> String {
    let names: Vec<_> = parts.iter().map(Part::to_string).collect();
    names.join(", ")
}

/// One of our programs, where it was attached.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed {
    part: Part,
    ifindex: u32,
    pub attached: Attached,
    /// The kernel's number of it.
    program: u32,
}

type Info = std::result::Result<ProgramInfo, ProgramError>;

impl Placed {
    /// On the device.
    pub fn on_device(ifindex: u32, attached: Attached, program: Info) -> Result<Self> {
        let part = match (attached.via, attached.hook) {
            (Via::XdpNative | Via::XdpGeneric, _) => Part::Xdp,
            (_, Hook::Egress) => Part::Egress,
            (_, Hook::Ingress) => Part::Ingress,
        };
        Self::new(part, ifindex, attached, program)
    }

    /// On one of the pair's ends.
    pub fn on_pair(ifindex: u32, hook: Hook, program: Info) -> Result<Self> {
        let via = Via::Clsact;
        Self::new(Part::Pair, ifindex, Attached { hook, via }, program)
    }

    fn new(part: Part, ifindex: u32, attached: Attached, program: Info) -> Result<Self> {
        let program = program.map_err(|error| Error::ebpf("ask for a program's number", &error))?;
        Ok(Self {
            part,
            ifindex,
            attached,
            program: program.id(),
        })
    }

    fn is_there(&self, netlink: &Netlink) -> Result<bool> {
        let Attached { hook, via } = self.attached;
        let found = match via {
            Via::Tcx => tcx::programs(self.ifindex, hook)?,
            Via::Clsact => netlink.filter_programs(self.ifindex, hook)?,
            Via::XdpNative | Via::XdpGeneric => {
                let program = attached_xdp(netlink, self.ifindex)?;
                program.into_iter().map(|program| program.id).collect()
            }
        };
        Ok(found.contains(&self.program))
    }
}

/// All that has to be in place while a run lasts.
#[derive(Debug)]
pub(super) struct Inventory {
    pub programs: Vec<Placed>,
    pub pair: Pair,
    pub has_fq: bool,
}

/// What is found of it.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The parts that are not there any more.
    pub missing: Vec<Part>,
    /// Packets that fq dropped; `None` where there is none.
    pub qdisc_drops: Option<u64>,
}

impl Inventory {
    /// What is there, where these are the devices.
    pub fn look(&self, netlink: &Netlink, links: &[Link]) -> Result<Seen> {
        if !self.pair.is_up(links) {
            // With it go its fq and its programs.
            let on_device = self.programs.iter().filter(|p| p.part != Part::Pair);
            return Ok(Seen {
                missing: parts(netlink, on_device, [Part::Pair])?,
                qdisc_drops: None,
            });
        }
        let qdisc_drops = self.qdisc_drops(netlink)?;
        let lacks_fq = self.has_fq && qdisc_drops.is_none();
        Ok(Seen {
            missing: parts(netlink, &self.programs, lacks_fq.then_some(Part::Fq))?,
            qdisc_drops,
        })
    }

    /// Packets that fq dropped; `None` where there is none.
    pub fn qdisc_drops(&self, netlink: &Netlink) -> Result<Option<u64>> {
        let mut qdiscs = netlink.qdiscs(self.pair.far.index)?.into_iter();
        let fq = qdiscs.find(|q| q.parent == TcHandle::ROOT && q.kind == "fq");
        Ok(fq.map(|fq| fq.drops.into()))
    }
}

/// The parts that are known to be missing, and those whose programs are.
fn parts<'a>(
    netlink: &Netlink,
    programs: impl IntoIterator<Item = &'a Placed>,
    known: impl IntoIterator<Item = Part>,
) -> Result<Vec<Part>> {
    let mut missing: BTreeSet<_> = known.into_iter().collect();
    for placed in programs {
        if !placed.is_there(netlink)? {
            missing.insert(placed.part);
        }
    }
    Ok(missing.into_iter().collect())
}
