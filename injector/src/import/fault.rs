//! Run documents of fault-cli (`fault run FILE`), of version 1 of their form.
//!
//! The form is that of the crates fault-model and fault-cli 1.2 (github.com/fault-project/fault): proxies, and
//! phases with chains of faults for each: times in ms, rates in bytes a second, flows `to-upstream` and
//! `to-client`. A proxy becomes the packets of a client to the upstream, which it then talks to itself.

use super::{
    document::{Node, Table},
    draft::{self, Draft, DraftPhase, DraftRule},
    endpoint::{Endpoint, Host},
    flaw::{Flaw, Parsed, Place},
    note::Notes,
    quantity::{bandwidth, count, duration, fraction, milliseconds},
};
use crate::{
    profile::{Delay, Direction, Distribution, Drop, Protocol, Rate, Rule, Source, issue::Issue},
    units::{DurationNs, Probability, quote},
};

const TYPES: &str = "latency, jitter, bandwidth, blackhole, connection-reset or dns";
const FLOWS: &str = "`to-upstream`, `to-client` or `both`";

/// Reads a run; with `only`, of one proxy.
pub(super) fn read(source: &Source, only: Option<&str>) -> Parsed<Draft> {
    let mut notes = Notes::default();
    let mut run = Node::read(source)?.table()?;
    if let Some(version) = run.take("schema_version")
        && version.text()? != "1"
    {
        let issue = Issue::new("another version of the form").expected("1");
        return Err(version.flaw(issue));
    }
    let name = run.required("name", "the name of the run")?.text()?;
    let proxies = run
        .list("proxies")?
        .into_iter()
        .map(|node| proxy(node, &mut notes));
    let mut proxies: Vec<Proxy> = proxies.collect::<Parsed<_>>()?;
    if let Some(only) = only {
        proxies.retain(|proxy| proxy.name == only);
    }
    if proxies.is_empty() {
        let issue = Issue::new("no proxy whose packets could be meant");
        return Err(Flaw::new(
            issue.expected("a list `proxies`, with that of `--only`"),
            Place::Text,
        ));
    }
    let phases = run.required("phases", "a list of phases")?.list()?;
    let count = phases.len();
    let phases = phases
        .into_iter()
        .map(|node| phase(node, &proxies, only, count > 1, &mut notes));
    let phases: Vec<DraftPhase> = phases.collect::<Parsed<_>>()?;
    run.note_rest("not known of a run document", &mut notes);
    if phases.iter().all(|phase| phase.rules.is_empty()) {
        let issue = Issue::new("no phase has a fault with an equivalent");
        return Err(Flaw::new(
            issue.expected("latency, jitter, bandwidth or blackhole"),
            Place::Text,
        ));
    }
    Ok(Draft::phased(&name, phases, notes))
}

struct Proxy {
    name: String,
    protocol: Protocol,
    upstream: Endpoint,
}

fn proxy(node: Node, notes: &mut Notes) -> Parsed<Proxy> {
    let mut table = node.table()?;
    let name = table.required("name", "the name of the proxy")?.text()?;
    let protocol = table.required("protocol", "`tcp` or `udp`")?;
    let upstream = table.required("upstream", "where it sends")?;
    let proxy = Proxy {
        name,
        protocol: match protocol.text()?.as_str() {
            "tcp" => Protocol::TCP,
            "udp" => Protocol::UDP,
            other => {
                let issue = Issue::new(format!("{} is no transport", quote(other)));
                return Err(protocol.flaw(issue.expected("`tcp` or `udp`")));
            }
        },
        upstream: Endpoint::read(&upstream.text()?),
    };
    if let Host::Unknown(_) = proxy.upstream.host {
        let why = "neither an address nor the name of a host: the rules are about every address";
        notes.missing(upstream, why);
    }
    notes.differs(
        "listen",
        "there is no proxy: clients talk to the upstream itself",
    );
    Ok(proxy)
}

fn phase(
    node: Node,
    proxies: &[Proxy],
    only: Option<&str>,
    is_one_of_many: bool,
    notes: &mut Notes,
) -> Parsed<DraftPhase> {
    let mut table = node.table()?;
    let name = table.required("name", "the name of the phase")?.text()?;
    let lasting = table.take("duration");
    let lasting = lasting.map(|node| {
        let read = |text: &str| {
            let time = humantime::parse_duration(text);
            let nanos = time
                .ok()
                .and_then(|time| u64::try_from(time.as_nanos()).ok())
                .filter(|nanos| *nanos > 0);
            nanos
                .ok_or_else(|| Issue::new("no duration").expected("a duration such as 250ms or 2m"))
        };
        node.parse(read)
    });
    let mut lasting = lasting
        .transpose()?
        .map(|nanos| duration("duration", nanos, notes));
    if is_one_of_many && lasting.is_none() {
        notes.missing(
            format!("phase {name}, without a duration"),
            "it lasts an hour, and the run ends",
        );
        lasting = Some(DurationNs::MAX);
    }
    let mut rules = Vec::new();
    for node in table.list("proxies")? {
        let path = node.path.key("proxy");
        let mut chain = node.table()?;
        let called = chain.required("proxy", "the name of a proxy")?.text()?;
        let Some(proxy) = proxies.iter().find(|proxy| proxy.name == called) else {
            if only.is_some() {
                continue;
            }
            let issue = Issue::new(format!("there is no proxy {}", quote(&called)));
            return Err(Flaw::new(
                issue.expected("one of `proxies`"),
                Place::Field(path),
            ));
        };
        rules.extend(proxy.rules(chain.list("faults")?, notes)?);
    }
    Ok(DraftPhase {
        name: draft::name_of(&name),
        duration: lasting,
        rules,
    })
}

impl Proxy {
    /// A rule for each way that has faults.
    fn rules(&self, faults: Vec<Node>, notes: &mut Notes) -> Parsed<Vec<DraftRule>> {
        let ways = [(Direction::Egress, "up"), (Direction::Ingress, "down")];
        let mut rules = ways.map(|(direction, suffix)| {
            let matching = self.upstream.matching(direction, Some(self.protocol));
            draft::rule(&format!("{}-{suffix}", self.name), direction, matching)
        });
        for node in faults {
            let mut fault = node.clone().table()?;
            let flow = fault.take("flow");
            let chosen = match flow.as_ref().map(Node::text).transpose()?.as_deref() {
                Some("to-upstream") => &mut rules[..1],
                Some("to-client") => &mut rules[1..],
                Some("both") | None => &mut rules[..],
                Some(other) => {
                    let issue = Issue::new(format!("{} is no flow", quote(other)));
                    return Err(node.flaw(issue.expected(FLOWS)));
                }
            };
            self.add(fault, &node, chosen, notes)?;
        }
        let has_fault =
            |rule: &Rule| rule.drop.is_some() || rule.delay.is_some() || rule.rate.is_some();
        Ok(rules
            .into_iter()
            .filter(has_fault)
            .map(Into::into)
            .collect())
    }

    fn add(
        &self,
        mut fault: Table,
        node: &Node,
        rules: &mut [Rule],
        notes: &mut Notes,
    ) -> Parsed<()> {
        let kind = fault.required("type", TYPES)?;
        let name = kind.text()?;
        let what = format!("{name} of {}", self.name);
        match name.as_str() {
            "latency" => {
                let delay = latency(&mut fault, &what, notes)?;
                if self.protocol == Protocol::TCP {
                    notes.differs(
                        &what,
                        "it delays what a connection sends first; here each packet is delayed",
                    );
                }
                self.set_delay(delay.as_ref(), rules, &what, notes);
            }
            "jitter" => {
                let least = fault
                    .required("min_delay_ms", "milliseconds")?
                    .parse(milliseconds)?;
                let most = fault
                    .required("max_delay_ms", "milliseconds")?
                    .parse(milliseconds)?;
                let share = fault
                    .required("probability", "a number from 0 to 1")?
                    .parse(fraction)?;
                if share < 1.0 {
                    let what = format!("probability {share} of {what}");
                    notes.missing(what, "every packet is delayed");
                }
                self.set_delay(
                    between(least, most, &what, notes).as_ref(),
                    rules,
                    &what,
                    notes,
                );
            }
            "bandwidth" => {
                let bytes = fault
                    .required("bytes_per_second", "a number of bytes")?
                    .parse(count)?;
                let rate = bandwidth(&what, bytes.saturating_mul(8), notes).map(Rate::plain);
                notes.differs(
                    &what,
                    "it is that of each connection; here that of all of them, with headers",
                );
                for rule in rules {
                    rule.rate.clone_from(&rate);
                }
            }
            "blackhole" => {
                for rule in rules {
                    rule.drop = Some(Drop::independent(Probability::ALWAYS));
                }
            }
            "connection-reset" => {
                notes.missing(node_name(node, &what), "nothing resets connections");
            }
            "dns" => notes.missing(
                node_name(node, &what),
                "packets are not understood that far",
            ),
            other => {
                let issue = Issue::new(format!("{} is no fault", quote(other)));
                return Err(kind.flaw(issue.expected(TYPES)));
            }
        }
        Ok(())
    }

    /// A rule has one delay. Bytes of a stream stay in order.
    fn set_delay(&self, delay: Option<&Delay>, rules: &mut [Rule], what: &str, notes: &mut Notes) {
        for rule in rules {
            if rule.delay.is_some() && delay.is_some() {
                notes.missing(what, "a second delay, and a rule has one");
                continue;
            }
            rule.delay = delay.cloned().map(|delay| Delay {
                keep_order: self.protocol == Protocol::TCP && delay.jitter > DurationNs::ZERO,
                ..delay
            });
        }
    }
}

fn node_name(node: &Node, what: &str) -> String {
    format!("{what} ({})", node.path)
}

fn latency(fault: &mut Table, what: &str, notes: &mut Notes) -> Parsed<Option<Delay>> {
    let mut shape = fault
        .required("distribution", "how delays are distributed")?
        .table()?;
    let kind = shape.required("type", "`normal`, `uniform`, `pareto` or `pareto-normal`")?;
    let mut ms = |key: &str| shape.required(key, "milliseconds")?.parse(milliseconds);
    Ok(match kind.text()?.as_str() {
        "uniform" => between(ms("min_ms")?, ms("max_ms")?, what, notes),
        "normal" => Some(Delay {
            distribution: Distribution::Normal,
            ..Delay::uniform(
                duration(what, ms("mean_ms")?, notes),
                duration(what, ms("stddev_ms")?, notes),
            )
        }),
        "pareto" | "pareto-normal" => {
            let why = "there it has no end, and a shape of its own, here netem's; it is left out";
            notes.missing(format!("{what}, {}", kind.text()?), why);
            None
        }
        other => {
            let issue = Issue::new(format!("{} is no distribution", quote(other)));
            return Err(
                kind.flaw(issue.expected("`normal`, `uniform`, `pareto` or `pareto-normal`"))
            );
        }
    })
}

/// A delay that is spread evenly.
fn between(least: u64, most: u64, what: &str, notes: &mut Notes) -> Option<Delay> {
    let [least, most] = [least, most.max(least)].map(|nanos| duration(what, nanos, notes).nanos());
    let half = |nanos: u64| DurationNs::from_nanos(nanos / 2).unwrap_or(DurationNs::MAX);
    (most > 0).then(|| Delay::uniform(half(least + most), half(most - least)))
}
