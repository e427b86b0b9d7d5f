//! Others take a part of a run away: it is noticed, and nothing else breaks.

use std::time::{Duration, Instant};

use injector_tests::{
    Host, Injector, Lab, bpf,
    injector::{self, Evicted},
    kernel,
    residue::{Programs, Snapshot},
    tool,
    udp::Flow,
};
use serde_json::Value;

/// Every packet arrives twice.
const TWICE: &str =
    "{name: twice, seed: 1, rules: [{direction: both, match: {protocol: udp}, duplicate: 100%}]}";
const LATE: &str = "{name: late, seed: 1, rules: [{match: {protocol: udp}, delay: 20ms}]}";
const SILENCE: &str =
    "{name: silence, seed: 1, rules: [{direction: ingress, match: {protocol: udp}, drop: 100%}]}";

/// A part of a run that others take away.
struct Eviction {
    profile: &'static str,
    args: &'static [&'static str],
    /// What is said to be missing.
    parts: &'static [&'static str],
    take: fn(&Host, &Injector),
}

impl Eviction {
    /// Asserts that the loss is noticed within about a second, said once, shown by `status`, and that
    /// the run ends well.
    #[track_caller]
    fn is_noticed(&self) {
        let lab = Lab::new();
        let before = Snapshot::of(&lab.a.netns);
        let injector = Injector::start_with(&lab.a, self.profile, self.args);
        let programs = Programs::of(&lab.a.netns);
        assert!(!self.is_harmless(&lab), "no faults");
        (self.take)(&lab.a, &injector);
        let taken = Instant::now();
        let parts = self.parts.iter().map(|part| (*part).into()).collect();
        assert_eq!(injector.evicted(), Evicted { parts });
        let noticed = taken.elapsed();
        eprintln!("noticed after {noticed:?}");
        // An emulated processor may stand still for longer.
        assert!(kernel::is_guest() || noticed < Duration::from_millis(1_500));
        assert!(self.is_harmless(&lab));
        for _ in 0..2 {
            injector.counters();
        }
        let said = format!("evicted: {}", self.parts.join(", "));
        let stderr = injector.stderr();
        assert_eq!(stderr.matches(&said).count(), 1, "{stderr}");
        let status = injector::call(&lab.a.netns, &["status"]);
        let text = String::from_utf8_lossy(&status.stdout).into_owned();
        assert!(text.contains(&said), "{text}");
        let status = injector::call(&lab.a.netns, &["status", "--json"]);
        let status: Value = serde_json::from_slice(&status.stdout).expect("JSON");
        assert_eq!(status["runs"][0]["evicted"], Value::from(self.parts));

        assert_eq!(injector.stop().code(), 0);
        before.assert_same(&lab.a.netns);
        programs.assert_gone();
        Flow::new(50).send(&lab.a, &lab.b).assert_untouched();
    }

    /// Asserts that `--strict` ends the run, with the name of what is lost.
    #[track_caller]
    fn ends_a_strict_run(&self) {
        let lab = Lab::new();
        let before = Snapshot::of(&lab.a.netns);
        let args: Vec<&str> = ["--strict"].iter().chain(self.args).copied().collect();
        let injector = Injector::start_with(&lab.a, self.profile, &args);
        injector.counters();
        (self.take)(&lab.a, &injector);
        let end = injector.wait();
        assert_eq!(end.code(), 5, "{}", end.stderr);
        let reason = end.ended.expect("the last event").reason;
        assert_eq!(reason, "evicted");
        let said = format!("error: `eth0`: evicted: {}", self.parts.join(", "));
        assert!(end.stderr.contains(&said), "{}", end.stderr);
        before.assert_same(&lab.a.netns);
    }

    /// Whether packets pass as if there were no faults. Nothing may be lost in any case.
    fn is_harmless(&self, lab: &Lab) -> bool {
        let flow = Flow::new(20).linger(Duration::from_millis(100));
        let (from, to) = if self.profile == SILENCE {
            (&lab.b, &lab.a)
        } else {
            (&lab.a, &lab.b)
        };
        let report = flow.send(from, to);
        assert_eq!(report.errors, Vec::<String>::new());
        let delays = report.delays();
        let least = delays.into_iter().map(|(_, delay)| delay).min();
        let is_late = least.is_none_or(|delay| delay > Duration::from_millis(19));
        let is_whole = self.profile == SILENCE || report.lost().is_empty();
        assert!(is_whole, "lost {:?}", report.lost());
        report.duplicated().is_empty() && !is_late
    }
}

fn detach(injector: &Injector, attach_type: u32) {
    let programs = Programs::of_process(injector.pid());
    assert_eq!(bpf::detach_links(programs.programs(), attach_type), 1);
}

/// A command on one of the pair's devices.
fn on_pair(host: &Host, command: &str, end: char) {
    let (program, line) = command.split_once(' ').expect("a program and a line");
    let device = format!("inj{}{end}", host.ifindex());
    host.run(|| tool::run(program, &line.replace("PAIR", &device)));
}

const TCX: Eviction = Eviction {
    profile: TWICE,
    args: &["--attach", "tcx"],
    parts: &["egress"],
    take: |_, injector| detach(injector, bpf::TCX_EGRESS),
};

const FILTER: Eviction = Eviction {
    profile: TWICE,
    args: &["--attach", "clsact"],
    parts: &["egress"],
    take: |host, _| {
        host.run(|| tool::tc("filter delete dev eth0 egress"));
    },
};

const CLSACT: Eviction = Eviction {
    profile: TWICE,
    args: &["--attach", "clsact"],
    parts: &["egress", "ingress"],
    take: |host, _| {
        host.run(|| tool::tc("qdisc delete dev eth0 clsact"));
    },
};

const XDP: Eviction = Eviction {
    profile: SILENCE,
    args: &["--xdp", "native"],
    parts: &["xdp"],
    take: |_, injector| detach(injector, bpf::XDP),
};

const PAIR: Eviction = Eviction {
    profile: TWICE,
    args: &[],
    parts: &["pair"],
    take: |host, _| on_pair(host, "ip link delete dev PAIR", 'n'),
};

const PAIR_DOWN: Eviction = Eviction {
    take: |host, _| on_pair(host, "ip link set dev PAIR down", 'f'),
    ..PAIR
};

const FQ: Eviction = Eviction {
    profile: LATE,
    args: &[],
    parts: &["fq"],
    take: |host, _| on_pair(host, "tc qdisc delete dev PAIR root", 'f'),
};

#[test]
fn a_tcx_program_that_others_detach_is_missed() {
    if kernel::has_tcx() {
        TCX.is_noticed();
        TCX.ends_a_strict_run();
    }
}

#[test]
fn a_filter_that_others_delete_is_missed() {
    FILTER.is_noticed();
    FILTER.ends_a_strict_run();
}

#[test]
fn a_clsact_that_others_delete_is_missed() {
    CLSACT.is_noticed();
}

#[test]
fn a_private_pair_that_others_delete_is_missed() {
    PAIR.is_noticed();
    PAIR.ends_a_strict_run();
}

#[test]
fn a_private_pair_that_others_take_down_is_missed() {
    PAIR_DOWN.is_noticed();
}

#[test]
fn an_fq_that_others_delete_is_missed() {
    if kernel::can_delay() {
        FQ.is_noticed();
    }
}

#[test]
fn an_xdp_program_that_others_detach_is_missed() {
    XDP.is_noticed();
}
