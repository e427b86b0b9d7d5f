//! The other end of a connection, as proxies and experiments name it.

use std::net::IpAddr;

use crate::{
    profile::{Direction, Match, Protocol},
    units::{HostName, Network, PortRange},
};

/// An address or a network, perhaps with a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub host: Host,
    pub port: Option<u16>,
}

/// Where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Host {
    /// Anywhere: `:80`, `0.0.0.0:80`.
    Any,
    Network(Network),
    Name(HostName),
    /// Neither an address nor a name.
    Unknown(String),
}

impl Endpoint {
    /// Reads `10.0.0.1`, `10.0.0.0/8:22`, `[::1]:80`, `name:443`, or a URL of these.
    pub(super) fn read(text: &str) -> Self {
        let (scheme, text) = text.split_once("://").unwrap_or(("", text));
        // Of a URL; what stands behind a slash otherwise is the length of a network.
        let text = match scheme {
            "" => text,
            _ => text.split('/').next().unwrap_or_default(),
        };
        let default = match scheme {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        };
        if let Some(host) = network(text) {
            return Self {
                host,
                port: default,
            };
        }
        let with_port = text
            .rsplit_once(':')
            .and_then(|(host, port)| Some((host, port.parse().ok()?)));
        let (host, port) = with_port.map_or((text, default), |(host, port)| (host, Some(port)));
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        let host = match bare {
            "" => Host::Any,
            bare => network(bare).unwrap_or_else(|| {
                let unknown = || Host::Unknown(bare.to_owned());
                HostName::new(bare).map_or_else(unknown, Host::Name)
            }),
        };
        Self { host, port }
    }

    /// The packets to it, or, where they arrive, those from it.
    pub(super) fn matching(&self, direction: Direction, protocol: Option<Protocol>) -> Match {
        let mut remote = Remote {
            ports: self.port.map(PortRange::from).into_iter().collect(),
            ..Remote::default()
        };
        remote.add(&self.host);
        remote.matching(direction, protocol)
    }
}

/// Other ends that are meant alike.
#[derive(Debug, Default, Clone)]
pub(super) struct Remote {
    pub nets: Vec<ipnet::IpNet>,
    pub names: Vec<HostName>,
    pub ports: Vec<PortRange>,
}

impl Remote {
    pub(super) fn add(&mut self, host: &Host) {
        match host {
            Host::Network(network) => self.nets.push(network.net()),
            Host::Name(name) => self.names.push(name.clone()),
            Host::Any | Host::Unknown(_) => {}
        }
    }

    /// The packets to them, or, where they arrive, those from them.
    pub(super) fn matching(self, direction: Direction, protocol: Option<Protocol>) -> Match {
        let base = Match {
            protocol,
            ..Match::default()
        };
        match direction {
            Direction::Ingress => Match {
                src: self.nets,
                src_names: self.names,
                src_port: self.ports,
                ..base
            },
            _ => Match {
                dst: self.nets,
                dst_names: self.names,
                dst_port: self.ports,
                ..base
            },
        }
    }
}

/// The network that is meant, with its host bits cleared, as other tools take it.
fn network(text: &str) -> Option<Host> {
    let net: ipnet::IpNet = match text.parse::<IpAddr>() {
        Ok(address) if address.is_unspecified() => return Some(Host::Any),
        Ok(address) => address.into(),
        Err(_) => text.parse().ok()?,
    };
    let network: Network = net.trunc().to_string().parse().ok()?;
    Some(Host::Network(network))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_in_all_their_forms() {
        let network = |text: &str| Host::Network(text.parse().unwrap());
        let name = |text: &str| Host::Name(HostName::new(text).unwrap());
        for (text, host, port) in [
            ("10.0.0.1", network("10.0.0.1"), None),
            ("10.1.2.3/8:22", network("10.0.0.0/8"), Some(22)),
            ("2001:db8::1", network("2001:db8::1"), None),
            ("[2001:db8::1]:80", network("2001:db8::1"), Some(80)),
            ("db:5432", name("db"), Some(5432)),
            ("https://example.com/x", name("example.com"), Some(443)),
            ("http://10.0.0.1:8080", network("10.0.0.1"), Some(8080)),
            (":80", Host::Any, Some(80)),
            ("0.0.0.0:80", Host::Any, Some(80)),
            ("example.com", name("example.com"), None),
            ("a_b!:1", Host::Unknown("a_b!".into()), Some(1)),
        ] {
            assert_eq!(Endpoint::read(text), Endpoint { host, port }, "{text}");
        }
    }
}
