//! Where faults are injected.

mod targets;

use std::{collections::BTreeSet, fmt, sync::Arc};

use glob::Pattern;
use netlink_packet_route::link::LinkLayerType;

use crate::{
    cli::{Faults, Global},
    datapath::{
        Netns,
        netlink::{Link, Netlink},
        undo::ALIAS_PREFIX,
    },
    error::{Code, Failure},
    profile::{Addresses, Profile},
    units::Interface,
};

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Its namespace.
    pub netns: Netns,
    /// Its name.
    pub device: String,
    /// What it is to the profile, where that has targets.
    pub target: Option<Target>,
}

/// A target of a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Its name.
    pub name: String,
    /// The addresses of all targets.
    pub addresses: Arc<Addresses>,
}

impl Place {
    /// Where a profile is to be played: on its targets; else on the interfaces that the command line names, or else on
    /// those that the profile does.
    pub(super) fn of(
        profile: &Profile,
        interfaces: &[String],
        global: &Global,
    ) -> Result<Vec<Self>, Failure> {
        if !profile.targets.is_empty() {
            return match interfaces {
                [] => targets::find(&profile.targets, &global.netns()),
                _ => Err(targets::not_named_twice(profile)),
            };
        }
        if !interfaces.is_empty() {
            return Self::all(interfaces, global);
        }
        let named = profile.interfaces.iter();
        let named: Vec<_> = named.map(|Interface(name)| name.clone()).collect();
        Self::all(&named, global)
    }

    /// Likewise, for what a run or `apply` is asked for.
    pub(super) fn of_run(
        profile: &Profile,
        faults: &Faults,
        global: &Global,
    ) -> Result<Vec<Self>, Failure> {
        let places = Self::of(profile, &faults.interfaces, global)?;
        if places.len() > 1 && faults.wait_for_device {
            let message = "`--wait-for-device` waits for one interface, and several are named";
            return Err(Failure::new(Code::Usage, message).hint("start a run for each of them"));
        }
        Ok(places)
    }

    /// What is to be played here of a profile.
    pub(super) fn share_of(&self, profile: Profile) -> Profile {
        match &self.target {
            Some(Target { name, addresses }) => profile.at(name, addresses),
            None => profile,
        }
    }

    /// Makes sure that a profile that takes another's place is about the same targets as that was.
    pub(super) fn require_same_targets(&self, profile: &Profile) -> Result<(), Failure> {
        let mut found: Vec<_> = profile.targets.iter().map(|target| &target.name).collect();
        found.sort_unstable();
        let addresses = self.target.iter().map(|target| &target.addresses);
        if found
            .into_iter()
            .eq(addresses.flat_map(|addresses| addresses.keys()))
        {
            return Ok(());
        }
        let message = format!(
            "profile `{}` has other targets than those in force",
            profile.name
        );
        Err(Failure::new(Code::Usage, message).hint("end the run, and start it with this profile"))
    }

    /// The interfaces that are named: by names, which need not be there yet, or by patterns, of which each stands
    /// for all that are there. One that is named twice counts once. Where none is, a container's only one.
    pub(super) fn all(interfaces: &[String], global: &Global) -> Result<Vec<Self>, Failure> {
        let netns = global.netns();
        if !interfaces.is_empty() {
            return Self::all_of(interfaces, &netns);
        }
        let Some(container) = &global.container else {
            return Err(Failure::new(Code::Usage, "no interface is named")
                .hint("name it: `-i eth0`; or write `interfaces` into the profile"));
        };
        let hint = "name the one that is meant: `-i DEV`";
        let device = only(
            &candidates(&netns)?,
            &format!("container `{container}`"),
            hint,
        )?;
        Ok(vec![Self::new(netns, device)])
    }

    /// The one interface that is named, or that a container has.
    pub(super) fn single(interface: Option<&String>, global: &Global) -> Result<Self, Failure> {
        let named = interface.map_or(&[][..], std::slice::from_ref);
        let mut places = Self::all(named, global)?;
        match (places.pop(), places.as_slice()) {
            (Some(place), []) => Ok(place),
            _ => Err(Failure::new(
                Code::Usage,
                "several interfaces are named, and one is wanted",
            )),
        }
    }

    fn new(netns: Netns, device: String) -> Self {
        Self {
            netns,
            device,
            target: None,
        }
    }

    /// Likewise; none where none is named.
    pub(super) fn all_of(interfaces: &[String], netns: &Netns) -> Result<Vec<Self>, Failure> {
        let mut devices = Vec::new();
        for interface in interfaces {
            if is_pattern(interface) {
                devices.extend(matching(interface, netns)?);
            } else {
                devices.push(interface.clone());
            }
        }
        let mut seen = BTreeSet::new();
        devices.retain(|device| seen.insert(device.clone()));
        let place = |device| Self::new(netns.clone(), device);
        Ok(devices.into_iter().map(place).collect())
    }

    /// What these are called together.
    pub(super) fn list(places: &[&Self]) -> String {
        /// More than anybody reads in one line.
        const NAMED_MAX: usize = 8;
        if places.len() > NAMED_MAX {
            return format!("{} interfaces", places.len());
        }
        let names: Vec<_> = places.iter().map(ToString::to_string).collect();
        names.join(", ")
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            self.target
                .as_ref()
                .map_or(&self.device, |target| &target.name),
        )
    }
}

/// Whether it is no name, but stands for several.
fn is_pattern(interface: &str) -> bool {
    interface.contains(['*', '?', '['])
}

/// The interfaces that a pattern stands for, in the order of their indexes. The loopback device has to be named,
/// and the private pairs are nobody's business.
fn matching(pattern: &str, netns: &Netns) -> Result<Vec<String>, Failure> {
    let wanted = Pattern::new(pattern).map_err(|error| {
        let message = format!("`{pattern}` is not a pattern of interfaces: {error}");
        Failure::new(Code::Usage, message).hint("`*` stands for anything, `?` for one character")
    })?;
    let there: Vec<_> = candidates(netns)?
        .into_iter()
        .map(|link| link.name)
        .collect();
    let found: Vec<_> = there.iter().filter(|name| wanted.matches(name)).collect();
    if found.is_empty() {
        let message = format!("no interface in {netns} matches `{pattern}`");
        return Err(Failure::new(Code::Conflict, message)
            .hint(format!("interfaces there: {}", there.join(", "))));
    }
    Ok(found.into_iter().cloned().collect())
}

/// The interfaces that may be meant where they are not named, in the order of their indexes.
fn candidates(netns: &Netns) -> Result<Vec<Link>, Failure> {
    let mut links = netns.run(|| Netlink::open()?.links())?;
    links.sort_by_key(|link| link.index);
    let is_meant = |link: &Link| {
        link.layer != LinkLayerType::Loopback && !link.alias.starts_with(ALIAS_PREFIX)
    };
    links.retain(is_meant);
    Ok(links)
}

/// The name of the only one of these that is up, or of the only one; `owner` has them.
fn only(links: &[Link], owner: &str, hint: &str) -> Result<String, Failure> {
    // Modules leave devices that are down in every namespace: `tunl0`, `sit0`.
    let is_any_up = links.iter().any(|link| link.is_up);
    let names = links.iter().filter(|link| link.is_up || !is_any_up);
    let names: Vec<_> = names.map(|link| link.name.as_str()).collect();
    let message = match names.as_slice() {
        [name] => return Ok((*name).to_owned()),
        [] => format!("{owner} has no interface but the loopback device"),
        _ => format!("{owner} has several interfaces: {}", names.join(", ")),
    };
    Err(Failure::new(Code::Conflict, message).hint(hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devices(interfaces: &[&str]) -> Result<Vec<String>, Failure> {
        let interfaces: Vec<_> = interfaces.iter().map(|&name| name.to_owned()).collect();
        let places = Place::all(&interfaces, &Global::default())?;
        Ok(places.into_iter().map(|place| place.device).collect())
    }

    #[test]
    fn a_name_stands_for_itself_once_wherever_it_is() {
        assert_eq!(
            devices(&["nowhere0", "lo", "nowhere0"]).unwrap(),
            ["nowhere0", "lo"]
        );
    }

    #[test]
    fn what_names_nothing_is_refused() {
        assert_eq!(devices(&[]).unwrap_err().code, Code::Usage);
        for (pattern, code) in [("nowhere*", Code::Conflict), ("eth[", Code::Usage)] {
            assert_eq!(devices(&[pattern]).unwrap_err().code, code, "{pattern}");
        }
    }

    #[test]
    fn the_loopback_device_has_to_be_named() {
        let error = devices(&["l[o]"]).unwrap_err();
        assert_eq!(error.code, Code::Conflict, "{error}");
    }
}
