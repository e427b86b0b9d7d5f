//! Attaching programs to hooks.

use std::mem;

use aya::{
    Ebpf,
    programs::{
        LinkOrder, ProgramError, SchedClassifier, TcAttachType, Xdp,
        tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions},
        xdp::{XdpLink, XdpMode as AttachMode},
    },
    sys::SyscallError,
};
use clap::ValueEnum;
use injector_common::abi::{XdpMode, features, programs};

use super::{
    Error, Result,
    eviction::Placed,
    journal::{Attached, Journal, Via},
    netlink::Netlink,
    object,
    pair::Pair,
    probe::device::attached_xdp,
    target::{Framing, Identity, Target},
    undo::Undo,
};
use crate::plan::{Hook, Needs};

/// Which way of attaching to the tc hooks to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum AttachPolicy {
    /// tcx where the kernel has it, clsact otherwise.
    #[default]
    Auto,
    /// tcx (Linux 6.6): gone at once when the process dies.
    Tcx,
    /// cls_bpf on a clsact qdisc: without effect 5 s after the process dies.
    Clsact,
}

/// Where rules that only drop are decided on ingress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum XdpPolicy {
    /// In the NIC's driver where it has native XDP, otherwise at the tc hook.
    #[default]
    Auto,
    /// In the driver; an error where it cannot. At the tc hook where frames are too long for it (MTU).
    Native,
    /// By generic XDP.
    Generic,
    /// At the tc hook.
    Off,
}

/// The links that hold our programs on the device. Dropping them, inside the device's namespace,
/// detaches the programs.
///
/// Filters on clsact are not among them: their links know them by a priority and a handle, which on a
/// device that has got this one's index may be somebody else's.
#[derive(Debug, Default)]
pub(super) struct DeviceLinks {
    tcx: Vec<SchedClassifierLink>,
    xdp: Option<XdpLink>,
}

impl DeviceLinks {
    /// Detaches every program.
    pub(super) fn detach(&mut self) {
        self.xdp = None;
        self.tcx.clear();
    }
}

/// Attaches the pair's own programs, by cls_bpf: should the process be killed, they still bring
/// back what is held.
pub(super) fn attach_pair(ebpf: &mut Ebpf, pair: &Pair, needs: &Needs) -> Result<Vec<Placed>> {
    let Pair { near, far, .. } = pair;
    for end in [near, far] {
        tc::qdisc_add_clsact(&end.name)
            .map_err(|error| Error::ebpf(format!("add clsact to {}", end.name), &error))?;
    }
    let hooks = [
        (programs::HOLD, far, Hook::Egress),
        (programs::DECIDE, far, Hook::Ingress),
        (programs::RETURN, near, Hook::Ingress),
    ];
    let mut placed = Vec::new();
    for (name, end, hook) in hooks {
        if name == programs::DECIDE && !needs.splits {
            continue;
        }
        let program = object::find::<SchedClassifier>(ebpf, name)?;
        let options = TcAttachOptions::Netlink(NlOptions::default());
        let link = program
            .attach_with_options(&end.name, side(hook), options)
            .and_then(|id| program.take_link(id))
            .map_err(|error| Error::ebpf(format!("attach {name} to {}", end.name), &error))?;
        // The filter ends with the pair. Dropped, the link would remove a filter from the device
        // that has the end's index in the namespace of the thread that drops it, whoever's it is.
        mem::forget(link);
        placed.push(Placed::on_pair(end.index, hook, program.info())?);
    }
    Ok(placed)
}

const fn side(hook: Hook) -> TcAttachType {
    match hook {
        Hook::Egress => TcAttachType::Egress,
        Hook::Ingress => TcAttachType::Ingress,
    }
}

/// Where and how the programs on the device's tc hooks are attached.
pub(super) struct Device<'a> {
    pub netlink: &'a Netlink,
    pub target: &'a Target,
    pub policy: AttachPolicy,
}

impl Device<'_> {
    /// Attaches the program for `hook`, with tcx the first in its chain.
    pub(super) fn attach(
        &self,
        ebpf: &mut Ebpf,
        hook: Hook,
        journal: &mut Journal,
        links: &mut DeviceLinks,
    ) -> Result<Placed> {
        let name = object::divert_program(hook);
        let program = object::find::<SchedClassifier>(ebpf, name)?;
        let via = match self.attach_tcx(program, side(hook)) {
            Ok(link) => {
                links.tcx.push(link);
                Via::Tcx
            }
            Err(error) if self.policy == AttachPolicy::Tcx || !is_unsupported(&error) => {
                return Err(self.failed(name, hook, &error));
            }
            Err(_) => {
                self.ensure_clsact(journal)?;
                journal.note(Undo::DetachFilter {
                    device: Identity::of(&self.target.link),
                    hook,
                    program: name.into(),
                })?;
                let link = self.attach_clsact(program, side(hook));
                mem::forget(link.map_err(|error| self.failed(name, hook, &error))?);
                Via::Clsact
            }
        };
        let attached = Attached { hook, via };
        Placed::on_device(self.target.link.index, attached, program.info())
    }

    /// Tried, not guessed from the kernel's version: distributions carry tcx back.
    fn attach_tcx(
        &self,
        program: &mut SchedClassifier,
        side: TcAttachType,
    ) -> std::result::Result<SchedClassifierLink, ProgramError> {
        if self.policy == AttachPolicy::Clsact {
            return Err(unsupported());
        }
        let order = TcAttachOptions::TcxOrder(LinkOrder::first());
        let id = program.attach_with_options(&self.target.link.name, side, order)?;
        program.take_link(id)
    }

    /// The kernel chooses the priority: before all filters whose priority it chose, behind those
    /// that were given one by hand. Taking priority 1 would be before these too, but would make
    /// somebody else's `prio 1` of another kind fail.
    fn attach_clsact(
        &self,
        program: &mut SchedClassifier,
        side: TcAttachType,
    ) -> std::result::Result<SchedClassifierLink, ProgramError> {
        let options = TcAttachOptions::Netlink(NlOptions::default());
        let id = program.attach_with_options(&self.target.link.name, side, options)?;
        program.take_link(id)
    }

    fn ensure_clsact(&self, journal: &mut Journal) -> Result<()> {
        let device = &self.target.link;
        if self
            .netlink
            .qdiscs(device.index)?
            .iter()
            .any(|qdisc| qdisc.kind == "clsact")
        {
            return Ok(());
        }
        journal.note(Undo::DeleteClsact {
            device: Identity::of(device),
        })?;
        tc::qdisc_add_clsact(&device.name)
            .map_err(|error| Error::ebpf(format!("add clsact to {}", device.name), &error))
    }

    fn failed(&self, name: &str, hook: Hook, error: &ProgramError) -> Error {
        Error::ebpf(
            format!("attach {name} to {} {hook}", self.target.link.name),
            error,
        )
    }
}

/// The answer of a kernel without tcx to an unknown attach type.
fn unsupported() -> ProgramError {
    ProgramError::SyscallError(SyscallError {
        call: "bpf_mprog_attach",
        io_error: std::io::Error::from_raw_os_error(nix::libc::EINVAL),
    })
}

/// Whether the kernel has no tcx.
fn is_unsupported(error: &ProgramError) -> bool {
    matches!(error, ProgramError::SyscallError(syscall)
        if syscall.io_error.raw_os_error() == Some(nix::libc::EINVAL))
}

/// Where to try XDP for the rules that it can decide, best first.
///
/// On software devices XDP costs everybody: native XDP on a veth device takes segmentation offload
/// from its peer, and generic XDP makes every super-packet linear, whether a rule matches or not.
/// `Auto` therefore asks for it on NICs only.
pub(super) fn xdp_mode(needs: &Needs, target: &Target, policy: XdpPolicy) -> XdpMode {
    if needs.features & features::XDP == 0 || target.framing == Framing::RawIp {
        return XdpMode::Off;
    }
    match policy {
        XdpPolicy::Off => XdpMode::Off,
        XdpPolicy::Native => XdpMode::Native,
        XdpPolicy::Generic => XdpMode::Generic,
        XdpPolicy::Auto if target.is_nic() => XdpMode::Native,
        XdpPolicy::Auto => XdpMode::Off,
    }
}

/// The XDP program that is in the way.
fn name_xdp(netlink: &Netlink, ifindex: u32) -> String {
    match attached_xdp(netlink, ifindex) {
        Ok(Some(program)) => program.to_string(),
        _ => "one that cannot be seen".into(),
    }
}

/// Attaches the XDP program in `mode`.
pub(super) fn attach_xdp(
    ebpf: &mut Ebpf,
    netlink: &Netlink,
    target: &Target,
    mode: XdpMode,
    links: &mut DeviceLinks,
) -> Result<Placed> {
    let (flags, via) = match mode {
        XdpMode::Generic => (AttachMode::Skb, Via::XdpGeneric),
        _ => (AttachMode::Driver, Via::XdpNative),
    };
    let device = &target.link.name;
    let failed = |error: &ProgramError| Error::ebpf(format!("attach {via} to {device}"), error);
    let program: &mut Xdp = object::find(ebpf, programs::XDP)?;
    let id = program
        .attach_to_if_index(target.link.index, flags)
        .map_err(|error| {
            let error = failed(&error);
            match error.errno() {
                Some(nix::libc::EBUSY | nix::libc::EEXIST) => Error::ForeignXdp {
                    device: device.clone(),
                    program: name_xdp(netlink, target.link.index),
                },
                _ => error,
            }
        })?;
    links.xdp = Some(program.take_link(id).map_err(|error| failed(&error))?);
    let attached = Attached {
        hook: Hook::Ingress,
        via,
    };
    Placed::on_device(target.link.index, attached, program.info())
}
