//! Hosts on a switch.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    time::Duration,
};

use crate::{Family, Netns, clock::PATIENCE, tool};

/// Hosts, each with a device `eth0` on a bridge in a namespace of its own, whose ports are `port0` and so on. They ask
/// each other for their hardware addresses, as hosts do.
#[derive(Debug)]
pub struct Star {
    /// The switch.
    pub switch: Netns,
    /// The hosts.
    pub hosts: Vec<Netns>,
}

impl Star {
    /// A switch with so many hosts.
    pub fn new(count: u8) -> Self {
        let switch = Netns::new();
        switch.run(|| {
            quieten();
            tool::ip("link add name br0 up type bridge");
        });
        let hosts: Vec<_> = (0..count).map(|_| Netns::new()).collect();
        for (number, host) in hosts.iter().enumerate() {
            host.run(quieten);
            switch.run(|| {
                let path = host.path();
                tool::ip_batch(&format!(
                    "link add name port{number} type veth peer name eth0 netns {}
                     link set dev port{number} master br0 up\n",
                    path.display()
                ));
            });
            host.run(|| {
                let [v4, v6] = Family::ALL.map(|family| address(family, number));
                tool::ip_batch(&format!(
                    "address add {v4}/24 dev eth0
                     address add {v6}/64 dev eth0 nodad
                     link set dev eth0 up\n"
                ));
            });
        }
        Self { switch, hosts }
    }

    /// How many of `count` datagrams from one host arrive at another.
    pub fn deliver(&self, family: Family, from: usize, to: usize, count: usize) -> usize {
        /// Longer than a datagram takes that is going to arrive, on a quiet machine: where none is to, nothing is
        /// waited for in vain for longer.
        const LINGER: Duration = Duration::from_millis(150);
        let receiver = self.hosts[to].run(|| bind(address(family, to)));
        let at = receiver.local_addr().expect("the receiver's address");
        let sender = self.hosts[from].run(|| bind(address(family, from)));
        for _ in 0..count {
            // What is refused has not arrived.
            let _ = sender.send_to(b"datagram", at);
        }
        let mut received = 0;
        let (mut buffer, mut patience) = ([0; 16], LINGER);
        while received < count {
            receiver
                .set_read_timeout(Some(patience))
                .expect("set a timeout");
            if receiver.recv(&mut buffer).is_err() {
                break;
            }
            received += 1;
            // Those that follow one may take longer on a busy machine.
            patience = PATIENCE.min(Duration::from_secs(2));
        }
        received
    }
}

/// A host's address.
pub fn address(family: Family, host: usize) -> IpAddr {
    let number = host as u8 + 1;
    match family {
        Family::V4 => Ipv4Addr::new(10, 78, 0, number).into(),
        Family::V6 => Ipv6Addr::new(0xfd78, 0, 0, 0, 0, 0, 0, number.into()).into(),
    }
}

fn bind(address: IpAddr) -> UdpSocket {
    UdpSocket::bind(SocketAddr::new(address, 0)).expect("bind a socket")
}

/// No link-local addresses, about which the kernel would talk.
fn quieten() {
    for name in ["ipv6/conf/all/accept_ra", "ipv6/conf/default/accept_ra"] {
        fs::write(format!("/proc/sys/net/{name}"), "0").expect("a setting");
    }
    fs::write("/proc/sys/net/ipv6/conf/default/addr_gen_mode", "1").expect("a setting");
}
