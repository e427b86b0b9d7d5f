//! The kernel, and what this process may do.

use std::fs;

use nix::{
    libc,
    sys::utsname::uname,
    unistd::{AccessFlags, access},
};

use super::{Check, Status};
use crate::datapath::{
    Error,
    capability::{self, Capability},
    journal,
    probe::{self, Features, Support},
};

/// The oldest kernel that the datapath is tested on.
const OLDEST: (u32, u32) = (5, 10);
const PROGRAMS: &str = "programs";

pub(super) fn checks() -> Vec<Check> {
    let release = release();
    let version = version(&release);
    let mut checks = vec![kernel(&release, version)];
    checks.extend(capabilities());
    checks.extend(features(version));
    let programs = checks
        .iter()
        .any(|check| check.check == PROGRAMS && check.status == Status::Ok);
    checks.extend(memory_lock(version, programs));
    checks.push(state_directory());
    checks.extend(backlog());
    checks
}

fn release() -> String {
    uname().map_or_else(
        |_| "unknown".into(),
        |name| name.release().to_string_lossy().into_owned(),
    )
}

/// Major and minor, of `6.12.107+deb13-cloud-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|char: char| !char.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Distributions carry features back: what counts is what can be tried.
fn kernel(release: &str, version: Option<(u32, u32)>) -> Check {
    let detail = format!("Linux {release}");
    match version {
        Some(version) if version < OLDEST => {
            Check::note("kernel", detail).remedy("injector is tested on Linux 5.10 and later")
        }
        _ => Check::ok("kernel", detail),
    }
}

fn capabilities() -> Vec<Check> {
    let wanted = [
        (
            "CAP_NET_ADMIN",
            Capability::CAP_NET_ADMIN,
            "devices, qdiscs, attaching programs",
        ),
        (
            "CAP_BPF",
            Capability::CAP_BPF,
            "loading programs, creating maps",
        ),
        (
            "CAP_PERFMON",
            Capability::CAP_PERFMON,
            "programs that subtract pointers",
        ),
        (
            "CAP_SYS_ADMIN",
            Capability::CAP_SYS_ADMIN,
            "--netns, demo, and the trials below",
        ),
    ];
    let checks = wanted.map(|(name, capability, purpose)| {
        if capability::has(capability) {
            return Check::ok(name, format!("for {purpose}"));
        }
        let check = Check::missing(name, format!("for {purpose}"))
            .remedy("run it as root (sudo), or grant the capability");
        match capability::RUN.contains(&capability) {
            true => check.required(),
            false => check,
        }
    });
    checks.into()
}

fn features(version: Option<(u32, u32)>) -> Vec<Check> {
    match probe::features() {
        Ok(features) => {
            let mut checks = tried(&features, version);
            checks.push(programs());
            checks
        }
        Err(_) => vec![
            Check::note(
                "features",
                "not tried: that takes a network namespace of our own",
            )
            .remedy("run `injector doctor` as root (sudo)"),
        ],
    }
}

fn tried(features: &Features, version: Option<(u32, u32)>) -> Vec<Check> {
    let veth = match &features.veth {
        Support::Yes => Check::ok("veth", "for the private pair"),
        Support::No(reason) => Check::missing("veth", reason)
            .remedy("`modprobe veth`, or a kernel with CONFIG_VETH")
            .required(),
    };
    let fq = match &features.fq {
        Support::Yes => Check::ok("fq", "for delays"),
        Support::No(_) => Check::missing(
            "fq",
            "this kernel has no fq queueing discipline: delays are not available; drop, corrupt \
             and duplicate are",
        )
        .remedy(Error::NoFq.hint().unwrap_or_default()),
    };
    let macvlan = match &features.macvlan {
        Support::Yes => Check::ok("macvlan", "for splitting super-packets"),
        Support::No(reason) => Check::note(
            "macvlan",
            format!("{reason}: super-packets are split on the private pair, over a queue"),
        )
        .remedy("`modprobe macvlan`, or a kernel with CONFIG_MACVLAN"),
    };
    vec![veth, macvlan, fq, clsact(features), tcx(features, version)]
}

/// The private pair's own programs are attached by it, on every kernel.
fn clsact(features: &Features) -> Check {
    match &features.clsact {
        Support::Yes => Check::ok("clsact", "for programs on the private pair"),
        Support::No(reason) => Check::missing("clsact", reason)
            .remedy(
                "`modprobe sch_ingress cls_bpf`, or a kernel with CONFIG_NET_SCH_INGRESS and \
                     CONFIG_NET_CLS_BPF",
            )
            .required(),
    }
}

fn tcx(features: &Features, version: Option<(u32, u32)>) -> Check {
    /// The first release with tcx.
    const SINCE: (u32, u32) = (6, 6);
    match &features.tcx {
        Support::Yes => Check::ok("tcx", "faults end at once when the process dies"),
        Support::No(reason) if version.is_some_and(|version| version >= SINCE) => {
            Check::note("tcx", format!("{reason}; clsact is used instead"))
        }
        Support::No(_) => Check::note(
            "tcx",
            "since Linux 6.6; clsact is used instead: faults end within 5 s when the process is \
             killed",
        )
        .remedy("use Linux 6.6 or later, where that matters"),
    }
}

fn programs() -> Check {
    match probe::programs() {
        Ok(()) => Check::ok(PROGRAMS, "the kernel accepts every program"),
        Err(error) => {
            let check = Check::missing(PROGRAMS, error.to_string()).required();
            check.remedy("report it, with this output: the kernel should accept them")
        }
    }
}

/// Kernels before 5.11 charge maps to the limit on locked memory. It is raised when needed, by
/// those who may.
fn memory_lock(version: Option<(u32, u32)>, programs: bool) -> Option<Check> {
    const NAME: &str = "locked memory";
    if version? >= (5, 11) {
        return None;
    }
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let detail = match locked_memory_max(&limits)? {
        "unlimited" => "unlimited".into(),
        bytes => format!("limited to {bytes} bytes, which this kernel charges maps to"),
    };
    Some(if programs {
        Check::ok(NAME, format!("{detail}; programs were loaded"))
    } else {
        Check::note(NAME, detail).remedy("`ulimit -l unlimited`")
    })
}

/// The soft limit, from `/proc/PID/limits`.
fn locked_memory_max(limits: &str) -> Option<&str> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max locked memory"))?;
    line.split_whitespace().next()
}

/// It is created by the first run.
fn state_directory() -> Check {
    const NAME: &str = "state directory";
    let exists = fs::exists(journal::DIRECTORY).unwrap_or(true);
    let place = if exists { journal::DIRECTORY } else { "/run" };
    match access(place, AccessFlags::W_OK) {
        Ok(()) => Check::ok(NAME, format!("{} can be written", journal::DIRECTORY)),
        Err(errno) => {
            let remedy = match errno as i32 {
                libc::EACCES => "run it as root (sudo)",
                _ => "mount a writable file system on /run",
            };
            let detail = format!("cannot write {}: {}", journal::DIRECTORY, errno.desc());
            Check::missing(NAME, detail).remedy(remedy).required()
        }
    }
}

/// What is corrupted crosses the private pair over a queue of each processor.
fn backlog() -> Option<Check> {
    const NAME: &str = "packet backlog";
    const PATH: &str = "/proc/sys/net/core/netdev_max_backlog";
    /// The default of 1000 lost packets in bursts; this did not.
    const ENOUGH: u32 = 10_000;
    let value: u32 = fs::read_to_string(PATH).ok()?.trim().parse().ok()?;
    let detail = format!("net.core.netdev_max_backlog is {value}");
    if value >= ENOUGH {
        return Some(Check::ok(NAME, detail));
    }
    let detail =
        format!("{detail}: in rules that corrupt, long bursts can overrun the private pair");
    Some(
        Check::note(NAME, detail)
            .remedy(format!("`sysctl -w net.core.netdev_max_backlog={ENOUGH}`")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_from_any_release() {
        assert_eq!(version("6.12.107+deb13-cloud-amd64"), Some((6, 12)));
        assert_eq!(version("5.10.0-32-cloud-amd64"), Some((5, 10)));
        assert_eq!(version("7.2-rc1"), Some((7, 2)));
        assert_eq!(version("unknown"), None);
    }

    #[test]
    fn the_soft_limit_comes_first() {
        let limits =
            "Max processes 1 2 processes\nMax locked memory         65536    131072   bytes\n";
        assert_eq!(locked_memory_max(limits), Some("65536"));
        assert_eq!(locked_memory_max(""), None);
    }

    #[test]
    fn only_kernels_older_than_tested_get_a_note() {
        assert_eq!(kernel("5.10.1", Some((5, 10))).status, Status::Ok);
        assert_eq!(kernel("5.4.1", Some((5, 4))).status, Status::Note);
    }

    #[test]
    fn without_fq_delays_alone_are_missing() {
        let no = || Support::No("not supported".into());
        let features = Features {
            veth: Support::Yes,
            macvlan: no(),
            fq: no(),
            clsact: Support::Yes,
            tcx: no(),
        };
        let checks = tried(&features, Some((6, 1)));
        assert!(!checks.iter().any(|check| check.required));
        assert!(checks[2].remedy.as_ref().unwrap().contains("sch_fq"));
    }
}
