use std::{io, path::PathBuf};

use nix::{
    libc,
    sys::resource::{Resource, getrlimit},
};
use thiserror::Error;

/// Why the kernel side could not do what was asked.
#[derive(Debug, Error)]
pub enum Error {
    /// No device of that name.
    #[error("no network interface `{device}` in {netns}")]
    NoDevice {
        /// The name asked for.
        device: String,
        /// Where it was looked for.
        netns: String,
        /// The names that exist.
        existing: Vec<String>,
    },
    /// A link layer that the pair cannot carry.
    #[error(
        "interface `{device}` has link type {kind}; Ethernet, loopback, tun and WireGuard are \
         supported"
    )]
    UnsupportedLink {
        /// The device.
        device: String,
        /// Its link type.
        kind: String,
    },
    /// Capabilities are missing.
    #[error("not permitted: {missing} missing")]
    NotPermitted {
        /// The capabilities, by name.
        missing: String,
    },
    /// The executable is setuid, or has capabilities of its own.
    #[error(
        "this executable lends privileges to whoever runs it (setuid, setgid or file capabilities)"
    )]
    LentPrivileges,
    /// The kernel has no sch_fq.
    #[error("this kernel has no fq queueing discipline, which holds delayed packets")]
    NoFq,
    /// A plan needs what the run was not started for.
    #[error("profile `{profile}` has {what}, for which this run was not started")]
    Unprepared {
        /// The plan's profile.
        profile: String,
        /// What the run lacks.
        what: &'static str,
    },
    /// Another run has the device.
    #[error("interface `{device}` is in use by injector (pid {pid}, profile `{profile}`)")]
    Busy {
        /// The device.
        device: String,
        /// The process.
        pid: u32,
        /// Its profile.
        profile: String,
    },
    /// Somebody else listens to a run.
    #[error("another `injector trace` listens to what is on `{device}`")]
    Traced {
        /// The device.
        device: String,
    },
    /// Another version of injector has written the record of a run.
    #[error("{} is of `{schema}`, and this injector knows `{}`", path.display(), super::journal::SCHEMA)]
    UnknownRecord {
        /// The record's file.
        path: PathBuf,
        /// Its format.
        schema: String,
    },
    /// Nobody of that name.
    #[error("no {what} `{name}` on this machine")]
    NoOwner {
        /// What was looked for.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// Rules look for more owners than there are bits.
    #[error(
        "this run has looked for {} different processes, groups and users, and can tell no more apart",
        injector_common::abi::OWNERS_MAX
    )]
    TooManyOwners,
    /// Control groups are not there, or only those of version 1.
    #[error(
        "control groups (version 2), by which the owners of sockets are known, are not mounted here"
    )]
    NoCgroups,
    /// The kernel keeps no labels of sockets.
    #[error("the kernel cannot note whose a socket is: {0}")]
    NoLabels(Box<Self>),
    /// The command cannot have a control group of its own.
    #[error("cannot give the command a control group of its own, {}: {source}", path.display())]
    NoCommandGroup {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No container of that name.
    #[error("no container `{name}` in {}", places.join("; "))]
    NoContainer {
        /// The name asked for.
        name: String,
        /// Where it was looked for.
        places: Vec<String>,
        /// The name that is most like it.
        nearest: Option<String>,
        /// How many names there are.
        known: usize,
    },
    /// The container has ended, or its process cannot be seen here.
    #[error("container `{name}` ({runtime}) is not running{}", unseen(*.pid))]
    ContainerNotRunning {
        /// The name asked for.
        name: String,
        /// Who ran it.
        runtime: &'static str,
        /// Its first process, as it was noted.
        pid: Option<i32>,
    },
    /// The name may mean one of several.
    #[error("`{name}` may be any of these containers: {}", candidates.join(", "))]
    AmbiguousContainer {
        /// The name asked for.
        name: String,
        /// Those.
        candidates: Vec<String>,
    },
    /// The container's sockets are in another namespace than the device.
    #[error(
        "container `{name}` is in another network namespace than the interface, where its packets have no owner any more"
    )]
    ContainerElsewhere {
        /// Its name.
        name: String,
    },
    /// The container shares its control group with others, or has only one of version 1.
    #[error(
        "container `{name}` has no control group (version 2) of its own, by which its packets are known"
    )]
    NoContainerGroup {
        /// Its name.
        name: String,
    },
    /// The namespace does not exist.
    #[error("no network namespace {netns}")]
    NoNetns {
        /// As it was named.
        netns: String,
        /// What the system said.
        source: io::Error,
    },
    /// A foreign XDP program has the hook.
    #[error("interface `{device}` has an XDP program already: {program}")]
    ForeignXdp {
        /// The device.
        device: String,
        /// The program: its name, its number, its mode.
        program: String,
    },
    /// A request to the kernel was refused.
    #[error("cannot {action}: {source}")]
    Refused {
        /// What was attempted, on which object.
        action: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The eBPF side was refused.
    #[error("cannot {action}: {reason}")]
    Ebpf {
        /// What was attempted.
        action: String,
        /// What aya or the verifier said, shortened to its last telling lines.
        reason: String,
        /// The errno beneath, where there is one.
        errno: Option<i32>,
    },
    /// A file could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was attempted.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Some of what should have been undone could not be.
    #[error("not everything could be undone: {}", failures.join("; "))]
    Undo {
        /// What failed, each with its reason.
        failures: Vec<String>,
    },
}

impl Error {
    /// Wraps what the kernel said to a request.
    pub(crate) fn refused(action: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Refused {
            action: action.into(),
            source: source.into(),
        }
    }

    /// Wraps an error of aya.
    pub(super) fn ebpf(
        action: impl Into<String>,
        error: &(dyn std::error::Error + 'static),
    ) -> Self {
        Self::Ebpf {
            action: action.into(),
            reason: telling_lines(error),
            errno: errno(error),
        }
    }

    /// The errno beneath, where there is one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused { source, .. } | Self::File { source, .. } => source.raw_os_error(),
            Self::Ebpf { errno, .. } => *errno,
            _ => None,
        }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoDevice { existing, .. } => {
                Some(format!("interfaces there: {}", existing.join(", ")))
            }
            Self::NotPermitted { .. } => Some(
                "run it as root (sudo), or grant CAP_NET_ADMIN, CAP_BPF and CAP_PERFMON, and \
                 CAP_SYS_ADMIN for namespaces"
                    .into(),
            ),
            Self::LentPrivileges => Some(
                "take them from the file (`chmod u-s,g-s`, `setcap -r`), and run it by sudo".into(),
            ),
            Self::NoFq => Some(
                "load it with `modprobe sch_fq`, or use a kernel with CONFIG_NET_SCH_FQ (any \
                 Debian, Ubuntu, Fedora or Arch kernel); profiles without delay work here"
                    .into(),
            ),
            Self::Traced { .. } => {
                Some("end it first; one that was killed is forgotten after 3 s".into())
            }
            Self::Busy { device, .. } => Some(format!(
                "stop it first: `injector clear -i {device}`; or take its place with `--replace`"
            )),
            Self::UnknownRecord { .. } => {
                Some("clear it with the injector that wrote it, or a newer one".into())
            }
            Self::Unprepared { .. } => Some("end the run, and start it with this profile".into()),
            Self::NoOwner { what: "user", .. } => Some("list them with `getent passwd`".into()),
            Self::NoOwner { .. } => Some("list them with `systemd-cgls`; it has to be there first".into()),
            Self::TooManyOwners => Some("end the run, and start it anew".into()),
            Self::NoCgroups => Some(
                "mount them: `mount -t cgroup2 cgroup2 /sys/fs/cgroup`; `ip netns exec` hides them, \
                 `injector --netns` does not"
                    .into(),
            ),
            // kmalloc_nolock(), from which Linux 7.2 has what it keeps of a socket.
            Self::NoLabels(_) => Some(
                "newer kernels (seen with Linux 7.2) can do it only with a processor that has cmpxchg16b: \
                 `grep cx16 /proc/cpuinfo`; give it to a virtual machine, or leave out `process`, `pid`, \
                 `cgroup` and `user`"
                    .into(),
            ),
            Self::NoCommandGroup { .. } => Some(
                "control groups have to be writable: try `mount -o remount,rw` where they are mounted, or, in a \
                 container, `--privileged --cgroupns=host`; or name the process in `match`"
                    .into(),
            ),
            Self::NoContainer { nearest: Some(nearest), .. } => Some(format!("did you mean `{nearest}`?")),
            Self::NoContainer { known: 0, .. } => Some(
                "there is none: call this as root on the host, or in a container that sees the host's processes, \
                 /run and /var/lib; `--netns pid:N` does with the number of a process"
                    .into(),
            ),
            Self::NoContainer { .. } => Some("list them with what runs them, such as `docker ps` or `crictl ps`".into()),
            Self::ContainerNotRunning { .. } => Some(
                "start it; where it does run, see to it that the host's processes are visible here".into(),
            ),
            Self::AmbiguousContainer { .. } => Some("say it by more of the identifier, or as `POD/CONTAINER`".into()),
            Self::ContainerElsewhere { name } => Some(format!(
                "act inside it: `--container {name}` in place of `-i`, or beside it with an interface of the \
                 container's; there all packets are its own"
            )),
            Self::NoContainerGroup { .. } => {
                Some("name its processes in place of it: `match: {pid: N}`, for what comes of one, too".into())
            }
            Self::NoNetns { .. } => Some("list them with `ip netns`".into()),
            Self::ForeignXdp { device, .. } => Some(format!(
                "see it with `bpftool net show dev {device}`; `--xdp off` decides at the tc hook \
                 instead"
            )),
            Self::UnsupportedLink { .. } => {
                Some("name a device below or above it, such as the underlying NIC".into())
            }
            Self::Ebpf {
                errno: Some(errno), ..
            } => memory_hint(*errno),
            _ => None,
        }
    }
}

/// That what is noted of a process does not hold.
fn unseen(pid: Option<i32>) -> String {
    pid.map_or_else(String::new, |pid| {
        format!(": process {pid}, which was its first, is not, or is another now")
    })
}

/// What to do where the kernel refuses memory for maps and programs.
fn memory_hint(errno: i32) -> Option<String> {
    let is_limited = || {
        let limit = getrlimit(Resource::RLIMIT_MEMLOCK);
        limit.is_ok_and(|(soft, _)| soft != libc::RLIM_INFINITY)
    };
    match errno {
        // What Linux before 5.11 says where locked memory is used up.
        libc::EPERM if is_limited() => Some(
            "allow it more locked memory: `ulimit -l unlimited` (systemd: LimitMEMLOCK=infinity), or \
             grant CAP_SYS_RESOURCE"
                .into(),
        ),
        libc::ENOMEM => Some(
            "allow it more memory: the limit of its control group (systemd: MemoryMax) counts that of \
             eBPF maps, too"
                .into(),
        ),
        _ => None,
    }
}

/// The chain of causes; of a verifier log only its end, where the reason stands.
fn telling_lines(error: &(dyn std::error::Error + 'static)) -> String {
    const LINES_MAX: usize = 4;
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    let lines: Vec<_> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    match lines.len().checked_sub(LINES_MAX + 1) {
        None => lines.join("; "),
        Some(_) => {
            let omitted = lines.len() - 1 - LINES_MAX;
            let end = lines[lines.len() - LINES_MAX..].join("; ");
            format!("{} ({omitted} lines omitted) {end}", lines[0])
        }
    }
}

fn errno(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(errno) = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::raw_os_error)
        {
            return Some(errno);
        }
        cause = error.source();
    }
    None
}
