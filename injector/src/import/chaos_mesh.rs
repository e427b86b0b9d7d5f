//! NetworkChaos of Chaos Mesh.
//!
//! The form is `api/v1alpha1/networkchaos_types.go` and `podnetworkchaos_types.go` of
//! github.com/chaos-mesh/chaos-mesh; what becomes of it there, netem and tbf, is `pkg/netem/convert.go` and
//! `controllers/podnetworkchaos`. Shares are percentages without a sign, and rates are tc's, where `mbps` is
//! bytes.

use super::{
    document::{Node, Table},
    draft::{self, Draft, DraftPhase, DraftRule},
    endpoint::{Endpoint, Host, Remote},
    flaw::{Flaw, Parsed, Place},
    netem::{self, Netem},
    note::Notes,
    quantity::{self, bandwidth, count, go_duration_ns, percent, rate_bits},
};
use crate::{
    profile::{Direction, Drop, Match, QueueLimit, Rate, Rule, Source, issue::Issue},
    units::{DurationNs, Probability, Size, quote},
};

const KIND: &str = "NetworkChaos";
const ACTIONS: &str = "netem, delay, loss, duplicate, corrupt, partition or bandwidth";
/// What says which pods are meant.
const SELECTORS: [&str; 7] = [
    "mode",
    "value",
    "selector",
    "containerNames",
    "device",
    "targetDevice",
    "remoteCluster",
];

/// The document of the experiment that is meant.
pub(super) fn choose(source: &Source, only: Option<&str>) -> Parsed<Source> {
    let mut names = Vec::new();
    let mut fitting = Vec::new();
    for document in source.documents() {
        let node = Node::read(&document)?;
        let text_at = |keys: &[&str]| {
            let value = keys
                .iter()
                .try_fold(&node.value, |value, key| value.get(*key));
            value.and_then(|value| value.as_str()).map(str::to_owned)
        };
        if text_at(&["kind"]).as_deref() != Some(KIND) {
            continue;
        }
        let name = text_at(&["metadata", "name"]).unwrap_or_default();
        if only.is_none_or(|only| only == name) {
            fitting.push(document);
        }
        names.push(name);
    }
    let refuse = |issue: Issue| Err(Flaw::new(issue, Place::Text));
    match (fitting.len(), only) {
        (1, _) => Ok(fitting.remove(0)),
        (0, Some(only)) if !names.is_empty() => {
            let issue = Issue::new(format!("there is no {KIND} {}", quote(only)));
            refuse(issue.expected(format!("one of {}", names.join(", "))))
        }
        (0, _) => refuse(
            Issue::new(format!("there is no {KIND} in it")).expected(format!("`kind: {KIND}`")),
        ),
        _ => {
            let issue = Issue::new(format!("{} experiments, and a profile is one", names.len()));
            let issue = issue.expected(format!("one of {}", names.join(", ")));
            refuse(issue.hint("choose with `--only NAME`"))
        }
    }
}

/// Reads one experiment.
pub(super) fn read(source: &Source) -> Parsed<Draft> {
    let mut notes = Notes::default();
    let mut document = Node::read(source)?.table()?;
    let name = match document.table("metadata")? {
        Some(mut metadata) => metadata.text("name")?,
        None => None,
    };
    let mut spec = document
        .required("spec", "what the experiment does")?
        .table()?;
    for key in SELECTORS {
        if let Some(node) = spec.take(key) {
            let why = "which pods are meant: run it in their network namespace, `--netns pid:N`";
            notes.missing(node, why);
        }
    }
    let duration = spec.parsed("duration", go_duration_ns)?;
    let faults = faults(&mut spec, &mut notes)?;
    let ways = ways(&mut spec, &mut notes)?;
    let egress = ways.iter().filter(|(way, _)| *way != Direction::Ingress);
    if faults.has_rate() && egress.count() > 1 {
        notes.missing(
            "rate",
            "the targets share it there; here each rule has it for itself",
        );
    }
    let rule = |(direction, matching)| faults.rule(direction, matching, &mut notes);
    let rules = ways.into_iter().map(rule).collect();
    spec.note_rest("not known of a NetworkChaos", &mut notes);
    let name = name.unwrap_or_else(|| "network-chaos".to_owned());
    let phase = DraftPhase {
        duration: duration.map(|nanos| quantity::duration("duration", nanos, &mut notes)),
        name: "chaos".to_owned(),
        rules,
    };
    if phase.duration == Some(DurationNs::ZERO) {
        let issue = Issue::new("the experiment takes no time").expected("a duration above 0");
        return Err(Flaw::new(issue, Place::Text));
    }
    Ok(Draft::phased(&name, vec![phase], notes))
}

/// What happens to the packets.
enum Faults {
    Netem(Box<Netem>),
    Bandwidth(Option<Rate>),
    Partition,
}

impl Faults {
    fn has_rate(&self) -> bool {
        match self {
            Self::Netem(netem) => netem.rate.is_some(),
            Self::Bandwidth(rate) => rate.is_some(),
            Self::Partition => false,
        }
    }

    fn rule(&self, direction: Direction, matching: Match, notes: &mut Notes) -> DraftRule {
        let base = draft::rule("chaos", direction, matching);
        match self {
            Self::Netem(netem) => netem.rule(base, notes),
            Self::Bandwidth(rate) => Rule {
                rate: rate.clone(),
                ..base
            }
            .into(),
            Self::Partition => Rule {
                drop: Some(Drop::independent(Probability::ALWAYS)),
                ..base
            }
            .into(),
        }
    }
}

fn faults(spec: &mut Table, notes: &mut Notes) -> Parsed<Faults> {
    let action = spec.required("action", "what happens to the packets")?;
    match action.text()?.as_str() {
        "netem" | "delay" | "loss" | "duplicate" | "corrupt" => {
            let netem = emulation(spec)?;
            if netem == Netem::default() {
                let issue = Issue::new("an experiment without a fault");
                return Err(action
                    .flaw(issue.expected("`delay`, `loss`, `duplicate`, `corrupt` or `rate`")));
            }
            Ok(Faults::Netem(Box::new(netem)))
        }
        "bandwidth" => {
            let table = spec.required("bandwidth", "the bandwidth")?.table()?;
            bottleneck(table, notes).map(Faults::Bandwidth)
        }
        "partition" => Ok(Faults::Partition),
        other => {
            let issue = Issue::new(format!("{} is no action", quote(other)));
            Err(action.flaw(issue.expected(ACTIONS)))
        }
    }
}

fn emulation(spec: &mut Table) -> Parsed<Netem> {
    let mut netem = Netem {
        loss: chance(spec, "loss")?.map(netem::Loss::Random),
        duplicate: chance(spec, "duplicate")?,
        corrupt: chance(spec, "corrupt")?,
        ..Netem::default()
    };
    if let Some(mut delay) = spec.table("delay")? {
        netem.delay = Some(netem::Delay {
            time_ns: delay
                .required("latency", "the delay")?
                .parse(go_duration_ns)?,
            jitter_ns: delay.parsed("jitter", go_duration_ns)?.unwrap_or(0),
            correlation: delay.parsed("correlation", percent)?.unwrap_or(0.0),
        });
        let reorder = delay.table("reorder")?;
        if let Some(mut reorder) = reorder {
            netem.gap = reorder.parsed("gap", count)?;
            netem.reorder = Some(share(&mut reorder, "reorder")?);
        }
    }
    if let Some(mut rate) = spec.table("rate")? {
        netem.rate = Some(netem::Rate {
            bits: rate.required("rate", "the rate")?.parse(rate_bits)?,
            ..netem::Rate::default()
        });
    }
    Ok(netem)
}

/// A fault whose share has the same key as the fault.
fn chance(spec: &mut Table, key: &str) -> Parsed<Option<netem::Chance>> {
    let table = spec.table(key)?;
    table.map(|mut table| share(&mut table, key)).transpose()
}

fn share(table: &mut Table, key: &str) -> Parsed<netem::Chance> {
    Ok(netem::Chance {
        share: table.required(key, "a percentage")?.parse(percent)?,
        correlation: table.parsed("correlation", percent)?.unwrap_or(0.0),
    })
}

/// tbf: `limit` is what may wait, and `buffer` what may go at once.
fn bottleneck(mut table: Table, notes: &mut Notes) -> Parsed<Option<Rate>> {
    let bits = table.required("rate", "the rate")?.parse(rate_bits)?;
    let limit = table.parsed("limit", count)?.filter(|bytes| *bytes > 0);
    let burst = table.parsed("buffer", count)?.unwrap_or(0);
    table.note_rest(
        "the peak rate of a token bucket; here a burst goes as fast as the device",
        notes,
    );
    let queue = limit.map(|bytes| QueueLimit::Bytes(Size::from_bytes(bytes)));
    Ok(bandwidth("bandwidth", bits, notes).map(|bandwidth| {
        let plain = Rate::plain(bandwidth);
        Rate {
            burst: Size::from_bytes(burst),
            queue: queue.unwrap_or(plain.queue),
            ..plain
        }
    }))
}

/// The directions, and the packets that are meant in each.
fn ways(spec: &mut Table, notes: &mut Notes) -> Parsed<Vec<(Direction, Match)>> {
    let targets = spec.list("externalTargets")?;
    let targets = targets
        .iter()
        .map(|node| Ok(Endpoint::read(&node.text()?)))
        .collect::<Parsed<Vec<_>>>()?;
    if let Some(target) = spec.take("target") {
        let why = "pods have no address here: the rules are about every one, until you write theirs into `match`";
        notes.missing(target, why);
    }
    let directions = match spec.take("direction") {
        None => vec![Direction::Egress],
        Some(node) => match node.text()?.as_str() {
            "to" => vec![Direction::Egress],
            "from" => vec![Direction::Ingress],
            "both" if targets.is_empty() => vec![Direction::Both],
            "both" => vec![Direction::Egress, Direction::Ingress],
            other => {
                let issue = Issue::new(format!("{} is no direction", quote(other)));
                return Err(node.flaw(issue.expected("`to`, `from` or `both`")));
            }
        },
    };
    let all = match targets.is_empty() {
        true => vec![Remote::default()],
        false => by_port(&targets, notes)?,
    };
    let way = |direction| {
        let matching = move |remote: &Remote| (direction, remote.clone().matching(direction, None));
        all.iter().map(matching).collect::<Vec<_>>()
    };
    Ok(directions.into_iter().flat_map(way).collect())
}

/// Targets that are meant with the same port.
fn by_port(targets: &[Endpoint], notes: &mut Notes) -> Parsed<Vec<Remote>> {
    let mut groups: Vec<Remote> = Vec::new();
    for Endpoint { host, port } in targets {
        if let Host::Unknown(text) = host {
            let why = "neither an address nor the name of a host; it is left out";
            notes.missing(format!("externalTargets: {text}"), why);
            continue;
        }
        let ports: Vec<_> = port.map(Into::into).into_iter().collect();
        let known = groups.iter().position(|group| group.ports == ports);
        let at = known.unwrap_or_else(|| {
            groups.push(Remote {
                ports,
                ..Remote::default()
            });
            groups.len() - 1
        });
        groups[at].add(host);
    }
    if groups.is_empty() {
        let issue = Issue::new("no external target is an address or a name");
        let issue = issue.expected("such as 10.0.0.1, 10.0.0.0/8:22 or db.example.com:5432");
        return Err(Flaw::new(issue, Place::Text));
    }
    Ok(groups)
}
