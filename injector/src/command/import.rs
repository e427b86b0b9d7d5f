//! `injector import`

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{Outcome, invalid_profile, print, print_json};
use crate::{
    cli::{Global, Import},
    error::{Code, Failure},
    import::{self, Imported, Kind, Note, Tool, Wish},
    profile::{ProfileError, Source},
};

#[derive(Serialize)]
struct Answer {
    schema: &'static str,
    tool: Tool,
    profile: String,
    notes: Vec<Note>,
}

pub(super) fn import(args: &Import, global: &Global) -> Outcome {
    let imported = translate(args).map_err(|error| invalid_profile(&error, global))?;
    for note in &imported.notes {
        global.say(note);
    }
    let missing = |note: &&Note| note.kind == Kind::NoEquivalent;
    let missing = imported.notes.iter().filter(missing).count();
    if args.strict && missing > 0 {
        let things = if missing == 1 {
            "thing has"
        } else {
            "things have"
        };
        let failure = Failure::new(Code::Profile, format!("{missing} {things} no equivalent"));
        return Err(
            failure.hint("without --strict the profile is made all the same, with comments")
        );
    }
    if let Some(file) = &args.output {
        write(file, &imported.text)?;
    }
    match (global.json, &args.output) {
        (true, _) => {
            let Imported { tool, text, notes } = imported;
            print_json(&Answer {
                schema: "injector.import/v1",
                tool,
                profile: text,
                notes,
            })?;
            Ok(0)
        }
        (false, None) => print(&imported.text),
        (false, Some(_)) => Ok(0),
    }
}

fn translate(args: &Import) -> Result<Imported, ProfileError> {
    let wish = Wish {
        tool: args.from,
        only: args.only.as_deref(),
        name: args.name.as_deref(),
        directory: directory(args.output.as_deref()),
    };
    if let [up, down] = args.files.as_slice() {
        return import::import_traces([up, down], &wish);
    }
    let source = match args.files.first() {
        None => import::command_line(&args.command),
        Some(file) if file.as_os_str() == "-" => Source::open("-")?,
        Some(file) => Source::file(file)?,
    };
    import::import(&source, &wish)
}

/// Where the profile will be: without a file, where it is redirected to, which is likely here.
fn directory(output: Option<&Path>) -> PathBuf {
    let parent = output.and_then(Path::parent);
    parent.map_or_else(PathBuf::new, Path::to_owned)
}

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    let written = fs::File::create(file).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| {
        let message = format!("cannot write {}: {error}", file.display());
        Failure::new(Code::of(&error), message)
    })
}
