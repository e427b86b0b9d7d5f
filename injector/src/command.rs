//! The commands: composition of the stages, one file each.

mod apply;
mod check;
mod clear;
mod completions;
mod container;
mod control;
mod demo;
mod doctor;
mod guard;
mod hold;
mod import;
mod man;
mod missing;
mod names;
mod place;
mod plan;
mod predict;
mod profiles;
mod quick;
mod run;
mod scenario;
mod schema;
mod signals;
mod status;
mod together;
mod trace;
mod watch;

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    process::ExitCode,
};

use serde::Serialize;

use crate::{
    cli::{Cli, Command, Global, When},
    datapath::{Netns, capability},
    error::{Code, Failure},
    plan::Plan,
    profile::{self, Profile, ProfileError},
};

/// What a command ends with: the exit code, 0 to 255.
type Outcome = Result<u8, Failure>;

/// Executes the command line, and reports a failure.
pub fn execute(mut cli: Cli) -> ExitCode {
    let allowed = capability::refuse_lent().map_err(Failure::from);
    let understood = allowed.and_then(|()| container::resolve(&mut cli.global));
    let Cli { command, global } = cli;
    let outcome = understood.and_then(|()| match command {
        Command::Run(args) => run::run(&args, &global),
        Command::Apply(args) => apply::apply(&args, &global),
        Command::Hold => hold::hold(),
        Command::Scenario(args) => scenario::scenario(&args, &global),
        Command::Stage => scenario::stage(),
        Command::Check(args) => check::check(&args, &global),
        Command::Import(args) => import::import(&args, &global),
        Command::Plan(args) => plan::plan(&args, &global),
        Command::Predict(args) => predict::predict(&args, &global),
        Command::Status(args) => status::status(&args, &global),
        Command::Watch(args) => watch::watch(&args, &global),
        Command::Trace(args) => trace::trace(&args, &global),
        Command::Clear(args) => clear::clear(&args, &global),
        Command::Doctor(args) => doctor::doctor(&args, &global),
        Command::Demo(args) => demo::demo(&args, &global),
        Command::Profiles(args) => profiles::profiles(&args, &global),
        Command::Schema => schema::schema(),
        Command::Completions(args) => completions::completions(&args),
        Command::Man(args) => man::man(&args),
    });
    ExitCode::from(outcome.unwrap_or_else(|failure| {
        eprintln!("{failure}");
        failure.code as u8
    }))
}

impl Global {
    fn netns(&self) -> Netns {
        self.netns.clone().unwrap_or_default()
    }

    /// Whether what goes to standard error may be coloured.
    fn color(&self) -> bool {
        self.color_on(&io::stderr())
    }

    /// Whether what goes to this stream may be coloured.
    fn color_on(&self, stream: &impl io::IsTerminal) -> bool {
        match self.color {
            When::Always => true,
            When::Never => false,
            When::Auto => {
                stream.is_terminal()
                    && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
                    && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
            }
        }
    }

    /// Says something to whoever watches.
    fn say(&self, text: impl std::fmt::Display) {
        if !self.quiet {
            eprintln!("{text}");
        }
    }
}

/// Reads a profile, rendering what is wrong with it.
fn load_profile(argument: &str, global: &Global) -> Result<Profile, Failure> {
    profile::load(argument).map_err(|error| invalid_profile(&error, global))
}

fn invalid_profile(error: &ProfileError, global: &Global) -> Failure {
    Failure {
        rendered: true,
        ..Failure::new(Code::Profile, error.render(global.color()))
    }
}

/// Works every phase of a profile out, or the profile where it has none, drawing a seed where none is
/// given.
fn work_out(profile: &Profile, seed: Option<u64>) -> Result<Vec<Plan>, Failure> {
    Ok(Plan::all(profile, seed_of(profile, seed)?)?)
}

/// The seed, drawn where neither the command line nor the profile names one.
fn seed_of(profile: &Profile, seed: Option<u64>) -> io::Result<u64> {
    seed.or(profile.seed).map_or_else(draw_seed, Ok)
}

/// That a profile has no phase of that name.
fn no_phase(profile: &Profile, name: &str) -> Failure {
    let message = format!("no phase `{name}` in `{}`", profile.name);
    let phases = profile
        .timeline()
        .map_or(&[][..], |timeline| &timeline.phases);
    let names: Vec<_> = phases.iter().map(|phase| phase.name.as_str()).collect();
    Failure::new(Code::Usage, message).hint(match names.is_empty() {
        true => "its rules are the same throughout".to_owned(),
        false => format!("its phases: {}", names.join(", ")),
    })
}

/// A seed short enough to be typed again.
fn draw_seed() -> io::Result<u64> {
    let mut bytes = [0; 4];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u32::from_ne_bytes(bytes).into())
}

/// Prints a JSON document, indented; likewise quiet where nobody reads it.
fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(io::Error::from)?;
    print(&(text + "\n")).map(drop)
}

/// Prints one line of a JSON stream.
fn print_json_line(value: &impl Serialize) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, value).map_err(io::Error::from)?;
    writeln!(out)?;
    Ok(out.flush()?)
}

/// Prints a line as soon as there is one; `false` where nobody reads any more, as after `| head`.
fn print_line(line: &str) -> Result<bool, Failure> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        written => Ok(written.map(|()| true)?),
    }
}

/// Prints text; a closed pipe, as after `| head`, ends the command quietly.
fn print(text: &str) -> Outcome {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(0),
        other => other.map(|()| 0).map_err(Failure::from),
    }
}
