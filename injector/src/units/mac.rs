//! Addresses of Ethernet.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use super::UnitError;
use super::error::Reason;
use super::scalar::{self, Scalar};

/// Bits of an address.
const ALL: u64 = (1 << 48) - 1;

/// An address of Ethernet, and the bits of it that count.
///
/// Written as six bytes, `02:00:00:00:00:01`, or with a mask, as tc has it: `02:00:00:00:00:00/ff:ff:ff:00:00:00`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mac {
    value: u64,
    mask: u64,
}

impl Mac {
    /// Returns what the bits are that count.
    pub const fn value(self) -> u64 {
        self.value
    }

    /// Returns the bits that count.
    pub const fn mask(self) -> u64 {
        self.mask
    }
}

impl Scalar for Mac {
    const EXPECTED: &'static str = "an Ethernet address such as 02:00:00:00:00:01, maybe with a mask such as /ff:ff:ff:00:00:00";
}

impl FromStr for Mac {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let malformed = || {
            UnitError::new(
                text,
                Reason::Malformed("an Ethernet address"),
                Self::EXPECTED,
            )
        };
        let (value, mask) = match text.split_once('/') {
            None => (bytes(text), Some(ALL)),
            Some((value, mask)) => (bytes(value), bytes(mask)),
        };
        let (value, mask) = value.zip(mask).ok_or_else(malformed)?;
        if value & !mask != 0 {
            let [value, mask] = [value & mask, mask].map(written);
            let hint = format!("it has bits beside its mask: write {value}/{mask}");
            return Err(malformed().hint(hint));
        }
        Ok(Self { value, mask })
    }
}

/// Six bytes, in hexadecimal.
fn bytes(text: &str) -> Option<u64> {
    let mut address = 0;
    let mut count = 0;
    for byte in text.split(':') {
        let is_byte = byte.len() == 2 && byte.chars().all(|c| c.is_ascii_hexdigit());
        let byte = is_byte.then(|| u64::from_str_radix(byte, 16).ok())??;
        address = address << 8 & ALL | byte;
        count += 1;
    }
    (count == 6).then_some(address)
}

fn written(address: u64) -> String {
    let bytes = address.to_be_bytes();
    let bytes = bytes[2..].iter().map(|byte| format!("{byte:02x}"));
    bytes.collect::<Vec<_>>().join(":")
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mask {
            ALL => f.pad(&written(self.value)),
            mask => f.pad(&format!("{}/{}", written(self.value), written(mask))),
        }
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        scalar::deserialize(deserializer)
    }
}

#[cfg(test)]
const SIX_BYTES: &str = "([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}";
#[cfg(test)]
scalar::schema_of!(Mac as "Mac", {
    "type": "string",
    "pattern": format!("^{SIX_BYTES}(/{SIX_BYTES})?$"),
    "examples": ["02:00:00:00:00:01", "01:00:5e:00:00:00/ff:ff:ff:80:00:00"],
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_six_bytes() {
        let mac: Mac = "02:00:00:00:0a:01".parse().unwrap();
        assert_eq!((mac.value(), mac.mask()), (0x0200_0000_0a01, ALL));
        let vendor = "02:00:00:00:00:00/ff:ff:ff:00:00:00";
        assert_eq!(vendor.parse::<Mac>().unwrap().to_string(), vendor);
        for text in [
            "",
            "02:00:00:00:00",
            "2:0:0:0:0:1",
            "02:00:00:00:00:01:02",
            "02:00:00:00:00:0g",
        ] {
            let refusal = text.parse::<Mac>().unwrap_err().to_string();
            assert!(refusal.contains("is not an Ethernet address"), "{text}");
        }
        let refusal = "02:00:00:00:00:01/ff:ff:ff:00:00:00"
            .parse::<Mac>()
            .unwrap_err();
        assert!(refusal.to_string().ends_with(vendor));
    }
}
