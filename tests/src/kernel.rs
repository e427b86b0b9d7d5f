//! The kernel that the tests run on, and what it can do.
//!
//! A test is left out only where a real attempt fails, and only on the developer's own kernel: the
//! guests' kernels are known to have what is tested, so that there the failure counts.

use std::sync::OnceLock;

use crate::{Netns, tool};

/// Whether this is one of the guests with a known kernel, on an emulated CPU.
pub fn is_guest() -> bool {
    std::env::var("INJECTOR_TEST_KERNEL").is_ok_and(|kernel| kernel != "native")
}

/// Major and minor version.
pub fn version() -> (u32, u32) {
    let name = nix::sys::utsname::uname().expect("uname");
    let release = name.release().to_string_lossy().into_owned();
    let mut parts = release
        .split(['.', '-'])
        .map(|part| part.parse().expect("a kernel version"));
    (
        parts.next().expect("a major version"),
        parts.next().expect("a minor version"),
    )
}

/// Whether tcx can be expected: it came with Linux 6.6.
pub fn has_tcx() -> bool {
    version() >= (6, 6)
}

/// Whether the kernel can note whose a socket is: newer ones have no memory for that (kmalloc_nolock()) where the
/// processor lacks cmpxchg16b, as that of an emulated guest does (see `scripts/vm`).
pub fn can_label_sockets() -> bool {
    let processor = std::fs::read_to_string("/proc/cpuinfo").expect("/proc/cpuinfo");
    let can = version() < (7, 0) || processor.split_whitespace().any(|flag| flag == "cx16");
    if !can {
        eprintln!("left out, without cmpxchg16b");
    }
    can
}

/// Whether packets can be delayed here, that is, whether there is fq.
pub fn can_delay() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| can("sch_fq", "qdisc add dev probe0 root fq"))
}

/// Whether there is netem, to compare with.
pub fn has_netem() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| can("sch_netem", "qdisc add dev probe0 root netem delay 1ms"))
}

/// Whether there is htb.
pub fn has_htb() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| has_qdisc("htb"))
}

/// Whether there is this queueing discipline, which needs no options. `mq` is in every kernel.
pub fn has_qdisc(kind: &str) -> bool {
    let request = format!("qdisc add dev probe0 root handle 1: {kind}");
    kind == "mq" || can(&format!("sch_{kind}"), &request)
}

/// Whether there are VLAN devices.
pub fn has_vlan() -> bool {
    let attempt = Netns::new().run(|| {
        tool::ip("link add name probe0 type veth peer name probe1");
        tool::attempt("ip", "link add link probe0 name probe2 type vlan id 7")
    });
    decide("8021q", attempt)
}

fn can(what: &str, request: &str) -> bool {
    let attempt = Netns::new().run(|| {
        tool::ip("link add name probe0 type veth peer name probe1");
        tool::attempt("tc", request)
    });
    decide(what, attempt)
}

fn decide(what: &str, attempt: Result<String, String>) -> bool {
    match attempt {
        Ok(_) => true,
        Err(error) if is_guest() => panic!("this guest must have {what}: {error}"),
        Err(error) => {
            eprintln!("left out, without {what}: {error}");
            false
        }
    }
}
