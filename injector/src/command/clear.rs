//! `injector clear`

use serde::Serialize;

use super::{Outcome, place::Place, print, print_json};
use crate::{
    cli::{Clear, Global},
    datapath::{
        capability::{self, Capability},
        clear::{self, Cleared, ClearedAll},
    },
    error::{Code, Failure},
};

#[derive(Serialize)]
struct Answer {
    schema: &'static str,
    cleared: Vec<Cleared>,
}

pub(super) fn clear(args: &Clear, global: &Global) -> Outcome {
    capability::require(&[Capability::CAP_NET_ADMIN])?;
    let everywhere = args.all && global.netns.is_none();
    let ClearedAll { cleared, failures } = if everywhere {
        clear::clear_all(&global.netns())?
    } else if args.all {
        ClearedAll {
            cleared: clear::clear(&global.netns(), None)?,
            failures: Vec::new(),
        }
    } else {
        each(&Place::all(&args.interfaces, global)?)?
    };
    if global.json {
        print_json(&Answer {
            schema: "injector.clear/v1",
            cleared,
        })?;
    } else if !global.quiet {
        print(&text(&cleared, everywhere))?;
    }
    if failures.is_empty() {
        return Ok(Code::Ok as u8);
    }
    let message = format!("not everything was cleared: {}", failures.join("; "));
    Err(Failure::new(Code::Refused, message).hint("the rest is as it was"))
}

/// Clears these, the last first. Where there is one alone, its failure is that of the command.
fn each(places: &[Place]) -> Result<ClearedAll, Failure> {
    let mut all = ClearedAll::default();
    for place in places.iter().rev() {
        match clear::clear(&place.netns, Some(&place.device)) {
            Ok(cleared) => all.cleared.extend(cleared),
            Err(error) if places.len() == 1 => return Err(error.into()),
            Err(error) => all.failures.push(format!("{place}: {error}")),
        }
    }
    all.cleared.reverse();
    Ok(all)
}

fn text(cleared: &[Cleared], everywhere: bool) -> String {
    if cleared.is_empty() {
        return "nothing to clear\n".into();
    }
    cleared.iter().map(|c| line(c, everywhere)).collect()
}

fn line(cleared: &Cleared, with_netns: bool) -> String {
    let stopped = cleared.stopped_pid.map(|pid| format!("stopped pid {pid}"));
    let undone = cleared
        .undone
        .iter()
        .map(|undone| format!("removed {undone}"));
    let kept = cleared.kept.iter().map(|kept| format!("left {kept}"));
    let mut parts: Vec<_> = stopped.into_iter().chain(undone).chain(kept).collect();
    if parts.is_empty() {
        parts.push("nothing was left".into());
    }
    let place = match with_netns {
        true => format!(" (net:[{}])", cleared.netns),
        false => String::new(),
    };
    format!("{}{place}: {}\n", cleared.device, parts.join(", "))
}
