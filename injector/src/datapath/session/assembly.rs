//! Everything that a run needs, put together.

use std::time::Duration;

use aya::Ebpf;
use injector_common::abi::XdpMode;

use super::{Options, Past, Session};
use crate::{
    datapath::{
        Error, Netns, Result, XdpPolicy,
        attach::{self, DeviceLinks},
        eviction::{Inventory, Placed},
        groups::CommandGroup,
        journal::{Journal, RunMaps},
        netlink::Netlink,
        netns::NetnsId,
        object::{self, Specialisation},
        owners::{Labeller, Owners},
        pair::Pair,
        sysctl,
        target::{Framing, Target},
        undo::Undo,
    },
    plan::{Hook, Needs, Plan},
};

/// What a run is put together from.
pub(super) struct Assembly<'a> {
    pub netns: &'a Netns,
    pub id: NetnsId,
    pub netlink: &'a Netlink,
    pub plan: &'a Plan,
    pub needs: Needs,
    pub options: Options,
    /// See [`Pair::crossing_max`].
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
        let mut owners = Owners::default();
        owners.admit(plan.predicates.owners())?;
        journal.note(Pair::undo(target.link.index))?;
        let pair = Pair::create(netlink, &target.link, needs.splits)?;
        let has_fq = self.add_fq(&pair)?;
        // Early: the kernel takes its time, and the programs take theirs to load.
        pair.bring_up(netlink)?;
        let mut links = DeviceLinks::default();
        let wanted = Specialisation {
            device: target.link.index,
            near: pair.near.index,
            far: pair.far.index,
            splitter: pair.splitter.as_ref().map_or(0, |link| link.index),
            splits_max: self.splits_max,
            raw_ip: target.framing == Framing::RawIp,
            has_fq,
            xdp: attach::xdp_mode(&needs, &target, options.xdp),
            frame_len_max: target.frame_len_max(),
            interfaces: options.interfaces,
            needs,
        };
        let Loaded {
            mut ebpf,
            xdp,
            notes,
        } = self.load(&target, &owners, wanted, &mut links)?;
        journal.record.notes = notes;
        let mut programs = attach::attach_pair(&mut ebpf, &pair, &needs)?;
        programs.extend(xdp);
        pair.wait_until_up(netlink)?;
        open_loopback(&target, journal)?;
        let mut labeller = needs
            .looks_for_owners()
            .then(|| Labeller::new(&mut ebpf, self.id))
            .transpose()?;
        let command_group = options
            .command_group
            .then(|| create_command_group(journal))
            .transpose()?;
        if let Some(labeller) = &mut labeller {
            labeller.look_for(&owners, &mut ebpf)?;
        }
        let counters = object::take_counters(&mut ebpf)?;
        let mut control = object::take_control(&mut ebpf)?;
        control.renew(options.lapse)?;
        control.drain()?;
        journal.record.maps = Some(RunMaps {
            counters: counters.ids(),
            control: control.id(),
            trace: object::trace_ids(&ebpf)?,
        });
        object::release(&mut ebpf, &needs);
        journal
            .record
            .attached
            .extend(xdp.map(|placed| placed.attached));
        for hook in Hook::ALL.into_iter().filter(|hook| needs.uses(*hook)) {
            let device = attach::Device {
                netlink,
                target: &target,
                policy: options.attach,
            };
            let placed = device.attach(&mut ebpf, hook, journal, &mut links)?;
            journal.record.attached.push(placed.attached);
            programs.push(placed);
        }
        journal.save()?;
        Ok(Session {
            netns: self.netns.clone(),
            id: self.id,
            target,
            links,
            inventory: Inventory {
                programs,
                pair,
                has_fq,
            },
            ebpf,
            needs,
            has_fq,
            generation: 0,
            slots: needs.slots_of(plan, 0),
            former: 0..0,
            swapped: None,
            past: Past::default(),
            control,
            owners,
            command_group,
            labeller,
            lapse: options.lapse,
            counters,
            journal: None,
            delay_max: Duration::from_nanos(plan.delay_max_ns()),
        })
    }

    /// Puts fq on the pair. Without delays it only keeps up senders' pacing, and may be missing; also
    /// where any plan may follow, which is refused then if it delays.
    fn add_fq(&self, pair: &Pair) -> Result<bool> {
        match pair.add_fq(self.netlink, self.needs.delay_max_ns) {
            Ok(()) => Ok(true),
            Err(Error::NoFq) if self.delay_known_ns() == 0 => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The longest delay that is sure to come.
    fn delay_known_ns(&self) -> u64 {
        if self.needs == Needs::ANY {
            self.plan.delay_max_ns()
        } else {
            self.needs.delay_max_ns
        }
    }

    /// Loads the object and attaches its XDP program, where one is wanted: the other programs have
    /// to know which rules it decides.
    fn load(
        &self,
        target: &Target,
        owners: &Owners,
        wanted: Specialisation,
        links: &mut DeviceLinks,
    ) -> Result<Loaded> {
        let mut ebpf = object::load(self.plan, owners, wanted)?;
        let (mut xdp, mut notes) = (None, Vec::new());
        if wanted.xdp != XdpMode::Off {
            match attach::attach_xdp(&mut ebpf, self.netlink, target, wanted.xdp, links) {
                Ok(placed) => xdp = Some(placed),
                Err(error) if self.goes_without_xdp(&error) => {
                    let without = Specialisation {
                        xdp: XdpMode::Off,
                        ..wanted
                    };
                    ebpf = object::load(self.plan, owners, without)?;
                    notes.push(format!("{error}; the tc hook decides in its place"));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Loaded { ebpf, xdp, notes })
    }

    /// Whether the tc hook decides in place of XDP, which cannot: by itself where this driver or another
    /// program is in the way, also where XDP was asked for if frames are too long for the driver.
    fn goes_without_xdp(&self, error: &Error) -> bool {
        self.options.xdp == XdpPolicy::Auto || error.errno() == Some(nix::libc::ERANGE)
    }
}

/// The object in the kernel.
struct Loaded {
    ebpf: Ebpf,
    /// Its XDP program, where that is attached.
    xdp: Option<Placed>,
    /// What is otherwise than was asked.
    notes: Vec<String>,
}

/// Before the command is looked for.
fn create_command_group(journal: &mut Journal) -> Result<CommandGroup> {
    let group = CommandGroup::of_this_process()?;
    journal.note(Undo::DeleteGroup {
        path: group.directory.clone(),
    })?;
    group.create()?;
    Ok(group)
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
            Some(value) if value != sysctl::OPEN => {
                journal.note(Undo::RestoreSysctl {
                    path: path.clone(),
                    value,
                })?;
                sysctl::write(&path, sysctl::OPEN)?;
            }
            _ => {}
        }
    }
    Ok(())
}
