//! `injector predict`

use std::fmt::Write as _;

use injector_common::fate::{Fate, Fates};
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
    /// Counting from 1.
    packet: u64,
    drop: bool,
    corrupt: bool,
    reorder: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay_ns: Option<u64>,
    /// One for each copy.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    copy_delays_ns: Vec<u64>,
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
    for InPlan { rule, .. } in rules.iter().filter(|found| found.rule.spec.changes()) {
        global.say(format_args!(
            "the values of `{}` change over time; these are the last ones",
            rule.name
        ));
    }
    for rule in rules {
        if global.json {
            rule.predictions(args.packets)
                .try_for_each(|prediction| print_json_line(&prediction))?;
        } else {
            print(&rule.table(args.packets))?;
        }
    }
    Ok(0)
}

/// A rule, and where it belongs.
#[derive(Clone, Copy)]
struct InPlan<'a> {
    plan: &'a Plan,
    rule: &'a PlannedRule,
}

fn chosen<'a>(
    plans: &'a [Plan],
    profile: &Profile,
    name: Option<&str>,
) -> Result<Vec<InPlan<'a>>, Failure> {
    let all = plans
        .iter()
        .flat_map(|plan| plan.rules.iter().map(move |rule| InPlan { plan, rule }));
    let wanted = |found: &InPlan<'_>| name.is_none_or(|name| found.rule.name == name);
    let rules: Vec<_> = all.clone().filter(wanted).collect();
    match (rules.is_empty(), name) {
        (true, Some(name)) => {
            let mut names: Vec<_> = all.map(|found| found.rule.name.as_str()).collect();
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

impl<'a> InPlan<'a> {
    fn predictions(self, packets: u64) -> impl Iterator<Item = Prediction<'a>> {
        let Self { plan, rule } = self;
        let mut fates = Fates::new(&rule.spec, &plan.models);
        (0..packets).map(move |n| {
            let mut prediction = Prediction {
                phase: plan.phase.as_deref(),
                rule: &rule.name,
                direction: rule.hook,
                packet: n + 1,
                drop: true,
                corrupt: false,
                reorder: false,
                delay_ns: None,
                copy_delays_ns: Vec::new(),
            };
            if let Fate::Deliver {
                corrupt,
                copies,
                reorder,
                delay_ns,
            } = fates.fate(n)
            {
                prediction.drop = false;
                prediction.corrupt = corrupt;
                prediction.reorder = reorder;
                prediction.delay_ns = Some(delay_ns);
                let delays = (0..copies.into()).map(|copy| fates.copy_delay_ns(n, copy));
                prediction.copy_delays_ns = delays.collect();
            }
            prediction
        })
    }

    fn table(self, packets: u64) -> String {
        let Self { plan, rule } = self;
        let phase = plan.phase.as_ref().map(|phase| format!("{phase}: "));
        let mut text = format!("{}{} {}\n", phase.unwrap_or_default(), rule.name, rule.hook);
        for prediction in self.predictions(packets) {
            let words = words(&prediction, rule.spec.delays());
            let _ = writeln!(text, "{:>8}  {words}", prediction.packet);
        }
        text
    }
}

fn words(prediction: &Prediction<'_>, delays: bool) -> String {
    if prediction.drop {
        return "drop".into();
    }
    let mut words = Vec::new();
    if prediction.corrupt {
        words.push("corrupt".to_owned());
    }
    for delay_ns in &prediction.copy_delays_ns {
        words.push(match delays {
            true => format!("duplicate after {}", format::duration(*delay_ns)),
            false => "duplicate".into(),
        });
    }
    match prediction.delay_ns {
        _ if prediction.reorder => words.push("reorder".into()),
        Some(delay_ns) if delays => words.push(format!("delay {}", format::duration(delay_ns))),
        _ => {}
    }
    if words.is_empty() {
        "pass".into()
    } else {
        words.join(", ")
    }
}
