//! A run: from the first change to the last undone.

use std::{
    ops::Range,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use aya::Ebpf;
use injector_common::abi::{XdpMode, maps};

use super::{
    AttachPolicy, Attached, Error, Netns, Result, XdpPolicy,
    attach::{self, DeviceLinks},
    capability,
    counters::{Counters, Snapshot},
    journal::{self, Claim, Journal, Record, RecordedRule},
    lease::Lease,
    netlink::Netlink,
    netns::NetnsId,
    object::{self, Specialisation},
    pair::Pair,
    sysctl,
    target::{Framing, Target},
    undo::Undo,
};
use crate::plan::{Hook, Needs, Plan};

mod swap;

/// How long the programs act without hearing from the loader.
pub const LAPSE: Duration = Duration::from_secs(5);
/// How often the lease is to be renewed.
pub const RENEWAL: Duration = Duration::from_secs(1);

/// How to attach.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// The tc hooks.
    pub attach: AttachPolicy,
    /// XDP.
    pub xdp: XdpPolicy,
}

impl Options {
    /// Whether XDP would be tried on `target`.
    pub fn uses_xdp(self, needs: &Needs, target: &Target) -> bool {
        attach::xdp_mode(needs, target, self.xdp) != XdpMode::Off
    }
}

/// Faults in force on one device. Dropping it undoes everything without waiting for held packets;
/// [`Session::stop`] waits.
pub struct Session {
    netns: Netns,
    target: Target,
    pair: Pair,
    links: DeviceLinks,
    /// Keeps the pair's programs attached, and has the maps of the rules.
    ebpf: Ebpf,
    needs: Needs,
    has_fq: bool,
    /// Which generation of rules is in force.
    generation: u32,
    /// Its rules' slots.
    slots: Range<u32>,
    /// Those of the generation before.
    former: Range<u32>,
    lease: Lease,
    counters: Counters,
    journal: Option<Journal>,
    delay_max: Duration,
}

impl Session {
    /// Puts `plan` into force on `device`, prepared to [swap](Self::swap) it for any plan that needs
    /// no more than `needs`. If a step fails, the steps before it are undone.
    pub fn start(
        netns: &Netns,
        device: &str,
        plan: &Plan,
        needs: Needs,
        options: Options,
    ) -> Result<Self> {
        capability::require_for_run()?;
        let id = netns.id()?;
        netns.run(|| {
            let netlink = Netlink::open()?;
            let target = Target::find(&netlink, netns, device)?;
            let mut journal = claim(&netlink, &target, id, plan)?;
            match assemble(netns, &netlink, target, plan, needs, options, &mut journal) {
                Ok(mut session) => {
                    session.journal = Some(journal);
                    Ok(session)
                }
                Err(error) => {
                    // The first error is the one to report; what cannot be undone stays in the
                    // journal for `clear`.
                    let _ = journal.undo(&netlink);
                    Err(error)
                }
            }
        })
    }

    /// Where the programs are attached.
    pub fn attached(&self) -> &[Attached] {
        self.journal
            .as_ref()
            .map_or(&[], |journal| &journal.record.attached)
    }

    /// The seed in use.
    pub fn seed(&self) -> Option<u64> {
        self.journal.as_ref().map(|journal| journal.record.seed)
    }

    /// The rules in force, in the order of their slots.
    pub fn rules(&self) -> &[RecordedRule] {
        self.journal
            .as_ref()
            .map_or(&[], |journal| &journal.record.rules)
    }

    /// The device's index.
    pub fn ifindex(&self) -> u32 {
        self.target.link.index
    }

    /// Renews the lease; to be called every [`RENEWAL`].
    pub fn renew(&mut self) -> Result<()> {
        self.lease.renew()
    }

    /// Reads the counters. `None` when the device is gone.
    pub fn snapshot(&self) -> Result<Option<Snapshot>> {
        let held = self.netns.run(|| {
            let netlink = Netlink::open()?;
            if !netlink
                .links()?
                .iter()
                .any(|link| link.index == self.target.link.index)
            {
                return Ok(None);
            }
            held(&netlink, self.pair.far.index).map(Some)
        })?;
        held.map(|held| self.counters.read(self.slots.clone(), held))
            .transpose()
    }

    /// Ends the faults at once, waits until the packets that are held have left (`patience` is
    /// asked now and then whether to go on waiting), and undoes everything. Returns the final
    /// counters.
    pub fn stop(mut self, patience: impl Fn(u64) -> bool + Sync) -> Result<Snapshot> {
        let netns = self.netns.clone();
        netns.run(|| {
            let netlink = Netlink::open()?;
            self.links.detach();
            self.drain(&netlink, &patience)?;
            let last = self.counters.read(self.slots.clone(), 0)?;
            self.undo(&netlink)?;
            Ok(Snapshot {
                settled: true,
                ..last
            })
        })
    }

    /// Waits until fq is empty, at most as long as the longest delay and a little.
    fn drain(&self, netlink: &Netlink, patience: &(impl Fn(u64) -> bool + Sync)) -> Result<()> {
        const STEP: Duration = Duration::from_millis(5);
        /// What may be on its way between fq and the device, on a busy machine.
        const MARGIN: Duration = Duration::from_millis(20);
        let end = Instant::now() + self.delay_max + 10 * MARGIN;
        // What was diverted last is not in fq yet.
        thread::sleep(MARGIN);
        loop {
            let held = held(netlink, self.pair.far.index)?;
            if held == 0 || Instant::now() > end || !patience(held) {
                break;
            }
            thread::sleep(STEP);
        }
        thread::sleep(MARGIN);
        Ok(())
    }

    fn undo(&mut self, netlink: &Netlink) -> Result<()> {
        match self.journal.take() {
            Some(journal) => journal.undo(netlink).map(|_| ()),
            None => Ok(()),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.journal.is_none() {
            return;
        }
        let netns = self.netns.clone();
        // Nobody is left to hear of a failure; the journal keeps what it could not undo.
        let _ = netns.run(|| {
            self.links.detach();
            self.undo(&Netlink::open()?)
        });
    }
}

/// Claims the device, cleaning up after a killed run.
fn claim(netlink: &Netlink, target: &Target, netns: NetnsId, plan: &Plan) -> Result<Journal> {
    let record = new_record(target, netns, plan);
    match Journal::claim(record.clone())? {
        Claim::Free(journal) => Ok(*journal),
        Claim::Held(holder) => Err(Error::Busy {
            device: holder.device,
            pid: holder.pid,
            profile: holder.profile,
        }),
        Claim::Stale(stale) => stale.reuse(netlink, record),
    }
}

fn new_record(target: &Target, netns: NetnsId, plan: &Plan) -> Record {
    let started = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Record {
        schema: journal::SCHEMA.into(),
        pid: std::process::id(),
        device: target.link.name.clone(),
        ifindex: target.link.index,
        netns,
        profile: plan.profile.clone(),
        seed: plan.seed,
        started: started.as_secs(),
        rules: plan.rules.iter().map(Into::into).collect(),
        first_slot: 0,
        delay_max_ns: plan.delay_max_ns(),
        attached: Vec::new(),
        maps: None,
        undo: Vec::new(),
    }
}

/// Builds everything, the device's tc hooks last.
fn assemble(
    netns: &Netns,
    netlink: &Netlink,
    target: Target,
    plan: &Plan,
    needs: Needs,
    options: Options,
    journal: &mut Journal,
) -> Result<Session> {
    journal.note(Pair::undo(target.link.index))?;
    let pair = Pair::create(netlink, &target.link)?;
    let has_fq = add_fq(netlink, &pair, plan, &needs)?;
    // Early: the kernel takes its time, and the programs take theirs to load.
    pair.bring_up(netlink)?;
    let mut links = DeviceLinks::default();
    let (mut ebpf, xdp) = load(plan, needs, &target, &pair, has_fq, options.xdp, &mut links)?;
    attach::attach_pair(&mut ebpf, &pair)?;
    pair.wait_until_up(netlink)?;
    open_loopback(&target, journal)?;
    let counters = object::take_counters(&mut ebpf)?;
    let mut lease = Lease::new(object::take_array(&mut ebpf, maps::DEADLINE)?, LAPSE);
    lease.renew()?;
    journal.record.maps = Some(counters.ids());
    journal.record.attached.extend(xdp);
    let hooks = Hook::ALL.into_iter().filter(|hook| needs.uses(*hook));
    for hook in hooks {
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
        netns: netns.clone(),
        target,
        pair,
        links,
        ebpf,
        needs,
        has_fq,
        generation: 0,
        slots: needs.slots_of(plan, 0),
        former: 0..0,
        lease,
        counters,
        journal: None,
        delay_max: Duration::from_nanos(plan.delay_max_ns()),
    })
}

/// Puts fq on the pair. Without delays it only keeps up senders' pacing, and may be missing.
fn add_fq(netlink: &Netlink, pair: &Pair, plan: &Plan, needs: &Needs) -> Result<bool> {
    match pair.add_fq(netlink, needs.delay_max_ns) {
        Ok(()) => Ok(true),
        Err(Error::NoFq) if plan.delay_max_ns() == 0 => Ok(false),
        Err(error) => Err(error),
    }
}

/// Loads the object and attaches its XDP program, where one is wanted: the other programs have to
/// know which rules it decides.
fn load(
    plan: &Plan,
    needs: Needs,
    target: &Target,
    pair: &Pair,
    has_fq: bool,
    policy: XdpPolicy,
    links: &mut DeviceLinks,
) -> Result<(Ebpf, Option<Attached>)> {
    let xdp = attach::xdp_mode(&needs, target, policy);
    let special = Specialisation {
        device: target.link.index,
        near: pair.near.index,
        far: pair.far.index,
        raw_ip: target.framing == Framing::RawIp,
        has_fq,
        xdp,
        frame_len_max: target.frame_len_max(),
        needs,
    };
    let mut ebpf = object::load(plan, special)?;
    if xdp == XdpMode::Off {
        return Ok((ebpf, None));
    }
    match attach::attach_xdp(&mut ebpf, target, xdp, links) {
        Ok(attached) => Ok((ebpf, Some(attached))),
        // Not this driver, not at this MTU, or not beside that other program.
        Err(_) if policy == XdpPolicy::Auto => {
            let without = Specialisation {
                xdp: XdpMode::Off,
                ..special
            };
            Ok((object::load(plan, without)?, None))
        }
        Err(error) => Err(error),
    }
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

/// Packets that the run on the device `ifindex` holds.
pub fn held_for(netns: &Netns, ifindex: u32) -> Result<u64> {
    netns.run(|| {
        let netlink = Netlink::open()?;
        let (_, far) = Pair::names(ifindex);
        match netlink.find_link(&far)? {
            Some(far) => held(&netlink, far.index),
            None => Ok(0),
        }
    })
}

/// Packets that fq holds on the pair's far end.
fn held(netlink: &Netlink, far: u32) -> Result<u64> {
    let qdiscs = netlink.qdiscs(far)?;
    Ok(qdiscs
        .iter()
        .find(|qdisc| qdisc.kind == "fq")
        .map_or(0, |fq| fq.held.into()))
}
