//! `injector plan`, and `run --dry-run`.

use std::fmt::Write as _;

use injector_common::abi::flags;
use serde::Serialize;

use super::{
    Outcome,
    guard::Guard,
    load_profile, missing,
    names::{self, Named},
    place::Place,
    print, print_json, seed_of,
};
use crate::{
    cli::{self, Global},
    datapath::{
        AttachPolicy, Netns, Options,
        netlink::Netlink,
        pair::{self, Names},
        target::{Framing, Target},
    },
    error::Failure,
    lookup,
    observe::{
        format::{self, table},
        report,
    },
    plan::{Asked, Hook, Needs, Plan, PlannedRule},
    profile::{Answers, Fragments},
};

/// What is to be played on an interface.
pub(super) struct Part<'a> {
    pub place: &'a Place,
    /// Of which one at a time is in force.
    pub plans: &'a [Plan],
    pub needs: Needs,
}

/// What a run on several interfaces would do.
#[derive(Serialize)]
struct Several {
    schema: &'static str,
    plans: Vec<Answer>,
}

/// What a run would do on an interface.
#[derive(Serialize)]
struct Answer {
    schema: &'static str,
    profile: String,
    seed: u64,
    /// What the interface is to the profile, where that has targets.
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    device: String,
    ifindex: u32,
    /// What no rule touches.
    protected: Vec<String>,
    /// What the profile asks for, and this kernel cannot do.
    left_out: Vec<String>,
    /// What rules take later fragments for, where that is not what they are by themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    fragments: Option<String>,
    /// What the profile's names of hosts stand for.
    #[serde(skip_serializing_if = "Option::is_none")]
    names: Option<Answers>,
    steps: Vec<String>,
    rules: Vec<Described>,
}

#[derive(Serialize)]
struct Described {
    #[serde(skip_serializing_if = "Option::is_none")]
    phase: Option<String>,
    rule: String,
    direction: Hook,
    /// How its packets travel.
    way: &'static str,
    match_entries: usize,
    asked: Asked,
}

pub(super) fn plan(args: &cli::Plan, global: &Global) -> Outcome {
    let profile = load_profile(&args.profile, global)?;
    let places = Place::of(&profile, &args.interfaces, global)?;
    let seed = Some(seed_of(&profile, args.seed)?);
    let ssh = Guard::ssh(args.protect, global);
    let named = Named::look_up(&profile)?;
    let profile = named.as_ref().map_or(profile, Named::profile);
    let options = Options {
        attach: args.attach.attach,
        xdp: args.attach.xdp,
        ..Options::default()
    };
    let guards = Guard::all(args.protect, &places, ssh)?;
    let plans = guards.iter();
    let plans = plans.map(|guard| missing::work_out(profile.clone(), seed, guard, &args.attach));
    let plans = plans.collect::<Result<Vec<_>, _>>()?;
    let answers = named.as_ref().map(|named| &named.answers);
    let parts = places.iter().zip(&plans);
    let parts: Vec<_> = parts
        .map(|(place, plans)| Part {
            place,
            plans,
            needs: answers.map_or_else(|| Needs::of(plans), |_| Needs::ANY),
        })
        .collect();
    show(&parts, answers, options, global)
}

/// Prints what a run would do on these.
pub(super) fn show(
    parts: &[Part<'_>],
    answers: Option<&Answers>,
    options: Options,
    global: &Global,
) -> Outcome {
    let each = parts.iter();
    let each = each.map(|part| answer(part, answers, options));
    let each = each.collect::<Result<Vec<_>, _>>()?;
    if global.json {
        match &each[..] {
            [only] => print_json(only)?,
            _ => print_json(&Several {
                schema: "injector.plans/v1",
                plans: each,
            })?,
        }
        return Ok(0);
    }
    let each: Vec<_> = each.iter().map(text).collect();
    print(&each.join("\n"))
}

/// Says what a run is about to do.
pub(super) fn say(
    part: &Part<'_>,
    answers: Option<&Answers>,
    options: Options,
    global: &Global,
) -> Result<(), Failure> {
    let answer = answer(part, answers, options)?;
    global.say(text(&answer));
    Ok(())
}

/// Works out what a run would do, having looked at the device only.
fn answer(part: &Part<'_>, answers: Option<&Answers>, options: Options) -> Result<Answer, Failure> {
    let Part {
        place:
            Place {
                netns,
                device,
                target: of_profile,
            },
        plans,
        needs,
    } = part;
    let target = netns.run(|| Target::find(&Netlink::open()?, netns, device))?;
    Ok(Answer {
        schema: "injector.plan/v1",
        profile: plans[0].profile.clone(),
        seed: plans[0].seed,
        target: of_profile.as_ref().map(|target| target.name.clone()),
        device: device.clone(),
        ifindex: target.link.index,
        protected: plans[0].protection.names(),
        left_out: plans[0].left_out.clone(),
        fragments: match plans[0].predicates.fragments() {
            Fragments::Separate => None,
            follow => Some(follow.to_string()),
        },
        names: answers.cloned(),
        steps: steps(plans, needs, &target, netns, options),
        rules: plans.iter().flat_map(describe).collect(),
    })
}

fn describe(plan: &Plan) -> impl Iterator<Item = Described> {
    (plan.rules.iter()).map(|rule| describe_rule(plan.phase.clone(), rule))
}

fn describe_rule(phase: Option<String>, rule: &PlannedRule) -> Described {
    Described {
        phase,
        rule: rule.name.clone(),
        direction: rule.hook,
        way: way(rule.spec.flags),
        match_entries: rule.entries.len(),
        asked: rule.asked,
    }
}

/// How a rule's packets travel.
fn way(spec: u32) -> &'static str {
    if spec & flags::EXEMPT != 0 {
        "passes at the hook"
    } else if spec & flags::SPLIT != 0 {
        "super-packets with a packet that is hit are split"
    } else {
        "whole, as the kernel hands them over"
    }
}

/// Every change, in order. A run undoes them in reverse.
fn steps(
    plans: &[Plan],
    needs: &Needs,
    target: &Target,
    netns: &Netns,
    options: Options,
) -> Vec<String> {
    let device = &target.link.name;
    let Names {
        near,
        far,
        splitter,
    } = Names::new(target.link.index);
    let mut steps = vec![
        format!("in {netns}: create the veth pair {near}, {far} (MTU 65535, no ARP, no IPv6)"),
        format!(
            "on {near}: gro, tso, gso and tx-checksumming off, gso_max_segs 1; on {far}: gro off"
        ),
    ];
    if needs.splits {
        steps.push(format!(
            "on {far}: create the macvlan device {splitter} (passthru nopromisc, gso_max_segs 1), \
             where the kernel has it"
        ));
    }
    let fq = pair::fq_options(needs.delay_max_ns);
    let optional = if plans.iter().all(|plan| plan.delay_max_ns() == 0) {
        ", where the kernel has it"
    } else {
        ""
    };
    steps.push(format!(
        "on {far}: root qdisc fq, limit {} packets, horizon {} s{optional}",
        fq.limit,
        fq.horizon_us / 1_000_000
    ));
    if target.is_loopback() {
        steps.push(format!(
            "on {device}: accept_local and route_localnet 1 (IPv4)"
        ));
    }
    if options.uses_xdp(needs, target) {
        steps.push(format!("on {device}: XDP program on ingress"));
    }
    let framing = match target.framing {
        Framing::Ethernet => "",
        Framing::RawIp => ", which has no Ethernet header: one is added for the way",
    };
    for hook in Hook::ALL.into_iter().filter(|hook| needs.uses(*hook)) {
        let entries = |plan: &Plan| plan.on(hook).map(|rule| rule.entries.len()).sum();
        let entries: usize = plans.iter().map(entries).max().unwrap_or(0);
        let protected = plans.iter().map(|plan| plan.protected(hook).len());
        let protected = protected.max().unwrap_or(0);
        steps.push(format!(
            "on {device}{framing}: {hook} program ({}), {entries} match entries{}",
            match options.attach {
                AttachPolicy::Auto => "tcx, or else clsact",
                AttachPolicy::Tcx => "tcx",
                AttachPolicy::Clsact => "clsact",
            },
            match protected {
                0 => String::new(),
                _ => format!(" behind {protected} that protect"),
            }
        ));
    }
    steps.push(format!(
        "{device}'s own qdisc, offloads, addresses and programs: untouched"
    ));
    steps
}

fn text(answer: &Answer) -> String {
    let target = answer.target.as_ref();
    let of_target = target.map_or_else(String::new, |name| format!("target {name}: "));
    let mut text = format!(
        "profile {} with seed {} on {of_target}{} (ifindex {})\n\n",
        answer.profile, answer.seed, answer.device, answer.ifindex
    );
    for (number, step) in answer.steps.iter().enumerate() {
        let _ = writeln!(text, "{:>3}. {step}", number + 1);
    }
    let has_phases = answer.rules.iter().any(|rule| rule.phase.is_some());
    let header: Vec<_> = (has_phases.then_some("PHASE").into_iter())
        .chain(["RULE", "DIRECTION", "FAULTS", "ENTRIES", "PACKETS"])
        .collect();
    let rows = answer.rules.iter().map(|rule| {
        let mut row: Vec<_> = rule.phase.iter().cloned().collect();
        row.extend([
            rule.rule.clone(),
            rule.direction.to_string(),
            faults(&rule.asked),
            rule.match_entries.to_string(),
            rule.way.into(),
        ]);
        row
    });
    let _ = writeln!(
        text,
        "\nprotected: {}\n{}{}",
        report::protected(&answer.protected),
        (answer.fragments.as_ref())
            .map_or_else(String::new, |fragments| format!("fragments: {fragments}\n")),
        report::left_out(&answer.left_out).map_or_else(String::new, |line| line + "\n")
    );
    text += &table(&header, rows.collect());
    if let Some(answers) = &answer.names {
        let _ = writeln!(
            text,
            "\nnames, looked up again every {} s:",
            lookup::INTERVAL.as_secs()
        );
        for (name, addresses) in answers {
            let _ = writeln!(text, "{name}: {}", names::list(addresses));
        }
    }
    text
}

fn faults(asked: &Asked) -> String {
    let shares = [
        ("drop", asked.drop),
        ("corrupt", asked.corrupt),
        ("duplicate", asked.duplicate),
        ("reorder", asked.reorder),
    ];
    let mut faults: Vec<_> = shares
        .into_iter()
        .filter_map(|(name, share)| Some((name, share?)))
        .map(|(name, share)| match share {
            0.0 => format!("{name} as listed"),
            _ => format!("{name} {}", format::percent(share)),
        })
        .collect();
    if let Some(delay_ns) = asked.delay_ns {
        let jitter = asked
            .jitter_ns
            .map(|ns| format!(" ± {}", format::duration(ns)));
        faults.push(format!(
            "delay {}{}",
            format::duration(delay_ns),
            jitter.unwrap_or_default()
        ));
    }
    if let Some(rate_bps) = asked.rate_bps {
        faults.push(format!("rate {}", format::rate(rate_bps)));
    }
    if faults.is_empty() {
        "none".into()
    } else {
        faults.join(", ")
    }
}
