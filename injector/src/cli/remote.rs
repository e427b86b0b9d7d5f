//! The remote end in the quick form: `[ADDRESS][:PORT][/PROTOCOL]`.

use std::str::FromStr;

use ipnet::IpNet;

use crate::{
    profile::Protocol,
    units::{Network, PortRange},
};

/// A remote end: any part may be absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Its addresses.
    pub net: Option<IpNet>,
    /// Its ports.
    pub ports: Option<PortRange>,
    /// The protocol.
    pub protocol: Option<Protocol>,
}

impl FromStr for Remote {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (rest, protocol) = split_protocol(text)?;
        let (address, ports) = split_ports(rest)?;
        let net = match address.trim_start_matches('[').trim_end_matches(']') {
            "" => None,
            address => Some(address.parse::<Network>().map_err(|e| e.to_string())?.net()),
        };
        if net.is_none() && ports.is_none() && protocol.is_none() {
            return Err("expected an address, a :port or a /protocol".into());
        }
        let ports = ports
            .map(PortRange::from_str)
            .transpose()
            .map_err(|e| e.to_string())?;
        Ok(Self {
            net,
            ports,
            protocol,
        })
    }
}

/// Takes a protocol off the end; `/8` belongs to the address.
fn split_protocol(text: &str) -> Result<(&str, Option<Protocol>), String> {
    let Some((rest, last)) = text.rsplit_once('/') else {
        return Ok((text, None));
    };
    if last.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok((text, None));
    }
    // `10.0.0.0/8:5432`: the last part is prefix length and port.
    if last
        .bytes()
        .all(|byte| byte.is_ascii_digit() || matches!(byte, b':' | b'-' | b']'))
    {
        return Ok((text, None));
    }
    let protocol = last
        .parse::<Protocol>()
        .map_err(|error| error.to_string())?;
    Ok((rest, Some(protocol)))
}

/// Takes a port off the end. An IPv6 address with a port stands in brackets.
fn split_ports(text: &str) -> Result<(&str, Option<&str>), String> {
    if let Some((address, ports)) = text.rsplit_once("]:") {
        return Ok((address, Some(ports)));
    }
    match text.matches(':').count() {
        0 => Ok((text, None)),
        1 => Ok(text
            .split_once(':')
            .map_or((text, None), |(a, p)| (a, Some(p)))),
        _ => Ok((text, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> (Option<String>, Option<String>, Option<Protocol>) {
        let remote: Remote = text.parse().unwrap();
        (
            remote.net.map(|net| net.to_string()),
            remote.ports.map(|ports| ports.to_string()),
            remote.protocol,
        )
    }

    #[test]
    fn every_part_may_be_absent() {
        let some = |text: &str| Some(text.to_owned());
        let tcp = Some(Protocol::TCP);
        assert_eq!(
            parse("10.0.0.0/8:5432/tcp"),
            (some("10.0.0.0/8"), some("5432"), tcp)
        );
        assert_eq!(
            parse("10.0.0.0/8:5432"),
            (some("10.0.0.0/8"), some("5432"), None)
        );
        assert_eq!(parse("10.0.0.0/8"), (some("10.0.0.0/8"), None, None));
        assert_eq!(parse("10.1.2.3"), (some("10.1.2.3/32"), None, None));
        assert_eq!(
            parse(":80-90/udp"),
            (None, some("80-90"), Some(Protocol::UDP))
        );
        assert_eq!(parse("/tcp"), (None, None, tcp));
        assert_eq!(
            parse("[2001:db8::/32]:443/tcp"),
            (some("2001:db8::/32"), some("443"), tcp)
        );
        assert_eq!(parse("2001:db8::1"), (some("2001:db8::1/128"), None, None));
        assert_eq!(
            parse("2001:db8::/32/tcp"),
            (some("2001:db8::/32"), None, tcp)
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for text in [
            "",
            "nonsense",
            "10.0.0.1/8/",
            ":99999",
            "/nonsense",
            "10.0.0.0/40",
        ] {
            assert!(text.parse::<Remote>().is_err(), "{text}");
        }
    }
}
