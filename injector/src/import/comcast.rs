//! Command lines of comcast.
//!
//! The form is `comcast.go` and `throttler/tc.go` of github.com/tylertreat/comcast: latency in ms, bandwidths
//! in kbit/s, a loss in percent. On Linux it makes netem and htb of them, for what leaves.

use super::{
    draft::{self, Draft, DraftRule},
    endpoint::{Endpoint, Host, Remote},
    flags::{Flag, Given, parts},
    flaw::Parsed,
    netem::{self, Netem},
    note::Notes,
    quantity::{bandwidth, integer, percent},
    words::{self, Cursor, Word},
};
use crate::{
    profile::{Direction, Match, Protocol, Rate, Rule, issue::Issue},
    units::PortRange,
};

const FLAGS: [Flag; 11] = [
    (&["device"], true),
    (&["stop"], false),
    (&["latency"], true),
    (&["target-bw"], true),
    (&["default-bw"], true),
    (&["packet-loss"], true),
    (&["target-addr"], true),
    (&["target-port"], true),
    (&["target-proto"], true),
    (&["dry-run"], false),
    (&["version"], false),
];

/// Reads the only command there is.
pub(super) fn read(text: &str) -> Parsed<Draft> {
    let mut notes = Notes::default();
    let command = words::only_command(text, "comcast", "comcast --latency=250 …")?;
    let mut cursor = Cursor::behind(&command);
    let flags = Given::read(&mut cursor, &FLAGS)?;
    if let Some(word) = cursor.peek() {
        return Err(word.unknown("a flag", &["--latency", "--packet-loss", "--target-bw"]));
    }
    if let Some(word) = flags.get("stop") {
        let issue = Issue::new("this ends faults, and makes none");
        return Err(word.flaw(issue.expected("`--latency`, `--target-bw` or `--packet-loss`")));
    }
    let mut rules = targets(&flags, &mut notes)?;
    let netem = netem(&flags)?;
    for rule in &mut rules {
        *rule = netem.rule(rule.rule.clone(), &mut notes);
    }
    rules.extend(fast_lane(&flags, &mut notes)?);
    Ok(Draft::steady("comcast", rules, notes))
}

/// A number that is not set where it is below 0.
fn set(flags: &Given, name: &str) -> Parsed<Option<u64>> {
    let number = flags
        .get(name)
        .map(|word| word.parse(integer))
        .transpose()?;
    Ok(number.and_then(|number| u64::try_from(number).ok()))
}

fn netem(flags: &Given) -> Parsed<Netem> {
    let share = flags
        .get("packet-loss")
        .map_or(Ok(0.0), |word| word.parse(percent))?;
    let loss = (share > 0.0).then_some(netem::Chance {
        share,
        correlation: 0.0,
    });
    let delay = set(flags, "latency")?
        .filter(|ms| *ms > 0)
        .map(|ms| netem::Delay {
            time_ns: ms.saturating_mul(1_000_000),
            ..netem::Delay::default()
        });
    let rate = set(flags, "target-bw")?.map(|kbit| netem::Rate {
        bits: kbit.saturating_mul(1000),
        ..netem::Rate::default()
    });
    Ok(Netem {
        delay,
        loss: loss.map(netem::Loss::Random),
        rate,
        ..Netem::default()
    })
}

/// The packets that are meant: rules without faults.
fn targets(flags: &Given, notes: &mut Notes) -> Parsed<Vec<DraftRule>> {
    let mut nets = Vec::new();
    for word in flags.get("target-addr").into_iter().flat_map(parts) {
        match Endpoint::read(&word.text) {
            Endpoint {
                host: Host::Network(network),
                port: None,
            } => nets.push(network.net()),
            _ => {
                let issue = Issue::new("no address")
                    .expected("an address or a network, as comcast takes them");
                return Err(word.flaw(issue));
            }
        }
    }
    let ports = flags
        .get("target-port")
        .into_iter()
        .flat_map(parts)
        .map(|word| port(&word));
    let ports: Vec<_> = ports.collect::<Parsed<_>>()?;
    let has_ports = !ports.is_empty();
    let matching = |protocol: Option<Protocol>| {
        let ports = match protocol {
            Some(Protocol::Icmp) => Vec::new(),
            _ => ports.clone(),
        };
        let remote = Remote {
            nets: nets.clone(),
            ports,
            ..Remote::default()
        };
        let matching = remote.matching(Direction::Egress, protocol);
        draft::rule("target", Direction::Egress, matching).into()
    };
    let protocols = protocols(flags)?;
    let all = [Protocol::TCP, Protocol::UDP, Protocol::Icmp];
    let has_all = all.iter().all(|protocol| protocols.contains(protocol));
    let rules: Vec<DraftRule> = match has_all && !has_ports {
        true => {
            notes.differs(
                "target-proto tcp,udp,icmp",
                "other protocols are meant, too",
            );
            vec![matching(None)]
        }
        false => protocols.into_iter().map(Some).map(matching).collect(),
    };
    if rules.len() > 1 && flags.get("target-bw").is_some() {
        notes.missing(
            "target-bw",
            "the protocols share it there; here each rule has it for itself",
        );
    }
    Ok(rules)
}

fn protocols(flags: &Given) -> Parsed<Vec<Protocol>> {
    let known = ["tcp", "udp", "icmp"];
    let Some(word) = flags.get("target-proto") else {
        return Ok(vec![Protocol::TCP, Protocol::UDP, Protocol::Icmp]);
    };
    let mut protocols = Vec::new();
    for word in parts(word) {
        let protocol = match word.text.to_lowercase().as_str() {
            "tcp" => Protocol::TCP,
            "udp" => Protocol::UDP,
            "icmp" => Protocol::Icmp,
            _ => return Err(word.unknown("a protocol", &known)),
        };
        if !protocols.contains(&protocol) {
            protocols.push(protocol);
        }
    }
    Ok(protocols)
}

/// A port, or a range as `1000:2000`.
fn port(word: &Word) -> Parsed<PortRange> {
    let (first, last) = word
        .text
        .split_once(':')
        .unwrap_or((&word.text, &word.text));
    let range = first.parse().ok().zip(last.parse().ok());
    range
        .and_then(|(first, last)| PortRange::new(first, last))
        .ok_or_else(|| {
            let issue =
                Issue::new("no port").expected("a port such as 80, or a range such as 1000:2000");
            word.flaw(issue)
        })
}

/// What is no target.
fn fast_lane(flags: &Given, notes: &mut Notes) -> Parsed<Option<DraftRule>> {
    let Some(kbit) = set(flags, "default-bw")?.filter(|kbit| *kbit > 0) else {
        return Ok(None);
    };
    let rate = bandwidth("default-bw", kbit.saturating_mul(1000), notes).map(Rate::plain);
    let rule = draft::rule("default", Direction::Egress, Match::default());
    Ok(rate.is_some().then_some(Rule { rate, ..rule }.into()))
}
