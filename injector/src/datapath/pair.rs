//! The private pairs of veth devices on which every fault is done.

use std::{
    path::Path,
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

/// Packets that wait while the splitting pair is full: super-packets, thousands of segments.
const QUEUE: u32 = 2000;

/// Two veth devices joined to each other.
#[derive(Clone, Debug)]
pub struct Pair {
    /// Where packets enter.
    pub near: Link,
    /// Where they arrive.
    pub far: Link,
}

/// The pairs of a run.
#[derive(Clone, Debug)]
pub struct Pairs {
    /// Splits super-packets on the way. On its far end fates are decided and fq holds packets; they
    /// come back by its near end.
    pub split: Pair,
    /// Carries super-packets whole, beside the first, where rules split.
    pub whole: Option<Pair>,
}

/// The names of a pair's ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The near end's.
    pub near: String,
    /// The far end's.
    pub far: String,
}

impl Names {
    /// Of the pair that splits, for the device with this index, and so unique in its namespace.
    pub fn split(ifindex: u32) -> Self {
        Self {
            near: format!("inj{ifindex}n"),
            far: format!("inj{ifindex}f"),
        }
    }

    /// Of the pair that does not.
    pub fn whole(ifindex: u32) -> Self {
        Self {
            near: format!("inj{ifindex}wn"),
            far: format!("inj{ifindex}wf"),
        }
    }

    /// The index of the device for which an end of this name was made.
    pub fn device(end: &str) -> Option<u32> {
        let digits = end
            .strip_prefix("inj")?
            .trim_end_matches(|c: char| c.is_ascii_lowercase());
        digits.parse().ok()
    }
}

impl Pairs {
    /// What has to be undone once the pairs for the device exist.
    pub fn undo(ifindex: u32, splits: bool) -> Vec<Undo> {
        let names = std::iter::once(Names::split(ifindex));
        names
            .chain(splits.then(|| Names::whole(ifindex)))
            .map(|names| Undo::DeletePair { near: names.near })
            .collect()
    }

    /// Creates the pairs, configured but down.
    pub fn create(netlink: &Netlink, device: &Link, splits: bool) -> Result<Self> {
        let split = Pair::create(netlink, &Names::split(device.index), device)?;
        split_on(netlink, &split.near)?;
        let whole = splits
            .then(|| Pair::create(netlink, &Names::whole(device.index), device))
            .transpose()?;
        Ok(Self { split, whole })
    }

    /// Puts fq where packets are held, able to hold them for `delay_max_ns`.
    pub fn add_fq(&self, netlink: &Netlink, delay_max_ns: u64) -> Result<()> {
        netlink.add_fq(&self.split.far, &fq_options(delay_max_ns))
    }

    /// Gives the splitting pair a queue in which packets wait while the pair is full.
    pub fn add_queue(&self, netlink: &Netlink) -> Result<()> {
        netlink.add_pfifo(&self.split.near, QUEUE)
    }

    /// Most packets that can be on their way from the near to the far end of the splitting pair, on
    /// one processor.
    pub fn splits_max() -> Result<u32> {
        /// Of a veth device with NAPI (`VETH_RING_SIZE`).
        const RING: u32 = 256;
        let backlog = sysctl::read(Path::new("/proc/sys/net/core/netdev_max_backlog"))?;
        let backlog = backlog.and_then(|text| text.parse().ok()).unwrap_or(0);
        Ok((QUEUE + RING).max(backlog))
    }

    /// Every end.
    pub fn ends(&self) -> impl Iterator<Item = &Link> {
        std::iter::once(&self.split)
            .chain(&self.whole)
            .flat_map(|pair| [&pair.near, &pair.far])
    }

    /// Brings all ends up.
    pub fn bring_up(&self, netlink: &Netlink) -> Result<()> {
        self.ends().try_for_each(|end| netlink.bring_up(end))
    }

    /// Waits until the pairs carry packets. The end that was brought up first learns of its
    /// carrier from a worker of the kernel's (`linkwatch`), and refuses packets until then.
    pub fn wait_until_up(&self, netlink: &Netlink) -> Result<()> {
        const PATIENCE: Duration = Duration::from_secs(2);
        const STEP: Duration = Duration::from_millis(2);
        let give_up = Instant::now() + PATIENCE;
        loop {
            let links = netlink.links()?;
            let is_up = |end: &Link| {
                links
                    .iter()
                    .any(|link| link.index == end.index && link.is_up)
            };
            let Some(down) = self.ends().find(|end| !is_up(end)) else {
                return Ok(());
            };
            if Instant::now() > give_up {
                let timeout = std::io::Error::from_raw_os_error(nix::libc::ETIMEDOUT);
                return Err(Error::refused(format!("bring up {}", down.name), timeout));
            }
            thread::sleep(STEP);
        }
    }
}

impl Pair {
    fn create(netlink: &Netlink, names: &Names, device: &Link) -> Result<Self> {
        netlink.add_veth(&names.near, &names.far)?;
        let find = |name: &str| {
            netlink.find_link(name)?.ok_or_else(|| {
                let gone = std::io::Error::from_raw_os_error(nix::libc::ENODEV);
                Error::refused(format!("find interface {name}, just created"), gone)
            })
        };
        let pair = Self {
            near: find(&names.near)?,
            far: find(&names.far)?,
        };
        for end in [&pair.near, &pair.far] {
            let alias = format!("{ALIAS_PREFIX}private pair of {}", device.name);
            netlink.dress(end, &alias, MTU)?;
            disable_ipv6(&end.name)?;
            // Receive offload would merge what has just been split, and with it the packets'
            // context in skb->cb.
            ethtool::switch_off(&end.name, Offload::Gro)?;
        }
        Ok(pair)
    }
}

/// Lets only finished wire packets leave through `end`: super-packets are split and checksums
/// filled in, as a NIC does.
fn split_on(netlink: &Netlink, end: &Link) -> Result<()> {
    for offload in [Offload::Tso, Offload::Gso, Offload::TxChecksum] {
        ethtool::switch_off(&end.name, offload)?;
    }
    // Also for kinds of segmentation that have a switch of their own, such as UDP's.
    netlink.limit_gso_segments(end, 1)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_any_device_have_valid_names_that_tell_the_device() {
        for ifindex in [1, 7, i32::MAX as u32] {
            for names in [Names::split(ifindex), Names::whole(ifindex)] {
                for end in [names.near, names.far] {
                    assert!(end.len() < nix::libc::IFNAMSIZ, "{end}");
                    assert_eq!(Names::device(&end), Some(ifindex));
                }
            }
        }
        assert_eq!(Names::device("eth0"), None);
    }
}
