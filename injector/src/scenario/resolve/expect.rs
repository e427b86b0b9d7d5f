//! What is waited for, and what is expected.

use std::time::Duration;

use super::{
    super::{
        Command, Condition, Expectation, Ready,
        schema::{RawExpect, RawReady},
        shape::{Patterns, Port, RawCommand, status},
    },
    Resolved,
};
use crate::{
    profile::{Profile, conflict::Conflict, issue::Issue, yaml::FieldPath},
    units::DurationNs,
};

/// How long a command may take to get ready that says nothing else.
const READY_WITHIN: Duration = Duration::from_secs(10);

pub(super) fn ready(raw: RawReady, command: &Command, at: &FieldPath) -> Resolved<Ready> {
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

/// What a command must have done.
pub(super) fn outcome(raw: Option<RawExpect>, at: &FieldPath) -> Resolved<Expectation> {
    let raw = match raw {
        None => return Ok(Expectation::default()),
        Some(RawExpect::Outcome(raw)) => raw,
        Some(RawExpect::Conditions(_)) => {
            let issue = Issue::new("expectations of faults, where a command is run");
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

/// What must have become of the packets, by rules that the profile has.
pub(super) fn conditions(
    raw: Option<RawExpect>,
    profile: &Profile,
    at: &FieldPath,
) -> Resolved<Vec<String>> {
    let at = at.key("expect");
    let conditions = match raw {
        None => return Ok(Vec::new()),
        Some(RawExpect::Conditions(conditions)) => conditions,
        Some(RawExpect::Outcome(_)) => {
            let issue = Issue::new("the outcome of a command, where faults begin");
            let issue = issue.expected("expectations such as `loss.dropped>=1`");
            return Err(Conflict::new(issue, at));
        }
    };
    let checked = conditions.iter().map(|condition| {
        let refused = |error| Conflict::new(Issue::from(error), at.clone());
        profile.require(condition).map_err(refused)?;
        Ok(condition.to_string())
    });
    checked.collect()
}
