//! The recipes for CI systems, as far as they can be followed without these: their steps, as they stand.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use injector_tests::{Lab, Netns, directory::Directory, injector, kernel, tool};
use serde_yaml::Value;

/// Leaves a test out in guests, which have no sudo and no bash.
macro_rules! natively {
    () => {
        if kernel::is_guest() {
            return;
        }
    };
}

fn read(path: &str) -> String {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn action() -> Value {
    serde_yaml::from_str(&read("contrib/github-action/action.yml")).expect("YAML")
}

/// The blocks of a language in the manual.
fn blocks(language: &str) -> Vec<String> {
    let (manual, fence) = (read("docs/ci.md"), format!("```{language}\n"));
    let blocks = manual.split(&fence).skip(1);
    let blocks = blocks.map(|block| block.split("```").next().unwrap_or_default());
    blocks.map(str::to_owned).collect()
}

/// The example for a CI system, by a key that it has.
fn example(key: &str) -> Value {
    let blocks = blocks("yaml");
    let mut examples = blocks
        .iter()
        .map(|block| serde_yaml::from_str::<Value>(block).expect("YAML"));
    let example = examples.find(|example| example.get(key).is_some());
    example.unwrap_or_else(|| panic!("no example with {key}"))
}

fn step<'a>(action: &'a Value, name: &str) -> &'a Value {
    let steps = action["runs"]["steps"].as_sequence().expect("steps");
    let step = steps.iter().find(|step| step["name"] == name);
    step.unwrap_or_else(|| panic!("no step {name}"))
}

/// A place like a runner's: a checkout, and `injector` in PATH.
struct Runner {
    directory: Directory,
}

impl Runner {
    fn new(name: &str) -> Self {
        let directory = Directory::new(name);
        let bin = directory.file("bin");
        fs::create_dir(&bin).expect("a directory");
        let binary = injector::command().get_program().to_owned();
        let binary = fs::canonicalize(binary).expect("the binary");
        std::os::unix::fs::symlink(binary, bin.join("injector")).expect("a link");
        Self { directory }
    }

    /// Puts a program into PATH.
    fn tool(&self, name: &str, script: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.write(&format!("bin/{name}"), &format!("#!/bin/sh\n{script}\n"));
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("make it a program");
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.file(name);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        fs::write(&path, text).expect("write a file");
        path
    }

    /// Runs a script as a runner does.
    fn run(&self, netns: &Netns, script: &str, settings: &[(&str, &str)]) -> Output {
        let path = env::var("PATH").unwrap_or_default();
        let mut bash = Command::new("bash");
        bash.args(["--noprofile", "--norc", "-eo", "pipefail", "-c", script])
            .env(
                "PATH",
                format!("{}:{path}", self.directory.file("bin").display()),
            )
            .envs([("CI", "true"), ("HOME", "/home/runner")])
            .envs(settings.iter().copied())
            .current_dir(self.directory.file(""));
        netns.run(|| bash.output().expect("run bash"))
    }

    /// Runs a step of the action with these inputs.
    fn act(&self, netns: &Netns, name: &str, inputs: &[(&str, &str)]) -> Output {
        let action = action();
        let step = step(&action, name);
        let settings = step["env"].as_mapping().expect("its environment");
        let settings: Vec<_> = settings
            .iter()
            .map(|(key, value)| {
                let value = value.as_str().expect("an expression");
                let input = value
                    .strip_prefix("${{ inputs.")
                    .and_then(|value| value.strip_suffix(" }}"))
                    .expect("an input alone");
                let given = inputs.iter().find(|(name, _)| *name == input);
                let default = action["inputs"][input]["default"].as_str();
                let value = given.map(|(_, value)| *value).or(default);
                (
                    key.as_str().expect("a name"),
                    value.expect("an input with a default"),
                )
            })
            .collect();
        let settings = [&settings[..], &[("USER", "nobody")]].concat();
        self.run(netns, step["run"].as_str().expect("a script"), &settings)
    }
}

fn text(output: &Output) -> String {
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&said).into_owned()
}

#[test]
fn the_action_runs_a_command_under_faults() {
    natively!();
    let (lab, runner) = (Lab::new(), Runner::new("recipe-run"));
    runner.write("gone.yaml", "{name: gone, rules: [{drop: 100%}]}");
    // A program that is nowhere but where the runner's PATH leads.
    runner.tool(
        "recipe-tool",
        "ping -c 1 -W 1 10.77.0.2 >/dev/null && exit 9; id -un; echo $RECIPE $CI $HOME; exit 3",
    );
    let netns = lab.a.netns.path();
    let inputs = [
        ("run", "export RECIPE=$((40 + 2)); recipe-tool"),
        ("profile", "gone.yaml"),
        ("interface", &lab.a.device),
        ("netns", netns.to_str().expect("UTF-8")),
        ("seed", "7"),
    ];
    let ran = runner.act(&Netns::new(), "run", &inputs);
    let said = text(&ran);
    assert_eq!(ran.status.code(), Some(3), "{said}");
    assert!(said.contains("nobody\n42 true /home/runner\n"), "{said}");
    let inputs = [&inputs[1..], &[("run", "false | true")]].concat();
    let ran = runner.act(&Netns::new(), "run", &inputs);
    assert_eq!(ran.status.code(), Some(1), "{}", text(&ran));
    assert!(
        lab.a
            .run(|| tool::attempt("ping", "-c 1 -W 5 10.77.0.2"))
            .is_ok()
    );
}

/// With a program that is nowhere but where the runner's PATH leads.
const SCENARIO: &str =
    "{name: x, requires: recipe-ping, hosts: [a, b], steps: [{run: recipe-ping b, on: a}]}";
const PING: &str = "ping -c 1 -W 5 $1";

#[test]
fn the_action_plays_scenarios() {
    natively!();
    let runner = Runner::new("recipe-scenarios");
    runner.tool("recipe-ping", PING);
    for name in ["one", "two"] {
        runner.write(&format!("network/{name}.yaml"), SCENARIO);
    }
    let inputs = [
        ("scenarios", "network/*.yaml"),
        ("junit", "report.xml"),
        ("seed", "7"),
    ];
    let played = runner.act(&Netns::new(), "scenarios", &inputs);
    let said = text(&played);
    assert!(
        played.status.success() && said.contains("2 passed, 0 failed"),
        "{said}"
    );
    let report = fs::read_to_string(runner.directory.file("report.xml")).expect("the report");
    assert!(report.contains("failures=\"0\""), "{report}");
}

#[test]
fn the_action_cleans_up() {
    natively!();
    let runner = Runner::new("recipe-clean");
    let action = action();
    let script = step(&action, "clean up")["run"].as_str().expect("a script");
    // Only what a /run of its own tells of: others' faults are not this test's to end.
    let script = format!("unshare --mount bash -ec 'mount -t tmpfs none /run; {script}'");
    let cleaned = runner.run(&Netns::new(), &script, &[("INJECTOR", "injector")]);
    assert!(cleaned.status.success(), "{}", text(&cleaned));
}

#[test]
fn the_example_for_github_asks_for_what_the_action_has() {
    let (action, example) = (action(), example("jobs"));
    let steps = example["jobs"]["bad-network"]["steps"]
        .as_sequence()
        .expect("steps");
    let ours = steps
        .iter()
        .filter(|step| step["uses"] == "./contrib/github-action");
    let names = |value: &Value| {
        let keys = value.as_mapping().into_iter().flatten();
        keys.map(|(key, _)| key.as_str().expect("a name").to_owned())
            .collect::<BTreeSet<_>>()
    };
    let known = names(&action["inputs"]);
    let asked: Vec<_> = ours.map(|step| names(&step["with"])).collect();
    assert_eq!(asked.len(), 2);
    assert!(
        asked.iter().all(|asked| asked.is_subset(&known)),
        "{asked:?}"
    );
}

#[test]
fn the_example_for_gitlab_plays_scenarios() {
    natively!();
    let runner = Runner::new("recipe-gitlab");
    runner.tool("recipe-ping", PING);
    runner.write("tests/network/one.yaml", SCENARIO);
    let job = &example("bad-network")["bad-network"];
    let script = job["script"].as_sequence().expect("a script");
    let lines = script.iter().map(|line| line.as_str().expect("a line"));
    // The first one installs packages.
    let lines: Vec<_> = lines.filter(|line| !line.starts_with("apt-get ")).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    let played = runner.run(&Netns::new(), &lines.join("\n"), &[]);
    let said = text(&played);
    assert!(
        played.status.success() && said.contains("x: passed"),
        "{said}"
    );
    let report = job["artifacts"]["reports"]["junit"]
        .as_str()
        .expect("the report");
    assert!(runner.directory.file(report).exists());
}

#[test]
fn one_command_under_faults_is_the_exit_status() {
    natively!();
    let runner = Runner::new("recipe-command");
    runner.tool("cargo", "ping -c 20 -i 0.01 -W 1 127.0.0.1; exit 4");
    let netns = Netns::new();
    let [block] = &blocks("sh")[..] else {
        panic!("one block");
    };
    let ran = runner.run(&netns, block, &[]);
    let said = text(&ran);
    assert_eq!(ran.status.code(), Some(4), "{said}");
    assert!(said.contains("seed 7"), "{said}");
}
