//! What is attached to a device, by whomever.

use std::{fmt, io};

use aya::programs::{ProgramError, SchedClassifier, TcAttachType, loaded_programs};
use futures_util::TryStreamExt as _;
use netlink_packet_route::{
    link::{LinkAttribute, LinkXdp, XdpAttached},
    tc::{TcAttribute, TcFilterBpfOption, TcFilterU32Option, TcHandle, TcMessage, TcOption},
};

use crate::{
    datapath::{
        Error, Netns, Result,
        netlink::{Netlink, Qdisc},
        target::Target,
    },
    plan::Hook,
};

/// How the names of our programs start.
const OURS: &str = "injector_";

/// A device, as it was found.
#[derive(Clone, Debug)]
pub struct Device {
    /// The device.
    pub target: Target,
    /// The kind of its root qdisc.
    pub qdisc: String,
    /// The XDP program on it.
    pub xdp: Option<XdpProgram>,
    /// Filters on its clsact or ingress qdisc.
    pub filters: Vec<Program>,
    /// Programs on its tcx hooks; `None` where they cannot be seen.
    pub tcx: Option<Vec<Program>>,
}

/// A program on the XDP hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XdpProgram {
    /// The kernel's number of it.
    pub id: u32,
    /// Where it runs, such as `native`.
    pub mode: &'static str,
    /// Its name; absent where it cannot be seen.
    pub name: Option<String>,
}

impl XdpProgram {
    /// Whether it is ours.
    pub fn is_ours(&self) -> bool {
        self.name
            .as_ref()
            .is_some_and(|name| name.starts_with(OURS))
    }
}

impl fmt::Display for XdpProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, mode, name } = self;
        let name = name.as_deref().unwrap_or("a program");
        write!(f, "{name} (id {id}, {mode})")
    }
}

/// A program or filter on a tc hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The hook.
    pub hook: Hook,
    /// Its name, or the kind of filter.
    pub name: String,
}

impl Program {
    /// Whether it is one of ours.
    pub fn is_ours(&self) -> bool {
        self.name.starts_with(OURS)
    }
}

/// Looks at `device`; changes nothing, and needs no privileges but for tcx.
pub fn device(netns: &Netns, device: &str) -> Result<Device> {
    netns.run(|| {
        let netlink = Netlink::open()?;
        let target = Target::find(&netlink, netns, device)?;
        let xdp = attached_xdp(&netlink, target.link.index)?;
        let qdiscs = netlink.qdiscs(target.link.index)?;
        Ok(Device {
            xdp,
            filters: filters(&netlink, target.link.index, &qdiscs)?,
            tcx: tcx(device),
            qdisc: root(qdiscs),
            target,
        })
    })
}

/// The XDP program on a device of the calling thread's namespace.
pub fn attached_xdp(netlink: &Netlink, ifindex: u32) -> Result<Option<XdpProgram>> {
    let request = netlink.handle().link().get().match_index(ifindex).execute();
    let links: Vec<_> = netlink.wait("read the interface", request.try_collect())?;
    let mut attributes = links.into_iter().flat_map(|link| link.attributes);
    Ok(attributes.find_map(|attribute| match attribute {
        LinkAttribute::Xdp(parts) => xdp(&parts),
        _ => None,
    }))
}

fn xdp(parts: &[LinkXdp]) -> Option<XdpProgram> {
    let mode = parts.iter().find_map(|part| match part {
        LinkXdp::Attached(XdpAttached::Driver) => Some("native"),
        LinkXdp::Attached(XdpAttached::SocketBuffer) => Some("generic"),
        LinkXdp::Attached(XdpAttached::Hardware) => Some("in hardware"),
        LinkXdp::Attached(XdpAttached::Multiple) => Some("in several modes"),
        _ => None,
    })?;
    let id = parts.iter().find_map(|part| match part {
        LinkXdp::ProgId(id)
        | LinkXdp::DrvProgId(id)
        | LinkXdp::SkbProgId(id)
        | LinkXdp::HwProgId(id) => Some(*id),
        _ => None,
    });
    let id = id.unwrap_or(0);
    Some(XdpProgram {
        id,
        mode,
        name: program_name(id),
    })
}

fn program_name(id: u32) -> Option<String> {
    let program = loaded_programs()
        .flatten()
        .find(|program| program.id() == id)?;
    program.name_as_str().map(str::to_owned)
}

fn root(qdiscs: Vec<Qdisc>) -> String {
    let root = qdiscs
        .into_iter()
        .find(|qdisc| qdisc.parent == TcHandle::ROOT);
    // Software devices start without one, and the kernel then lists nothing.
    root.map_or_else(|| "noqueue".into(), |root| root.kind)
}

fn filters(netlink: &Netlink, ifindex: u32, qdiscs: &[Qdisc]) -> Result<Vec<Program>> {
    let mut programs = Vec::new();
    for hook in Hook::ALL {
        let has_hook = |qdisc: &Qdisc| match qdisc.kind.as_str() {
            "clsact" => true,
            "ingress" => hook == Hook::Ingress,
            _ => false,
        };
        if !qdiscs.iter().any(has_hook) {
            continue;
        }
        let found = netlink.filters(ifindex, hook)?;
        let names = found.into_iter().filter_map(filter_name);
        programs.extend(names.map(|name| Program { hook, name }));
    }
    Ok(programs)
}

/// The name of a filter, or its kind. Other messages speak of chains and hash tables: they have no
/// options, or a size.
fn filter_name(message: TcMessage) -> Option<String> {
    let (mut kind, mut options) = (String::new(), Vec::new());
    for attribute in message.attributes {
        match attribute {
            TcAttribute::Kind(value) => kind = value,
            TcAttribute::Options(values) => options = values,
            _ => {}
        }
    }
    let is_table =
        |option: &TcOption| matches!(option, TcOption::U32(TcFilterU32Option::Divisor(_)));
    if options.is_empty() || options.iter().any(is_table) {
        return None;
    }
    let name = options.into_iter().find_map(|option| match option {
        TcOption::Bpf(TcFilterBpfOption::ProgName(name)) => Some(name),
        _ => None,
    });
    Some(name.unwrap_or(kind))
}

/// `None` without privileges. A kernel without tcx has no programs on it.
fn tcx(device: &str) -> Option<Vec<Program>> {
    let mut programs = Vec::new();
    for hook in Hook::ALL {
        let side = match hook {
            Hook::Egress => TcAttachType::Egress,
            Hook::Ingress => TcAttachType::Ingress,
        };
        match SchedClassifier::query_tcx(device, side) {
            Ok((_, found)) => programs.extend(found.into_iter().map(|program| {
                let name = program.name_as_str().unwrap_or("unnamed").to_owned();
                Program { hook, name }
            })),
            Err(error) if is_unsupported(&error) => {}
            Err(_) => return None,
        }
    }
    Some(programs)
}

fn is_unsupported(error: &ProgramError) -> bool {
    let error = Error::ebpf("query tcx", error);
    // What a kernel says to an attach type, and to a program type, that it does not know.
    matches!(error.errno(), Some(nix::libc::EINVAL))
}

/// The driver of a device of this process's namespace: `/sys` shows no other.
pub fn driver(device: &str) -> io::Result<String> {
    let link = std::fs::read_link(format!("/sys/class/net/{device}/device/driver"))?;
    Ok(link
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned())
}
