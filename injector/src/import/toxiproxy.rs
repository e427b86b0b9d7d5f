//! Toxiproxy's proxies and their toxics.
//!
//! The form is that of its HTTP interface, `/proxies` and `/populate` (README.md, `proxy.go`, `api.go` of
//! github.com/Shopify/toxiproxy); what toxics do is in its directory `toxics`: times in ms, rates in 1000
//! bytes a second. A proxy becomes the packets of a client to the upstream, which it then talks to itself.

use super::{
    document::{Node, Table},
    draft::{self, Draft, DraftRule},
    endpoint::{Endpoint, Host},
    flaw::{Flaw, Parsed, Place},
    note::Notes,
    quantity::{bandwidth, duration, fraction, integer},
};
use crate::{
    profile::{Delay, Direction, Drop, Protocol, Rate, Rule, Source, issue::Issue},
    units::{DurationNs, Probability, quote},
};

const TYPES: &str = "latency, bandwidth, timeout, slow_close, slicer, limit_data or reset_peer";

/// Reads proxies, one or several, or the toxics of one.
pub(super) fn read(source: &Source, only: Option<&str>) -> Parsed<Draft> {
    let mut notes = Notes::default();
    let proxies = proxies(Node::read(source)?)?;
    let names: Vec<String> = proxies.iter().map(|proxy| proxy.name.clone()).collect();
    let mut rules = Vec::new();
    for proxy in proxies {
        if only.is_none_or(|only| only == proxy.name) {
            rules.extend(proxy.rules(&mut notes)?);
        }
    }
    if rules.is_empty() {
        let issue = Issue::new(match only {
            Some(only) if !names.iter().any(|name| name == only) => {
                format!("there is no proxy {}", quote(only))
            }
            _ => "no proxy has a toxic with an equivalent".to_owned(),
        });
        let issue = issue.expected("toxics of latency, bandwidth or timeout");
        return Err(Flaw::new(issue.hint(all(&notes, &names)), Place::Text));
    }
    let name = match names.as_slice() {
        [name] => name.clone(),
        _ => only.unwrap_or("toxiproxy").to_owned(),
    };
    Ok(Draft::steady(&name, rules, notes))
}

fn all(notes: &Notes, names: &[String]) -> String {
    let toxics: Vec<String> = notes.iter().map(|note| note.what.clone()).collect();
    match toxics.is_empty() {
        true => format!("the proxies: {}", names.join(", ")),
        false => format!("without one: {}", toxics.join(", ")),
    }
}

/// One proxy.
struct Proxy {
    name: String,
    upstream: Option<Endpoint>,
    is_enabled: bool,
    toxics: Vec<Node>,
}

/// A list of proxies, a table of them by name, one of them, or the toxics of one.
fn proxies(node: Node) -> Parsed<Vec<Proxy>> {
    if node.value.is_sequence() {
        let nodes = node.list()?;
        if nodes
            .iter()
            .any(|node| node.value.get("upstream").is_some())
        {
            return nodes
                .into_iter()
                .map(|node| proxy("", node.table()?))
                .collect();
        }
        return Ok(vec![Proxy {
            name: "toxics".to_owned(),
            upstream: None,
            is_enabled: true,
            toxics: nodes,
        }]);
    }
    let table = node.table()?;
    if table.has("upstream") {
        return Ok(vec![proxy("", table)?]);
    }
    let named = table.rest().into_iter();
    named
        .map(|(name, node)| proxy(&name, node.table()?))
        .collect()
}

fn proxy(name: &str, mut table: Table) -> Parsed<Proxy> {
    let given = table.text("name")?;
    let enabled = table.text("enabled")?;
    Ok(Proxy {
        name: given.unwrap_or_else(|| name.to_owned()),
        upstream: table
            .text("upstream")?
            .map(|upstream| Endpoint::read(&upstream)),
        is_enabled: enabled.as_deref() != Some("false"),
        toxics: table.list("toxics")?,
    })
}

impl Proxy {
    /// A rule for each way that has toxics.
    fn rules(self, notes: &mut Notes) -> Parsed<Vec<DraftRule>> {
        match self.upstream.as_ref().map(|upstream| &upstream.host) {
            Some(Host::Unknown(host)) => notes.missing(
                format!("upstream {host} of {}", self.name),
                "neither an address nor the name of a host: the rules are about every address",
            ),
            None => notes.missing(
                "upstream",
                "these toxics name none: the rules are about all of TCP",
            ),
            _ => {}
        }
        notes.differs(
            "listen",
            "there is no proxy: clients talk to the upstream itself",
        );
        if !self.is_enabled {
            let what = format!("{}, which is not enabled", self.name);
            notes.differs(what, "connections are not refused, but get no answer");
            let rule = self.way(Direction::Egress);
            let drop = Some(Drop::independent(Probability::ALWAYS));
            return Ok(vec![Rule { drop, ..rule }.into()]);
        }
        let mut ways = [Direction::Egress, Direction::Ingress].map(|way| self.way(way));
        for node in &self.toxics {
            let mut toxic = node.clone().table()?;
            let stream = toxic.take("stream");
            let way = match stream.as_ref().map(Node::text).transpose()?.as_deref() {
                Some("upstream") => 0,
                Some("downstream") | None => 1,
                Some(other) => {
                    let issue = Issue::new(format!("{} is no stream", quote(other)));
                    return Err(node.flaw(issue.expected("`upstream` or `downstream`")));
                }
            };
            add(toxic, &mut ways[way], notes)?;
        }
        let has_fault =
            |rule: &Rule| rule.drop.is_some() || rule.delay.is_some() || rule.rate.is_some();
        Ok(ways.into_iter().filter(has_fault).map(Into::into).collect())
    }

    fn way(&self, direction: Direction) -> Rule {
        let suffix = match direction {
            Direction::Egress => "up",
            _ => "down",
        };
        let any = Endpoint {
            host: Host::Any,
            port: None,
        };
        let upstream = self.upstream.as_ref().unwrap_or(&any);
        let matching = upstream.matching(direction, Some(Protocol::TCP));
        draft::rule(&format!("{}-{suffix}", self.name), direction, matching)
    }
}

/// Adds one toxic to the rule of its way.
fn add(mut toxic: Table, rule: &mut Rule, notes: &mut Notes) -> Parsed<()> {
    let kind = toxic.required("type", TYPES)?;
    let name = toxic
        .text("name")?
        .unwrap_or_else(|| kind.text().unwrap_or_default());
    let toxicity = toxic.parsed("toxicity", fraction)?.unwrap_or(1.0);
    let what = format!("toxic {name}");
    if toxicity <= 0.0 {
        notes.differs(what, "its toxicity is 0, and it is left out");
        return Ok(());
    }
    if toxicity < 1.0 {
        let why = "a share of the connections; here the fault is that of all of them";
        notes.missing(format!("toxicity {toxicity} of {name}"), why);
    }
    let mut attributes = toxic
        .required("attributes", "what the toxic does")?
        .table()?;
    let mut number = |key: &str| -> Parsed<u64> {
        let number = attributes.parsed(key, integer)?;
        Ok(number.map_or(0, |number| number.max(0).unsigned_abs()))
    };
    let second =
        |notes: &mut Notes| notes.missing(&what, "a second one of its kind, and a rule has one");
    match kind.text()?.as_str() {
        "latency" if rule.delay.is_some() => second(notes),
        "latency" => rule.delay = latency(number("latency")?, number("jitter")?, &what, notes),
        "bandwidth" => {
            match number("rate")? {
                0 => rule.drop = Some(Drop::independent(Probability::ALWAYS)),
                _ if rule.rate.is_some() => second(notes),
                rate => {
                    let bits = rate.saturating_mul(8_000);
                    rule.rate = bandwidth(&what, bits, notes).map(Rate::plain);
                    notes.differs(&what, "it counts what the application sends; here headers and repetitions count, too");
                }
            }
        }
        "timeout" => {
            rule.drop = Some(Drop::independent(Probability::ALWAYS));
            notes.differs(
                &what,
                "packets are lost, those that acknowledge and open connections, too",
            );
            if number("timeout")? > 0 {
                notes.missing(
                    format!("timeout of {name}"),
                    "nothing closes the connection",
                );
            }
        }
        "slow_close" | "slicer" | "limit_data" | "reset_peer" => {
            notes.missing(
                format!("{what}, {}", kind.text()?),
                "it acts on a connection, not on packets",
            );
        }
        other => {
            let issue = Issue::new(format!("{} is no toxic", quote(other)));
            return Err(kind.flaw(issue.expected(TYPES)));
        }
    }
    Ok(())
}

/// Whatever the jitter, bytes of a stream stay in order.
fn latency(time_ms: u64, jitter_ms: u64, what: &str, notes: &mut Notes) -> Option<Delay> {
    let [time, mut jitter] =
        [time_ms, jitter_ms].map(|ms| duration(what, ms.saturating_mul(1_000_000), notes));
    if jitter > time {
        notes.missing(
            format!("jitter {jitter} of {what}"),
            "more than the latency, to which it is cut",
        );
        jitter = time;
    }
    notes.differs(
        what,
        "it delays what the application sends; here acknowledgements are delayed, too",
    );
    (time > DurationNs::ZERO).then_some(Delay {
        keep_order: jitter > DurationNs::ZERO,
        ..Delay::uniform(time, jitter)
    })
}
