//! Whose sockets rules look for.
//!
//! A program on the root of the control groups labels each socket when it is opened, by who opens it. Those that are open
//! already are labelled here: of each process that is looked for, all sockets (`pidfd_getfd`, Linux 5.6). So are those of
//! processes that the program could not tell: by their executable, or by what they came of.

use std::{
    collections::HashMap,
    ffi::OsStr,
    io,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::net::UnixDatagram,
    },
    path::{Path, PathBuf},
};

use aya::{
    Ebpf,
    maps::{HashMap as KernelMap, MapData, SkStorage},
    programs::{CgroupAttachMode, CgroupSock},
};
use injector_common::{
    abi::{OWNERS_MAX, OwnerKey, Predicate, Predicates, maps, owner_kind, programs},
    field,
};
use nix::{libc, unistd::User};
use procfs::{
    ProcError,
    process::{FDInfo, FDTarget, Process, all_processes},
};

use super::{
    Error, Result,
    capability::{self, Capability},
    containers,
    groups::{CommandGroup, Groups, group_of},
    netns::NetnsId,
    object,
};
use crate::units::Owner;

/// Owners that a run tells apart, each by a bit. One that has been looked for once keeps its bit, because sockets keep
/// their labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owners(Vec<Owner>);

impl Owners {
    /// Whether nobody is looked for.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Finds room for all of these.
    pub(super) fn admit(&mut self, owners: &[Owner]) -> Result<()> {
        for owner in owners {
            if !self.0.contains(owner) {
                self.0.push(owner.clone());
            }
        }
        if self.0.len() > OWNERS_MAX {
            return Err(Error::TooManyOwners);
        }
        Ok(())
    }

    /// Lets predicates about the owners of a plan be about these.
    pub(super) fn name_in(&self, predicates: &mut Predicates, of_plan: &[Owner]) {
        let about_owners = |predicate: &&mut Predicate| predicate.field as usize == field::OWNER;
        for predicate in predicates.list.iter_mut().filter(about_owners) {
            let number = predicate.first.trailing_zeros() as usize;
            let bit = of_plan.get(number).map_or(0, |owner| self.bit(owner));
            (predicate.mask, predicate.first) = (bit, bit);
        }
    }

    /// The bit that stands for an owner; 0 for one that has not been admitted.
    fn bit(&self, owner: &Owner) -> u64 {
        let number = self.0.iter().position(|known| known == owner);
        number.map_or(0, |number| 1 << number)
    }
}

/// Keeps sockets labelled. Dropping it ends that.
pub(super) struct Labeller {
    keys: KernelMap<MapData, OwnerKey, u64>,
    labels: SkStorage<MapData, u64>,
    /// The namespace of the device.
    netns: NetnsId,
    /// Where the program is that sees sockets being opened.
    groups: Option<Groups>,
    /// Who is looked for, and the bit that stands for it.
    wanted: Vec<(Sought, u64)>,
    /// What the owners of a process were when its sockets were labelled.
    labelled: HashMap<i32, u64>,
}

impl Labeller {
    /// Of a run that has not looked for anybody yet.
    pub(super) fn new(ebpf: &mut Ebpf, netns: NetnsId) -> Result<Self> {
        let failed = |name, error| Error::ebpf(format!("open the map {name}"), &error);
        let keys = object::take(ebpf, maps::OWNER_KEYS)?;
        let labels = object::take(ebpf, maps::LABELS)?;
        Ok(Self {
            keys: KernelMap::try_from(keys).map_err(|error| failed(maps::OWNER_KEYS, error))?,
            labels: SkStorage::try_from(labels).map_err(|error| failed(maps::LABELS, error))?,
            netns,
            groups: None,
            wanted: Vec::new(),
            labelled: HashMap::new(),
        })
    }

    /// Labels the sockets of these owners from now on, and those that they have already. Only those have to be there
    /// that have not been looked for before.
    pub(super) fn look_for(&mut self, owners: &Owners, ebpf: &mut Ebpf) -> Result<()> {
        if owners.is_empty() {
            return Ok(());
        }
        if self.groups.is_none() {
            capability::require(&[Capability::CAP_SYS_PTRACE])?;
            let groups = Groups::find()?;
            watch(&groups, ebpf)?;
            self.groups = Some(groups);
            self.try_out()?;
        }
        let former = self.wanted.len();
        let mut new = Vec::new();
        for owner in owners.0.iter().skip(former) {
            let sought = Sought::resolve(owner, self.netns)?;
            self.key(&sought)?;
            new.push((sought, owners.bit(owner)));
        }
        self.wanted.extend(new);
        let labelled = self.note_keys().and_then(|()| self.refresh());
        if labelled.is_err() {
            self.wanted.truncate(former);
        }
        labelled
    }

    fn note_keys(&mut self) -> Result<()> {
        let mut bits: HashMap<OwnerKey, u64> = HashMap::new();
        for (sought, bit) in &self.wanted {
            // Of those that were looked for before a group may have gone, and come again with another number.
            if let Ok(Some(key)) = self.key(sought) {
                *bits.entry(key).or_default() |= bit;
            }
        }
        bits.into_iter()
            .try_for_each(|(key, bits)| self.set(key, bits))
    }

    /// Labels a socket of our own. Where that fails, the program's labels are lost in silence.
    fn try_out(&mut self) -> Result<()> {
        let socket = UnixDatagram::unbound()
            .map_err(|error| Error::refused("open a socket to label", error))?;
        let labelled = self.labels.insert(&socket, 0, 0);
        labelled.map_err(|error| Error::NoLabels(Box::new(Error::ebpf("label a socket", &error))))
    }

    /// By what the program knows somebody, where there is something.
    fn key(&self, sought: &Sought) -> Result<Option<OwnerKey>> {
        Ok(match sought {
            Sought::Process(name) => command(name).map(OwnerKey::named),
            // Processes have their keys when they are found.
            Sought::Pid(_) => None,
            Sought::Cgroup(path) => {
                let groups = self.groups.as_ref().ok_or(Error::NoCgroups)?;
                Some(OwnerKey::numbered(owner_kind::CGROUP, groups.id(path)?))
            }
            Sought::User(user) => Some(OwnerKey::numbered(owner_kind::USER, (*user).into())),
        })
    }

    /// Looks for processes that are new, or are no longer what they were. Those that end meanwhile are nobody's.
    pub(super) fn refresh(&mut self) -> Result<()> {
        if self.wanted.is_empty() {
            return Ok(());
        }
        let processes = all_processes()
            .map_err(|error| Error::refused("read /proc", io::Error::other(error)))?;
        let people: HashMap<i32, Person> = processes
            .flatten()
            .filter_map(|process| Some((process.pid, Person::of(process)?)))
            .collect();
        for (pid, person) in &people {
            let bits = self.wanted.iter();
            let bits = bits
                .filter(|(sought, _)| person.is(sought, &people))
                .fold(0, |bits, (_, bit)| bits | bit);
            let former = self.labelled.get(pid).copied().unwrap_or(0);
            if bits == former {
                continue;
            }
            self.set(OwnerKey::numbered(owner_kind::PROCESS, *pid as u64), bits)?;
            self.labelled.insert(*pid, bits);
            self.label(&person.process, bits & !former)?;
        }
        let is_gone = |pid: &i32| !people.contains_key(pid);
        let gone: Vec<_> = self.labelled.keys().copied().filter(is_gone).collect();
        for pid in gone {
            self.labelled.remove(&pid);
            let key = OwnerKey::numbered(owner_kind::PROCESS, pid as u64);
            let removed = self.keys.remove(&key);
            removed.map_err(|error| Error::ebpf("forget an owner of sockets", &error))?;
        }
        Ok(())
    }

    /// Labels the sockets that a process has. Those that it closes meanwhile are left out.
    fn label(&mut self, process: &Process, bits: u64) -> Result<()> {
        if bits == 0 {
            return Ok(());
        }
        let pid = process.pid;
        let action = || format!("label the sockets of process {pid}");
        let sockets = unless_gone(sockets_of(process), action)?.unwrap_or_default();
        if sockets.is_empty() {
            return Ok(());
        }
        let Some(handle) = unless_gone(open_process(pid), action)? else {
            return Ok(());
        };
        for socket in sockets {
            let Some(socket) = unless_gone(duplicate(&handle, socket), action)? else {
                continue;
            };
            let former = self.labels.get(&socket, 0).unwrap_or(0);
            if let Err(error) = self.labels.insert(&socket, former | bits, 0) {
                let error = Error::ebpf(action(), &error);
                // Closed meanwhile, and its number used for something else.
                if error.errno() != Some(libc::ENOTSOCK) {
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn set(&mut self, key: OwnerKey, bits: u64) -> Result<()> {
        let set = self.keys.insert(key, bits, 0);
        set.map_err(|error| Error::ebpf("note an owner of sockets", &error))
    }
}

/// What came of asking for a process or a socket of its; `None` where that has ended meanwhile.
fn unless_gone<T>(result: io::Result<T>, action: impl Fn() -> String) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => match error.raw_os_error() {
            Some(libc::ESRCH | libc::EBADF) => Ok(None),
            _ => Err(Error::refused(action(), error)),
        },
    }
}

/// The descriptors of a process that are sockets.
fn sockets_of(process: &Process) -> io::Result<Vec<i32>> {
    let descriptors = process.fd().map_err(|error| match error {
        ProcError::NotFound(_) => io::ErrorKind::NotFound.into(),
        ProcError::Io(error, _) => error,
        error => io::Error::other(error),
    })?;
    let is_socket = |descriptor: &FDInfo| matches!(descriptor.target, FDTarget::Socket(_));
    let sockets = descriptors.flatten().filter(is_socket);
    Ok(sockets.map(|descriptor| descriptor.fd).collect())
}

/// An owner, as processes tell who they are.
enum Sought {
    Process(String),
    Pid(i32),
    Cgroup(String),
    User(u32),
}

impl Sought {
    /// # Errors
    ///
    /// Where there is no such user, or no such container in the namespace.
    fn resolve(owner: &Owner, netns: NetnsId) -> Result<Self> {
        Ok(match owner {
            Owner::Process(name) => Self::Process(name.clone()),
            Owner::Pid(pid) => Self::Pid(*pid as i32),
            Owner::Cgroup(path) => Self::Cgroup(path.clone()),
            Owner::Container(name) => Self::Cgroup(group_of_container(name, netns)?),
            Owner::Command => Self::Cgroup(CommandGroup::of_this_process()?.path),
            Owner::User(name) => Self::User(user(name)?),
        })
    }
}

/// What is known of a process.
struct Person {
    process: Process,
    parent: i32,
    user: u32,
    command: String,
    executable: Option<PathBuf>,
    group: Option<String>,
}

impl Person {
    /// `None` where it has ended.
    fn of(process: Process) -> Option<Self> {
        let stat = process.stat().ok()?;
        Some(Self {
            parent: stat.ppid,
            user: process.uid().ok()?,
            command: stat.comm,
            // Kernel threads have none.
            executable: process.exe().ok(),
            group: group_of(&process),
            process,
        })
    }

    /// Whether this is who is looked for.
    fn is(&self, sought: &Sought, people: &HashMap<i32, Self>) -> bool {
        match sought {
            Sought::Process(name) => self.is_named(name),
            Sought::Pid(pid) => self.comes_of(*pid, people),
            Sought::Cgroup(path) => self
                .group
                .as_deref()
                .is_some_and(|group| lies_in(group, path)),
            Sought::User(user) => self.user == *user,
        }
    }

    fn is_named(&self, name: &str) -> bool {
        let executable = self.executable.as_deref();
        if name.contains('/') {
            return executable == Some(Path::new(name));
        }
        let file_name = executable.and_then(Path::file_name);
        // The kernel keeps 15 bytes.
        self.command == name || file_name == Some(OsStr::new(name))
    }

    fn comes_of(&self, ancestor: i32, people: &HashMap<i32, Self>) -> bool {
        let mut person = self;
        // A number may be used again while /proc is read, so that parents come in a circle.
        for _ in 0..people.len() {
            if person.process.pid == ancestor {
                return true;
            }
            match people.get(&person.parent) {
                Some(parent) => person = parent,
                None => return false,
            }
        }
        false
    }
}

/// Whether a control group is that of `path`, or lies below it.
fn lies_in(group: &str, path: &str) -> bool {
    let path = path.trim_end_matches('/');
    group
        .strip_prefix(path)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The name that threads have whose executable has this one.
fn command(name: &str) -> Option<[u8; 16]> {
    let mut command = [0; 16];
    let last = command.len() - 1;
    if name.contains('/') || name.len() > last {
        return None;
    }
    command[..name.len()].copy_from_slice(name.as_bytes());
    Some(command)
}

fn user(name: &str) -> Result<u32> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let user = User::from_name(name).ok().flatten();
    let user = user.ok_or_else(|| Error::NoOwner {
        what: "user",
        name: name.to_owned(),
    })?;
    Ok(user.uid.as_raw())
}

/// The control group of a container, whose sockets have to be in the namespace: on their way to another one packets
/// lose them.
fn group_of_container(name: &str, netns: NetnsId) -> Result<String> {
    let container = containers::find(name)?;
    if !container.netns().id()?.may_be(&netns) {
        return Err(Error::ContainerElsewhere {
            name: name.to_owned(),
        });
    }
    container.cgroup.ok_or_else(|| Error::NoContainerGroup {
        name: name.to_owned(),
    })
}

/// Has the program see sockets being opened, in all control groups.
fn watch(groups: &Groups, ebpf: &mut Ebpf) -> Result<()> {
    let root = groups.open()?;
    let program: &mut CgroupSock = object::find(ebpf, programs::SOCKET)?;
    // As a link, which always leaves others' programs in place, and says no more about it.
    let attached = program.attach(root, CgroupAttachMode::Single);
    attached.map_err(|error| {
        let action = format!("attach {} to the root control group", programs::SOCKET);
        Error::ebpf(action, &error)
    })?;
    Ok(())
}

fn open_process(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: takes numbers.
    descriptor(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })
}

/// A descriptor of our own for what another process has open.
fn duplicate(process: &OwnedFd, number: i32) -> io::Result<OwnedFd> {
    // SAFETY: takes numbers.
    descriptor(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0) })
}

fn descriptor(result: libc::c_long) -> io::Result<OwnedFd> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just opened it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(result as i32) })
}
