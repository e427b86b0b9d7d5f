//! `injector check`

use serde::Serialize;

use super::{Outcome, print, print_json};
use crate::{
    cli::{Check, Global},
    error::Code,
    plan::Plan,
    profile::{self, Report},
};

#[derive(Serialize)]
struct Answer {
    schema: &'static str,
    profiles: Vec<Checked>,
}

#[derive(Serialize)]
struct Checked {
    file: String,
    valid: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    phases: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rules: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Report>,
}

pub(super) fn check(args: &Check, global: &Global) -> Outcome {
    let checked: Vec<_> = args
        .profiles
        .iter()
        .map(|file| check_one(file, global))
        .collect();
    let code = if checked.iter().all(|checked| checked.valid) {
        Code::Ok
    } else {
        Code::Profile
    };
    if global.json {
        print_json(&Answer {
            schema: "injector.check/v1",
            profiles: checked,
        })?;
    } else if !global.quiet {
        let valid = |checked: &Checked| {
            let rules = count(checked.rules?, "rule");
            let phases = checked.phases.map(|phases| count(phases, "phase") + ", ");
            let phases = phases.unwrap_or_default();
            Some(format!("{}: ok, {phases}{rules}\n", checked.file))
        };
        print(&checked.iter().filter_map(valid).collect::<String>())?;
    }
    Ok(code as u8)
}

fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

fn check_one(file: &str, global: &Global) -> Checked {
    let base = Checked {
        file: file.into(),
        valid: false,
        name: None,
        phases: None,
        rules: None,
        error: None,
    };
    let profile = match profile::load(file) {
        Ok(profile) => profile,
        Err(error) => {
            if !global.json {
                eprintln!("{}", error.render(global.color()).trim_end());
            }
            return Checked {
                error: Some(error.report()),
                ..base
            };
        }
    };
    // The seed changes nothing about whether the profile fits.
    if let Err(error) = Plan::all(&profile, 0) {
        if !global.json {
            eprintln!("error: {file}: {error}");
        }
        let report = Report {
            file: file.into(),
            line: None,
            column: None,
            path: None,
            message: error.to_string(),
            expected: None,
            hint: None,
        };
        return Checked {
            error: Some(report),
            ..base
        };
    }
    Checked {
        valid: true,
        phases: profile.timeline().map(|timeline| timeline.phases.len()),
        rules: Some(profile.rules().map(<[_]>::len).sum()),
        name: Some(profile.name),
        ..base
    }
}
