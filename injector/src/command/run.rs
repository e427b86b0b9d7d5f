//! `injector run`

mod child;
mod confirm;
mod ending;
mod ends;
mod entering;
mod event;
mod files;
mod judge;
mod output;
mod phases;
mod play;
mod player;
mod prepare;
mod say;
mod service;
mod signals;
mod stage;
mod suspension;
mod telemetry;
mod watch;

pub(super) use self::{
    child::status_code,
    ends::Ends,
    entering::enter,
    play::{Influences, Play, Wish},
    prepare::{Chosen, Prepared},
    signals::Signals,
    stage::{Entry, Stage},
    telemetry::Telemetry,
};

use std::{sync::Once, time::Duration};

use tokio::runtime::Runtime;

use self::{
    confirm::Confirm, ending::Ending, files::Files, output::Outputs, play::Remains, signals::Told,
    watch::Watch,
};
use super::{Outcome, guard::Guard, place::Place, plan};
use crate::{
    cli::{Faults, Global, Run},
    error::{Code, Failure},
    observe::{
        audit::{Audit, Who},
        format,
        report::Achieved,
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
    let mut chosen = Chosen::new(faults, global)?;
    judge::expect(&mut chosen.profile, &args.judge)?;
    if args.watch {
        play::require_steady(&chosen.profile)?;
    }
    let places = Place::of_run(&chosen.profile, faults, global)?;
    if places.len() > 1 && args.only_command {
        let message = "`--only-command` is for one interface, and several are named";
        return Err(Failure::new(Code::Usage, message).hint("name the one that the command uses"));
    }
    let guards = Guard::all(faults.protect, &places, ssh)?;
    let prepared = Prepared::all(chosen, faults.seed, faults, &guards)?;
    let first = &prepared[0];
    let needs = |prepared: &Prepared| match args.watch || prepared.named.is_some() {
        true => Needs::ANY,
        false => Needs::of(&prepared.plans),
    };
    if args.dry_run {
        let parts = guards.iter().zip(&prepared);
        let parts: Vec<_> = parts
            .map(|(guard, prepared)| plan::Part {
                place: guard.place(),
                plans: &prepared.plans,
                needs: needs(prepared),
            })
            .collect();
        return plan::show(&parts, first.answers(), first.options(faults), global);
    }
    if args.confirm.is_some() {
        Confirm::require_terminal()?;
    }
    let ends = first.total().is_some() || args.confirm.is_some() || !args.command.is_empty();
    open_audit(faults, Who::this_process())?;
    let outputs = Outputs::create(&args.judge)?;
    let telemetry =
        Telemetry::open(&faults.metrics, &runtime)?.recording(args.judge.report.is_some());
    let files = Files::raise(prepared.iter().map(needs))?;
    let mut influences = Influences {
        ends: Ends::new(Signals::install(&runtime)?),
        watch,
        wishes: None,
    };
    let count = guards.len();
    let stages = guards.into_iter().zip(&prepared);
    let stages = stages.map(|(guard, prepared)| {
        let stage = Stage::new(faults, global, guard, needs(prepared), ends)?;
        Ok(stage.among(count))
    });
    let stages = stages.collect::<Result<Vec<_>, Failure>>()?;
    let played = play_on(
        &stages,
        prepared,
        telemetry,
        args,
        files,
        &mut influences,
        &runtime,
    )?;
    let Played {
        mut ending,
        elapsed,
        remains,
    } = played;
    let verdicts = verdict::judge(&remains.prepared[0].expect, &remains.achieved);
    runtime.block_on(ends::end_command(influences.ends.command, &mut ending))?;
    say::ended(
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
    finish(&ending, &verdicts)
}

/// A run that has ended.
struct Played {
    ending: Ending,
    elapsed: Duration,
    /// On the last device.
    remains: Remains,
}

/// Plays, on one device after the other where the run is to outlive them.
fn play_on(
    stages: &[Stage<'_>],
    mut prepared: Vec<Prepared>,
    mut telemetry: Telemetry,
    args: &Run,
    files: Files,
    influences: &mut Influences,
    runtime: &Runtime,
) -> Result<Played, Failure> {
    let Stage { global, faults, .. } = stages[0];
    let started = || stages[0].started();
    let mut former: Option<Achieved> = None;
    let mut records = Vec::new();
    let mut is_first = true;
    loop {
        let audit = open_audit(faults, Who::this_process())?;
        let waits = |_: &Prepared| say::waiting(stages[0].place(), former.as_ref(), global);
        let ready = match enter(stages, prepared, &mut influences.ends, runtime, waits)? {
            Entry::Ready(ready) => ready,
            Entry::Ended(ending, prepared) => {
                service::stopping(ending.reason());
                return Ok(Played {
                    ending,
                    elapsed: started().elapsed(),
                    remains: Remains {
                        achieved: former.unwrap_or_default(),
                        records,
                        prepared,
                        telemetry,
                    },
                });
            }
        };
        let mut play = Play::begin(ready, stages, audit, telemetry)?;
        say::started(&play, stages[0].ends, global)?;
        service::ready(&play.name(), play.profile());
        let played = runtime.block_on(async {
            if std::mem::take(&mut is_first) {
                let entry = play.session().command_entry();
                influences.ends.command =
                    child::spawn(&args.command, &global.netns(), entry.as_deref(), files)?;
                influences.ends.confirm = ask(args, &play.name())?;
            }
            play.play(influences).await
        });
        let ending = match played {
            Ok(ending) => ending,
            Err(failure) => {
                play.stop(&failure.message, |_| false)?;
                return Err(failure);
            }
        };
        let elapsed = started().elapsed();
        let reason = ending.reason();
        let goes_on = ending.is_absence() && faults.wait_for_device;
        if !goes_on {
            service::stopping(reason);
        }
        let remains = stop(play, reason, &influences.ends.signals, global)?;
        if !goes_on {
            return Ok(Played {
                ending,
                elapsed,
                remains,
            });
        }
        (prepared, telemetry) = (remains.prepared, remains.telemetry);
        (former, records) = (Some(remains.achieved), remains.records);
    }
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

/// Asks whether the faults may stay, where that is wanted.
fn ask(args: &Run, name: &str) -> Result<Option<Confirm>, Failure> {
    let Some(time) = args.confirm else {
        return Ok(None);
    };
    let confirm = Confirm::begin(time)?;
    eprintln!(
        "{name}: press Enter within {} and the faults stay; else they end",
        humantime::format_duration(time)
    );
    Ok(Some(confirm))
}

/// Ends the faults. A second Ctrl-C gives up the packets that are still held.
fn stop(
    play: Play<'_>,
    reason: &str,
    signals: &Signals,
    global: &Global,
) -> Result<Remains, Failure> {
    let said = Once::new();
    let before = signals.count();
    let quiet = global.quiet || global.json;
    play.stop(reason, |held| {
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

/// The exit status. A command that has failed by itself says more than an expectation.
fn finish(ending: &Ending, verdicts: &[Verdict]) -> Outcome {
    if let Some(lost) = &ending.lost {
        return Err(lost.conflict());
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
