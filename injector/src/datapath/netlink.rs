//! Devices and queueing disciplines, over rtnetlink.
//!
//! A netlink socket belongs to the namespace of the thread that opened it: [`Netlink`] is opened
//! inside [`super::Netns::run`] and dropped there.

mod filter;
mod links;
mod qdisc;
mod route;

use std::{future::Future, io};

use futures_util::TryStreamExt as _;
use netlink_packet_route::{
    link::{
        InfoKind, InfoMacVlan, LinkAttribute, LinkInfo, LinkLayerType, LinkMessage, MacVlanFlags,
        MacVlanMode, State,
    },
    tc::{TcAttribute, TcHandle, TcMessage, TcStats2},
};
use nix::libc;
pub use qdisc::FqOptions;
use rtnetlink::{Handle, LinkGetRequest, LinkMacVlan, LinkMessageBuilder, LinkUnspec, LinkVeth};
use tokio::runtime::Runtime;

use super::{Error, Result};

/// An open netlink socket.
pub struct Netlink {
    runtime: Runtime,
    handle: Handle,
}

/// A network device.
#[derive(Clone, Debug)]
pub struct Link {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its alias, empty where it has none.
    pub alias: String,
    /// Its hardware address, empty where it has none.
    pub address: Vec<u8>,
    /// Whether it is up, in the sense of RFC 2863: packets that are sent now go out.
    pub is_up: bool,
    /// Its MTU.
    pub mtu: u32,
    /// Its link type (`ARPHRD_*`).
    pub layer: LinkLayerType,
    /// The kind of a software device, such as `veth`.
    pub kind: Option<String>,
}

/// A queueing discipline.
#[derive(Clone, Debug)]
pub struct Qdisc {
    /// Its kind, such as `fq`.
    pub kind: String,
    /// Where it is attached.
    pub parent: TcHandle,
    /// Packets that it holds.
    pub held: u32,
    /// Packets that it dropped.
    pub drops: u32,
}

impl Netlink {
    /// Opens a socket in the calling thread's namespace.
    pub fn open() -> Result<Self> {
        let refused = |source: io::Error| Error::refused("open a netlink socket", source);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .map_err(refused)?;
        let (connection, handle, _) = {
            let _guard = runtime.enter();
            rtnetlink::new_connection().map_err(refused)?
        };
        runtime.spawn(connection);
        Ok(Self { runtime, handle })
    }

    /// What requests are made with.
    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Waits for the answer to `request`; `action` says what was attempted.
    pub(super) fn wait<T>(
        &self,
        action: impl Into<String>,
        request: impl Future<Output = std::result::Result<T, rtnetlink::Error>>,
    ) -> Result<T> {
        self.runtime.block_on(request).map_err(|error| {
            let source = match &error {
                rtnetlink::Error::NetlinkError(message) => message.to_io(),
                other => io::Error::other(other.to_string()),
            };
            Error::refused(action, source)
        })
    }

    /// Every device.
    pub fn links(&self) -> Result<Vec<Link>> {
        let request = self.handle.link().get().execute().try_collect::<Vec<_>>();
        let links = self.wait("list the network interfaces", request)?;
        Ok(links.into_iter().map(link).collect())
    }

    /// The device of that name, if there is one.
    pub fn find_link(&self, name: &str) -> Result<Option<Link>> {
        // What no device can be called is refused, and not only not found.
        if name.is_empty() || name.len() >= libc::IFNAMSIZ {
            return Ok(None);
        }
        self.one_link(self.handle.link().get().match_name(name))
    }

    /// Those of these devices that are there. A list of all would take the longer, the more of them a run is on.
    pub fn links_at(&self, indexes: impl IntoIterator<Item = u32>) -> Result<Vec<Link>> {
        let one = |index| self.one_link(self.handle.link().get().match_index(index));
        let found = indexes.into_iter().map(|index| one(index).transpose());
        found.flatten().collect()
    }

    fn one_link(&self, request: LinkGetRequest) -> Result<Option<Link>> {
        let found = self.wait("look for a network interface", request.execute().try_next());
        match found {
            Err(error) if error.errno() == Some(libc::ENODEV) => Ok(None),
            found => Ok(found?.map(link)),
        }
    }

    /// Creates a veth pair and leaves it down.
    pub fn add_veth(&self, name: &str, peer: &str) -> Result<()> {
        let message = LinkVeth::new(name, peer).build();
        self.wait(
            format!("create the veth pair {name}, {peer}"),
            self.handle.link().add(message).execute(),
        )
    }

    /// Creates a macvlan device that sends what it is given out of `lower` unchanged, and leaves it
    /// down. `false` where the kernel has no macvlan.
    pub fn add_macvlan(&self, name: &str, lower: &Link) -> Result<bool> {
        // The only mode in which it needs neither an address nor promiscuity of the device below.
        let message = LinkMacVlan::new(name, lower.index, MacVlanMode::Passthrough)
            .append_info_data(InfoMacVlan::Flags(MacVlanFlags::NoPromisc))
            .build();
        let request = self.handle.link().add(message).execute();
        match self.wait(format!("create the macvlan device {name}"), request) {
            Err(error) if error.errno() == Some(libc::EOPNOTSUPP) => Ok(false),
            other => other.map(|()| true),
        }
    }

    /// Deletes the device; no error where it is gone.
    pub fn delete_link(&self, index: u32) -> Result<()> {
        let request = self.handle.link().del(index).execute();
        let result = self.wait(format!("delete interface {index}"), request);
        unless(result, &[libc::ENODEV])
    }

    /// Gives the pair's end its alias and its largest MTU, and takes ARP off it.
    pub fn dress(&self, link: &Link, alias: &str, mtu: u32) -> Result<()> {
        let message = LinkUnspec::new_with_index(link.index)
            .alias(alias)
            .mtu(mtu)
            .arp(false);
        self.set(link, message, "configure")
    }

    /// Lets only single wire packets leave through the device.
    pub fn limit_gso_segments(&self, link: &Link, segments: u32) -> Result<()> {
        let message = LinkUnspec::new_with_index(link.index)
            .append_extra_attribute(LinkAttribute::GsoMaxSegs(segments));
        self.set(link, message, "limit the segments of")
    }

    /// Brings the device up.
    pub fn bring_up(&self, link: &Link) -> Result<()> {
        self.set(
            link,
            LinkUnspec::new_with_index(link.index).up(),
            "bring up",
        )
    }

    fn set(&self, link: &Link, message: LinkMessageBuilder<LinkUnspec>, verb: &str) -> Result<()> {
        let request = self.handle.link().set(message.build()).execute();
        self.wait(format!("{verb} interface {}", link.name), request)
    }

    /// The device's queueing disciplines.
    pub fn qdiscs(&self, ifindex: u32) -> Result<Vec<Qdisc>> {
        let request = self.handle.qdisc().get().index(ifindex as i32).execute();
        let found: Vec<TcMessage> = self.wait(
            format!("list the qdiscs of interface {ifindex}"),
            request.try_collect(),
        )?;
        // Kernels without strict checking answer with every device's.
        let ours = |message: &TcMessage| message.header.index == ifindex as i32;
        Ok(found.into_iter().filter(ours).map(qdisc).collect())
    }

    /// Makes fq the device's root.
    pub fn add_fq(&self, link: &Link, options: &FqOptions) -> Result<()> {
        let request = qdisc::add_root(self.handle.clone(), link.index, "fq", options.attributes());
        let result = self.wait(format!("add fq to interface {}", link.name), request);
        match result {
            Err(error) if error.errno() == Some(libc::ENOENT) => Err(Error::NoFq),
            other => other,
        }
    }

    /// Removes the device's clsact qdisc; no error where it is gone.
    pub fn delete_clsact(&self, ifindex: u32) -> Result<()> {
        let mut request = self.handle.qdisc().del(ifindex as i32);
        request.message_mut().header.parent = TC_H_CLSACT;
        let action = format!("remove clsact from interface {ifindex}");
        let result = self.wait(action, request.execute());
        unless(result, &[libc::ENODEV, libc::ENOENT, libc::EINVAL])
    }
}

/// The parent of clsact (linux/pkt_sched.h).
const TC_H_CLSACT: TcHandle = TcHandle {
    major: 0xffff,
    minor: 0xfff1,
};

/// Takes the errors that say that the work is done already for success.
fn unless(result: Result<()>, done_already: &[i32]) -> Result<()> {
    match result {
        Err(error)
            if error
                .errno()
                .is_some_and(|errno| done_already.contains(&errno)) =>
        {
            Ok(())
        }
        other => other,
    }
}

fn link(message: LinkMessage) -> Link {
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        alias: String::new(),
        address: Vec::new(),
        is_up: false,
        mtu: 0,
        layer: message.header.link_layer_type,
        kind: None,
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::IfAlias(alias) => link.alias = alias,
            LinkAttribute::Address(address) => link.address = address,
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::OperState(state) => link.is_up = state == State::Up,
            LinkAttribute::LinkInfo(infos) => {
                link.kind = infos.into_iter().find_map(|info| match info {
                    LinkInfo::Kind(kind) => Some(kind_name(&kind)),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    link
}

fn kind_name(kind: &InfoKind) -> String {
    kind.to_string()
}

fn qdisc(message: TcMessage) -> Qdisc {
    let mut qdisc = Qdisc {
        kind: String::new(),
        parent: message.header.parent,
        held: 0,
        drops: 0,
    };
    for attribute in message.attributes {
        match attribute {
            TcAttribute::Kind(kind) => qdisc.kind = kind,
            TcAttribute::Stats2(stats) => {
                for stat in stats {
                    if let TcStats2::Queue(queue) = stat {
                        (qdisc.held, qdisc.drops) = (queue.qlen, queue.drops);
                    }
                }
            }
            _ => {}
        }
    }
    qdisc
}
