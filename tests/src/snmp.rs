//! The kernel's protocol counters, inside one namespace.

use std::{collections::BTreeMap, fs};

use crate::Host;

/// The counters that rise by a packet each with a wrong checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChecksumErrors {
    /// TCP, over both versions of IP.
    pub tcp: u64,
    /// UDP over IPv4.
    pub udp: u64,
    /// UDP over IPv6.
    pub udp6: u64,
    /// ICMP.
    pub icmp: u64,
    /// ICMPv6.
    pub icmp6: u64,
}

impl ChecksumErrors {
    /// Those of `host` so far.
    pub fn of(host: &Host) -> Self {
        let counters = host.run(counters);
        let get = |name: &str| counters.get(name).copied().unwrap_or(0);
        Self {
            tcp: get("Tcp.InCsumErrors"),
            udp: get("Udp.InCsumErrors"),
            udp6: get("Udp6InCsumErrors"),
            icmp: get("Icmp.InCsumErrors"),
            icmp6: get("Icmp6InCsumErrors"),
        }
    }

    /// All together.
    pub fn sum(&self) -> u64 {
        self.tcp + self.udp + self.udp6 + self.icmp + self.icmp6
    }
}

/// All counters of the calling thread's namespace: `Udp.InErrors`, `IpExt.InCEPkts`, and without the
/// dot `Udp6InErrors`.
pub fn counters() -> BTreeMap<String, u64> {
    // Not /proc/net, which is that of the process's first thread.
    let read = |name: &str| {
        fs::read_to_string(format!("/proc/thread-self/net/{name}")).expect("read the counters")
    };
    let mut counters = BTreeMap::new();
    // A line of names, then one of values, both after "Udp:".
    let v4 = read("snmp") + &read("netstat");
    let lines: Vec<&str> = v4.lines().collect();
    for pair in lines.chunks_exact(2) {
        let (names, values) = (pair[0].split_whitespace(), pair[1].split_whitespace());
        let protocol = pair[0].split(':').next().unwrap_or_default();
        for (name, value) in names.zip(values).skip(1) {
            counters.insert(format!("{protocol}.{name}"), value.parse().unwrap_or(0));
        }
    }
    for line in read("snmp6").lines() {
        if let [name, value] = line.split_whitespace().collect::<Vec<_>>()[..] {
            counters.insert(name.into(), value.parse().unwrap_or(0));
        }
    }
    counters
}
