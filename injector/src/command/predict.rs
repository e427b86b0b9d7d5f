//! `injector predict`

use std::fmt::Write as _;

use injector_common::{
    abi::FaultSpec,
    fate::{self, Fate},
};
use serde::Serialize;

use super::{Outcome, load_profile, print, print_json_line, work_out};
use crate::{
    cli::{Global, Predict},
    error::{Code, Failure},
    observe::format,
    plan::{Hook, Plan, PlannedRule},
};

/// The fate of one packet.
#[derive(Serialize)]
struct Prediction<'a> {
    rule: &'a str,
    direction: Hook,
    packet: u64,
    drop: bool,
    corrupt: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duplicate_delay_ns: Option<u64>,
}

pub(super) fn predict(args: &Predict, global: &Global) -> Outcome {
    let profile = load_profile(&args.profile, global)?;
    let plan = work_out(&profile, args.seed)?;
    let rules = chosen(&plan, args.rule.as_deref())?;
    if args.seed.or(profile.seed).is_none() {
        global.say(format_args!(
            "seed {} (drawn; `--seed` repeats it)",
            plan.seed
        ));
    }
    for rule in rules {
        if global.json {
            for packet in 0..args.packets {
                print_json_line(&prediction(rule, packet))?;
            }
        } else {
            print(&table(rule, args.packets))?;
        }
    }
    Ok(0)
}

fn chosen<'a>(plan: &'a Plan, name: Option<&str>) -> Result<Vec<&'a PlannedRule>, Failure> {
    let wanted = |rule: &&PlannedRule| name.is_none_or(|name| rule.name == name);
    let rules: Vec<_> = plan.rules.iter().filter(wanted).collect();
    match (rules.is_empty(), name) {
        (true, Some(name)) => {
            let names: Vec<_> = plan.rules.iter().map(|rule| rule.name.as_str()).collect();
            Err(Failure::new(
                Code::Usage,
                format!("no rule `{name}` in `{}`", plan.profile),
            )
            .hint(format!("its rules: {}", names.join(", "))))
        }
        _ => Ok(rules),
    }
}

fn prediction(rule: &PlannedRule, packet: u64) -> Prediction<'_> {
    let base = Prediction {
        rule: &rule.name,
        direction: rule.hook,
        packet,
        drop: true,
        corrupt: false,
        delay_ns: None,
        duplicate_delay_ns: None,
    };
    match fate::decide(&rule.spec, packet) {
        Fate::Drop => base,
        Fate::Deliver {
            corrupt,
            duplicate_delay_ns,
            delay_ns,
        } => Prediction {
            drop: false,
            corrupt: corrupt.is_some(),
            delay_ns: Some(delay_ns),
            duplicate_delay_ns,
            ..base
        },
    }
}

fn table(rule: &PlannedRule, packets: u64) -> String {
    let mut text = format!("{} {}\n", rule.name, rule.hook);
    for packet in 0..packets {
        let _ = writeln!(text, "{packet:>8}  {}", words(&rule.spec, packet));
    }
    text
}

fn words(spec: &FaultSpec, packet: u64) -> String {
    let Fate::Deliver {
        corrupt,
        duplicate_delay_ns,
        delay_ns,
    } = fate::decide(spec, packet)
    else {
        return "drop".into();
    };
    let mut words = Vec::new();
    if corrupt.is_some() {
        words.push("corrupt".to_owned());
    }
    if let Some(delay_ns) = duplicate_delay_ns {
        words.push(match spec.delays() {
            true => format!("duplicate after {}", format::duration(delay_ns)),
            false => "duplicate".into(),
        });
    }
    if spec.delays() {
        words.push(format!("delay {}", format::duration(delay_ns)));
    }
    if words.is_empty() {
        "pass".into()
    } else {
        words.join(", ")
    }
}
