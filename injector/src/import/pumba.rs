//! Command lines of pumba: `pumba netem … delay|loss|… …` and `pumba iptables … loss …`.
//!
//! The form is `cmd/commands.go`, `cmd/flags.go`, `pkg/chaos/netem/cmd` and `pkg/chaos/iptables/cmd` of
//! github.com/alexei-led/pumba, which calls `tc` and `iptables` with it (`pkg/runtime/docker`): times in ms,
//! shares in percent, durations as Go writes them. Each address and each port is a filter of its own there.

use super::{
    draft::{self, Draft, DraftPhase, DraftRule},
    endpoint::{Endpoint, Host},
    flags::{Flag, Given, parts},
    flaw::Parsed,
    netem::{self, Netem},
    note::Notes,
    quantity::{self, count, fraction, go_duration_ns, integer, milliseconds, percent, rate_bits},
    words::{self, Cursor, Word, join},
};
use crate::{
    profile::{Chance, Direction, Drop, Loss, Match, Protocol, Rule, issue::Issue},
    units::{PortRange, quote},
};

const GLOBAL: [Flag; 20] = [
    (&["interval", "i"], true),
    (&["host", "H"], true),
    (&["runtime"], true),
    (&["containerd-socket"], true),
    (&["containerd-namespace"], true),
    (&["podman-socket"], true),
    (&["tls"], false),
    (&["tlsverify"], false),
    (&["tlscacert"], true),
    (&["tlscert"], true),
    (&["tlskey"], true),
    (&["log-level", "l"], true),
    (&["json", "j"], false),
    (&["slackhook"], true),
    (&["slackchannel"], true),
    (&["label"], true),
    (&["random", "r"], false),
    (&["dry-run"], false),
    (&["skip-error"], false),
    (&["debug"], false),
];

const NETEM: [Flag; 8] = [
    (&["duration", "d"], true),
    (&["interface", "i"], true),
    (&["target", "t"], true),
    (&["egress-port", "egressPort"], true),
    (&["ingress-port", "ingressPort"], true),
    (&["tc-image"], true),
    (&["pull-image"], false),
    (&["limit"], true),
];

const IPTABLES: [Flag; 10] = [
    (&["duration", "d"], true),
    (&["interface", "i"], true),
    (&["protocol", "p"], true),
    (&["source", "src", "s"], true),
    (&["destination", "dest"], true),
    (&["src-port", "sport"], true),
    (&["dst-port", "dport"], true),
    (&["iptables-image"], true),
    (&["pull-image"], false),
    (&["limit"], true),
];

const ACTIONS: [(&str, &[Flag]); 7] = [
    (
        "delay",
        &[
            (&["time", "t"], true),
            (&["jitter", "j"], true),
            (&["correlation", "c"], true),
            (&["distribution", "d"], true),
        ],
    ),
    (
        "loss",
        &[(&["percent", "p"], true), (&["correlation", "c"], true)],
    ),
    (
        "loss-state",
        &[
            (&["p13"], true),
            (&["p31"], true),
            (&["p32"], true),
            (&["p23"], true),
            (&["p14"], true),
        ],
    ),
    (
        "loss-gemodel",
        &[
            (&["pg", "p"], true),
            (&["pb", "r"], true),
            (&["one-h"], true),
            (&["one-k"], true),
        ],
    ),
    (
        "duplicate",
        &[(&["percent", "p"], true), (&["correlation", "c"], true)],
    ),
    (
        "corrupt",
        &[(&["percent", "p"], true), (&["correlation", "c"], true)],
    ),
    (
        "rate",
        &[
            (&["rate", "r"], true),
            (&["packetoverhead", "p"], true),
            (&["cellsize", "s"], true),
            (&["celloverhead", "c"], true),
        ],
    ),
];

const STATISTIC: [Flag; 4] = [
    (&["mode"], true),
    (&["probability"], true),
    (&["every"], true),
    (&["packet"], true),
];

/// Reads the only command there is.
pub(super) fn read(text: &str) -> Parsed<Draft> {
    let mut notes = Notes::default();
    let command = words::only_command(text, "pumba", "pumba netem …")?;
    let mut cursor = Cursor::behind(&command);
    let global = Given::read(&mut cursor, &GLOBAL)?;
    for flag in ["label", "random"] {
        if let Some(word) = global.get(flag) {
            notes.missing(format!("{flag} {}", word.text), CONTAINERS);
        }
    }
    let what = cursor.required("`netem` or `iptables`")?;
    let (rules, base) = match what.text.as_str() {
        "netem" => netem(&mut cursor, &mut notes)?,
        "iptables" => iptables(&mut cursor, &mut notes)?,
        _ => {
            let issue = Issue::new(format!(
                "{} is nothing that happens to packets",
                quote(&what.text)
            ));
            return Err(what.flaw(issue.expected("`netem` or `iptables`")));
        }
    };
    if let Some(limit) = base.get("limit") {
        notes.missing(format!("limit {}", limit.text), CONTAINERS);
    }
    if !cursor.rest().is_empty() {
        notes.missing(join(cursor.rest()), CONTAINERS);
    }
    let name = format!("pumba-{}", what.text);
    course(&name, rules, &base, &global, notes)
}

const CONTAINERS: &str =
    "which containers are meant: run it in their network namespace, `--netns pid:N`";

/// For how long, and how often.
fn course(
    name: &str,
    rules: Vec<DraftRule>,
    base: &Given,
    global: &Given,
    mut notes: Notes,
) -> Parsed<Draft> {
    let Some(word) = base.get("duration") else {
        notes.missing(
            "no duration",
            "pumba wants one; the rules are in force until the run ends",
        );
        return Ok(Draft::steady(name, rules, notes));
    };
    let nanos = word.parse(go_duration_ns)?;
    if nanos == 0 {
        return Err(word.flaw(Issue::new("no time at all").expected("a duration such as 5m")));
    }
    let interval = match global.get("interval") {
        Some(word) => Some((word, word.parse(go_duration_ns)?)),
        None => None,
    };
    let interval = interval.filter(|(_, interval)| *interval > 0);
    let mut phases = vec![DraftPhase {
        name: "chaos".to_owned(),
        duration: Some(quantity::duration("duration", nanos, &mut notes)),
        rules,
    }];
    if let Some((word, interval)) = interval {
        let Some(rest) = interval.checked_sub(nanos).filter(|rest| *rest > 0) else {
            let issue = Issue::new("the interval is not longer than the duration");
            return Err(word.flaw(issue.expected("as pumba has it, a longer one")));
        };
        phases.push(DraftPhase {
            name: "rest".to_owned(),
            duration: Some(quantity::duration("interval", rest, &mut notes)),
            rules: Vec::new(),
        });
    }
    let mut draft = Draft::phased(name, phases, notes);
    draft.repeats = interval.is_some();
    Ok(draft)
}

fn netem(cursor: &mut Cursor<'_>, notes: &mut Notes) -> Parsed<(Vec<DraftRule>, Given)> {
    let base = Given::read(cursor, &NETEM)?;
    let names = ACTIONS.map(|(name, _)| name);
    let action = cursor.required("an action, such as delay")?;
    let known = ACTIONS.iter().find(|(name, _)| *name == action.text);
    let (name, flags) = known.ok_or_else(|| action.unknown("an action of netem", &names))?;
    let netem = emulation(name, &Given::read(cursor, flags)?)?;
    let mut matches = Vec::new();
    let nets = nets(&base, "target")?;
    if !nets.is_empty() {
        matches.push(Match {
            dst: nets,
            ..Match::default()
        });
    }
    let ports = |name| ports(&base, name);
    let (src_port, dst_port) = (ports("egress-port")?, ports("ingress-port")?);
    if !src_port.is_empty() {
        matches.push(Match {
            src_port,
            ..Match::default()
        });
    }
    if !dst_port.is_empty() {
        matches.push(Match {
            dst_port,
            ..Match::default()
        });
    }
    if matches.is_empty() {
        matches.push(Match::default());
    }
    if matches.len() > 1 && netem.rate.is_some() {
        notes.missing(
            "rate",
            "the targets share it there; here each rule has it for itself",
        );
    }
    let rule = |matching| netem.rule(draft::rule(name, Direction::Egress, matching), notes);
    Ok((matches.into_iter().map(rule).collect(), base))
}

fn emulation(action: &str, flags: &Given) -> Parsed<Netem> {
    let share = |name: &str, default: f64| {
        flags
            .get(name)
            .map_or(Ok(default), |word| word.parse(percent))
    };
    let chance = || -> Parsed<netem::Chance> {
        Ok(netem::Chance {
            share: share("percent", 0.0)?,
            correlation: share("correlation", 0.0)?,
        })
    };
    let mut netem = Netem::default();
    match action {
        "delay" => {
            let time = |name, default| {
                flags
                    .get(name)
                    .map_or(Ok(default), |word: &Word| word.parse(milliseconds))
            };
            netem.delay = Some(netem::Delay {
                time_ns: time("time", 100_000_000)?,
                jitter_ns: time("jitter", 10_000_000)?,
                correlation: share("correlation", 0.2)?,
            });
            let distribution = flags
                .get("distribution")
                .filter(|word| !word.text.is_empty());
            netem.distribution = distribution.map(|word| word.text.clone());
        }
        "loss" => netem.loss = Some(netem::Loss::Random(chance()?)),
        "loss-state" => {
            netem.loss = Some(netem::Loss::State {
                p13: share("p13", 0.0)?,
                p31: share("p31", 1.0)?,
                p32: share("p32", 0.0)?,
                p23: share("p23", 1.0)?,
                p14: share("p14", 0.0)?,
            });
        }
        "loss-gemodel" => {
            netem.loss = Some(netem::Loss::Gemodel {
                p: share("pg", 0.0)?,
                r: share("pb", 1.0)?,
                one_minus_h: share("one-h", 1.0)?,
                one_minus_k: share("one-k", 0.0)?,
            });
        }
        "duplicate" => netem.duplicate = Some(chance()?),
        "corrupt" => netem.corrupt = Some(chance()?),
        _ => {
            let whole = |name| {
                flags
                    .get(name)
                    .map_or(Ok(0), |word: &Word| word.parse(integer))
            };
            netem.rate = Some(netem::Rate {
                bits: flags
                    .get("rate")
                    .map_or(Ok(100_000), |word| word.parse(rate_bits))?,
                packet_overhead: whole("packetoverhead")?,
                cell_size: u64::try_from(whole("cellsize")?).unwrap_or(0),
                cell_overhead: whole("celloverhead")?,
            });
        }
    }
    Ok(netem)
}

fn iptables(cursor: &mut Cursor<'_>, notes: &mut Notes) -> Parsed<(Vec<DraftRule>, Given)> {
    let base = Given::read(cursor, &IPTABLES)?;
    let action = cursor.required("`loss`")?;
    if action.text != "loss" {
        return Err(action.unknown("an action of iptables", &["loss"]));
    }
    let drop = Drop {
        loss: Loss::Chance(statistic(&Given::read(cursor, &STATISTIC)?, notes)?),
        ecn: false,
    };
    let protocols = ["any", "tcp", "udp", "icmp"];
    let protocol = match base.get("protocol") {
        None => None,
        Some(word) => match word.text.as_str() {
            "any" => None,
            "tcp" => Some(Protocol::TCP),
            "udp" => Some(Protocol::UDP),
            "icmp" => Some(Protocol::Icmp),
            _ => return Err(word.unknown("a protocol", &protocols)),
        },
    };
    let any = Match {
        protocol,
        ..Match::default()
    };
    let (src, dst) = (nets(&base, "source")?, nets(&base, "destination")?);
    let (src_port, dst_port) = (ports(&base, "src-port")?, ports(&base, "dst-port")?);
    let all = [
        (!src.is_empty(), Match { src, ..any.clone() }),
        (!dst.is_empty(), Match { dst, ..any.clone() }),
        (
            !src_port.is_empty(),
            Match {
                src_port,
                ..any.clone()
            },
        ),
        (
            !dst_port.is_empty(),
            Match {
                dst_port,
                ..any.clone()
            },
        ),
    ];
    let mut matches: Vec<Match> = all
        .into_iter()
        .filter_map(|(is_given, matching)| is_given.then_some(matching))
        .collect();
    if matches.is_empty() {
        matches.push(any);
    }
    let rule = |matching| {
        let base = draft::rule("loss", Direction::Ingress, matching);
        Rule {
            drop: Some(drop.clone()),
            ..base
        }
        .into()
    };
    Ok((matches.into_iter().map(rule).collect(), base))
}

/// iptables' statistic: a probability, or one packet of each `every`.
fn statistic(flags: &Given, notes: &mut Notes) -> Parsed<Chance> {
    match flags.get("mode") {
        Some(word) if word.text == "nth" => {
            let every = flags.get("every").map_or(Ok(0), |word| word.parse(count))?;
            if every == 0 {
                let issue = Issue::new("mode nth without `every`");
                return Err(word.flaw(issue.expected("`--every N`, of 1 or more")));
            }
            let packet = flags
                .get("packet")
                .map_or(Ok(0), |word| word.parse(count))?;
            if packet + 1 != every {
                let what = format!("every {every}, packet {packet}");
                notes.differs(
                    what,
                    "here it is the last packet of each that many, not that one",
                );
            }
            Ok(Chance::Every(every))
        }
        Some(word) if word.text != "random" => Err(word.unknown("a mode", &["random", "nth"])),
        _ => {
            let share = flags
                .get("probability")
                .map_or(Ok(0.0), |word| word.parse(fraction))?;
            Ok(Chance::independent(quantity::chance(share)))
        }
    }
}

fn nets(flags: &Given, name: &str) -> Parsed<Vec<ipnet::IpNet>> {
    let words = flags.all(name).flat_map(parts);
    let net = |word: Word| match Endpoint::read(&word.text) {
        Endpoint {
            host: Host::Network(network),
            port: None,
        } => Ok(network.net()),
        _ => Err(word
            .flaw(Issue::new("no address").expected("an address or a network such as 10.0.0.0/8"))),
    };
    words.map(net).collect()
}

fn ports(flags: &Given, name: &str) -> Parsed<Vec<PortRange>> {
    let words = flags.all(name).flat_map(parts);
    let port = |word: Word| match word.text.parse() {
        Ok(port) => PortRange::new(port, port).ok_or_else(|| word.flaw(Issue::new("no port"))),
        Err(_) => Err(word.flaw(Issue::new("no port").expected("a port such as 80"))),
    };
    words.map(port).collect()
}
