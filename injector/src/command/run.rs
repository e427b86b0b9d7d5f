//! `injector run`

mod child;
mod confirm;
mod event;
mod judge;
mod output;
mod phases;
mod play;
mod prepare;
mod service;
mod signals;
mod watch;

pub(super) use self::{
    child::status_code,
    play::{Influences, Player, Wish},
    prepare::{Chosen, Prepared},
    signals::Signals,
};

use std::{sync::Once, time::Duration};

use self::{
    confirm::Confirm,
    event::Event,
    output::Outputs,
    play::{Ending, Lost},
    signals::Told,
    watch::Watch,
};
use super::{Outcome, guard::Guard, plan, print_json_line};
use crate::{
    cli::{Faults, Global, Run},
    datapath::{Options, Session, clear, eviction},
    error::{Code, Failure},
    observe::{
        audit::{Audit, Who},
        format,
        report::{self, Achieved},
        verdict::{self, Verdict},
    },
    plan::Needs,
};

pub(super) fn run(args: &Run, global: &Global) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let faults = &args.faults;
    // Before the file is read, so that no change of it is missed.
    let watch = match &faults.profile {
        Some(profile) if args.watch => Some(Watch::new(profile, &runtime)?),
        _ => None,
    };
    let ssh = Guard::ssh(faults.protect, global);
    let guard = Guard::new(faults.protect, &faults.interface, ssh, global)?;
    let mut chosen = Chosen::new(faults, global)?;
    judge::expect(&mut chosen.profile, &args.judge)?;
    if args.watch {
        play::require_steady(&chosen.profile)?;
    }
    let prepared = Prepared::new(chosen, faults.seed, faults, &guard)?;
    let needs = if args.watch {
        Needs::ANY
    } else {
        Needs::of(&prepared.plans)
    };
    let options = prepared.options(faults);
    if args.dry_run {
        return plan::show(&prepared.plans, &needs, &faults.interface, options, global);
    }
    if global.verbose {
        plan::say(&prepared.plans, &needs, &faults.interface, options, global)?;
    }
    if args.confirm.is_some() {
        Confirm::require_terminal()?;
    }
    let ends = prepared.total.is_some() || args.confirm.is_some() || !args.command.is_empty();
    let guard = guard.of_run(ends)?;
    guard.require_end(&prepared.plans)?;
    let audit = open_audit(faults, Who::this_process())?;
    let outputs = Outputs::create(&args.judge)?;
    let mut influences = Influences {
        signals: Signals::install(&runtime)?,
        watch,
        command: None,
        confirm: None,
        wishes: None,
    };
    let session = begin_session(&prepared, needs, options, faults, global)?;
    let mut player = Player::begin(session, prepared, faults, guard, audit, global)?;
    announce(&player, args, ends, global)?;
    service::ready(&faults.interface, player.profile());
    let played = runtime.block_on(async {
        influences.command = child::spawn(&args.command, &global.netns())?;
        influences.confirm = ask(args)?;
        player.play(&mut influences).await
    });
    let mut ending = match played {
        Ok(ending) => ending,
        Err(failure) => {
            player.stop(&failure.message, |_| false)?;
            return Err(failure);
        }
    };
    let reason = ending.reason();
    service::stopping(reason);
    let (profile, expectations) = (player.profile().to_owned(), player.expectations().to_vec());
    let achieved = stop(player, reason, &influences.signals, global)?;
    let verdicts = verdict::judge(&expectations, &achieved);
    runtime.block_on(play::end_command(influences.command, &mut ending))?;
    report_end(
        reason,
        &ending,
        &achieved,
        args.histograms,
        &verdicts,
        global,
    )?;
    outputs.write(&output::Told {
        profile: &profile,
        elapsed: Duration::from_millis(ending.elapsed_ms),
        verdicts: &verdicts,
    })?;
    finish(&ending, &verdicts, faults)
}

/// Why faults that lost something could not go on.
fn conflict(lost: &Lost, device: &str) -> Failure {
    let (message, hint) = match lost {
        Lost::Device => (
            format!("interface `{device}` is gone"),
            "it was deleted or moved to another namespace while faults were on".to_owned(),
        ),
        Lost::Parts(parts) => (
            format!("`{device}`: evicted: {}", eviction::list(parts)),
            format!(
                "see who is there with `bpftool net show dev {device}`; without `--strict` a run goes on"
            ),
        ),
    };
    Failure::new(Code::Conflict, message).hint(hint)
}

/// Opens what notes the start, the changes and the end.
pub(super) fn open_audit(faults: &Faults, who: Who) -> Result<Audit, Failure> {
    let file = faults.audit.as_deref();
    Audit::open(file, who).map_err(|error| {
        let file = file.unwrap_or_else(|| "".as_ref()).display();
        let code = match error.kind() {
            std::io::ErrorKind::PermissionDenied => Code::Unsupported,
            _ => Code::Usage,
        };
        Failure::new(code, format!("cannot open the audit file {file}: {error}"))
            .hint("nothing was changed; name a file that can be appended to")
    })
}

/// Puts the first faults into force.
pub(super) fn begin_session(
    prepared: &Prepared,
    needs: Needs,
    options: Options,
    faults: &Faults,
    global: &Global,
) -> Result<Session, Failure> {
    let netns = global.netns();
    if faults.replace {
        clear::stop_holder(&netns, &faults.interface)?;
    }
    let session = Session::start(&netns, &faults.interface, prepared.first(), needs, options)?;
    let mut plans = prepared.plans.iter();
    plans.try_for_each(|plan| session.require_room(plan))?;
    Ok(session)
}

fn announce(player: &Player<'_>, args: &Run, ends: bool, global: &Global) -> Result<(), Failure> {
    let session = player.session();
    let Some(record) = session.record() else {
        return Ok(());
    };
    let device = &args.faults.interface;
    if global.json {
        return print_json_line(&Event::Started {
            schema: "injector.run/v1",
            profile: &record.profile,
            seed: record.seed,
            device,
            ifindex: session.ifindex(),
            attached: session.attached(),
            protected: &record.protected,
        });
    }
    let hooks: Vec<_> = session
        .attached()
        .iter()
        .map(|a| format!("{} by {}", a.hook, a.via))
        .collect();
    global.say(format_args!(
        "{}: faults on: profile {}, seed {}, {}{}\n{device}: protected: {}",
        device,
        record.profile,
        record.seed,
        hooks.join(", "),
        if ends { "" } else { "; Ctrl-C ends them" },
        report::protected(&record.protected),
    ));
    Ok(())
}

/// Asks whether the faults may stay, where that is wanted.
fn ask(args: &Run) -> Result<Option<Confirm>, Failure> {
    let Some(time) = args.confirm else {
        return Ok(None);
    };
    let confirm = Confirm::begin(time)?;
    eprintln!(
        "{}: press Enter within {} and the faults stay; else they end",
        args.faults.interface,
        humantime::format_duration(time)
    );
    Ok(Some(confirm))
}

/// Ends the faults. A second Ctrl-C gives up the packets that are still held.
fn stop(
    player: Player<'_>,
    reason: &str,
    signals: &Signals,
    global: &Global,
) -> Result<Achieved, Failure> {
    let said = Once::new();
    let before = signals.count();
    let quiet = global.quiet || global.json;
    player.stop(reason, |held| {
        if !quiet && held > 0 {
            said.call_once(|| {
                eprintln!(
                    "faults off; delivering {} held packets (Ctrl-C drops them)",
                    format::count(held)
                );
            });
        }
        signals.count() == before
    })
}

fn report_end(
    reason: &'static str,
    ending: &Ending,
    achieved: &Achieved,
    histograms: bool,
    verdicts: &[Verdict],
    global: &Global,
) -> Result<(), Failure> {
    if global.json {
        return print_json_line(&Event::Ended {
            reason,
            elapsed_ms: ending.elapsed_ms,
            achieved,
            expectations: verdicts,
        });
    }
    let elapsed = format::duration(ending.elapsed_ms * 1_000_000);
    global.say(format_args!("ended after {elapsed}: {reason}"));
    if !global.quiet {
        eprint!("{}", report::text(achieved));
        if !verdicts.is_empty() {
            eprint!("{}", verdict::text(verdicts));
        }
    }
    if histograms {
        eprint!("{}", report::histograms(achieved));
    }
    Ok(())
}

/// The exit status. A command that has failed by itself says more than an expectation.
fn finish(ending: &Ending, verdicts: &[Verdict], faults: &Faults) -> Outcome {
    if let Some(lost) = &ending.lost {
        return Err(conflict(lost, &faults.interface));
    }
    let status = match ending.command_status {
        Some(status) => status,
        None if ending.told == Some(Told::Interrupted) => Code::Interrupted as u8,
        None => Code::Ok as u8,
    };
    if status == Code::Ok as u8 {
        judge::require_passed(verdicts)?;
    }
    Ok(status)
}
