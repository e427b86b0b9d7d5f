//! Addresses and routes.

use std::net::IpAddr;

use futures_util::TryStreamExt as _;
use netlink_packet_route::{
    AddressFamily,
    address::AddressAttribute,
    route::{RouteAttribute, RouteMessage, RouteType},
};

use super::{Netlink, Result};

impl Netlink {
    /// The addresses of every device.
    pub fn addresses(&self) -> Result<Vec<IpAddr>> {
        let request = self.handle.address().get().execute();
        let found: Vec<_> = self.wait("list the addresses", request.try_collect())?;
        let attributes = found.into_iter().flat_map(|message| message.attributes);
        let address = |attribute| match attribute {
            // On a point-to-point device the other one is the peer's.
            AddressAttribute::Local(address) | AddressAttribute::Address(address) => Some(address),
            _ => None,
        };
        Ok(attributes.filter_map(address).collect())
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
