//! A run: from the first change to the last undone.

use std::{
    ops::Range,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use aya::Ebpf;
use injector_common::abi::XdpMode;

use super::{
    AttachPolicy, Attached, Error, Netns, Result, XdpPolicy,
    attach::{self, DeviceLinks},
    capability,
    control::Control,
    counters::{Counters, Snapshot},
    journal::{self, Claim, Journal, Record, RecordedRule},
    netlink::Netlink,
    netns::NetnsId,
    pair::Pair,
    target::Target,
};
use crate::plan::{Needs, Plan};

mod assembly;
mod swap;

use assembly::Assembly;
pub use swap::Prepared;
use swap::Swapped;

/// How long the programs act without hearing from the loader.
pub const LAPSE: Duration = Duration::from_secs(5);
/// How often the lease is to be renewed.
pub const RENEWAL: Duration = Duration::from_secs(1);

/// How to begin.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// The tc hooks.
    pub attach: AttachPolicy,
    /// XDP.
    pub xdp: XdpPolicy,
    /// How far on their course the rules are that begin, whose values change over time.
    pub elapsed: Duration,
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
    links: DeviceLinks,
    /// Has the maps of the rules.
    ebpf: Ebpf,
    needs: Needs,
    has_fq: bool,
    /// Which generation of rules is in force.
    generation: u32,
    /// Its rules' slots.
    slots: Range<u32>,
    /// Those of the generation before.
    former: Range<u32>,
    /// When they ceased to be.
    swapped: Option<Swapped>,
    control: Control,
    counters: Counters,
    journal: Option<Journal>,
    delay_max: Duration,
}

/// The counters with which a run has ended.
pub struct Last {
    /// Of the rules that were in force at the end.
    pub in_force: Snapshot,
    /// Of the rules before them, unless others were [prepared](Session::prepare) in their place.
    pub former: Snapshot,
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
        // Here, because only the first namespace shows the setting that it depends on.
        let splits_max = Pair::crossing_max()?;
        netns.run(|| {
            let netlink = Netlink::open()?;
            let target = Target::find(&netlink, netns, device)?;
            let mut journal = claim(&netlink, &target, id, plan)?;
            let assembly = Assembly {
                netns,
                netlink: &netlink,
                plan,
                needs,
                options,
                splits_max,
            };
            match assembly.assemble(target, &mut journal) {
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

    /// The phase in force, where the profile has phases.
    pub fn phase(&self) -> Option<&str> {
        self.journal
            .as_ref()
            .and_then(|journal| journal.record.phase.as_deref())
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
        self.control.renew()
    }

    /// Reads the counters. `None` when the device is gone.
    pub fn snapshot(&self) -> Result<Option<Snapshot>> {
        let links = self.netns.run(|| Netlink::open()?.links())?;
        if links
            .iter()
            .any(|link| link.index == self.target.link.index)
        {
            self.counters.read(self.slots.clone()).map(Some)
        } else {
            Ok(None)
        }
    }

    /// Ends the faults at once, waits until the packets that are held have left (`patience` is
    /// asked now and then whether to go on waiting), and undoes everything. Packets that come
    /// meanwhile stay behind those that are held. Returns the final counters.
    pub fn stop(mut self, patience: impl Fn(u64) -> bool + Sync) -> Result<Last> {
        let netns = self.netns.clone();
        netns.run(|| {
            let netlink = Netlink::open()?;
            self.drain(&patience)?;
            self.links.detach();
            let last = Last {
                in_force: self.counters.read(self.slots.clone())?,
                former: self.counters.read(self.former.clone())?,
            };
            self.undo(&netlink)?;
            Ok(last)
        })
    }

    /// Waits until every packet is back, at most as long as the longest delay and a little.
    fn drain(&mut self, patience: &(impl Fn(u64) -> bool + Sync)) -> Result<()> {
        const STEP: Duration = Duration::from_millis(2);
        /// What a packet may take on its way, on a busy machine.
        const MARGIN: Duration = Duration::from_millis(50);
        self.control.drain()?;
        let end = Instant::now() + self.delay_max + MARGIN;
        let uncounted_until = self.swapped.as_ref().and_then(|s| s.uncounted_until);
        loop {
            let in_flight = self.counters.in_flight(self.slots.clone())?
                + self.counters.in_flight(self.former.clone())?;
            let now = Instant::now();
            let all_left = in_flight == 0 && uncounted_until.is_none_or(|until| now > until);
            if all_left || now > end || !patience(in_flight) {
                return Ok(());
            }
            thread::sleep(STEP);
        }
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
        phase: plan.phase.clone(),
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
