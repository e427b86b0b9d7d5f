//! Everything that a run needs, put together.

use std::time::Duration;

use aya::{Ebpf, util::KernelVersion};
use injector_common::{
    NSEC_PER_SEC,
    abi::{XdpMode, maps},
};

use super::{LAPSE, Options, Session};
use crate::{
    datapath::{
        Attached, Error, Netns, Result, XdpPolicy,
        attach::{self, DeviceLinks},
        journal::Journal,
        lease::Lease,
        netlink::Netlink,
        object::{self, Specialisation},
        pair::Pairs,
        sysctl,
        target::{Framing, Target},
        undo::Undo,
    },
    plan::{Hook, Needs, Plan},
};

/// What a run is put together from.
pub(super) struct Assembly<'a> {
    pub netns: &'a Netns,
    pub netlink: &'a Netlink,
    pub plan: &'a Plan,
    pub needs: Needs,
    pub options: Options,
    /// See [`Pairs::splits_max`].
    pub splits_max: u32,
}

impl Assembly<'_> {
    /// Builds everything, the device's tc hooks last.
    pub(super) fn assemble(self, target: Target, journal: &mut Journal) -> Result<Session> {
        let Self {
            netlink,
            plan,
            needs,
            options,
            ..
        } = self;
        for undo in Pairs::undo(target.link.index, needs.splits()) {
            journal.note(undo)?;
        }
        let pairs = Pairs::create(netlink, &target.link, needs.splits())?;
        let has_fq = self.add_fq(&pairs)?;
        let has_napi = serves_napi(&needs);
        if has_napi {
            pairs.add_queue(netlink)?;
        }
        // Early: the kernel takes its time, and the programs take theirs to load.
        pairs.bring_up(netlink)?;
        let mut links = DeviceLinks::default();
        let wanted = Specialisation {
            device: target.link.index,
            near: pairs.split.near.index,
            far: pairs.split.far.index,
            whole: pairs.whole.as_ref().map_or(0, |pair| pair.near.index),
            has_napi,
            splits_max: self.splits_max,
            raw_ip: target.framing == Framing::RawIp,
            has_fq,
            xdp: attach::xdp_mode(&needs, &target, options.xdp),
            frame_len_max: target.frame_len_max(),
            needs,
        };
        let (mut ebpf, xdp) = self.load(&target, wanted, &mut links)?;
        if has_napi {
            attach::attach_napi(&mut ebpf, &pairs)?;
        }
        attach::attach_pairs(&mut ebpf, &pairs)?;
        pairs.wait_until_up(netlink)?;
        open_loopback(&target, journal)?;
        let counters = object::take_counters(&mut ebpf)?;
        let mut lease = Lease::new(object::take_array(&mut ebpf, maps::CONTROL)?, LAPSE);
        lease.renew()?;
        journal.record.maps = Some(counters.ids());
        journal.record.attached.extend(xdp);
        for hook in Hook::ALL.into_iter().filter(|hook| needs.uses(*hook)) {
            let device = attach::Device {
                netlink,
                target: &target,
                policy: options.attach,
            };
            let attached = device.attach(&mut ebpf, hook, journal, &mut links)?;
            journal.record.attached.push(attached);
        }
        journal.save()?;
        Ok(Session {
            netns: self.netns.clone(),
            target,
            links,
            ebpf,
            needs,
            has_fq,
            generation: 0,
            slots: needs.slots_of(plan, 0),
            former: 0..0,
            swapped: None,
            lease,
            counters,
            journal: None,
            delay_max: Duration::from_nanos(plan.delay_max_ns()),
        })
    }

    /// Puts fq on the pairs. Without delays it only keeps up senders' pacing, and may be missing.
    fn add_fq(&self, pairs: &Pairs) -> Result<bool> {
        match pairs.add_fq(self.netlink, self.needs.delay_max_ns) {
            Ok(()) => Ok(true),
            Err(Error::NoFq) if self.plan.delay_max_ns() == 0 => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Loads the object and attaches its XDP program, where one is wanted: the other programs have
    /// to know which rules it decides.
    fn load(
        &self,
        target: &Target,
        wanted: Specialisation,
        links: &mut DeviceLinks,
    ) -> Result<(Ebpf, Option<Attached>)> {
        let mut ebpf = object::load(self.plan, wanted)?;
        if wanted.xdp == XdpMode::Off {
            return Ok((ebpf, None));
        }
        match attach::attach_xdp(&mut ebpf, target, wanted.xdp, links) {
            Ok(attached) => Ok((ebpf, Some(attached))),
            // Not this driver, not at this MTU, or not beside that other program.
            Err(_) if self.options.xdp == XdpPolicy::Auto => {
                let without = Specialisation {
                    xdp: XdpMode::Off,
                    ..wanted
                };
                Ok((object::load(self.plan, without)?, None))
            }
            Err(error) => Err(error),
        }
    }
}

/// Whether the pair that splits is to take its packets by NAPI: its ring pushes back when it is full,
/// where the queue of a processor (`net.core.netdev_max_backlog`) would drop.
///
/// Both pairs then have queues of their own, which order packets only as fq does, by their departure
/// times: every packet has to have one that is later than it takes to cross.
fn serves_napi(needs: &Needs) -> bool {
    /// Ample for a crossing, on a busy machine too.
    const CROSSING_NS: u64 = 5 * NSEC_PER_SEC / 1000;
    /// "veth: apply qdisc backpressure on full ptr_ring to reduce TX drops", of 6.16 and of the later
    /// 6.12: nothing tells whether a kernel has it.
    const BACK_PRESSURE: KernelVersion = KernelVersion::new(6, 12, 0);
    let is_late = needs
        .split_delay_min_ns
        .is_some_and(|delay_ns| delay_ns >= CROSSING_NS);
    is_late && KernelVersion::current().is_ok_and(|version| version >= BACK_PRESSURE)
}

/// Lets IPv4 packets come back to the loopback device. The crossing takes their route, and the
/// kernel then checks 127.0.0.1 as if it came from outside; both settings speak of packets that
/// arrive on this one device, which only local senders reach.
fn open_loopback(target: &Target, journal: &mut Journal) -> Result<()> {
    if !target.is_loopback() {
        return Ok(());
    }
    for setting in ["accept_local", "route_localnet"] {
        let path = sysctl::device_path("ipv4", &target.link.name, setting);
        match sysctl::read(&path)? {
            Some(value) if value != "1" => {
                journal.note(Undo::RestoreSysctl {
                    path: path.clone(),
                    value,
                })?;
                sysctl::write(&path, "1")?;
            }
            _ => {}
        }
    }
    Ok(())
}
