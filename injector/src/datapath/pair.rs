//! The private pair of veth devices on which every fault is done.

use std::{
    thread,
    time::{Duration, Instant},
};

use injector_common::NSEC_PER_SEC;
use nix::sys::sysinfo::sysinfo;

use super::{
    Error, Result,
    ethtool::{self, Offload},
    netlink::{FqOptions, Link, Netlink},
    sysctl,
    undo::{ALIAS_PREFIX, Undo},
};

/// The largest MTU of a veth device: whatever the device sends fits.
const MTU: u32 = 65535;

/// The pair.
#[derive(Clone, Debug)]
pub struct Pair {
    /// Packets enter here to be split, and leave here to be put back.
    pub near: Link,
    /// Fates are decided here, and fq holds packets here.
    pub far: Link,
}

impl Pair {
    /// The names of the ends, derived from the device's index and so unique in its namespace.
    pub fn names(ifindex: u32) -> (String, String) {
        (format!("inj{ifindex}n"), format!("inj{ifindex}f"))
    }

    /// What has to be undone once the pair for the device exists.
    pub fn undo(ifindex: u32) -> Undo {
        Undo::DeletePair {
            near: Self::names(ifindex).0,
        }
    }

    /// Creates the pair, configured but down.
    pub fn create(netlink: &Netlink, device: &Link) -> Result<Self> {
        let (near, far) = Self::names(device.index);
        netlink.add_veth(&near, &far)?;
        let find = |name: &str| {
            netlink.find_link(name)?.ok_or_else(|| {
                let gone = std::io::Error::from_raw_os_error(nix::libc::ENODEV);
                Error::refused(format!("find interface {name}, just created"), gone)
            })
        };
        let pair = Self {
            near: find(&near)?,
            far: find(&far)?,
        };
        for end in [&pair.near, &pair.far] {
            let alias = format!("{ALIAS_PREFIX}private pair of {}", device.name);
            netlink.dress(end, &alias, MTU)?;
            disable_ipv6(&end.name)?;
            // Receive offload would merge what has just been split, and with it the packets'
            // context in skb->cb.
            ethtool::switch_off(&end.name, Offload::Gro)?;
        }
        pair.split_on_near_end(netlink)?;
        Ok(pair)
    }

    /// Lets only finished wire packets cross from the near end: super-packets are split and
    /// checksums filled in, as a NIC does.
    fn split_on_near_end(&self, netlink: &Netlink) -> Result<()> {
        for offload in [Offload::Tso, Offload::Gso, Offload::TxChecksum] {
            ethtool::switch_off(&self.near.name, offload)?;
        }
        // Also for kinds of segmentation that have a switch of their own, such as UDP's.
        netlink.limit_gso_segments(&self.near, 1)
    }

    /// Puts fq on the far end, able to hold packets for `delay_max_ns`.
    pub fn add_fq(&self, netlink: &Netlink, delay_max_ns: u64) -> Result<()> {
        netlink.add_fq(&self.far, &fq_options(delay_max_ns))
    }

    /// Brings both ends up.
    pub fn bring_up(&self, netlink: &Netlink) -> Result<()> {
        netlink.bring_up(&self.near)?;
        netlink.bring_up(&self.far)
    }

    /// Waits until the pair carries packets. The end that was brought up first learns of its
    /// carrier from a worker of the kernel's (`linkwatch`), and refuses packets until then.
    pub fn wait_until_up(&self, netlink: &Netlink) -> Result<()> {
        const PATIENCE: Duration = Duration::from_secs(2);
        const STEP: Duration = Duration::from_millis(2);
        let give_up = Instant::now() + PATIENCE;
        let ends = [self.near.index, self.far.index];
        loop {
            let links = netlink.links()?;
            let up = |link: &&Link| ends.contains(&link.index) && link.is_up;
            if links.iter().filter(up).count() == ends.len() {
                return Ok(());
            }
            if Instant::now() > give_up {
                let timeout = std::io::Error::from_raw_os_error(nix::libc::ETIMEDOUT);
                let action = format!("bring up {} and {}", self.near.name, self.far.name);
                return Err(Error::refused(action, timeout));
            }
            thread::sleep(STEP);
        }
    }
}

fn disable_ipv6(device: &str) -> Result<()> {
    let path = sysctl::device_path("ipv6", device, "disable_ipv6");
    // Absent where the kernel has no IPv6.
    if path.exists() {
        sysctl::write(&path, "1")
    } else {
        Ok(())
    }
}

/// fq for delays up to `delay_max_ns`.
pub fn fq_options(delay_max_ns: u64) -> FqOptions {
    /// Seconds beyond the longest delay: senders' own pacing comes on top of it.
    const HORIZON_MARGIN_S: u64 = 60;
    let horizon_us = (delay_max_ns + HORIZON_MARGIN_S * NSEC_PER_SEC) / 1000;
    FqOptions {
        limit: limit(),
        horizon_us: u32::try_from(horizon_us).unwrap_or(u32::MAX),
    }
}

/// Most packets to hold: an eighth of the memory, at a full-sized packet's footprint.
fn limit() -> u32 {
    /// `skb->truesize` of a packet of 1500 bytes, rounded up.
    const FOOTPRINT: u64 = 2560;
    let memory = sysinfo().map_or(0, |info| info.ram_total());
    (memory / 8 / FOOTPRINT).clamp(10_000, 1_000_000) as u32
}
