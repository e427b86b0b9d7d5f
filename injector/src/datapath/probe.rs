//! What this machine can do, found by trying it in a namespace of its own that ends with the
//! probe.

pub mod device;

use std::sync::OnceLock;

use aya::programs::{LinkOrder, SchedClassifier, TcAttachType, tc::TcAttachOptions};
use injector_common::abi::{XdpMode, programs};
use nix::sched::{CloneFlags, unshare};

use super::{
    Error, Result,
    netlink::{FqOptions, Link, Netlink},
    object::{self, Specialisation},
    owners::Owners,
};
use crate::{
    plan::{Needs, Plan},
    profile,
};

/// What the kernel offers.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Features {
    /// veth devices, of which the private pair is made.
    pub veth: Support,
    /// macvlan devices, of which one splits super-packets.
    pub macvlan: Support,
    /// The fq queueing discipline, for delays.
    pub fq: Support,
    /// The clsact qdisc and cls_bpf.
    pub clsact: Support,
    /// tcx links.
    pub tcx: Support,
}

/// The outcome of an attempt: nothing, or why not.
#[derive(Clone, Debug, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Support {
    /// It works.
    Yes,
    /// It was refused, in these words.
    No(String),
}

impl Support {
    /// Whether it works.
    pub fn is_yes(&self) -> bool {
        matches!(self, Self::Yes)
    }

    fn of<T>(result: &Result<T>) -> Self {
        match result {
            Ok(_) => Self::Yes,
            Err(error) => Self::No(error.to_string()),
        }
    }
}

/// Tries everything but the programs.
pub fn features() -> Result<Features> {
    in_scratch(|| try_all(&Netlink::open()?))
}

/// Whether the kernel has fq. Tried once: a run gives up what that takes.
pub fn has_fq() -> Result<bool> {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    if let Some(answer) = ANSWER.get() {
        return Ok(*answer);
    }
    let tried = in_scratch(|| {
        let netlink = Netlink::open()?;
        try_fq(&netlink, netlink.find_link("lo")?.as_ref())
    });
    match tried {
        Err(error) if !matches!(error, Error::NoFq) => Err(error),
        tried => Ok(*ANSWER.get_or_init(|| tried.is_ok())),
    }
}

/// Has the kernel verify every program, attaching none.
pub fn programs() -> Result<()> {
    const PROFILE: &str = "name: probe\nrules: [{direction: both, drop: 1%}]";
    let profile = profile::parse("probe", PROFILE).expect("a constant, and valid");
    let plan = Plan::new(&profile, 0).expect("one rule fits");
    let special = Specialisation {
        device: 1,
        near: 2,
        far: 3,
        splitter: 4,
        splits_max: 1,
        raw_ip: false,
        has_fq: true,
        xdp: XdpMode::Native,
        frame_len_max: 1514,
        // Everything in the programs, but small maps.
        interfaces: 1,
        needs: Needs {
            features: Needs::ANY.features,
            splits: true,
            ..Needs::of([&plan])
        },
    };
    object::load(&plan, &Owners::default(), special).map(|_| ())
}

/// Runs `work` in a namespace of its own, which ends with it.
fn in_scratch<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        scope
            .spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET)
                    .map_err(|errno| Error::refused("create a network namespace", errno))?;
                work()
            })
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn try_all(netlink: &Netlink) -> Result<Features> {
    let veth = netlink.add_veth("probe0", "probe1");
    let device = netlink.find_link("probe0")?;
    let fq = try_fq(netlink, device.as_ref());
    let macvlan = match &device {
        Some(link) => netlink.add_macvlan("probe2", link),
        None => Ok(false),
    };
    let clsact = aya::programs::tc::qdisc_add_clsact("probe0")
        .map_err(|error| Error::ebpf("add clsact", &error));
    Ok(Features {
        veth: Support::of(&veth),
        macvlan: match macvlan {
            Ok(false) => Support::No("the kernel has no macvlan".into()),
            tried => Support::of(&tried),
        },
        fq: Support::of(&fq),
        clsact: Support::of(&clsact),
        tcx: Support::of(&try_tcx()),
    })
}

fn try_fq(netlink: &Netlink, device: Option<&Link>) -> Result<()> {
    let options = FqOptions {
        limit: 1000,
        horizon_us: 1_000_000,
    };
    device.map_or(Err(Error::NoFq), |link| netlink.add_fq(link, &options))
}

/// Attaches the smallest program of the object.
fn try_tcx() -> Result<()> {
    let failed = |error: &(dyn std::error::Error + 'static)| Error::ebpf("attach by tcx", error);
    let mut ebpf = object::load_smallest()?;
    let program: &mut SchedClassifier = object::find(&mut ebpf, programs::RETURN)?;
    program
        .attach_with_options(
            "probe0",
            TcAttachType::Ingress,
            TcAttachOptions::TcxOrder(LinkOrder::first()),
        )
        .map_err(|error| failed(&error))?;
    Ok(())
}
