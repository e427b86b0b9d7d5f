//! `injector run`

mod child;
mod confirm;
mod ends;
mod event;
mod judge;
mod output;
mod phases;
mod play;
mod prepare;
mod service;
mod signals;
mod stage;
mod suspension;
mod telemetry;
mod watch;

pub(super) use self::{
    child::status_code,
    ends::Ends,
    play::{Influences, Player, Wish},
    prepare::{Chosen, Prepared},
    signals::Signals,
    stage::{Entry, Stage},
    telemetry::Telemetry,
};

use std::{sync::Once, time::Duration};

use tokio::runtime::Runtime;

use self::{
    confirm::Confirm,
    event::Event,
    output::Outputs,
    play::{Ending, Lost, Remains},
    signals::Told,
    watch::Watch,
};
use super::{Outcome, guard::Guard, plan, print_json_line};
use crate::{
    cli::{Faults, Global, Run},
    datapath::eviction,
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
    let faults = &Faults {
        only_command: args.only_command,
        ..args.faults.clone()
    };
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
    let needs = if args.watch || prepared.named.is_some() {
        Needs::ANY
    } else {
        Needs::of(&prepared.plans)
    };
    if args.dry_run {
        let options = prepared.options(faults);
        let answers = prepared.answers();
        return plan::show(
            &prepared.plans,
            answers,
            &needs,
            &faults.interface,
            options,
            global,
        );
    }
    if args.confirm.is_some() {
        Confirm::require_terminal()?;
    }
    let ends = prepared.total().is_some() || args.confirm.is_some() || !args.command.is_empty();
    open_audit(faults, Who::this_process())?;
    let outputs = Outputs::create(&args.judge)?;
    let telemetry =
        Telemetry::open(&faults.metrics, &runtime)?.recording(args.judge.report.is_some());
    let mut influences = Influences {
        ends: Ends::new(Signals::install(&runtime)?),
        watch,
        wishes: None,
    };
    let stage = Stage::new(faults, global, guard, needs, ends)?;
    let played = play_on(&stage, prepared, telemetry, args, &mut influences, &runtime)?;
    let Played {
        mut ending,
        elapsed,
        remains,
    } = played;
    let verdicts = verdict::judge(&remains.prepared.expect, &remains.achieved);
    runtime.block_on(ends::end_command(influences.ends.command, &mut ending))?;
    report_end(
        ending.reason(),
        elapsed,
        &remains.achieved,
        args.histograms,
        &verdicts,
        global,
    )?;
    outputs.write(&output::Results {
        remains: &remains,
        elapsed,
        reason: ending.reason(),
        verdicts: &verdicts,
    })?;
    finish(&ending, &verdicts, faults)
}

/// A run that has ended.
struct Played {
    ending: Ending,
    elapsed: Duration,
    /// On the last device.
    remains: Remains,
}

/// Plays on one device after the other, where the run is to outlive them.
fn play_on(
    stage: &Stage<'_>,
    mut prepared: Prepared,
    mut telemetry: Telemetry,
    args: &Run,
    influences: &mut Influences,
    runtime: &Runtime,
) -> Result<Played, Failure> {
    let Stage { global, faults, .. } = *stage;
    let mut former: Option<Achieved> = None;
    let mut record = None;
    let mut is_first = true;
    loop {
        let audit = open_audit(faults, Who::this_process())?;
        let waits = |_: &Prepared| say_waiting(former.as_ref(), faults, global);
        let entrance = match stage.enter(prepared, &mut influences.ends, runtime, waits)? {
            Entry::InForce(entrance) => *entrance,
            Entry::Ended(ending, prepared) => {
                service::stopping(ending.reason());
                return Ok(Played {
                    ending,
                    elapsed: stage.started().elapsed(),
                    remains: Remains {
                        achieved: former.unwrap_or_default(),
                        record,
                        prepared: *prepared,
                        telemetry,
                    },
                });
            }
        };
        let mut player = Player::begin(entrance, stage, audit, telemetry)?;
        announce(&player, args, stage.ends, global)?;
        service::ready(&faults.interface, player.profile());
        let played = runtime.block_on(async {
            if std::mem::take(&mut is_first) {
                let entry = player.session().command_entry();
                influences.ends.command =
                    child::spawn(&args.command, &global.netns(), entry.as_deref())?;
                influences.ends.confirm = ask(args)?;
            }
            player.play(influences).await
        });
        let ending = match played {
            Ok(ending) => ending,
            Err(failure) => {
                player.stop(&failure.message, |_| false)?;
                return Err(failure);
            }
        };
        let elapsed = stage.started().elapsed();
        let reason = ending.reason();
        let goes_on = ending.is_absence() && faults.wait_for_device;
        if !goes_on {
            service::stopping(reason);
        }
        let remains = stop(player, reason, &influences.ends.signals, global)?;
        if !goes_on {
            return Ok(Played {
                ending,
                elapsed,
                remains,
            });
        }
        (prepared, telemetry) = (remains.prepared, remains.telemetry);
        (former, record) = (Some(remains.achieved), remains.record);
    }
}

/// Says that there is no device, and what was achieved on the one before.
fn say_waiting(former: Option<&Achieved>, faults: &Faults, global: &Global) -> Result<(), Failure> {
    let device = &faults.interface;
    service::waiting(device);
    if global.json {
        return print_json_line(&Event::Waiting {
            schema: "injector.run/v1",
            device,
            former,
        });
    }
    global.say(format_args!("{device}: waiting for the device"));
    if let Some(former) = former
        && !global.quiet
    {
        eprint!("until now:\n{}", report::text(former));
    }
    Ok(())
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
        let message = format!("cannot open the audit file {file}: {error}");
        Failure::new(Code::of(&error), message)
            .hint("nothing was changed; name a file that can be appended to")
    })
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
            metrics: player.metrics(),
            left_out: &record.left_out,
            notes: &record.notes,
        });
    }
    let hooks: Vec<_> = session
        .attached()
        .iter()
        .map(|a| format!("{} by {}", a.hook, a.via))
        .collect();
    global.say(format_args!(
        "{}: faults on: profile {}, seed {}, {}{}{}\n{device}: protected: {}",
        device,
        record.profile,
        record.seed,
        hooks.join(", "),
        if args.only_command {
            ", of the command's packets alone"
        } else {
            ""
        },
        if ends { "" } else { "; Ctrl-C ends them" },
        report::protected(&record.protected),
    ));
    if let Some(address) = player.metrics() {
        global.say(format_args!("{device}: metrics: http://{address}/metrics"));
    }
    if let Some(line) = report::left_out(&record.left_out) {
        global.say(format_args!("{device}: {line}"));
    }
    for note in &record.notes {
        global.say(format_args!("{device}: note: {note}"));
    }
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
) -> Result<Remains, Failure> {
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
    elapsed: Duration,
    achieved: &Achieved,
    histograms: bool,
    verdicts: &[Verdict],
    global: &Global,
) -> Result<(), Failure> {
    let elapsed_ms = elapsed.as_millis() as u64;
    if global.json {
        return print_json_line(&Event::Ended {
            reason,
            elapsed_ms,
            achieved,
            expectations: verdicts,
        });
    }
    let elapsed = format::duration(elapsed_ms * 1_000_000);
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
