//! Links: cables between two hosts, and switches between several.

use std::{
    fs::File,
    os::fd::AsFd as _,
    thread,
    time::{Duration, Instant},
};

use super::host::{Host, bare_namespace, netns};
use crate::{
    datapath::{self, Error, netlink::Netlink},
    scenario::{End, Link, Scenario},
};

/// What is lent to Ethernet.
const MTU: u32 = 1500;
/// The bridge of a switch.
const BRIDGE: &str = "switch0";

/// Joins the hosts. What is returned keeps the switches.
pub(super) fn build(scenario: &Scenario, hosts: &[Host]) -> datapath::Result<Vec<File>> {
    let links = scenario.links.iter();
    let switches: Vec<_> = links
        .map(|link| join(link, hosts))
        .collect::<Result<_, _>>()?;
    for (index, host) in hosts.iter().enumerate() {
        let ends: Vec<_> = scenario.ends(index).collect();
        host.netns().run(|| dress(&ends))?;
    }
    for (index, host) in hosts.iter().enumerate() {
        let devices: Vec<_> = scenario
            .ends(index)
            .map(|end| end.device.as_str())
            .collect();
        host.netns().run(|| wait_until_up(&devices))?;
    }
    Ok(switches.into_iter().flatten().collect())
}

fn join(link: &Link, hosts: &[Host]) -> datapath::Result<Option<File>> {
    let mtu = link.mtu.unwrap_or(MTU);
    let of = |end: &End| &hosts[end.host];
    if let [near, far] = &link.ends[..] {
        let far_netns = of(far).net().as_fd();
        let cable = || Netlink::open()?.add_cable(&near.device, mtu, &far.device, far_netns);
        of(near).netns().run(cable)?;
        return Ok(None);
    }
    let switch = bare_namespace()?;
    netns(&switch).run(|| {
        let netlink = Netlink::open()?;
        netlink.add_bridge(BRIDGE)?;
        let bridge = netlink.link(BRIDGE)?;
        netlink.bring_up(&bridge)?;
        for (number, end) in link.ends.iter().enumerate() {
            let port = format!("port{number}");
            netlink.add_cable(&port, mtu, &end.device, of(end).net().as_fd())?;
            let port = netlink.link(&port)?;
            netlink.add_port(&bridge, &port)?;
            netlink.bring_up(&port)?;
        }
        Ok(())
    })?;
    Ok(Some(switch))
}

/// Brings a host's devices up, with their addresses.
fn dress(ends: &[&End]) -> datapath::Result<()> {
    let netlink = Netlink::open()?;
    netlink.bring_up(&netlink.link("lo")?)?;
    for end in ends {
        let link = netlink.link(&end.device)?;
        for address in &end.addresses {
            netlink.add_address(&link, *address)?;
        }
        netlink.bring_up(&link)?;
    }
    Ok(())
}

/// Waits until packets go out: a device whose other end comes up later has no carrier at first.
fn wait_until_up(devices: &[&str]) -> datapath::Result<()> {
    /// The kernel looks once a second.
    const PATIENCE: Duration = Duration::from_secs(10);
    let netlink = Netlink::open()?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let links = netlink.links()?;
        let up = |device: &&&str| links.iter().any(|link| link.name == **device && link.is_up);
        let Some(down) = devices.iter().find(|device| !up(device)) else {
            return Ok(());
        };
        if Instant::now() > deadline {
            let action = format!("wait for a carrier on {down}");
            return Err(Error::refused(action, nix::Error::ETIMEDOUT));
        }
        thread::sleep(Duration::from_millis(5));
    }
}
