//! `injector predict`

use std::fmt::Write as _;

use injector_common::{
    abi::FaultSpec,
    fate::{self, Fate},
};
use serde::Serialize;

use super::{Outcome, load_profile, no_phase, print, print_json_line, work_out};
use crate::{
    cli::{Global, Predict},
    error::{Code, Failure},
    observe::format,
    plan::{Hook, Plan, PlannedRule},
    profile::Profile,
};

/// The fate of one packet.
#[derive(Serialize)]
struct Prediction<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    phase: Option<&'a str>,
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
    let mut plans = work_out(&profile, args.seed)?;
    if let Some(phase) = &args.phase {
        plans.retain(|plan| plan.phase.as_ref() == Some(phase));
        if plans.is_empty() {
            return Err(no_phase(&profile, phase));
        }
    }
    let rules = chosen(&plans, &profile, args.rule.as_deref())?;
    if args.seed.or(profile.seed).is_none() {
        global.say(format_args!(
            "seed {} (drawn; `--seed` repeats it)",
            plans[0].seed
        ));
    }
    for (phase, rule) in rules {
        if global.json {
            for packet in 0..args.packets {
                print_json_line(&prediction(phase, rule, packet))?;
            }
        } else {
            print(&table(phase, rule, args.packets))?;
        }
    }
    Ok(0)
}

/// A rule, and its phase.
type InPhase<'a> = (Option<&'a str>, &'a PlannedRule);

fn chosen<'a>(
    plans: &'a [Plan],
    profile: &Profile,
    name: Option<&str>,
) -> Result<Vec<InPhase<'a>>, Failure> {
    let in_phase = |plan: &'a Plan| {
        let phase = plan.phase.as_deref();
        plan.rules.iter().map(move |rule| (phase, rule))
    };
    let all: Vec<_> = plans.iter().flat_map(in_phase).collect();
    let wanted = |(_, rule): &&InPhase<'_>| name.is_none_or(|name| rule.name == name);
    let rules: Vec<_> = all.iter().filter(wanted).copied().collect();
    match (rules.is_empty(), name) {
        (true, Some(name)) => {
            let mut names: Vec<_> = all.iter().map(|(_, rule)| rule.name.as_str()).collect();
            // Those of a rule for both directions, and of rules that several phases have.
            names.sort_unstable();
            names.dedup();
            Err(Failure::new(
                Code::Usage,
                format!("no rule `{name}` in `{}`", profile.name),
            )
            .hint(format!("its rules: {}", names.join(", "))))
        }
        _ => Ok(rules),
    }
}

fn prediction<'a>(phase: Option<&'a str>, rule: &'a PlannedRule, packet: u64) -> Prediction<'a> {
    let base = Prediction {
        phase,
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

fn table(phase: Option<&str>, rule: &PlannedRule, packets: u64) -> String {
    let phase = phase.map(|phase| format!("{phase}: ")).unwrap_or_default();
    let mut text = format!("{phase}{} {}\n", rule.name, rule.hook);
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
