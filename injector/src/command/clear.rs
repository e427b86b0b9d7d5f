//! `injector clear`

use serde::Serialize;

use super::{Outcome, print, print_json};
use crate::{
    cli::{Clear, Global},
    datapath::{
        capability,
        clear::{self, Cleared},
    },
};

#[derive(Serialize)]
struct Answer {
    schema: &'static str,
    cleared: Vec<Cleared>,
}

pub(super) fn clear(args: &Clear, global: &Global) -> Outcome {
    capability::require_for_run()?;
    let cleared = clear::clear(&global.netns(), args.interface.as_deref())?;
    if global.json {
        print_json(&Answer {
            schema: "injector.clear/v1",
            cleared,
        })?;
        return Ok(0);
    }
    if global.quiet {
        return Ok(0);
    }
    if cleared.is_empty() {
        return print("nothing to clear\n");
    }
    print(&cleared.iter().map(line).collect::<String>())
}

fn line(cleared: &Cleared) -> String {
    let mut parts = Vec::new();
    if let Some(pid) = cleared.stopped_pid {
        parts.push(format!("stopped pid {pid}"));
    }
    parts.extend(
        cleared
            .undone
            .iter()
            .map(|undone| format!("removed {undone}")),
    );
    if parts.is_empty() {
        parts.push("nothing was left".into());
    }
    format!("{}: {}\n", cleared.device, parts.join(", "))
}
