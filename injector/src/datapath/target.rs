//! The device under fault.

use netlink_packet_route::link::LinkLayerType;

use super::{
    Error, Netns, Result,
    netlink::{Link, Netlink},
};

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
        let links = netlink.links()?;
        let Some(link) = links.iter().find(|link| link.name == device) else {
            return Err(Error::NoDevice {
                device: device.into(),
                netns: netns.to_string(),
                existing: links.into_iter().map(|link| link.name).collect(),
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
        Ok(Self {
            link: link.clone(),
            framing,
        })
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
