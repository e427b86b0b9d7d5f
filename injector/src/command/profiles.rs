//! `injector profiles`

mod summary;

use serde::Serialize;

use self::summary::Way;
use super::{Outcome, invalid_profile, print, print_json};
use crate::{
    cli::{Global, Profiles, ProfilesCommand},
    error::Failure,
    observe::format,
    profile::{self, Direction, builtin},
};

#[derive(Serialize)]
struct Answer {
    schema: &'static str,
    profiles: Vec<Listed>,
}

#[derive(Serialize)]
struct Listed {
    name: &'static str,
    description: String,
    /// What comes in.
    down: Way,
    /// What goes out.
    up: Way,
    source: String,
    #[serde(skip)]
    source_name: String,
}

pub(super) fn profiles(args: &Profiles, global: &Global) -> Outcome {
    match &args.command {
        Some(ProfilesCommand::Show { name }) => {
            let found = builtin::find(name).map_err(|error| invalid_profile(&error, global))?;
            print(found.text)
        }
        None => list(global),
    }
}

fn list(global: &Global) -> Outcome {
    let listed = |builtin| listed(builtin, global);
    let profiles: Vec<_> = builtin::BUILTINS
        .iter()
        .map(listed)
        .collect::<Result<_, _>>()?;
    if global.json {
        print_json(&Answer {
            schema: "injector.profiles/v1",
            profiles,
        })?;
        return Ok(0);
    }
    print(&table(&profiles))
}

/// The numbers of each profile in a line, and what it imitates in another.
fn table(profiles: &[Listed]) -> String {
    let header = ["PROFILE", "RATE", "DELAY", "LOSS", "SOURCE"];
    let table = format::table(&header, profiles.iter().map(row).collect());
    let mut lines = table.lines();
    let header = lines.next().unwrap_or_default();
    let entries = lines
        .zip(profiles)
        .map(|(line, listed)| format!("{line}\n    {}\n", listed.description));
    let legend = "Where there are two numbers: down/up, seen from this machine. All are one way.";
    format!("{header}\n{}\n{legend}\n", entries.collect::<String>())
}

fn row(listed: &Listed) -> Vec<String> {
    let (down, up) = (&listed.down, &listed.up);
    vec![
        listed.name.to_owned(),
        both(down.rate(), up.rate()),
        both(down.delay(), up.delay()),
        both(down.loss(), up.loss()),
        listed.source_name.clone(),
    ]
}

/// One text where both directions have the same.
fn both(down: Option<String>, up: Option<String>) -> String {
    let none = || "-".to_owned();
    if down == up {
        return down.unwrap_or_else(none);
    }
    format!("{}/{}", down.unwrap_or_else(none), up.unwrap_or_else(none))
}

fn listed(builtin: &builtin::Builtin, global: &Global) -> Result<Listed, Failure> {
    let profile = profile::parse(builtin.name, builtin.text)
        .map_err(|error| invalid_profile(&error, global))?;
    Ok(Listed {
        name: builtin.name,
        down: Way::of(&profile, Direction::Ingress),
        up: Way::of(&profile, Direction::Egress),
        description: profile.description.unwrap_or_default(),
        source: builtin.source(),
        source_name: builtin.source_name(),
    })
}
