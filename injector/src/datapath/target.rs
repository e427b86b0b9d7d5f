//! The device under fault.

use netlink_packet_route::link::LinkLayerType;
use serde::{Deserialize, Serialize};

use super::{
    Error, Netns, Result,
    netlink::{Link, Netlink},
};

/// What tells a device from another that has its index after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its hardware address.
    pub address: Vec<u8>,
}

impl Identity {
    /// Of the device.
    pub fn of(link: &Link) -> Self {
        Self {
            index: link.index,
            name: link.name.clone(),
            address: link.address.clone(),
        }
    }

    /// Whether this is the device, which may have got another name or another address meanwhile, but
    /// hardly both.
    pub fn is(&self, link: &Link) -> bool {
        self.index == link.index && (self.name == link.name || self.address == link.address)
    }

    /// The device as it is now, if there still is one.
    pub fn find(&self, netlink: &Netlink) -> Result<Option<Link>> {
        Ok(self.among(&netlink.links_at([self.index])?).cloned())
    }

    /// Likewise, among these.
    pub fn among<'a>(&self, links: &'a [Link]) -> Option<&'a Link> {
        links.iter().find(|link| self.is(link))
    }
}

/// A device that faults can be injected on.
#[derive(Clone, Debug)]
pub struct Target {
    /// The device.
    pub link: Link,
    /// How its frames start.
    pub framing: Framing,
}

/// What a device's frames start with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// An Ethernet header.
    Ethernet,
    /// The IP header: tun, WireGuard.
    RawIp,
}

impl Target {
    /// Finds the device, inside the namespace of the calling thread.
    pub fn find(netlink: &Netlink, netns: &Netns, device: &str) -> Result<Self> {
        let Some(link) = netlink.find_link(device)? else {
            let existing = netlink.links()?.into_iter();
            return Err(Error::NoDevice {
                device: device.into(),
                netns: netns.to_string(),
                existing: existing.map(|link| link.name).collect(),
            });
        };
        let framing = match link.layer {
            LinkLayerType::Ether | LinkLayerType::Loopback => Framing::Ethernet,
            LinkLayerType::None | LinkLayerType::Rawip => Framing::RawIp,
            other => {
                return Err(Error::UnsupportedLink {
                    device: device.into(),
                    kind: format!("{other:?}").to_lowercase(),
                });
            }
        };
        Ok(Self { link, framing })
    }

    /// The longest frame that is one packet on the wire: MTU, Ethernet header and two VLAN tags.
    pub fn frame_len_max(&self) -> u32 {
        self.link.mtu.saturating_add(14 + 2 * 4)
    }

    /// Whether it is the loopback device.
    pub fn is_loopback(&self) -> bool {
        self.link.layer == LinkLayerType::Loopback
    }

    /// Whether hardware stands behind it, so that native XDP costs nobody else anything.
    pub fn is_nic(&self) -> bool {
        self.link.kind.is_none() && self.link.layer == LinkLayerType::Ether
    }
}
