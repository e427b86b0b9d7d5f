//! What keeps the session that starts a run from being locked out.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use netlink_packet_route::AddressFamily;

use super::{place::Place, work_out};
use crate::{
    cli::{Global, Protect},
    datapath::{self, Netns, netlink::Netlink, ssh, target::Target},
    error::{Code, Failure},
    plan::{Connection, Hook, Plan, Protection},
    profile::Profile,
};

/// Stands by a run on one interface.
#[derive(Clone)]
pub(super) struct Guard {
    args: Protect,
    place: Place,
    protection: Protection,
    /// The versions of IP that are not to fall silent for good.
    watched: Vec<Version>,
}

/// A version of IP with a default route to the device.
#[derive(Clone)]
struct Version {
    name: &'static str,
    everybody: IpNet,
}

impl Guard {
    /// The SSH connection to protect.
    pub(super) fn ssh(args: Protect, global: &Global) -> Option<Connection> {
        if args.no_protect {
            return None;
        }
        ssh::connection().unwrap_or_else(|why| {
            global.say(format_args!("an SSH connection is not protected: {why}"));
            None
        })
    }

    /// Of faults that are asked for by that connection.
    pub(super) fn new(
        args: Protect,
        place: Place,
        ssh: Option<Connection>,
    ) -> Result<Self, Failure> {
        let mut guard = Self {
            args,
            place,
            protection: Protection::default(),
            watched: Vec::new(),
        };
        if !args.no_protect {
            guard.protection = Protection::new(guard.here(ssh)?);
        }
        Ok(guard)
    }

    /// One for each place.
    pub(super) fn all(
        args: Protect,
        places: &[Place],
        ssh: Option<Connection>,
    ) -> Result<Vec<Self>, Failure> {
        let one = |place: &Place| Self::new(args, place.clone(), ssh);
        places.iter().map(one).collect()
    }

    /// Where that is.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// Of faults that may be known to end: then nobody is locked out for good.
    pub(super) fn of_run(mut self, ends: bool) -> Result<Self, Failure> {
        if !ends && !self.args.no_protect {
            self.watched = self.versions()?;
        }
        Ok(self)
    }

    /// Works every phase out; no rule touches what is protected.
    pub(super) fn work_out(
        &self,
        profile: &Profile,
        seed: Option<u64>,
    ) -> Result<Vec<Plan>, Failure> {
        let plans = work_out(profile, seed)?.into_iter();
        Ok(plans
            .map(|plan| plan.protecting(&self.protection))
            .collect())
    }

    /// Refuses plans that silence the device that has the default route until somebody ends them.
    pub(super) fn require_end(&self, plans: &[Plan]) -> Result<(), Failure> {
        let hooks = |version| Hook::ALL.map(|hook| (version, hook));
        let watched: Vec<_> = self.watched.iter().flat_map(hooks).collect();
        let silence = plans.iter().find_map(|plan| {
            let silences =
                |(version, hook): &&(&Version, Hook)| plan.silences(*hook, version.everybody);
            Some((plan, watched.iter().find(silences)?))
        });
        let Some((plan, (version, hook))) = silence else {
            return Ok(());
        };
        let phase = plan.phase.as_ref();
        let message = format!(
            "{}profile `{}` drops every {} packet on {hook} of `{}`, which has the default route",
            phase.map_or(String::new(), |phase| format!("phase `{phase}` of ")),
            plan.profile,
            version.name,
            self.place,
        );
        Err(Failure::new(Code::Usage, message).hint(
            "say how that ends: `--for 60s`, `--confirm 30s` or `-- COMMAND`; or, where nobody can be \
             locked out, `--no-protect`",
        ))
    }

    /// The connection, where it ends in the namespace under fault.
    fn here(&self, ssh: Option<Connection>) -> datapath::Result<Option<Connection>> {
        let Some(ssh) = ssh else {
            return Ok(None);
        };
        let netns = &self.place.netns;
        let addresses = netns.run(|| Netlink::open()?.addresses())?;
        let is_here = *netns == Netns::Current || addresses.contains(&ssh.server.ip());
        Ok(is_here.then(|| Connection {
            loops: addresses.contains(&ssh.client.ip()),
            ..ssh
        }))
    }

    fn versions(&self) -> datapath::Result<Vec<Version>> {
        let versions = [
            ("IPv4", Ipv4Net::default().into(), AddressFamily::Inet),
            ("IPv6", Ipv6Net::default().into(), AddressFamily::Inet6),
        ];
        let Place { netns, device, .. } = &self.place;
        netns.run(|| {
            let netlink = Netlink::open()?;
            let index = Target::find(&netlink, netns, device)?.link.index;
            let mut watched = Vec::new();
            for (name, everybody, family) in versions {
                if netlink.has_default_route(index, family)? {
                    watched.push(Version { name, everybody });
                }
            }
            Ok(watched)
        })
    }
}
