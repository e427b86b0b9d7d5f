//! `injector status`

use serde::Serialize;

use super::{Outcome, print, print_json};
use crate::{
    cli::{Global, Status},
    datapath::{clear, journal},
    observe::overview::Run,
};

#[derive(Serialize)]
struct Answer {
    schema: &'static str,
    runs: Vec<Run>,
}

pub(super) fn status(args: &Status, global: &Global) -> Outcome {
    clear::reap()?;
    let records = journal::records(global.netns().id()?)?;
    let runs = Run::all(records, args.interface.as_deref())?;
    if global.json {
        print_json(&Answer {
            schema: "injector.status/v1",
            runs,
        })?;
        return Ok(0);
    }
    if runs.is_empty() {
        return print("no runs\n");
    }
    let text = |run: &Run| run.text(args.histograms);
    print(&runs.iter().map(text).collect::<String>())
}
