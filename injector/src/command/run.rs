//! `injector run`

mod child;
mod play;
mod signals;
mod watch;

use serde::Serialize;

use self::{
    play::{Ending, Played, Player},
    signals::{Signals, Told},
    watch::Watch,
};
use super::{Outcome, load_profile, plan, print_json_line, quick, work_out};
use crate::{
    cli::{Global, Run},
    datapath::{Attached, Options, Session, counters::Snapshot, journal::RecordedRule},
    error::{Code, Failure},
    observe::{
        format,
        report::{self, Achieved},
    },
    plan::{Needs, Plan},
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
    /// The counters, once a second.
    Counters {
        elapsed_ms: u64,
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
    let plan = work_out(&profile, args.seed)?;
    let needs = if args.watch {
        Needs::ANY
    } else {
        Needs::of([&plan])
    };
    let options = Options {
        attach: args.attach.attach,
        xdp: args.attach.xdp,
    };
    if args.dry_run {
        return plan::show(&plan, &needs, &args.interface, options, global);
    }
    if global.verbose {
        plan::say(&plan, &needs, &args.interface, options, global)?;
    }
    let mut signals = Signals::install(&runtime)?;
    let session = Session::start(&global.netns(), &args.interface, &plan, needs, options)?;
    announce(&plan, args, &session, global)?;
    let player = Player { args, global };
    let Played {
        session,
        mut ending,
        command,
    } = runtime.block_on(player.play(session, &mut signals, watch))?;
    let reason = ending.reason();
    let rules = session.rules().to_vec();
    let last = stop(session, &signals, global)?;
    runtime.block_on(play::end_command(command, &mut ending))?;
    report_end(reason, &ending, &rules, &last, global)?;
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

fn announce(plan: &Plan, args: &Run, session: &Session, global: &Global) -> Result<(), Failure> {
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
        if args.command.is_empty() && args.duration.is_none() {
            "; Ctrl-C ends them"
        } else {
            ""
        }
    ));
    Ok(())
}

/// Ends the faults. A second Ctrl-C gives up the packets that are still held.
fn stop(session: Session, signals: &Signals, global: &Global) -> Result<Snapshot, Failure> {
    let said = std::sync::Once::new();
    let before = signals.count();
    let quiet = global.quiet || global.json;
    Ok(session.stop(|held| {
        if !quiet {
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
    rules: &[RecordedRule],
    last: &Snapshot,
    global: &Global,
) -> Result<(), Failure> {
    let achieved = Achieved::of_ended(rules, last);
    if global.json {
        return print_json_line(&Event::Ended {
            reason,
            elapsed_ms: ending.elapsed_ms,
            achieved: &achieved,
        });
    }
    let elapsed = format::duration(ending.elapsed_ms * 1_000_000);
    global.say(format_args!("ended after {elapsed}: {reason}"));
    if !global.quiet {
        eprint!("{}", report::text(&achieved));
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
