//! Hosts: namespaces without names, which end with the stage.

use std::{
    ffi::CString,
    fs::{self, File},
    io,
    os::{
        fd::{AsFd as _, AsRawFd as _},
        unix::{ffi::OsStrExt as _, process::CommandExt as _},
    },
    path::{Path, PathBuf},
    process, thread,
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, setns, unshare},
    unistd::{chdir, sethostname, setsid},
};

use super::event::Standing;
use crate::{
    datapath::{self, Error, Netns},
    scenario::Scenario,
};

const NONE: Option<&str> = None;
/// What is the stage's own. Each host has a directory of it as its `/run`.
pub(super) const RUN: &str = "/run";

/// A host.
#[derive(Debug)]
pub(super) struct Host {
    name: String,
    net: File,
    mount: File,
    uts: File,
}

/// Makes what is mounted the stage's own: `/run` is empty, and `/proc` that of its processes.
pub(super) fn hide_the_rest() -> datapath::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWIPC)
        .map_err(|errno| Error::refused("create a mount namespace", errno))?;
    // Else what is mounted here would show outside.
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)
        .map_err(|errno| Error::refused("separate the mounts", errno))?;
    mount(
        Some("tmpfs"),
        RUN,
        Some("tmpfs"),
        MsFlags::empty(),
        Some("mode=755,size=256m"),
    )
    .map_err(|errno| Error::refused("mount a tmpfs on /run", errno))?;
    // Refused in containers that hide parts of /proc; the outer one does.
    let _ = mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), NONE);
    Ok(())
}

impl Host {
    /// Makes the hosts of a scenario, each on a thread of its own, which ends.
    pub(super) fn all(scenario: &Scenario) -> datapath::Result<Vec<Self>> {
        let hosts = 0..scenario.hosts.len();
        hosts
            .map(|host| in_thread(|| Self::new(scenario, host)))
            .collect()
    }

    fn new(scenario: &Scenario, host: usize) -> datapath::Result<Self> {
        let name = &scenario.hosts[host];
        let all = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS;
        unshare(all).map_err(|errno| Error::refused("create a network namespace", errno))?;
        sethostname(name).map_err(|errno| Error::refused("name a host", errno))?;
        furnish(name, &names(scenario, host))?;
        settle()?;
        let open = |kind: &str| open(&format!("/proc/thread-self/ns/{kind}"));
        Ok(Self {
            name: name.clone(),
            net: open("net")?,
            mount: open("mnt")?,
            uts: open("uts")?,
        })
    }

    /// The network namespace.
    pub(super) fn netns(&self) -> Netns {
        netns(&self.net)
    }

    /// The network namespace's file.
    pub(super) fn net(&self) -> &File {
        &self.net
    }

    /// What leads into it from outside.
    pub(super) fn standing(&self) -> Standing {
        Standing {
            host: self.name.clone(),
            net: self.net.as_raw_fd(),
            mount: self.mount.as_raw_fd(),
            uts: self.uts.as_raw_fd(),
        }
    }

    /// Lets a command run here, in a session of its own, so that it can be stopped with all that it starts.
    pub(super) fn enter(&self, command: &mut process::Command, directory: &Path) -> io::Result<()> {
        let clone = |file: &File| file.as_fd().try_clone_to_owned();
        let (net, mount, uts) = (clone(&self.net)?, clone(&self.mount)?, clone(&self.uts)?);
        let directory = CString::new(directory.as_os_str().as_bytes())?;
        let enter = move || {
            setns(&mount, CloneFlags::CLONE_NEWNS)?;
            setns(&net, CloneFlags::CLONE_NEWNET)?;
            setns(&uts, CloneFlags::CLONE_NEWUTS)?;
            chdir(directory.as_c_str())?;
            setsid()?;
            Ok(())
        };
        // SAFETY: nothing but system calls, which are async-signal-safe, on what was made before.
        unsafe { command.pre_exec(enter) };
        Ok(())
    }
}

/// A namespace of a network without hosts: that of a switch.
pub(super) fn bare_namespace() -> datapath::Result<File> {
    in_thread(|| {
        unshare(CloneFlags::CLONE_NEWNET)
            .map_err(|errno| Error::refused("create a network namespace", errno))?;
        settle()?;
        open("/proc/thread-self/ns/net")
    })
}

/// The namespace behind an open file.
pub(super) fn netns(file: &File) -> Netns {
    Netns::at(Path::new(&format!("/proc/self/fd/{}", file.as_raw_fd())))
}

fn in_thread<T: Send>(work: impl FnOnce() -> datapath::Result<T> + Send) -> datapath::Result<T> {
    thread::scope(|scope| {
        let joined = scope.spawn(work).join();
        joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// What `/etc/hosts` says on a host.
fn names(scenario: &Scenario, host: usize) -> String {
    let mut lines = vec!["127.0.0.1 localhost".to_owned(), "::1 localhost".to_owned()];
    for (other, name) in scenario.hosts.iter().enumerate() {
        let addresses = scenario.addresses(host, other);
        lines.extend(addresses.iter().map(|address| format!("{address} {name}")));
    }
    lines.join("\n") + "\n"
}

/// Gives a host an `/etc/hosts` and a `/run` of its own, of which `/run/shared` is that of all.
fn furnish(name: &str, names: &str) -> datapath::Result<()> {
    let run = Path::new(RUN);
    let (own, shared) = (run.join("hosts").join(name), run.join("shared"));
    let inside = own.join("shared");
    let resolved = run.join(format!("names-{name}"));
    for directory in [&inside, &shared] {
        fs::create_dir_all(directory).map_err(|source| file_error("create", directory, source))?;
    }
    fs::write(&resolved, names).map_err(|source| file_error("write", &resolved, source))?;
    bind(&resolved, Path::new("/etc/hosts"))?;
    bind(&shared, &inside)?;
    bind(&own, run)
}

fn bind(what: &Path, over: &Path) -> datapath::Result<()> {
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(what), over, NONE, flags, NONE)
        .map_err(|errno| Error::refused(format!("mount over {}", over.display()), errno))
}

/// Makes a host quiet and predictable.
fn settle() -> datapath::Result<()> {
    for (name, value) in [
        // Addresses can be used at once, and nobody announces what nobody asked for.
        ("ipv6/conf/all/accept_dad", "0"),
        ("ipv6/conf/default/accept_dad", "0"),
        ("ipv6/conf/default/addr_gen_mode", "1"),
        ("ipv6/conf/default/router_solicitations", "0"),
        // Else a lossy connection's slow-start threshold holds back later ones.
        ("ipv4/tcp_no_metrics_save", "1"),
        ("ipv4/ping_group_range", "0 0"),
    ] {
        let path = Path::new("/proc/sys/net").join(name);
        // Absent where the kernel has no IPv6.
        if path.exists() {
            fs::write(&path, value).map_err(|source| file_error("write", &path, source))?;
        }
    }
    Ok(())
}

fn open(path: &str) -> datapath::Result<File> {
    File::open(path).map_err(|source| file_error("open", Path::new(path), source))
}

pub(super) fn file_error(action: &'static str, path: &Path, source: io::Error) -> Error {
    let path = PathBuf::from(path);
    Error::File {
        action,
        path,
        source,
    }
}
