//! The steps, and what they refer to.

use std::{path::Path, time::Duration};

use super::{
    super::{
        Action, Command, Faults, Link, Step,
        schema::{RawExpect, RawFaults, RawStep},
        shape::RawCommand,
    },
    Resolved, expect, host, unknown, verb,
};
use crate::profile::{
    Profile, Source,
    conflict::Conflict,
    file_of,
    files::Files,
    issue::Issue,
    nearest::list,
    strict::Table,
    text::Name,
    yaml::{self, FieldPath},
};

/// How long a command may take that says nothing else.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What steps refer to.
pub(super) struct Cast<'a, 'f> {
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

impl<'a, 'f> Cast<'a, 'f> {
    pub(super) fn new(
        hosts: &'a [String],
        links: &'a [Link],
        source: &'a Source,
        files: &'a mut Files<'f>,
    ) -> Self {
        Self {
            hosts,
            links,
            source,
            files,
            started: Vec::new(),
        }
    }

    pub(super) fn step(&mut self, raw: RawStep, at: &FieldPath) -> Resolved<Step> {
        verb::check(&raw, at)?;
        let action = if let Some(command) = raw.start {
            let command = self.command(command, raw.on, "start", at)?;
            let name = self.begin(raw.r#as, program(&command.text), true, at)?;
            let ready = raw
                .ready
                .map(|Table(raw)| expect::ready(raw, &command, &at.key("ready")));
            Action::Start {
                name,
                ready: ready.transpose()?,
                command,
            }
        } else if let Some(command) = raw.run {
            Action::Run {
                command: self.command(command, raw.on, "run", at)?,
                timeout: raw.timeout.map_or(TIMEOUT, Duration::from),
                expected: expect::outcome(raw.expect, at)?,
            }
        } else if let Some(name) = raw.wait {
            Action::Wait {
                name: self.end(name, true, &at.key("wait"))?,
                timeout: raw.timeout.map_or(TIMEOUT, Duration::from),
                expected: expect::outcome(raw.expect, at)?,
            }
        } else if let Some(faults) = raw.faults {
            let host = self.host(raw.on, "faults", at)?;
            let device = self.device(host, raw.link, at)?;
            Action::Faults(self.faults(faults, raw.r#as, raw.expect, (host, device), at)?)
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
    pub(super) fn left(self) -> impl Iterator<Item = Step> {
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
        expect: Option<RawExpect>,
        (host, device): (usize, String),
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
        let expected = expect::conditions(expect, &profile, at)?;
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
