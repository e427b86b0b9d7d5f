//! Where faults are injected.

use std::{collections::BTreeSet, fmt};

use glob::Pattern;

use crate::{
    datapath::{Netns, netlink::Netlink, pair::Names},
    error::{Code, Failure},
};

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Its namespace.
    pub netns: Netns,
    /// Its name.
    pub device: String,
}

impl Place {
    /// The interfaces that are named: by names, which need not be there yet, or by patterns, of which each stands
    /// for all that are there. One that is named twice counts once.
    pub(super) fn all(interfaces: &[String], netns: &Netns) -> Result<Vec<Self>, Failure> {
        let places = Self::all_of(interfaces, netns)?;
        if places.is_empty() {
            return Err(Failure::new(Code::Usage, "no interface is named")
                .hint("name it: `-i eth0`; or write `interfaces` into the profile"));
        }
        Ok(places)
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
        let place = |device| Self {
            netns: netns.clone(),
            device,
        };
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
        f.write_str(&self.device)
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
    let mut links = netns.run(|| Netlink::open()?.links())?;
    links.sort_by_key(|link| link.index);
    let is_meant = |name: &String| name != "lo" && Names::device(name).is_none();
    let names = links.into_iter().map(|link| link.name);
    let there: Vec<_> = names.filter(is_meant).collect();
    let found: Vec<_> = there.iter().filter(|name| wanted.matches(name)).collect();
    if found.is_empty() {
        let message = format!("no interface in {netns} matches `{pattern}`");
        return Err(Failure::new(Code::Conflict, message)
            .hint(format!("interfaces there: {}", there.join(", "))));
    }
    Ok(found.into_iter().cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devices(interfaces: &[&str]) -> Result<Vec<String>, Failure> {
        let interfaces: Vec<_> = interfaces.iter().map(|&name| name.to_owned()).collect();
        let places = Place::all(&interfaces, &Netns::Current)?;
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
