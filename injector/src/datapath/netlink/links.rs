//! Cables, switches and addresses.

use std::os::fd::{AsRawFd as _, BorrowedFd};

use ipnet::IpNet;
use netlink_packet_route::link::{InfoData, InfoVeth};
use rtnetlink::{LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth};

use super::{Link, Netlink};
use crate::datapath::{Error, Result};

impl Netlink {
    /// Creates a veth pair whose other end is in another namespace, and leaves it down.
    pub fn add_cable(
        &self,
        name: &str,
        mtu: u32,
        peer: &str,
        peer_netns: BorrowedFd<'_>,
    ) -> Result<()> {
        let far = LinkMessageBuilder::<LinkUnspec>::new()
            .name(peer)
            .mtu(mtu)
            .setns_by_fd(peer_netns.as_raw_fd())
            .build();
        let message = LinkVeth::new(name, peer)
            .mtu(mtu)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(far)))
            .build();
        self.wait(
            format!("create the veth pair {name}, {peer}"),
            self.handle.link().add(message).execute(),
        )
    }

    /// Creates a bridge, and leaves it down.
    pub fn add_bridge(&self, name: &str) -> Result<()> {
        let request = self.handle.link().add(LinkBridge::new(name).build());
        self.wait(format!("create the bridge {name}"), request.execute())
    }

    /// Makes the device a port of the bridge.
    pub fn add_port(&self, bridge: &Link, port: &Link) -> Result<()> {
        let message = LinkUnspec::new_with_index(port.index).controller(bridge.index);
        self.set(port, message, "make a port of")
    }

    /// Gives the device an address.
    pub fn add_address(&self, link: &Link, address: IpNet) -> Result<()> {
        let request = self.handle.address();
        let request = request.add(link.index, address.addr(), address.prefix_len());
        self.wait(
            format!("give {} the address {address}", link.name),
            request.execute(),
        )
    }

    /// The device of that name, which must be there.
    pub fn link(&self, name: &str) -> Result<Link> {
        let gone = || Error::refused(format!("find interface {name}"), nix::Error::ENODEV);
        self.find_link(name)?.ok_or_else(gone)
    }
}
