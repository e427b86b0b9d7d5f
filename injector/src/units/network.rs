//! Addresses and networks.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer};

use super::UnitError;
use super::error::Reason;
use super::quantity::is_digits;
use super::scalar::{self, Scalar};

/// An IPv4 or IPv6 network; a single address is the network of that address alone.
///
/// Written as an address (`10.1.2.3`, `2001:db8::1`) or in CIDR notation (`10.0.0.0/8`). Host bits
/// must be clear: `10.1.2.3/24` is refused, because it may mean the host or the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network(IpNet);

impl Network {
    /// Returns the network; its host bits are clear.
    pub const fn net(self) -> IpNet {
        self.0
    }
}

impl Scalar for Network {
    const EXPECTED: &'static str =
        "an IPv4 or IPv6 address such as 10.1.2.3, or a network such as 10.0.0.0/8";
}

impl FromStr for Network {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let net = match text.split_once('/') {
            None => text
                .parse()
                .map(|address: IpAddr| IpNet::from(address))
                .ok(),
            Some((address, length)) => with_length(text, address, length)?,
        };
        let net = net.ok_or_else(|| malformed(text))?;
        if net.addr() != net.network() {
            return Err(host_bits(text, net));
        }
        Ok(Self(net))
    }
}

/// Parses CIDR notation; `None` when either half is not a number of its kind.
fn with_length(text: &str, address: &str, length: &str) -> Result<Option<IpNet>, UnitError> {
    let (Ok(address), true) = (address.parse::<IpAddr>(), is_digits(length)) else {
        return Ok(None);
    };
    let (limit, named) = if address.is_ipv4() {
        (32, "/32")
    } else {
        (128, "/128")
    };
    let length = length.parse().ok().filter(|length: &u8| *length <= limit);
    let too_long = || UnitError::new(text, Reason::TooLarge(named), Network::EXPECTED);
    let net = length.and_then(|length| IpNet::new(address, length).ok());
    net.map(Some).ok_or_else(too_long)
}

fn malformed(text: &str) -> UnitError {
    let error = UnitError::new(text, Reason::Malformed("an address"), Network::EXPECTED);
    let has_letters = text.chars().any(|c| c.is_ascii_alphabetic());
    if text.contains('%') {
        error.hint("leave out the zone: the interface is chosen elsewhere")
    } else if has_letters && !text.contains(':') {
        error.hint("names are not looked up: write the address")
    } else {
        error
    }
}

fn host_bits(text: &str, net: IpNet) -> UnitError {
    UnitError::new(text, Reason::HostBits, Network::EXPECTED).hint(format!(
        "write {} for the network, or {} for the host",
        net.trunc(),
        net.addr()
    ))
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() {
            return f.pad(&self.0.addr().to_string());
        }
        f.pad(&self.0.to_string())
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        scalar::deserialize(deserializer)
    }
}

#[cfg(test)]
scalar::schema_of!(Network as "Network", {
    "type": "string",
    "pattern": concat!(
        r"^([0-9]{1,3}(\.[0-9]{1,3}){3}(/0*([12]?[0-9]|3[0-2]))?",
        r"|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*(/0*([1-9]?[0-9]|1[01][0-9]|12[0-8]))?)$"
    ),
    "examples": ["10.0.0.0/8", "2001:db8::1"],
});

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refusal(text: &str) -> String {
        text.parse::<Network>().unwrap_err().to_string()
    }

    #[test]
    fn an_address_is_a_network_of_one() {
        assert_eq!(
            "10.1.2.3".parse::<Network>().unwrap().net().prefix_len(),
            32
        );
        assert_eq!(
            "2001:db8::1".parse::<Network>().unwrap().net().prefix_len(),
            128
        );
        assert_eq!(
            "0.0.0.0/0".parse::<Network>().unwrap().to_string(),
            "0.0.0.0/0"
        );
    }

    #[test]
    fn host_bits_get_the_network_and_the_host_as_hints() {
        assert_eq!(
            refusal("10.1.2.3/24"),
            "`10.1.2.3/24` has host bits set: write 10.1.2.0/24 for the network, or 10.1.2.3 for the host"
        );
    }

    #[test]
    fn a_prefix_longer_than_the_address_is_refused_with_the_limit() {
        assert!(refusal("10.0.0.0/33").contains("is above the limit of /32"));
        assert!(refusal("::/129").contains("is above the limit of /128"));
        assert!(refusal("::/999").contains("is above the limit of /128"));
    }

    #[test]
    fn anything_else_is_not_an_address() {
        for text in [
            "",
            "10",
            "10.1",
            "10.0.0.0/",
            "/8",
            "10.0.0.0/255.0.0.0",
            "010.0.0.1",
        ] {
            assert!(refusal(text).contains("is not an address"), "{text}");
        }
        assert!(refusal("db.local").ends_with("names are not looked up: write the address"));
        assert!(refusal("fe80::1%eth0").contains("leave out the zone"));
    }

    proptest! {
        #[test]
        fn display_parses_back_to_the_same_network(address: IpAddr, length in 0..=128u8) {
            let limit = if address.is_ipv4() { 32 } else { 128 };
            let net = Network(IpNet::new(address, length.min(limit)).unwrap().trunc());
            prop_assert_eq!(net.to_string().parse(), Ok(net));
        }
    }
}
