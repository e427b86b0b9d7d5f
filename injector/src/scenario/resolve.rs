//! From what was typed to what it means.

mod cast;
mod expect;
mod links;
mod verb;

use self::cast::Cast;
use super::{Scenario, schema::RawScenario, shape::Word};
use crate::{
    profile::{
        Source,
        conflict::Conflict,
        files::Files,
        issue::Issue,
        names_are_distinct,
        nearest::{list, nearest},
        shape::List,
        strict::Table,
        text::{Name, Seed, Text},
        yaml::FieldPath,
    },
    units::quote,
};

type Resolved<T> = Result<T, Box<Conflict>>;

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
    let links = links::links(raw.links, &hosts)?;
    let Name(name) = raw.name;
    let mut cast = Cast::new(&hosts, &links, source, files);
    let List(steps) = raw.steps;
    let mut steps = steps
        .into_iter()
        .enumerate()
        .map(|(index, Table(raw))| cast.step(raw, &root.key("steps").index(index)))
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
