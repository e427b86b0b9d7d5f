//! What a shell and `man` get to know of the command line.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use clap::CommandFactory as _;
use injector::cli::Cli;
use injector::profile::builtin::BUILTINS;

const INJECTOR: &str = env!("CARGO_BIN_EXE_injector");

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn injector(args: &[&str]) -> String {
    output(Command::new(INJECTOR).args(args))
}

/// What bash offers for the last of `words`, by the script, as when Tab is pressed.
fn offered(words: &[&str]) -> BTreeSet<String> {
    let directory = Path::new(INJECTOR).parent().unwrap().display();
    let path = format!("{directory}:{}", std::env::var("PATH").unwrap());
    let script = r#"
        eval "$(injector completions bash)"
        COMP_WORDS=(injector "$@") COMP_CWORD=$# COMP_TYPE=9
        _clap_complete_injector injector "${COMP_WORDS[COMP_CWORD]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let mut bash = Command::new("bash");
    bash.args(["-c", script, "bash"]).args(words);
    let offered = output(bash.env("PATH", path).current_dir("../docs"));
    offered
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect()
}

fn set(words: &[&str]) -> BTreeSet<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// The names of the commands that a user is told of.
fn visible(command: &clap::Command) -> Vec<&clap::Command> {
    let subcommands = command.get_subcommands();
    subcommands
        .filter(|subcommand| !subcommand.is_hide_set())
        .collect()
}

#[test]
fn every_shell_gets_a_script_that_asks_injector() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = injector(&["completions", shell]);
        assert!(script.contains("INJECTOR_COMPLETE"), "{shell}: {script}");
        assert!(!script.contains(INJECTOR), "{shell}: {script}");
    }
}

#[test]
fn bash_is_offered_commands_but_none_that_is_hidden() {
    let mut names: BTreeSet<String> = visible(&Cli::command())
        .iter()
        .map(|command| command.get_name().to_owned())
        .collect();
    names.insert("help".to_owned());
    let words = offered(&[""]);
    assert!(words.is_superset(&names), "{words:?}");
    assert!(!words.contains("hold"), "{words:?}");
    assert_eq!(offered(&["statu"]), set(&["status"]));
    assert_eq!(offered(&["hol"]), set(&[""]));
}

#[test]
fn bash_is_offered_profiles_and_interfaces() {
    assert_eq!(offered(&["run", "los"]), set(&["lossy"]));
    assert_eq!(offered(&["profiles", "show", "geo"]), set(&["geo-sat"]));
    // Of the files in this directory those that may be profiles.
    assert_eq!(offered(&["check", "phases"]), set(&["phases.yaml"]));
    assert_eq!(offered(&["run", "-i", "l"]), set(&["lo"]));
    assert_eq!(offered(&["run", "--dry"]), set(&["--dry-run"]));
    let all = offered(&["run", ""]);
    for builtin in BUILTINS {
        assert!(all.contains(builtin.name), "{all:?}");
    }
}

/// Asserts that there is a page for the command, and for each below it, that shows all its options.
fn assert_pages(
    command: &clap::Command,
    name: &str,
    directory: &Path,
    seen: &mut BTreeSet<String>,
) {
    let file = format!("{name}.8");
    let page = fs::read_to_string(directory.join(&file)).unwrap();
    assert!(page.contains(&format!(".TH {name} 8")), "{page}");
    for option in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
        let long = option.get_long().unwrap_or_default().replace('-', "\\-");
        assert!(page.contains(&long), "{file}: {long}");
    }
    seen.insert(file);
    for subcommand in visible(command) {
        let name = format!("{name}-{}", subcommand.get_name());
        assert_pages(subcommand, &name, directory, seen);
    }
}

#[test]
fn every_command_has_a_page_but_none_that_is_hidden() {
    let directory = tempfile::tempdir().unwrap();
    let pages = directory.path().join("share/man8");
    injector(&["man", pages.to_str().unwrap()]);
    let mut expected = BTreeSet::new();
    assert_pages(&Cli::command(), "injector", &pages, &mut expected);
    let written = fs::read_dir(&pages).unwrap();
    let written: BTreeSet<_> = written
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(written, expected);
    assert_eq!(
        injector(&["man"]),
        fs::read_to_string(pages.join("injector.8")).unwrap()
    );
    assert!(!injector(&["man"]).contains("hold"));
}

#[test]
fn examples_in_a_page_are_lines() {
    let directory = tempfile::tempdir().unwrap();
    injector(&["man", directory.path().to_str().unwrap()]);
    let page = fs::read_to_string(directory.path().join("injector-run.8")).unwrap();
    let examples = page.split(".SH EXAMPLES\n.nf\n").nth(1).unwrap();
    let (examples, _) = examples.split_once("\n.fi").unwrap();
    assert!(examples.lines().count() >= 8, "{examples}");
    assert!(
        examples
            .lines()
            .all(|line| line.starts_with("injector run ")),
        "{examples}"
    );
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let output = Command::new(INJECTOR)
        .args(["man", "/dev/null/pages"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("/dev/null/pages"), "{said}");
}
