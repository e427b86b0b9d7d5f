//! Two hosts and a cable.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use crate::{Netns, tool};

/// The version of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];
}

/// A host: a namespace with one device.
#[derive(Debug)]
pub struct Host {
    /// Its namespace.
    pub netns: Netns,
    /// Its device.
    pub device: String,
    /// The device's hardware address.
    pub mac: [u8; 6],
    /// The device's IPv4 address.
    pub v4: Ipv4Addr,
    /// The device's IPv6 address.
    pub v6: Ipv6Addr,
}

impl Host {
    /// A host without a cable, that can only talk to itself.
    pub fn alone() -> Self {
        Self {
            device: "lo".into(),
            mac: [0; 6],
            v4: Ipv4Addr::LOCALHOST,
            v6: Ipv6Addr::LOCALHOST,
            ..host(1)
        }
    }

    /// Its address.
    pub fn address(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => self.v4.into(),
            Family::V6 => self.v6.into(),
        }
    }

    /// Its address with a port.
    pub fn at(&self, family: Family, port: u16) -> SocketAddr {
        (self.address(family), port).into()
    }

    /// Runs `work` on the host.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.netns.run(work)
    }

    /// The device's index.
    pub fn ifindex(&self) -> u32 {
        ifindex(&self.netns, &self.device)
    }
}

/// The index of `device` inside `netns`.
pub fn ifindex(netns: &Netns, device: &str) -> u32 {
    netns.run(|| nix::net::if_::if_nametoindex(device).expect("the device's index"))
}

/// Two hosts, joined by a cable without faults. Neither asks for the other's hardware address, and
/// nothing else talks on the cable.
#[derive(Debug)]
pub struct Lab {
    /// The host that most tests send from.
    pub a: Host,
    /// The host that most tests send to.
    pub b: Host,
}

impl Lab {
    /// A lab with a cable for packets of 1500 bytes.
    pub fn new() -> Self {
        Self::with_mtu(1500)
    }

    /// A lab with a cable for packets of `mtu` bytes.
    pub fn with_mtu(mtu: u32) -> Self {
        let lab = Self::without_cable();
        lab.plug(mtu);
        lab
    }

    /// A lab whose hosts have no devices.
    pub fn without_cable() -> Self {
        Self {
            a: host(1),
            b: host(2),
        }
    }

    /// Joins the hosts by a cable for packets of `mtu` bytes.
    pub fn plug(&self, mtu: u32) {
        let (a, b) = (&self.a, &self.b);
        let cable = format!(
            "link add name {} mtu {mtu} type veth peer name {} mtu {mtu} netns {}\n",
            a.device,
            b.device,
            b.netns.path().display()
        );
        a.run(|| tool::ip_batch(&format!("{cable}{}", dress(a, b))));
        b.run(|| tool::ip_batch(&dress(b, a)));
    }
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

fn host(number: u8) -> Host {
    let netns = Netns::new();
    netns.run(settle);
    Host {
        netns,
        device: "eth0".into(),
        mac: [2, 0, 0, 0, 0, number],
        v4: Ipv4Addr::new(10, 77, 0, number),
        v6: Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, number.into()),
    }
}

/// What makes a host quiet and predictable.
fn settle() {
    for (name, value) in [
        // Else a lossy connection's slow-start threshold holds back later ones.
        ("ipv4/tcp_no_metrics_save", "1"),
        // Echoes from sockets for which the kernel checks checksums, as it does for UDP.
        ("ipv4/ping_group_range", "0 2147483647"),
        // No link-local addresses on devices that are yet to come: 1 is "none".
        ("ipv6/conf/default/addr_gen_mode", "1"),
        ("ipv6/conf/all/accept_ra", "0"),
        ("ipv6/conf/default/accept_ra", "0"),
    ] {
        fs::write(format!("/proc/sys/net/{name}"), value)
            .unwrap_or_else(|error| panic!("set {name}: {error}"));
    }
}

/// Addresses, and the neighbour's hardware address so that nobody asks for it. Without a
/// link-local address the kernel has nothing to announce.
fn dress(host: &Host, neighbour: &Host) -> String {
    let device = &host.device;
    let (mac, lladdr) = (format_mac(host.mac), format_mac(neighbour.mac));
    format!(
        "link set dev {device} address {mac}
         address add {}/24 dev {device}
         address add {}/64 dev {device} nodad
         link set dev {device} up
         neighbour replace {} lladdr {lladdr} dev {device} nud permanent
         neighbour replace {} lladdr {lladdr} dev {device} nud permanent\n",
        host.v4, host.v6, neighbour.v4, neighbour.v6
    )
}

/// `02:00:00:00:00:01`.
pub fn format_mac(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
