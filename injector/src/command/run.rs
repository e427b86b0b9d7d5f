//! `injector run`

mod child;
mod phases;
mod play;
mod signals;
mod watch;

use std::time::Duration;

use serde::Serialize;

use self::{
    phases::Phases,
    play::{Ending, Played, Player},
    signals::{Signals, Told},
    watch::Watch,
};
use super::{Outcome, load_profile, plan, print_json_line, quick, work_out};
use crate::{
    cli::{Global, Run},
    datapath::{Attached, Options, Session, session::Last},
    error::{Code, Failure},
    observe::{
        format,
        report::{self, Achieved},
    },
    plan::{Needs, Plan, Schedule},
    profile::Profile,
};

/// One line of the JSON stream.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event<'a> {
    /// The faults are in force.
    Started {
        schema: &'static str,
        profile: &'a str,
        seed: u64,
        device: &'a str,
        ifindex: u32,
        attached: &'a [Attached],
    },
    /// A phase is in force.
    Phase {
        elapsed_ms: u64,
        phase: &'a str,
        /// Counting from 1.
        repetition: u64,
        /// How long after its time.
        late_us: u64,
    },
    /// The counters, once a second; in a profile with phases, since the present one began.
    Counters {
        elapsed_ms: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        phase: Option<&'a str>,
        #[serde(flatten)]
        achieved: &'a Achieved,
    },
    /// Other rules are in force, since the file was saved.
    Reloaded {
        elapsed_ms: u64,
        profile: &'a str,
        seed: u64,
        /// What the former rules had achieved.
        former: &'a Achieved,
    },
    /// Everything is undone.
    Ended {
        reason: &'static str,
        elapsed_ms: u64,
        #[serde(flatten)]
        achieved: &'a Achieved,
    },
}

pub(super) fn run(args: &Run, global: &Global) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    // Before the file is read, so that no change of it is missed.
    let watch = match &args.profile {
        Some(profile) if args.watch => Some(Watch::new(profile, &runtime)?),
        _ => None,
    };
    let profile = choose_profile(args, global)?;
    let schedule = phases::schedule(&profile, args)?;
    let plans = work_out(&profile, args.seed)?;
    let needs = if args.watch {
        Needs::ANY
    } else {
        Needs::of(&plans)
    };
    let options = Options {
        attach: args.attach.attach,
        xdp: args.attach.xdp,
        elapsed: schedule.as_ref().map_or(Duration::ZERO, Schedule::elapsed),
    };
    if args.dry_run {
        return plan::show(&plans, &needs, &args.interface, options, global);
    }
    if global.verbose {
        plan::say(&plans, &needs, &args.interface, options, global)?;
    }
    let mut signals = Signals::install(&runtime)?;
    let phases = schedule.map(|schedule| Phases::new(&plans, schedule));
    let plan = &plans[phases.as_ref().map_or(0, Phases::index)];
    let session = Session::start(&global.netns(), &args.interface, plan, needs, options)?;
    plans
        .iter()
        .try_for_each(|plan| session.require_room(plan))?;
    let ends_by_itself = phases
        .as_ref()
        .is_some_and(|phases| phases.total().is_some());
    announce(plan, ends_by_itself, args, &session, global)?;
    let player = Player { args, global };
    let Played {
        session,
        mut ending,
        command,
        phases,
    } = runtime.block_on(player.play(session, phases, &mut signals, watch))?;
    let reason = ending.reason();
    let rules = session.rules().to_vec();
    let last = stop(session, &signals, global)?;
    runtime.block_on(play::end_command(command, &mut ending))?;
    let achieved = match phases {
        Some(phases) => phases.achieved(&last),
        None => Achieved::of_ended(&rules, &last.in_force),
    };
    report_end(reason, &ending, &achieved, global)?;
    finish(&ending, args)
}

fn choose_profile(args: &Run, global: &Global) -> Result<Profile, Failure> {
    match (&args.profile, quick::profile(&args.quick)?) {
        (Some(profile), None) => load_profile(profile, global),
        (None, Some(profile)) => Ok(profile),
        (Some(_), Some(_)) => Err(Failure::new(
            Code::Usage,
            "a profile and faults from flags exclude each other",
        )
        .hint("write the faults into the profile, or leave the profile away")),
        (None, None) => Err(Failure::new(Code::Usage, "nothing to inject")
            .hint("name a profile, or ask for a fault: `--drop 1%`, `--delay 80ms`")),
    }
}

fn announce(
    plan: &Plan,
    ends_by_itself: bool,
    args: &Run,
    session: &Session,
    global: &Global,
) -> Result<(), Failure> {
    if global.json {
        return print_json_line(&Event::Started {
            schema: "injector.run/v1",
            profile: &plan.profile,
            seed: plan.seed,
            device: &args.interface,
            ifindex: session.ifindex(),
            attached: session.attached(),
        });
    }
    let hooks: Vec<_> = session
        .attached()
        .iter()
        .map(|a| format!("{} by {}", a.hook, a.via))
        .collect();
    global.say(format_args!(
        "{}: faults on: profile {}, seed {}, {}{}",
        args.interface,
        plan.profile,
        plan.seed,
        hooks.join(", "),
        if args.command.is_empty() && args.duration.is_none() && !ends_by_itself {
            "; Ctrl-C ends them"
        } else {
            ""
        }
    ));
    Ok(())
}

/// Ends the faults. A second Ctrl-C gives up the packets that are still held.
fn stop(session: Session, signals: &Signals, global: &Global) -> Result<Last, Failure> {
    let said = std::sync::Once::new();
    let before = signals.count();
    let quiet = global.quiet || global.json;
    Ok(session.stop(|held| {
        if !quiet && held > 0 {
            said.call_once(|| {
                eprintln!(
                    "faults off; delivering {} held packets (Ctrl-C drops them)",
                    format::count(held)
                );
            });
        }
        signals.count() == before
    })?)
}

fn report_end(
    reason: &'static str,
    ending: &Ending,
    achieved: &Achieved,
    global: &Global,
) -> Result<(), Failure> {
    if global.json {
        return print_json_line(&Event::Ended {
            reason,
            elapsed_ms: ending.elapsed_ms,
            achieved,
        });
    }
    let elapsed = format::duration(ending.elapsed_ms * 1_000_000);
    global.say(format_args!("ended after {elapsed}: {reason}"));
    if !global.quiet {
        eprint!("{}", report::text(achieved));
    }
    Ok(())
}

fn finish(ending: &Ending, args: &Run) -> Outcome {
    if ending.device_gone {
        let message = format!("interface `{}` is gone", args.interface);
        return Err(Failure::new(Code::Conflict, message)
            .hint("it was deleted or moved to another namespace while faults were on"));
    }
    Ok(match ending.command_status {
        Some(status) => status,
        None if ending.told == Some(Told::Interrupted) => Code::Interrupted as u8,
        None => Code::Ok as u8,
    })
}
