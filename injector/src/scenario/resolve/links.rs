//! Links, their addresses, and the hosts' devices.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{
    super::{End, HOSTS_MAX, Link, schema::RawLink, shape::Mtu},
    Resolved, host,
};
use crate::profile::{
    conflict::Conflict,
    default_name,
    issue::Issue,
    names_are_distinct,
    shape::{List, OneOrMany},
    strict::Table,
    text::Name,
    yaml::FieldPath,
};

/// The links, with their addresses; where none are given, one that joins all hosts.
pub(super) fn links(
    raw: Option<List<Table<RawLink>, HOSTS_MAX>>,
    hosts: &[String],
) -> Resolved<Vec<Link>> {
    let Some(List(raw)) = raw else {
        let all: Vec<_> = (0..hosts.len()).collect();
        let is_one = hosts.len() == 1;
        let one = || {
            link(
                0,
                None,
                default_name("link", 0),
                &all,
                &[],
                &mut vec![0; hosts.len()],
            )
        };
        return if is_one {
            Ok(Vec::new())
        } else {
            Ok(vec![one()])
        };
    };
    let at = FieldPath::default().key("links");
    let mut devices = vec![0; hosts.len()];
    let mut links = Vec::new();
    for (index, Table(raw)) in raw.into_iter().enumerate() {
        let at = at.index(index);
        let between = ends(&raw.between.0, hosts, &at.key("between"))?;
        let networks: Vec<_> = raw
            .network
            .into_iter()
            .flat_map(|OneOrMany(networks)| networks)
            .collect();
        let networks: Vec<_> = networks.into_iter().map(|network| network.net()).collect();
        if let Some(small) = networks
            .iter()
            .find(|net| room(net) < between.len() as u128)
        {
            let issue = Issue::new(format!("{small} has no room for {} hosts", between.len()));
            let issue =
                issue.expected("a network with an address for each host, such as 10.9.0.0/24");
            return Err(Conflict::new(issue, at.key("network")));
        }
        let name = raw
            .name
            .map_or_else(|| default_name("link", index), |Name(name)| name);
        let mtu = raw.mtu.map(|Mtu(mtu)| mtu);
        links.push(link(index, mtu, name, &between, &networks, &mut devices));
    }
    names_are_distinct("link", links.iter().map(|link| &link.name), |index| {
        at.index(index).key("name")
    })?;
    Ok(links)
}

/// The hosts that a link joins: two, or more.
fn ends(names: &[Name], hosts: &[String], at: &FieldPath) -> Resolved<Vec<usize>> {
    let find = |(index, Name(name)): (usize, &Name)| host(name, hosts, &at.index(index));
    let ends: Vec<_> = names
        .iter()
        .enumerate()
        .map(find)
        .collect::<Resolved<_>>()?;
    if ends.len() < 2 {
        let issue = Issue::new("a link with one end").expected("two hosts, or more for a switch");
        return Err(Conflict::new(issue, at.clone()));
    }
    let names = || names.iter().map(|Name(name)| name);
    names_are_distinct("end", names(), |index| at.index(index))?;
    Ok(ends)
}

/// A link whose hosts have the first addresses of its networks, in order, and its next devices.
fn link(
    index: usize,
    mtu: Option<u32>,
    name: String,
    hosts: &[usize],
    networks: &[IpNet],
    devices: &mut [usize],
) -> Link {
    let number = index as u8 + 1;
    let v4 = Ipv4Net::new([10, 0, number, 0].into(), 24).expect("a prefix of at most 32");
    let v6 = Ipv6Net::new([0xfd00, number.into(), 0, 0, 0, 0, 0, 0].into(), 64);
    let defaults = [v4.into(), v6.expect("a prefix of at most 128").into()];
    let networks = if networks.is_empty() {
        &defaults
    } else {
        networks
    };
    let ends = hosts.iter().enumerate().map(|(place, host)| {
        let device = format!("eth{}", devices[*host]);
        devices[*host] += 1;
        End {
            host: *host,
            device,
            addresses: networks
                .iter()
                .map(|net| nth(net, place as u32 + 1))
                .collect(),
        }
    });
    Link {
        name,
        mtu,
        ends: ends.collect(),
    }
}

/// The `n`-th address of a network.
fn nth(net: &IpNet, n: u32) -> IpNet {
    let address = match net {
        IpNet::V4(net) => (net.network().to_bits() + n).to_be_bytes().into(),
        IpNet::V6(net) => (net.network().to_bits() + u128::from(n))
            .to_be_bytes()
            .into(),
    };
    IpNet::new(address, net.prefix_len()).expect("the prefix of a network")
}

/// How many hosts a network has addresses for.
fn room(net: &IpNet) -> u128 {
    let bits = net.max_prefix_len() - net.prefix_len();
    (1u128 << bits.min(127)).saturating_sub(2)
}
