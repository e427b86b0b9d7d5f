//! The private pair of veth devices on which every fault is done.

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

/// Two veth devices joined to each other, and what sits on them.
#[derive(Clone, Debug)]
pub struct Pair {
    /// Where held packets come back. What it sends crosses the pair in wire packets, complete with
    /// checksums.
    pub near: Link,
    /// Where fates are decided, and fq holds packets.
    pub far: Link,
    /// A device on the far end that splits what it sends out of it, without a queue in between:
    /// where rules split, and the kernel has macvlan.
    pub splitter: Option<Link>,
}

/// The names of a pair's devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The near end's.
    pub near: String,
    /// The far end's.
    pub far: String,
    /// The splitter's.
    pub splitter: String,
}

impl Names {
    /// Of the pair for the device with this index, and so unique in its namespace.
    pub fn new(ifindex: u32) -> Self {
        Self {
            near: format!("inj{ifindex}n"),
            far: format!("inj{ifindex}f"),
            splitter: format!("inj{ifindex}s"),
        }
    }

    /// The index of the device for which a device of this name was made.
    pub fn device(end: &str) -> Option<u32> {
        let digits = end
            .strip_prefix("inj")?
            .trim_end_matches(|c: char| c.is_ascii_lowercase());
        digits.parse().ok()
    }
}

impl Pair {
    /// What has to be undone once the pair for the device exists. The splitter ends with it.
    pub fn undo(ifindex: u32) -> Undo {
        Undo::DeletePair {
            near: Names::new(ifindex).near,
        }
    }

    /// Creates the pair, configured but down.
    pub fn create(netlink: &Netlink, device: &Link, splits: bool) -> Result<Self> {
        let names = Names::new(device.index);
        netlink.add_veth(&names.near, &names.far)?;
        let near = dressed(netlink, &names.near, device)?;
        let far = dressed(netlink, &names.far, device)?;
        for offload in [Offload::Tso, Offload::Gso, Offload::TxChecksum] {
            ethtool::switch_off(&near.name, offload)?;
        }
        // Also for kinds of segmentation that have a switch of their own, such as UDP's.
        netlink.limit_gso_segments(&near, 1)?;
        let mut splitter = None;
        if splits && netlink.add_macvlan(&names.splitter, &far)? {
            let link = dressed(netlink, &names.splitter, device)?;
            // macvlan devices have no other switch.
            netlink.limit_gso_segments(&link, 1)?;
            splitter = Some(link);
        }
        Ok(Self {
            near,
            far,
            splitter,
        })
    }

    /// Puts fq where packets are held, able to hold them for `delay_max_ns`.
    pub fn add_fq(&self, netlink: &Netlink, delay_max_ns: u64) -> Result<()> {
        netlink.add_fq(&self.far, &fq_options(delay_max_ns))
    }

    /// Most packets that can be on their way from the near to the far end, on one processor: as many as its queue takes,
    /// and as many again that have been taken off it to be received (`process_backlog` in `net/core/dev.c`).
    pub fn crossing_max() -> Result<u32> {
        let backlog = sysctl::read(Path::new("/proc/sys/net/core/netdev_max_backlog"))?;
        let backlog: u32 = backlog.and_then(|text| text.parse().ok()).unwrap_or(1000);
        Ok(backlog.saturating_mul(2))
    }

    /// Its devices, the far end last: that end's coming up gives the others their carrier. The kernel
    /// tells those at once that are up already, any other up to a second later (`linkwatch_urgent_event`
    /// in `net/core/link_watch.c`).
    fn devices(&self) -> impl Iterator<Item = &Link> {
        [&self.near]
            .into_iter()
            .chain(&self.splitter)
            .chain([&self.far])
    }

    /// Their indexes.
    pub fn indexes(&self) -> impl Iterator<Item = u32> {
        self.devices().map(|link| link.index)
    }

    /// Brings all devices up.
    pub fn bring_up(&self, netlink: &Netlink) -> Result<()> {
        self.devices().try_for_each(|link| netlink.bring_up(link))
    }

    /// Whether all of its devices are among these, and carry packets.
    pub fn is_up(&self, links: &[Link]) -> bool {
        self.first_down(links).is_none()
    }

    fn first_down(&self, links: &[Link]) -> Option<&Link> {
        let is_up = |end: &Link| {
            links
                .iter()
                .any(|link| link.index == end.index && link.is_up)
        };
        self.devices().find(|link| !is_up(link))
    }

    /// Waits until the pair carries packets. The end that was brought up first learns of its
    /// carrier from a worker of the kernel's (`linkwatch`), and refuses packets until then.
    pub fn wait_until_up(&self, netlink: &Netlink) -> Result<()> {
        const PATIENCE: Duration = Duration::from_secs(2);
        const STEP: Duration = Duration::from_millis(2);
        let give_up = Instant::now() + PATIENCE;
        loop {
            let Some(down) = self.first_down(&netlink.links_at(self.indexes())?) else {
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

/// One of the pair's devices, just created, made fit for its work.
fn dressed(netlink: &Netlink, name: &str, device: &Link) -> Result<Link> {
    let link = netlink.find_link(name)?.ok_or_else(|| {
        let gone = std::io::Error::from_raw_os_error(nix::libc::ENODEV);
        Error::refused(format!("find interface {name}, just created"), gone)
    })?;
    let alias = format!("{ALIAS_PREFIX}private pair of {}", device.name);
    netlink.dress(&link, &alias, MTU)?;
    disable_ipv6(name)?;
    // Receive offload would merge what has just been split, and with it the packets' context in
    // skb->cb.
    ethtool::switch_off(name, Offload::Gro)?;
    Ok(link)
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
    fn the_pair_of_any_device_has_valid_names_that_tell_the_device() {
        for ifindex in [1, 7, i32::MAX as u32] {
            let Names {
                near,
                far,
                splitter,
            } = Names::new(ifindex);
            for name in [near, far, splitter] {
                assert!(name.len() < nix::libc::IFNAMSIZ, "{name}");
                assert_eq!(Names::device(&name), Some(ifindex));
            }
        }
        assert_eq!(Names::device("eth0"), None);
    }
}
