//! A run: from the first change to the last undone.

use std::{
    ops::Range,
    path::PathBuf,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use aya::Ebpf;
use injector_common::abi::XdpMode;

use super::{
    AttachPolicy, Attached, Netns, Result, XdpPolicy,
    attach::{self, DeviceLinks},
    capability,
    control::{Control, Lapse, Term},
    counters::{Counters, Snapshot},
    eviction::{Inventory, Part, Seen},
    groups::CommandGroup,
    journal::{self, Claim, Journal, NextPhase, Record, RecordedRule},
    namespaces::{self, Namespaces},
    netlink::Netlink,
    netns::NetnsId,
    owners::{Labeller, Owners},
    pair::Pair,
    target::{Identity, Target},
    undo::Undo,
};
use crate::plan::{Needs, Plan};

mod absence;
mod assembly;
mod confinement;
mod swap;
mod totals;

pub use absence::{Absence, is_there};
use assembly::Assembly;
pub use confinement::{Ahead, confine};
use swap::Swapped;
pub use swap::{Prepared, wait_for_programs};
use totals::Past;
pub use totals::Totals;

/// How to begin.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// The tc hooks.
    pub attach: AttachPolicy,
    /// XDP.
    pub xdp: XdpPolicy,
    /// How many interfaces the run has.
    pub interfaces: u32,
    /// How long the faults outlive their process.
    pub lapse: Lapse,
    /// Whether nobody watches the run, and others may swap its rules.
    pub background: bool,
    /// Whether a command will run that has a control group of its own, because rules are about that.
    pub command_group: bool,
}

impl Options {
    /// Whether XDP would be tried on `target`.
    pub fn uses_xdp(self, needs: &Needs, target: &Target) -> bool {
        attach::xdp_mode(needs, target, self.xdp) != XdpMode::Off
    }
}

/// Faults on one device. Dropping it undoes everything without waiting for
/// held packets; [`Session::stop`] waits.
pub struct Session {
    /// As the user named it.
    netns: Netns,
    id: NetnsId,
    target: Target,
    links: DeviceLinks,
    /// What has to stay in place.
    inventory: Inventory,
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
    /// What the rules before those in force have counted.
    past: Past,
    control: Control,
    owners: Owners,
    /// The group of the command, where rules are about that alone.
    command_group: Option<CommandGroup>,
    /// Where rules may ask for owners.
    labeller: Option<Labeller>,
    lapse: Lapse,
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
        let mut session = Self::make_ready(netns, device, plan, needs, options)?;
        session.begin(Duration::ZERO, None)?;
        Ok(session)
    }

    /// Does all of [`start`](Self::start) but the last: [`begin`](Self::begin) puts the faults into force.
    pub fn make_ready(
        netns: &Netns,
        device: &str,
        plan: &Plan,
        needs: Needs,
        options: Options,
    ) -> Result<Self> {
        capability::require(&capability::RUN)?;
        let id = netns.id()?;
        // Here, because only the first namespace shows the setting that it depends on.
        let splits_max = Pair::crossing_max()?;
        netns.run(|| {
            let netlink = Netlink::open()?;
            let target = Target::find(&netlink, netns, device)?;
            let link = &target.link;
            let record = new_record(&link.name, link.index, id, plan, options);
            let mut journal = claim(&netlink, record)?;
            let assembly = Assembly {
                netns,
                id,
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

    /// Puts the faults into force: at once, for all packets. `elapsed` is how far on their course the rules are whose
    /// values change over time; in `left` the programs end the faults, whatever becomes of this process, unless
    /// nobody knows when they end.
    pub fn begin(&mut self, elapsed: Duration, left: Option<Duration>) -> Result<()> {
        self.control.renew(self.lapse)?;
        self.control.begin(self.generation, elapsed)?;
        self.control.end_in(left)
    }

    /// Where the programs are attached.
    pub fn attached(&self) -> &[Attached] {
        self.journal
            .as_ref()
            .map_or(&[], |journal| &journal.record.attached)
    }

    /// What others are told of the run.
    pub fn record(&self) -> Option<&Record> {
        self.journal.as_ref().map(|journal| &journal.record)
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

    /// How often the lease is to be renewed.
    pub fn renewal(&self) -> Duration {
        self.lapse.renewal()
    }

    /// Renews the lease; to be called every [`renewal`](Self::renewal).
    pub fn renew(&mut self) -> Result<()> {
        self.control.renew(self.lapse)
    }

    /// Whether rules ask for the owners of sockets.
    pub fn asks_for_owners(&self) -> bool {
        !self.owners.is_empty()
    }

    /// Where the command has to join its control group before it starts, if it has one of its own.
    pub fn command_entry(&self) -> Option<PathBuf> {
        self.command_group.as_ref().map(CommandGroup::entry)
    }

    /// Looks for owners that have come since, and for those that have become something else: to be called often,
    /// because what the program on sockets cannot tell goes unnoticed until then.
    pub fn look_for_owners(&mut self) -> Result<()> {
        match &mut self.labeller {
            Some(labeller) => labeller.refresh(),
            None => Ok(()),
        }
    }

    /// Lets the programs end the faults in `left` from now, whatever becomes of this process; `None` where
    /// nobody knows when they end.
    pub fn end_in(&mut self, left: Option<Duration>) -> Result<()> {
        self.control.end_in(left)
    }

    /// How long the faults last.
    pub fn term(&self) -> Result<Term> {
        self.control.term()
    }

    /// Notes what is about to be changed beside what the session itself changes, so that it is undone
    /// with the rest.
    pub fn note(&mut self, undo: Undo) -> Result<()> {
        match &mut self.journal {
            Some(journal) => journal.note(undo),
            None => Ok(()),
        }
    }

    /// Lets `status` know which phase comes next, and when.
    pub fn note_next(&mut self, next: Option<NextPhase>) -> Result<()> {
        match &mut self.journal {
            Some(journal) if journal.record.next != next => {
                journal.record.next = next;
                journal.save()
            }
            _ => Ok(()),
        }
    }

    /// The parts that others had taken away when it was last looked for.
    pub fn evicted(&self) -> &[Part] {
        self.journal
            .as_ref()
            .map_or(&[], |journal| &journal.record.evicted)
    }

    /// Reads the counters, and looks for parts that others have taken away, for `status` to show. `None`
    /// when the device is gone.
    pub fn look(&mut self) -> Result<Option<Snapshot>> {
        let Some(seen) = self.inside(|session| session.seen()).transpose()?.flatten() else {
            return Ok(None);
        };
        if let Some(journal) = &mut self.journal {
            let record = &mut journal.record;
            if record.evicted != seen.missing || record.qdisc_drops != seen.qdisc_drops {
                record.evicted = seen.missing;
                record.qdisc_drops = seen.qdisc_drops;
                journal.save()?;
            }
        }
        self.read(self.slots.clone()).map(Some)
    }

    /// What is there on the device; `None` where that is gone itself.
    fn seen(&self) -> Result<Option<Seen>> {
        let device = Identity::of(&self.target.link);
        let netlink = Netlink::open()?;
        let look = || netlink.links_at(self.inventory.pair.indexes().chain([device.index]));
        let links = look()?;
        if device.among(&links).is_none() {
            return Ok(None);
        }
        match self.inventory.look(&netlink, &links) {
            Ok(seen) if seen.missing.is_empty() => Ok(Some(seen)),
            // What ended with the device meanwhile was not taken away.
            found => match device.among(&look()?) {
                Some(_) => found.map(Some),
                None => Ok(None),
            },
        }
    }

    /// Ends the faults at once; packets keep following those that are held.
    pub fn end(&mut self) -> Result<()> {
        self.control.drain()
    }

    /// Ends the faults at once, waits until the packets that are held have left (`patience` is
    /// asked now and then whether to go on waiting), and undoes everything. Packets that come
    /// meanwhile stay behind those that are held. Returns the final counters.
    pub fn stop(mut self, patience: impl Fn(u64) -> bool + Sync) -> Result<Last> {
        self.control.drain()?;
        let stopped = self.inside(|session| {
            let netlink = Netlink::open()?;
            session.wait_until_delivered(&patience)?;
            session.links.detach();
            // Where nobody tells, nobody knows.
            let drops = session.inventory.qdisc_drops(&netlink).unwrap_or_default();
            if let Some(journal) = &mut session.journal {
                journal.record.qdisc_drops = drops;
            }
            let last = session.last()?;
            session.undo(&netlink)?;
            Ok(last)
        });
        stopped.unwrap_or_else(|| {
            self.forget()?;
            self.last()
        })
    }

    /// Does something in the namespace. Its name may be gone, or lead elsewhere, while it lives on; `None`
    /// where it does not.
    fn inside<T: Send>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T> + Send,
    ) -> Option<Result<T>> {
        let path = match &self.netns {
            Netns::Current => return Some(Netns::Current.run(|| work(self))),
            Netns::Path { path, .. } => path,
        };
        let found = namespaces::open(path, &self.id)
            .or_else(|| Namespaces::of_this_machine().find(&self.id))?;
        Some(found.netns.run(|| work(self)))
    }

    fn last(&self) -> Result<Last> {
        Ok(Last {
            in_force: self.read(self.slots.clone())?,
            former: self.read(self.former.clone())?,
        })
    }

    /// The counters, those of the kernel's fq included.
    fn read(&self, slots: Range<u32>) -> Result<Snapshot> {
        Ok(Snapshot {
            qdisc_drops: self.record().and_then(|record| record.qdisc_drops),
            ..self.counters.read(slots)?
        })
    }

    /// Waits until every packet is back, at most as long as the longest delay and a little, which may be
    /// longer than a lease.
    fn wait_until_delivered(&mut self, patience: &(impl Fn(u64) -> bool + Sync)) -> Result<()> {
        const STEP: Duration = Duration::from_millis(2);
        /// What a packet may take on its way, on a busy machine.
        const MARGIN: Duration = Duration::from_millis(500);
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
            self.renew()?;
            thread::sleep(STEP);
        }
    }

    /// Leaves what the namespace has taken with it.
    fn forget(&mut self) -> Result<()> {
        self.links.detach();
        match self.journal.take() {
            Some(journal) => journal.forget(),
            None => Ok(()),
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
        let undone = self.inside(|session| {
            session.links.detach();
            session.undo(&Netlink::open()?)
        });
        // Nobody is left to hear of a failure; the journal keeps what it could not undo.
        let _ = undone.unwrap_or_else(|| self.forget());
    }
}

/// Claims the device, cleaning up after a killed run.
fn claim(netlink: &Netlink, record: Record) -> Result<Journal> {
    match Journal::claim(record.clone())? {
        Claim::Free(journal) => Ok(*journal),
        Claim::Held(holder) => Err(holder.busy()),
        Claim::Stale(stale) => stale.reuse(netlink, record),
    }
}

fn new_record(device: &str, ifindex: u32, netns: NetnsId, plan: &Plan, options: Options) -> Record {
    let started = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Record {
        schema: journal::SCHEMA.into(),
        pid: std::process::id(),
        background: options.background,
        device: device.into(),
        ifindex,
        netns,
        profile: plan.profile.clone(),
        phase: plan.phase.clone(),
        next: None,
        seed: plan.seed,
        started: started.as_secs(),
        rules: plan.rules.iter().map(Into::into).collect(),
        first_slot: 0,
        delay_max_ns: plan.delay_max_ns(),
        protected: plan.protection.names(),
        left_out: plan.left_out.clone(),
        notes: Vec::new(),
        attached: Vec::new(),
        evicted: Vec::new(),
        qdisc_drops: None,
        maps: None,
        undo: Vec::new(),
    }
}
