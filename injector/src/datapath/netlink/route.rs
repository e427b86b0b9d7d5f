//! Addresses and routes.

use std::net::IpAddr;

use futures_util::TryStreamExt as _;
use netlink_packet_route::{
    AddressFamily,
    address::{AddressAttribute, AddressMessage},
    route::{RouteAttribute, RouteMessage, RouteType},
};

use super::{Netlink, Result};

impl Netlink {
    /// The addresses of every device.
    pub fn addresses(&self) -> Result<Vec<IpAddr>> {
        let attributes = self.address_messages()?;
        let attributes = attributes
            .into_iter()
            .flat_map(|message| message.attributes);
        let address = |attribute| match attribute {
            // On a point-to-point device the other one is the peer's.
            AddressAttribute::Local(address) | AddressAttribute::Address(address) => Some(address),
            _ => None,
        };
        Ok(attributes.filter_map(address).collect())
    }

    /// The device's own addresses.
    pub fn addresses_of(&self, ifindex: u32) -> Result<Vec<IpAddr>> {
        let messages = self.address_messages()?.into_iter();
        let own = messages.filter(|message| message.header.index == ifindex);
        let address = |message: AddressMessage| {
            let (mut local, mut address) = (None, None);
            for attribute in message.attributes {
                match attribute {
                    AddressAttribute::Local(own) => local = Some(own),
                    AddressAttribute::Address(own) => address = Some(own),
                    _ => {}
                }
            }
            // On a point-to-point device the second is the peer's; IPv6 has it alone elsewhere.
            local.or(address)
        };
        Ok(own.filter_map(address).collect())
    }

    fn address_messages(&self) -> Result<Vec<AddressMessage>> {
        let request = self.handle.address().get().execute();
        self.wait("list the addresses", request.try_collect())
    }

    /// Whether a default route of this version of IP leads to the device.
    pub fn has_default_route(&self, ifindex: u32, family: AddressFamily) -> Result<bool> {
        let mut request = RouteMessage::default();
        request.header.address_family = family;
        let request = self.handle.route().get(request).execute();
        let routes: Vec<RouteMessage> = self.wait("list the routes", request.try_collect())?;
        let is_default = |route: &RouteMessage| {
            route.header.destination_prefix_length == 0 && route.header.kind == RouteType::Unicast
        };
        Ok((routes.iter().filter(|route| is_default(route))).any(|route| leads_to(route, ifindex)))
    }
}

fn leads_to(route: &RouteMessage, ifindex: u32) -> bool {
    route.attributes.iter().any(|attribute| match attribute {
        RouteAttribute::Oif(index) => *index == ifindex,
        RouteAttribute::MultiPath(hops) => hops.iter().any(|hop| hop.interface_index == ifindex),
        _ => false,
    })
}
