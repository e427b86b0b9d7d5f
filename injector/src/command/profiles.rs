//! `injector profiles`

use serde::Serialize;

use super::{Outcome, invalid_profile, print, print_json};
use crate::{
    cli::{Global, Profiles, ProfilesCommand},
    observe::format,
    profile::{self, builtin},
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
    source: String,
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
    let profiles: Vec<_> = builtin::BUILTINS.iter().map(listed).collect();
    if global.json {
        print_json(&Answer {
            schema: "injector.profiles/v1",
            profiles,
        })?;
        return Ok(0);
    }
    let rows = profiles
        .iter()
        .map(|p| vec![p.name.to_owned(), p.description.clone()]);
    print(&format::table(&["PROFILE", "DESCRIPTION"], rows.collect()))
}

fn listed(builtin: &builtin::Builtin) -> Listed {
    // A test parses every one of them.
    let description = profile::parse(builtin.name, builtin.text)
        .ok()
        .and_then(|profile| profile.description)
        .unwrap_or_default();
    Listed {
        name: builtin.name,
        description,
        source: builtin.source(),
    }
}
