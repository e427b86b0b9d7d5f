//! What the kernel counts of UDP, from `/proc/net/snmp`.

use std::fs;

use crate::datapath::{Error, Netns, Result};

/// Shows the namespace of the thread that reads it, unlike `/proc/net`.
const PATH: &str = "/proc/thread-self/net/snmp";

/// Datagrams that arrived damaged: their checksum did not fit, and no socket got them.
pub(super) fn checksum_errors(netns: &Netns) -> Result<u64> {
    let text = netns.run(|| {
        fs::read_to_string(PATH).map_err(|source| Error::File {
            action: "read",
            path: PATH.into(),
            source,
        })
    })?;
    Ok(field(&text, "Udp:", "InCsumErrors").unwrap_or(0))
}

/// A value from the pair of lines that start with `group`: names, then values.
fn field(text: &str, group: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(group));
    let (names, values) = (lines.next()?, lines.next()?);
    let index = names.split_whitespace().position(|other| other == name)?;
    values.split_whitespace().nth(index)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
Tcp: RtoAlgorithm InCsumErrors
Tcp: 1 5
Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors
Udp: 1005 0 12 1000 0 0 12
UdpLite: InDatagrams InCsumErrors
UdpLite: 0 7
";

    #[test]
    fn the_value_stands_below_its_name() {
        assert_eq!(field(TEXT, "Udp:", "InCsumErrors"), Some(12));
        assert_eq!(field(TEXT, "Udp:", "InDatagrams"), Some(1005));
    }

    #[test]
    fn a_kernel_without_the_counter_has_no_value() {
        assert_eq!(field(TEXT, "Udp:", "IgnoredMulti"), None);
        assert_eq!(field("", "Udp:", "InCsumErrors"), None);
    }
}
