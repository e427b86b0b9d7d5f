//! A private path: two network namespaces without names, joined by a veth pair.
//!
//! Nothing but this process's descriptors refers to the namespaces, so that they end with it,
//! however it ends.

use std::{
    fs::{self, File},
    net::Ipv4Addr,
    os::fd::{AsRawFd as _, RawFd},
    path::Path,
    thread,
};

use netlink_packet_route::link::{InfoData, InfoVeth};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use rtnetlink::{LinkMessageBuilder, LinkUnspec, LinkVeth};

use crate::datapath::{Error, Netns, Result, netlink::Netlink};

/// The device's name, on both ends.
pub const DEVICE: &str = "demo0";

/// One of the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The one that faults are injected on.
    Near,
    /// The one beyond.
    Far,
}

impl End {
    /// The end opposite.
    pub const fn other(self) -> Self {
        match self {
            Self::Near => Self::Far,
            Self::Far => Self::Near,
        }
    }

    /// Its address, of a network that is for documentation (RFC 5737).
    pub const fn address(self) -> Ipv4Addr {
        match self {
            Self::Near => Ipv4Addr::new(192, 0, 2, 1),
            Self::Far => Ipv4Addr::new(192, 0, 2, 2),
        }
    }

    /// Locally administered; 00:53 is for documentation (RFC 7042).
    const fn mac(self) -> [u8; 6] {
        match self {
            Self::Near => [0x02, 0, 0x5e, 0, 0x53, 1],
            Self::Far => [0x02, 0, 0x5e, 0, 0x53, 2],
        }
    }
}

/// The path. It lasts as long as this value.
#[derive(Debug)]
pub struct PrivatePath {
    near: File,
    far: File,
}

impl PrivatePath {
    /// Builds it, up and with addresses.
    pub fn build() -> Result<Self> {
        let path = Self {
            near: new_namespace()?,
            far: new_namespace()?,
        };
        let far = path.far.as_raw_fd();
        path.netns(End::Near).run(|| join(&Netlink::open()?, far))?;
        for end in [End::Near, End::Far] {
            path.netns(end).run(|| configure(end))?;
        }
        Ok(path)
    }

    /// The namespace of an end.
    pub fn netns(&self, end: End) -> Netns {
        let file = match end {
            End::Near => &self.near,
            End::Far => &self.far,
        };
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        Netns::Path {
            name: "private".into(),
            path: path.into(),
        }
    }
}

/// Gives the calling thread, and those that it starts, a `/run` of their own, so that not even
/// the journal of a run that is killed stays behind. Without effect where mounting is forbidden.
pub fn hide_run_directory() {
    const NONE: Option<&str> = None;
    let hidden = unshare(CloneFlags::CLONE_NEWNS)
        // Else the new mount would show outside.
        .and_then(|()| mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE))
        .and_then(|()| mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), NONE));
    // The journal is then written where every run has it, and deleted when the session ends.
    let _ = hidden;
}

/// Makes a namespace on a thread of its own, which ends.
fn new_namespace() -> Result<File> {
    let make = || {
        unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| match errno {
            nix::Error::EPERM => Error::NotPermitted {
                missing: "CAP_SYS_ADMIN (to create a namespace)".into(),
            },
            errno => Error::refused("create a network namespace", errno),
        })?;
        let path = "/proc/thread-self/ns/net";
        File::open(path).map_err(|source| Error::File {
            action: "open",
            path: path.into(),
            source,
        })
    };
    thread::scope(|scope| {
        scope
            .spawn(make)
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Creates the pair, its peer in the namespace behind `far`.
fn join(netlink: &Netlink, far: RawFd) -> Result<()> {
    let peer = LinkMessageBuilder::<LinkUnspec>::new()
        .name(DEVICE)
        .address(End::Far.mac().to_vec())
        .setns_by_fd(far)
        .build();
    let message = LinkVeth::new(DEVICE, DEVICE)
        .address(End::Near.mac().to_vec())
        .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
        .build();
    let request = netlink.handle().link().add(message).execute();
    netlink.wait("create a veth pair between two namespaces", request)
}

/// Brings the end up, inside its namespace.
fn configure(end: End) -> Result<()> {
    silence_ipv6()?;
    let netlink = Netlink::open()?;
    let Some(link) = netlink.find_link(DEVICE)? else {
        let gone = nix::Error::ENODEV;
        return Err(Error::refused(
            format!("find interface {DEVICE}, just created"),
            gone,
        ));
    };
    netlink.bring_up(&link)?;
    let other = end.other();
    let address = netlink
        .handle()
        .address()
        .add(link.index, end.address().into(), 24);
    netlink.wait("add an address", address.execute())?;
    // What is measured is the profile, not whether ARP survives it.
    let neighbour = netlink
        .handle()
        .neighbours()
        .add(link.index, other.address().into());
    netlink.wait(
        "add a neighbour",
        neighbour.link_layer_address(&other.mac()).execute(),
    )
}

/// Keeps the packets of address configuration out of the counters.
fn silence_ipv6() -> Result<()> {
    for device in ["all", "default"] {
        let path = Path::new("/proc/sys/net/ipv6/conf")
            .join(device)
            .join("disable_ipv6");
        // Absent where the kernel has no IPv6.
        if path.exists() {
            fs::write(&path, "1").map_err(|source| Error::File {
                action: "write",
                path,
                source,
            })?;
        }
    }
    Ok(())
}
