//! From what was typed to what it means.

use std::{path::Path, time::Duration};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{
    Action, Command, Condition, End, Expectation, Faults, Link, Ready, Scenario, Step,
    schema::{RawExpect, RawFaults, RawLink, RawReady, RawScenario, RawStep},
    shape::{List, Mtu, Patterns, Port, RawCommand, Word, status},
};
use crate::{
    profile::{
        Profile, Source,
        conflict::Conflict,
        default_name, file_of,
        files::Files,
        issue::Issue,
        names_are_distinct,
        nearest::{list, nearest},
        shape::OneOrMany,
        strict::Table,
        text::{Name, Seed, Text},
        yaml::{self, FieldPath},
    },
    units::{DurationNs, quote},
};

type Resolved<T> = Result<T, Box<Conflict>>;

/// How long a command may take that says nothing else.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long a command may take to get ready, likewise.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// Fills in defaults, finds what the steps refer to, and reads the profiles that they name.
pub(super) fn resolve(
    raw: RawScenario,
    source: &Source,
    files: &mut Files<'_>,
) -> Resolved<Scenario> {
    let root = FieldPath::default();
    let List(hosts) = raw.hosts;
    let hosts: Vec<_> = hosts.into_iter().map(|Name(host)| host).collect();
    names_are_distinct("host", hosts.iter(), |index| root.key("hosts").index(index))?;
    let links = links(raw.links, &hosts)?;
    let Name(name) = raw.name;
    let mut cast = Cast {
        hosts: &hosts,
        links: &links,
        source,
        files,
        started: Vec::new(),
    };
    let List(steps) = raw.steps;
    let mut steps = steps
        .into_iter()
        .enumerate()
        .map(|(index, Table(raw))| cast.step(raw, root.key("steps").index(index)))
        .collect::<Resolved<Vec<_>>>()?;
    steps.extend(cast.left());
    Ok(Scenario {
        name,
        description: raw.description.map(|Text(text)| text),
        seed: raw.seed.map(|Seed(seed)| seed),
        requires: raw.requires.0.into_iter().map(|Word(word)| word).collect(),
        links,
        steps,
        hosts,
    })
}

/// The links, with their addresses; where none are given, one that joins all hosts.
fn links(
    raw: Option<List<Table<RawLink>, { super::HOSTS_MAX }>>,
    hosts: &[String],
) -> Resolved<Vec<Link>> {
    let Some(List(raw)) = raw else {
        let all: Vec<_> = (0..hosts.len()).collect();
        let is_one = hosts.len() == 1;
        let one = || {
            link(
                0,
                None,
                default_name("link", 0),
                &all,
                &[],
                &mut vec![0; hosts.len()],
            )
        };
        return if is_one {
            Ok(Vec::new())
        } else {
            Ok(vec![one()])
        };
    };
    let at = FieldPath::default().key("links");
    let mut devices = vec![0; hosts.len()];
    let mut links = Vec::new();
    for (index, Table(raw)) in raw.into_iter().enumerate() {
        let at = at.index(index);
        let between = ends(&raw.between.0, hosts, &at.key("between"))?;
        let networks: Vec<_> = raw
            .network
            .into_iter()
            .flat_map(|OneOrMany(networks)| networks)
            .collect();
        let networks: Vec<_> = networks.into_iter().map(|network| network.net()).collect();
        if let Some(small) = networks
            .iter()
            .find(|net| room(net) < between.len() as u128)
        {
            let issue = Issue::new(format!("{small} has no room for {} hosts", between.len()));
            let issue =
                issue.expected("a network with an address for each host, such as 10.9.0.0/24");
            return Err(Conflict::new(issue, at.key("network")));
        }
        let name = raw
            .name
            .map_or_else(|| default_name("link", index), |Name(name)| name);
        let mtu = raw.mtu.map(|Mtu(mtu)| mtu);
        links.push(link(index, mtu, name, &between, &networks, &mut devices));
    }
    names_are_distinct("link", links.iter().map(|link| &link.name), |index| {
        at.index(index).key("name")
    })?;
    Ok(links)
}

/// The hosts that a link joins: two, or more.
fn ends(names: &[Name], hosts: &[String], at: &FieldPath) -> Resolved<Vec<usize>> {
    let find = |(index, Name(name)): (usize, &Name)| host(name, hosts, &at.index(index));
    let ends: Vec<_> = names
        .iter()
        .enumerate()
        .map(find)
        .collect::<Resolved<_>>()?;
    if ends.len() < 2 {
        let issue = Issue::new("a link with one end").expected("two hosts, or more for a switch");
        return Err(Conflict::new(issue, at.clone()));
    }
    let names = || names.iter().map(|Name(name)| name);
    names_are_distinct("end", names(), |index| at.index(index))?;
    Ok(ends)
}

/// A link whose hosts have the first addresses of its networks, in order, and its next devices.
fn link(
    index: usize,
    mtu: Option<u32>,
    name: String,
    hosts: &[usize],
    networks: &[IpNet],
    devices: &mut [usize],
) -> Link {
    let number = index as u8 + 1;
    let v4 = Ipv4Net::new([10, 0, number, 0].into(), 24).expect("a prefix of at most 32");
    let v6 = Ipv6Net::new([0xfd00, number.into(), 0, 0, 0, 0, 0, 0].into(), 64);
    let defaults = [v4.into(), v6.expect("a prefix of at most 128").into()];
    let networks = if networks.is_empty() {
        &defaults
    } else {
        networks
    };
    let ends = hosts.iter().enumerate().map(|(place, host)| {
        let device = format!("eth{}", devices[*host]);
        devices[*host] += 1;
        End {
            host: *host,
            device,
            addresses: networks
                .iter()
                .map(|net| nth(net, place as u32 + 1))
                .collect(),
        }
    });
    Link {
        name,
        mtu,
        ends: ends.collect(),
    }
}

/// The `n`-th address of a network.
fn nth(net: &IpNet, n: u32) -> IpNet {
    let address = match net {
        IpNet::V4(net) => (net.network().to_bits() + n).to_be_bytes().into(),
        IpNet::V6(net) => (net.network().to_bits() + u128::from(n))
            .to_be_bytes()
            .into(),
    };
    IpNet::new(address, net.prefix_len()).expect("the prefix of a network")
}

/// How many hosts a network has addresses for.
fn room(net: &IpNet) -> u128 {
    let bits = net.max_prefix_len() - net.prefix_len();
    (1u128 << bits.min(127)).saturating_sub(2)
}

fn host(name: &str, hosts: &[String], at: &FieldPath) -> Resolved<usize> {
    let found = hosts.iter().position(|host| host == name);
    found.ok_or_else(|| unknown("host", name, hosts.iter().map(String::as_str), at))
}

/// That nothing has this name.
fn unknown<'a>(
    what: &str,
    name: &str,
    names: impl Iterator<Item = &'a str>,
    at: &FieldPath,
) -> Box<Conflict> {
    let names: Vec<_> = names.collect();
    let issue = Issue::new(format!("there is no {what} {}", quote(name)));
    let issue = match names.is_empty() {
        true => issue.expected(format!(
            "the name of a {what}, of which there are none here"
        )),
        false => issue.expected(list(&names, "or")),
    };
    let issue = match nearest(name, &names) {
        Some(near) => issue.hint(format!("did you mean `{near}`?")),
        None => issue,
    };
    Conflict::new(issue, at.clone())
}

/// What steps refer to.
struct Cast<'a, 'f> {
    hosts: &'a [String],
    links: &'a [Link],
    source: &'a Source,
    files: &'a mut Files<'f>,
    started: Vec<Started>,
}

/// What a step has started.
struct Started {
    name: String,
    is_command: bool,
    is_over: bool,
    /// The step.
    at: FieldPath,
}

/// The keys that say what a step does, and those that go with each.
const VERBS: [(&str, &[&str]); 6] = [
    ("start", &["on", "as", "ready"]),
    ("run", &["on", "timeout", "expect"]),
    ("wait", &["timeout", "expect"]),
    ("faults", &["on", "link", "as", "expect"]),
    ("stop", &[]),
    ("sleep", &[]),
];

impl Cast<'_, '_> {
    fn step(&mut self, raw: RawStep, at: FieldPath) -> Resolved<Step> {
        verb(&raw, &at)?;
        let action = if let Some(command) = raw.start {
            let command = self.command(command, raw.on, "start", &at)?;
            let name = self.begin(raw.r#as, program(&command.text), true, &at)?;
            let ready = raw
                .ready
                .map(|Table(raw)| ready(raw, &command, &at.key("ready")));
            Action::Start {
                name,
                ready: ready.transpose()?,
                command,
            }
        } else if let Some(command) = raw.run {
            Action::Run {
                command: self.command(command, raw.on, "run", &at)?,
                timeout: raw.timeout.map_or(TIMEOUT, Duration::from),
                expected: outcome(raw.expect, &at)?,
            }
        } else if let Some(name) = raw.wait {
            Action::Wait {
                name: self.end(name, true, &at.key("wait"))?,
                timeout: raw.timeout.map_or(TIMEOUT, Duration::from),
                expected: outcome(raw.expect, &at)?,
            }
        } else if let Some(faults) = raw.faults {
            let host = self.host(raw.on, "faults", &at)?;
            let device = self.device(host, raw.link, &at)?;
            let expected = conditions(raw.expect, &at)?;
            Action::Faults(self.faults(faults, raw.r#as, host, device, expected, &at)?)
        } else if let Some(name) = raw.stop {
            Action::Stop {
                name: self.end(name, false, &at.key("stop"))?,
            }
        } else {
            Action::Sleep(raw.sleep.unwrap_or_default().into())
        };
        Ok(Step {
            action,
            is_implied: false,
        })
    }

    /// What is left to be stopped, the last first.
    fn left(self) -> impl Iterator<Item = Step> {
        let left = self
            .started
            .into_iter()
            .rev()
            .filter(|started| !started.is_over);
        left.map(|started| Step {
            action: Action::Stop { name: started.name },
            is_implied: true,
        })
    }

    fn host(&self, on: Option<Name>, verb: &str, at: &FieldPath) -> Resolved<usize> {
        match (on, self.hosts) {
            (Some(Name(name)), hosts) => host(&name, hosts, &at.key("on")),
            (None, [_]) => Ok(0),
            (None, _) => Err(Conflict::missing(
                at,
                "on",
                &format!("`on`, the host of `{verb}`,"),
            )),
        }
    }

    fn command(
        &self,
        raw: RawCommand,
        on: Option<Name>,
        verb: &str,
        at: &FieldPath,
    ) -> Resolved<Command> {
        let RawCommand { arguments, text } = raw;
        let host = self.host(on, verb, at)?;
        Ok(Command {
            host,
            arguments,
            text,
        })
    }

    /// The device of the host on the link, which need not be named where there is one.
    fn device(&self, host: usize, link: Option<Name>, at: &FieldPath) -> Resolved<String> {
        let ends = self
            .links
            .iter()
            .flat_map(|link| link.ends.iter().map(move |end| (&link.name, end)));
        let ends: Vec<_> = ends.filter(|(_, end)| end.host == host).collect();
        let names = || ends.iter().map(|(name, _)| name.as_str());
        match (link, &ends[..]) {
            (Some(Name(name)), _) => {
                let found = ends.iter().find(|(link, _)| **link == name);
                let what = format!("link of `{}` named", self.hosts[host]);
                let found = found.ok_or_else(|| unknown(&what, &name, names(), &at.key("link")))?;
                Ok(found.1.device.clone())
            }
            (None, [(_, end)]) => Ok(end.device.clone()),
            (None, []) => Ok("lo".into()),
            (None, _) => {
                let names: Vec<_> = names().collect();
                let expected = format!("`link`, {},", list(&names, "or"));
                Err(Conflict::missing(at, "link", &expected))
            }
        }
    }

    fn faults(
        &mut self,
        raw: RawFaults,
        given: Option<Name>,
        host: usize,
        device: String,
        expected: Vec<String>,
        at: &FieldPath,
    ) -> Resolved<Faults> {
        let field = at.key("faults");
        let (name, profile, text, directory) = match raw {
            RawFaults::Named(argument) => {
                let there = self.source.directory();
                let (source, profile) =
                    named(&argument, there).map_err(|issue| Conflict::new(issue, field))?;
                let name = self.begin(given, &profile.name, false, at)?;
                (
                    name,
                    profile,
                    source.text().to_owned(),
                    there.join(source.directory()),
                )
            }
            RawFaults::Inline(inline) => {
                let name = self.begin(given, "faults", false, at)?;
                let profile = inline.resolve(&name, &field, self.files)?;
                let text = yaml::extract(self.source.text(), &field, "name", &name);
                let directory = self.source.directory().to_owned();
                (name, profile, text.unwrap_or_default(), directory)
            }
        };
        let is_seeded = profile.seed.is_some();
        Ok(Faults {
            name,
            host,
            device,
            text,
            directory,
            is_seeded,
            expected,
        })
    }

    /// Notes that something begins.
    fn begin(
        &mut self,
        given: Option<Name>,
        default: &str,
        is_command: bool,
        at: &FieldPath,
    ) -> Resolved<String> {
        let is_default = given.is_none();
        let name = given.map_or_else(|| default.to_owned(), |Name(name)| name);
        if let Some(former) = self.started.iter().find(|started| started.name == name) {
            let issue = Issue::new(format!("two steps start something named `{name}`"));
            let issue = issue.expected("a different name for each, by `as`");
            let place = if is_default { at.clone() } else { at.key("as") };
            return Err(Conflict::new(issue, place).against(former.at.clone(), "the first one"));
        }
        self.started.push(Started {
            name: name.clone(),
            is_command,
            is_over: false,
            at: at.clone(),
        });
        Ok(name)
    }

    /// Notes that something that was started ends.
    fn end(&mut self, Name(name): Name, is_command: bool, at: &FieldPath) -> Resolved<String> {
        let can = |started: &Started| !started.is_over && (started.is_command || !is_command);
        let what = if is_command {
            "command running that is named"
        } else {
            "step that started"
        };
        let Some(place) = self
            .started
            .iter()
            .position(|started| started.name == name && can(started))
        else {
            let names = self.started.iter().filter(|started| can(started));
            let names: Vec<_> = names.map(|started| started.name.as_str()).collect();
            return Err(unknown(what, &name, names.into_iter(), at));
        };
        self.started[place].is_over = true;
        Ok(name)
    }
}

/// Checks that a step does one thing, and has no keys of others.
fn verb(raw: &RawStep, at: &FieldPath) -> Resolved<()> {
    let keys = [
        ("start", raw.start.is_some()),
        ("run", raw.run.is_some()),
        ("wait", raw.wait.is_some()),
        ("faults", raw.faults.is_some()),
        ("stop", raw.stop.is_some()),
        ("sleep", raw.sleep.is_some()),
        ("on", raw.on.is_some()),
        ("link", raw.link.is_some()),
        ("as", raw.r#as.is_some()),
        ("ready", raw.ready.is_some()),
        ("timeout", raw.timeout.is_some()),
        ("expect", raw.expect.is_some()),
    ];
    let given: Vec<_> = keys
        .iter()
        .filter(|(_, given)| *given)
        .map(|(key, _)| *key)
        .collect();
    let mut verbs = VERBS.iter().filter(|(verb, _)| given.contains(verb));
    let all = list(&VERBS.map(|(verb, _)| verb), "or");
    let Some((verb, with)) = verbs.next() else {
        let issue = Issue::new("a step that does nothing").expected(all);
        return Err(Conflict::new(issue, at.clone()));
    };
    let Some(other) = given.iter().find(|key| *key != verb && !with.contains(key)) else {
        return Ok(());
    };
    let issue = Issue::new(format!("`{other}` does not go with `{verb}`"));
    let issue = match (with, verbs.next()) {
        (_, Some(_)) => issue.expected(format!("one of {all} in each step")),
        ([], None) => issue.expected(format!("`{verb}` alone")),
        (with, None) => issue.expected(list(with, "or")),
    };
    let issue = match (*verb, *other) {
        ("stop", "expect") => issue.hint("what faults must have done is expected where they begin"),
        ("start", "expect" | "timeout") => issue.hint("a later step that has `wait` expects it"),
        _ => issue,
    };
    Err(Conflict::new(issue, at.key(other)).because_of(at.key(verb)))
}

fn ready(raw: RawReady, command: &Command, at: &FieldPath) -> Resolved<Ready> {
    let when = match (raw.tcp, raw.udp, raw.command, raw.output) {
        (Some(Port(port)), None, None, None) => Condition::Tcp(port),
        (None, Some(Port(port)), None, None) => Condition::Udp(port),
        (None, None, Some(RawCommand { arguments, text }), None) => {
            let host = command.host;
            Condition::Command(Command {
                host,
                arguments,
                text,
            })
        }
        (None, None, None, Some(pattern)) => Condition::Output(pattern),
        _ => {
            let issue = Issue::new("not one condition");
            let issue = issue.expected("one of `tcp`, `udp`, `command` and `output`");
            return Err(Conflict::new(issue, at.clone()));
        }
    };
    let within = raw.within.map_or(READY_WITHIN, Duration::from);
    Ok(Ready { when, within })
}

fn outcome(raw: Option<RawExpect>, at: &FieldPath) -> Resolved<Expectation> {
    let raw = match raw {
        None => return Ok(Expectation::default()),
        Some(RawExpect::Outcome(raw)) => raw,
        Some(RawExpect::Conditions(_)) => {
            let issue = Issue::new("conditions of faults, where a command is run");
            let issue =
                issue.expected("`{status: 0, stdout: TEXT, within: 2s}`, or a part of that");
            return Err(Conflict::new(issue, at.key("expect")));
        }
    };
    let duration = |time: Option<DurationNs>| time.map(Duration::from);
    let (Patterns(stdout), Patterns(stderr)) = (raw.stdout, raw.stderr);
    Ok(Expectation {
        status: status(raw.status),
        stdout,
        stderr,
        within: duration(raw.within),
        at_least: duration(raw.at_least),
    })
}

fn conditions(raw: Option<RawExpect>, at: &FieldPath) -> Resolved<Vec<String>> {
    match raw {
        None => Ok(Vec::new()),
        Some(RawExpect::Conditions(conditions)) => Ok(conditions),
        Some(RawExpect::Outcome(_)) => {
            let issue = Issue::new("the outcome of a command, where faults begin");
            let issue = issue.expected("conditions as `run --expect` has them");
            Err(Conflict::new(issue, at.key("expect")))
        }
    }
}

/// Reads the profile that a step names, from a file of the scenario's directory or a built-in one.
fn named(argument: &str, directory: &Path) -> Result<(Source, Profile), Issue> {
    let path = directory.join(argument);
    let is_path = argument.contains('/') || path.is_file() || file_of(argument).is_some();
    let source = match is_path {
        true => Source::file(&path),
        false => Source::open(argument),
    };
    source
        .and_then(|source| source.parse().map(|profile| (source, profile)))
        .map_err(|error| {
            let report = error.report();
            let place = report.line.map_or(String::new(), |line| format!(":{line}"));
            let issue = Issue::new(format!("{}{place}: {}", report.file, report.message));
            let issue = issue.expected(report.expected.unwrap_or_else(|| "a valid profile".into()));
            match report.hint {
                Some(hint) => issue.hint(hint),
                None => issue,
            }
        })
}

/// The name of the program that a command begins with.
fn program(text: &str) -> &str {
    let word = text.split_whitespace().next().unwrap_or_default();
    word.rsplit('/').next().unwrap_or(word)
}
