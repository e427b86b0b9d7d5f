//! One interface.

use super::Check;
use crate::{
    datapath::{
        Netns, Result,
        probe::device::{self, Device, Program},
        target::Framing,
    },
    observe::format,
};

pub(super) fn checks(netns: &Netns, name: &str) -> Result<Vec<Check>> {
    let device = device::device(netns, name)?;
    // `/sys` shows the namespace of whoever mounted it.
    let driver = match netns {
        Netns::Current => device::driver(name).ok(),
        Netns::Path { .. } => None,
    };
    Ok(vec![
        interface(&device, driver.as_deref()),
        qdisc(&device),
        xdp(&device),
        programs(&device),
    ])
}

fn interface(device: &Device, driver: Option<&str>) -> Check {
    let target = &device.target;
    let framing = match target.framing {
        _ if target.is_loopback() => "loopback",
        Framing::Ethernet => "Ethernet",
        Framing::RawIp => "IP without a link layer",
    };
    let kind = match (&target.link.kind, driver) {
        (Some(kind), _) => format!(", {kind}"),
        (None, Some(driver)) => format!(", driver {driver}"),
        (None, None) => String::new(),
    };
    let mtu = format::count(target.link.mtu.into());
    Check::ok(
        "interface",
        format!("{}: {framing}{kind}, MTU {mtu}", target.link.name),
    )
}

fn qdisc(device: &Device) -> Check {
    Check::ok(
        "root qdisc",
        format!("{}, which stays as it is", device.qdisc),
    )
}

fn xdp(device: &Device) -> Check {
    if let Some(program) = device.xdp.as_ref().filter(|xdp| !xdp.is_ours()) {
        return Check::note(
            "XDP",
            format!("{program} is attached: ingress drops are decided at the tc hook"),
        )
        .remedy(format!(
            "see it with `bpftool net show dev {}`",
            device.target.link.name
        ));
    }
    Check::ok(
        "XDP",
        if device.xdp.is_some() {
            "in use by injector"
        } else if device.target.is_nic() {
            "free; used for ingress drops where the driver has native XDP"
        } else {
            "free; not used on software devices unless --xdp asks for it"
        },
    )
}

fn programs(device: &Device) -> Check {
    const NAME: &str = "tc programs";
    let tcx = device
        .tcx
        .iter()
        .flatten()
        .map(|program| describe(program, "tcx"));
    let filters = device
        .filters
        .iter()
        .map(|program| describe(program, "clsact"));
    let found: Vec<_> = filters.chain(tcx).flatten().collect();
    let unseen = match device.tcx {
        Some(_) => "",
        None => "; programs on tcx were not looked for: that takes CAP_NET_ADMIN or CAP_BPF",
    };
    if found.is_empty() && unseen.is_empty() {
        return Check::ok(NAME, "none by others");
    }
    if found.is_empty() {
        return Check::note(NAME, format!("no filters by others{unseen}"));
    }
    let detail = format!("{} by others: {}{unseen}", found.len(), found.join(", "));
    Check::note(
        NAME,
        format!("{detail}; injector goes first, and they stay"),
    )
}

/// `None` for our own.
fn describe(program: &Program, via: &str) -> Option<String> {
    let Program { hook, name } = program;
    (!program.is_ours()).then(|| format!("{name} ({hook}, {via})"))
}
