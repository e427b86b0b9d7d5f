//! The counters of a run, as Prometheus reads them.

mod delays;
mod profiles;
pub mod serve;
pub mod textfile;

use std::{sync::atomic::AtomicU64, time::SystemTime};

use injector_common::abi::RuleCounters;
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, info::Info},
    registry::{Registry, Unit},
};

use crate::{
    datapath::{
        eviction::Part,
        journal::{Record, Via},
        session::Totals,
    },
    plan::Hook,
};

/// What a run shows of itself on one interface.
#[derive(Clone, Debug)]
pub struct Status<'a> {
    /// The interface, or what the run calls it.
    pub device: String,
    /// What is in force, and where.
    pub record: &'a Record,
    /// The hash of the profile's text.
    pub sha256: Option<&'a str>,
    /// Which phase is in force, counting from 1; 0 where there are none.
    pub step: usize,
    /// What was counted since the run began.
    pub totals: &'a Totals,
}

impl Status<'_> {
    fn of(&self) -> Of {
        Of {
            dev: self.device.clone(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    dev: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRule {
    rule: String,
    dev: String,
    dir: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Fate {
    rule: String,
    dev: String,
    dir: &'static str,
    verdict: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outside {
    dev: String,
    verdict: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Place {
    dev: String,
    hook: &'static str,
    mode: &'static str,
}

type Seconds = Gauge<f64, AtomicU64>;

/// The metrics in OpenMetrics' text format. They are made anew each time, of counters that the kernel keeps.
pub fn encode(all: &[Status<'_>], now: SystemTime) -> String {
    let mut registry = Registry::with_prefix("injector");
    about_the_run(&mut registry, all, now);
    about_rules(&mut registry, all);
    about_the_path(&mut registry, all);
    let mut out = String::new();
    // A string takes everything.
    let _ = text::encode(&mut out, &registry);
    out
}

fn about_the_run(registry: &mut Registry, all: &[Status<'_>], now: SystemTime) {
    let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("build", "Version of injector", build);
    registry.register_collector(Box::new(profiles::Profiles::of(all)));
    let step = Family::<Of, Gauge>::default();
    let heartbeat = Family::<Of, Seconds>::default();
    let attached = Family::<Place, Gauge>::default();
    let since = now.duration_since(SystemTime::UNIX_EPOCH);
    let seconds = since.unwrap_or_default().as_secs_f64();
    for status in all {
        step.get_or_create(&status.of()).set(status.step as i64);
        heartbeat.get_or_create(&status.of()).set(seconds);
        for (place, is_there) in places(status) {
            attached.get_or_create(&place).set(is_there.into());
        }
    }
    let help = "Phase in force, counting from 1; 0 where the profile has no phases";
    registry.register("profile_step", help, step);
    let help = "When the run was last seen to be alive";
    registry.register_with_unit("heartbeat_timestamp", help, Unit::Seconds, heartbeat);
    let help = "1 where a program is attached, 0 where others have taken it away";
    registry.register("attached", help, attached);
}

/// Where programs were attached, and whether they still are.
fn places(status: &Status<'_>) -> impl Iterator<Item = (Place, bool)> {
    status.record.attached.iter().map(|place| {
        let (part, mode) = match (place.via, place.hook) {
            (Via::Tcx, hook) => (part(hook), "tcx"),
            (Via::Clsact, hook) => (part(hook), "clsact"),
            (Via::XdpNative, _) => (Part::Xdp, "xdp_native"),
            (Via::XdpGeneric, _) => (Part::Xdp, "xdp_generic"),
        };
        let is_there = !status.record.evicted.contains(&part);
        let place = Place {
            dev: status.device.clone(),
            hook: place.hook.as_str(),
            mode,
        };
        (place, is_there)
    })
}

fn part(hook: Hook) -> Part {
    match hook {
        Hook::Egress => Part::Egress,
        Hook::Ingress => Part::Ingress,
    }
}

fn about_rules(registry: &mut Registry, all: &[Status<'_>]) {
    let packets = Family::<Fate, Counter>::default();
    let bytes = Family::<OfRule, Counter>::default();
    for (of, counters) in all.iter().flat_map(rules) {
        for (verdict, count) in fates(counters) {
            let OfRule { rule, dev, dir } = of.clone();
            let fate = Fate {
                rule,
                dev,
                dir,
                verdict,
            };
            packets.get_or_create(&fate).inc_by(count);
        }
        bytes.get_or_create(&of).inc_by(counters.bytes);
    }
    let help = "Wire packets of a rule by what happened to them: `matched` are all of them, and one \
                packet can have several of the other verdicts";
    registry.register("packets", help, packets);
    let help = "Bytes of the packets that a rule matched, link-layer headers included";
    registry.register("bytes", help, bytes);
    registry.register_collector(Box::new(delays::Delays::of(all)));
}

/// What the rules on an interface have counted.
fn rules<'a>(status: &'a Status<'_>) -> impl Iterator<Item = (OfRule, &'a RuleCounters)> {
    let of = |(rule, hook): &(String, Hook)| OfRule {
        rule: rule.clone(),
        dev: status.device.clone(),
        dir: hook.as_str(),
    };
    let rules = status.totals.rules.iter();
    rules.map(move |(rule, counters)| (of(rule), counters))
}

fn fates(counters: &RuleCounters) -> [(&'static str, u64); 8] {
    [
        ("matched", counters.matched),
        ("dropped", counters.dropped),
        ("corrupted", counters.corrupted),
        ("duplicated", counters.duplicated),
        ("reordered", counters.reordered),
        ("delayed", counters.delayed),
        ("marked", counters.marked),
        ("overlimit", counters.overlimit),
    ]
}

fn about_the_path(registry: &mut Registry, all: &[Status<'_>]) {
    let path = Family::<Outside, Counter>::default();
    let drops = Family::<Of, Counter>::default();
    let in_flight = Family::<Of, Gauge>::default();
    for status in all {
        for (verdict, count) in outside(status.totals) {
            let dev = status.device.clone();
            path.get_or_create(&Outside { dev, verdict }).inc_by(count);
        }
        if let Some(count) = status.totals.qdisc_drops {
            drops.get_or_create(&status.of()).inc_by(count);
        }
        let held = status.totals.in_flight as i64;
        in_flight.get_or_create(&status.of()).set(held);
    }
    let help = "Packets outside the rules, by what became of them";
    registry.register("path_packets", help, path);
    if all.iter().any(|status| status.totals.qdisc_drops.is_some()) {
        let help = "Packets that the private pair's fq dropped, where the kernel has fq";
        registry.register("qdisc_drops", help, drops);
    }
    let help = "Wire packets on their way: held, to be delivered later";
    registry.register("in_flight_packets", help, in_flight);
}

fn outside(totals: &Totals) -> [(&'static str, u64); 8] {
    let sum = |of: fn(&RuleCounters) -> u64| totals.rules.values().map(of).sum();
    [
        ("unmatched", totals.path.unmatched),
        ("protected", totals.path.protected),
        ("unparseable", totals.path.unparseable),
        ("lapsed", totals.path.lapsed),
        ("unstamped", totals.path.unstamped),
        ("unowned", totals.path.unowned),
        ("failed_open", sum(|rule| rule.failed_open)),
        ("lost", sum(|rule| rule.lost)),
    ]
}

/// The same in the older text format of Prometheus, in which a metric is called as its samples are
/// (<https://prometheus.io/docs/instrumenting/exposition_formats>).
pub fn classic(open_metrics: &str) -> String {
    let mut out = String::with_capacity(open_metrics.len());
    let lines: Vec<_> = open_metrics.lines().collect();
    // What a family is comes after its help.
    let kind_of = |name: &str| {
        let mut kinds = lines.iter().filter_map(|line| line.strip_prefix("# TYPE "));
        kinds.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
    };
    for line in &lines {
        let Some(comment) = line.strip_prefix("# ") else {
            out.extend([line, "\n"]);
            continue;
        };
        let mut words = comment.splitn(3, ' ');
        let (Some(word @ ("HELP" | "TYPE")), Some(name), Some(rest)) =
            (words.next(), words.next(), words.next())
        else {
            continue;
        };
        let suffix = match kind_of(name) {
            Some("counter") => "_total",
            Some("info") => "_info",
            _ => "",
        };
        let rest = match (word, rest) {
            ("TYPE", "info") => "gauge",
            ("TYPE", "unknown") => "untyped",
            _ => rest,
        };
        out.extend(["# ", word, " ", name, suffix, " ", rest, "\n"]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_format_names_metrics_as_their_samples() {
        let new = "# HELP a Some help.\n# TYPE a counter\na_total{x=\"1\"} 3\n\
                   # HELP b_bytes More.\n# TYPE b_bytes gauge\n# UNIT b_bytes bytes\nb_bytes 4\n\
                   # HELP c Info.\n# TYPE c info\nc_info{v=\"#\"} 1\n# EOF\n";
        let old = "# HELP a_total Some help.\n# TYPE a_total counter\na_total{x=\"1\"} 3\n\
                   # HELP b_bytes More.\n# TYPE b_bytes gauge\nb_bytes 4\n\
                   # HELP c_info Info.\n# TYPE c_info gauge\nc_info{v=\"#\"} 1\n";
        assert_eq!(classic(new), old);
    }
}
