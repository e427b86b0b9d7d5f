//! What a shell offers while a command line is typed.

use std::{ffi::OsStr, fs, path::Path};

use clap::{Args, Command, CommandFactory as _};
use clap_complete::{
    CompleteEnv, Shell,
    engine::{CompletionCandidate, PathCompleter, ValueCompleter as _},
};

use super::Cli;
use crate::{
    datapath::{capability, containers},
    profile::{self, builtin::BUILTINS},
};

/// What the shell sets to ask; the word that clap proposes may be in use already.
pub const VARIABLE: &str = "INJECTOR_COMPLETE";

/// Print a script that lets a shell complete commands, options, profiles and interfaces
#[derive(Debug, Args)]
#[command(after_help = "\
The script asks injector itself what could follow, so that it knows the interfaces and namespaces that
there are. Evaluate it where the shell starts:

Examples:
  bash        echo 'source <(injector completions bash)' >> ~/.bashrc
  zsh         echo 'source <(injector completions zsh)' >> ~/.zshrc
  fish        injector completions fish > ~/.config/fish/completions/injector.fish
  elvish      echo 'eval (injector completions elvish | slurp)' >> ~/.elvish/rc.elv
  powershell  injector completions powershell >> $PROFILE")]
pub struct Completions {
    /// The shell that reads the script
    pub shell: Shell,
}

/// Answers a shell that asks what could follow, and exits; returns where none asks.
pub fn answer() {
    // What is completed may be a path: privileges must not show what the user may not see.
    if capability::refuse_lent().is_ok() {
        CompleteEnv::with_factory(visible).var(VARIABLE).complete();
    }
}

/// The command line without what is hidden, which would be offered where nothing else fits.
fn visible() -> Command {
    let all = Cli::command();
    let visible = all
        .get_subcommands()
        .filter(|command| !command.is_hide_set());
    Command::new("injector")
        .args(all.get_arguments().cloned())
        .subcommands(visible.cloned())
}

/// Built-in profiles, and files that may be one.
pub(super) fn profiles(current: &OsStr) -> Vec<CompletionCandidate> {
    let is_profile = |path: &Path| {
        let extension = path.extension().and_then(OsStr::to_str);
        matches!(extension, Some("yaml" | "yml" | "json"))
    };
    let files = PathCompleter::any().filter(is_profile).complete(current);
    builtins(current).into_iter().chain(files).collect()
}

/// Built-in profiles, with what they imitate.
pub(super) fn builtins(current: &OsStr) -> Vec<CompletionCandidate> {
    let fits = BUILTINS
        .iter()
        .filter(|builtin| starts(builtin.name, current));
    fits.map(|builtin| {
        let profile = profile::parse(builtin.name, builtin.text).ok();
        let description = profile.and_then(|profile| profile.description);
        CompletionCandidate::new(builtin.name).help(description.map(Into::into))
    })
    .collect()
}

/// Network interfaces of the namespace that the shell is in.
pub(super) fn interfaces(current: &OsStr) -> Vec<CompletionCandidate> {
    names_in("/sys/class/net", current)
}

/// Network namespaces with a name, and files.
pub(super) fn namespaces(current: &OsStr) -> Vec<CompletionCandidate> {
    let files = match current.to_string_lossy().contains('/') {
        true => PathCompleter::any().complete(current),
        false => Vec::new(),
    };
    names_in("/run/netns", current)
        .into_iter()
        .chain(files)
        .collect()
}

/// Containers that run.
pub(super) fn containers(current: &OsStr) -> Vec<CompletionCandidate> {
    offered(containers::names(), current)
}

fn names_in(directory: &str, current: &OsStr) -> Vec<CompletionCandidate> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    offered(names.collect(), current)
}

fn offered(mut names: Vec<String>, current: &OsStr) -> Vec<CompletionCandidate> {
    names.retain(|name| starts(name, current));
    names.sort_unstable();
    names.into_iter().map(CompletionCandidate::new).collect()
}

fn starts(name: &str, current: &OsStr) -> bool {
    current
        .to_str()
        .is_some_and(|current| name.starts_with(current))
}
