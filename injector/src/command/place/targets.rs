//! Where the targets of a profile are.

use std::{slice, sync::Arc};

use ipnet::IpNet;

use super::{Place, candidates, only};
use crate::{
    command::{container, together::RolledBack},
    datapath::{Netns, netlink::Netlink},
    error::{Code, Failure},
    profile::{self, Addresses, Home, Profile},
    units::{Interface, Namespace},
};

/// Finds all of them; `here` is the namespace of those that name none.
pub(super) fn find(targets: &[profile::Target], here: &Netns) -> Result<Vec<Place>, Failure> {
    let (mut found, mut addresses) = (Vec::new(), Addresses::new());
    for target in targets {
        // Nothing has been changed anywhere.
        let failed = |failure| RolledBack::default().failure(&target.name, failure);
        let (netns, device) = locate(target, here).map_err(failed)?;
        let own = match &target.addresses[..] {
            [] => addresses_of(&netns, &device).map_err(failed)?,
            given => given.to_vec(),
        };
        addresses.insert(target.name.clone(), own);
        found.push((target, netns, device));
    }
    let addresses = Arc::new(addresses);
    let place = |(target, netns, device): (&profile::Target, _, _)| Place {
        netns,
        device,
        target: Some(super::Target {
            name: target.name.clone(),
            addresses: addresses.clone(),
        }),
    };
    let places: Vec<_> = found.into_iter().map(place).collect();
    are_distinct(&places)?;
    Ok(places)
}

/// The namespace and the interface of a target.
fn locate(target: &profile::Target, here: &Netns) -> Result<(Netns, String), Failure> {
    let netns = match &target.home {
        None => here.clone(),
        Some(Home::Container(name)) => container::netns(name)?,
        Some(Home::Namespace(Namespace(name))) => name.parse().map_err(|reason| {
            let message = format!("`{name}` is not a network namespace: {reason}");
            Failure::new(Code::Usage, message)
        })?,
    };
    let hint = "a target is one interface: name it, `interface: eth0`";
    let device = match &target.interface {
        None => only(&candidates(&netns)?, &netns.to_string(), hint)?,
        Some(Interface(name)) => match Place::all_of(slice::from_ref(name), &netns)?.as_slice() {
            [place] => place.device.clone(),
            found => {
                let found: Vec<_> = found.iter().collect();
                let message = format!("`{name}` is several interfaces: {}", Place::list(&found));
                return Err(Failure::new(Code::Conflict, message).hint(hint));
            }
        },
    };
    Ok((netns, device))
}

/// The addresses that an interface has, those of the link alone included.
fn addresses_of(netns: &Netns, device: &str) -> Result<Vec<IpNet>, Failure> {
    let found = netns.run(|| {
        let netlink = Netlink::open()?;
        let target = crate::datapath::target::Target::find(&netlink, netns, device)?;
        netlink.addresses_of(target.link.index)
    })?;
    if found.is_empty() {
        let message = format!("interface `{device}` has no address");
        return Err(Failure::new(Code::Conflict, message)
            .hint("give it one, or write what it will have: `addresses: 10.0.0.2`"));
    }
    Ok(found.into_iter().map(IpNet::from).collect())
}

/// Checks that no two targets are the same interface.
fn are_distinct(places: &[Place]) -> Result<(), Failure> {
    let mut seen = std::collections::HashMap::new();
    for place in places {
        let id = place.netns.id()?;
        if let Some(other) = seen.insert((id.inode, &place.device), place) {
            let message = format!(
                "targets `{other}` and `{place}` are the same interface, `{}`",
                place.device
            );
            return Err(Failure::new(Code::Usage, message));
        }
    }
    Ok(())
}

/// Why `-i` does not go with targets.
pub(super) fn not_named_twice(profile: &Profile) -> Failure {
    let message = format!(
        "profile `{}` has targets, and `-i` names others",
        profile.name
    );
    Failure::new(Code::Usage, message).hint("leave `-i` away: the targets say where they are")
}
