//! What a run says, to people and to programs.

use std::time::Duration;

use super::{event::Event, play::Play, player::Player, service};
use crate::{
    cli::Global,
    command::{place::Place, print_json_line},
    error::Failure,
    observe::{
        format,
        report::{self, Achieved},
        verdict::{self, Verdict},
    },
};

/// That there is no device, and what was achieved on the one before.
pub(super) fn waiting(
    place: &Place,
    former: Option<&Achieved>,
    global: &Global,
) -> Result<(), Failure> {
    service::waiting(&place.device);
    if global.json {
        return print_json_line(&Event::Waiting {
            schema: "injector.run/v1",
            device: &place.device,
            former,
        });
    }
    global.say(format_args!("{place}: waiting for the device"));
    if let Some(former) = former
        && !global.quiet
    {
        eprint!("until now:\n{}", report::text(former));
    }
    Ok(())
}

/// That the faults are in force, on each interface.
pub(super) fn started(play: &Play<'_>, ends: bool, global: &Global) -> Result<(), Failure> {
    for player in play.players() {
        started_at(player, play, ends, global)?;
    }
    match play.metrics() {
        Some(address) if !global.json => global.say(format_args!(
            "{}: metrics: http://{address}/metrics",
            play.name()
        )),
        _ => {}
    }
    Ok(())
}

fn started_at(
    player: &Player<'_>,
    play: &Play<'_>,
    ends: bool,
    global: &Global,
) -> Result<(), Failure> {
    let (session, place) = (player.session(), player.place());
    let Some(record) = session.record() else {
        return Ok(());
    };
    if global.json {
        return print_json_line(&Event::Started {
            schema: "injector.run/v1",
            profile: &record.profile,
            seed: record.seed,
            device: &place.device,
            target: place.target.as_ref().map(|target| &*target.name),
            ifindex: session.ifindex(),
            attached: session.attached(),
            protected: &record.protected,
            metrics: play.metrics(),
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
        "{place}: faults on: profile {}, seed {}, {}{}{}\n{place}: protected: {}",
        record.profile,
        record.seed,
        hooks.join(", "),
        match session.command_entry() {
            Some(_) => ", of the command's packets alone",
            None => "",
        },
        if ends { "" } else { "; Ctrl-C ends them" },
        report::protected(&record.protected),
    ));
    if let Some(line) = report::left_out(&record.left_out) {
        global.say(format_args!("{place}: {line}"));
    }
    for note in &record.notes {
        global.say(format_args!("{place}: note: {note}"));
    }
    Ok(())
}

/// What came of it.
pub(super) fn ended(
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
