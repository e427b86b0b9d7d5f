//! Scenarios: real software, played from YAML files, natively alone: guests have neither the packages nor the
//! time.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output},
};

use ::injector::{profile::Source, scenario::Scenario};
use injector_tests::{
    clock::{PATIENCE, wait_until},
    directory::Directory,
    injector, kernel,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

/// Leaves a test out in guests.
macro_rules! natively {
    () => {
        if kernel::is_guest() {
            return;
        }
    };
}

/// Writes a scenario of two hosts with these steps.
fn write(directory: &Directory, name: &str, steps: &str) -> PathBuf {
    let path = directory.file(&format!("{name}.yaml"));
    let text = format!("name: {name}\nhosts: [a, b]\nsteps:\n{steps}");
    fs::write(&path, text).expect("write a scenario");
    path
}

fn scenario(args: &[&str], files: &[&Path]) -> Command {
    let mut command = injector::command();
    command.arg("scenario").args(args).args(files);
    command
}

fn play(args: &[&str], files: &[&Path]) -> Output {
    scenario(args, files).output().expect("run injector")
}

fn text(output: &Output) -> String {
    let said =
        [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    said.concat()
}

/// The events of a JSON stream.
fn events(output: &Output) -> Vec<Value> {
    let stdout = String::from_utf8_lossy(&output.stdout);
    let event = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    stdout.lines().map(event).collect()
}

/// The processes whose command line has this.
fn processes(marker: &str) -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("/proc");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let has_it = |pid: &u32| {
        fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains(marker))
    };
    pids.filter(has_it).collect()
}

/// The processes in the PID namespace of another.
fn companions(pid: u32) -> Vec<u32> {
    let namespace = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let theirs = namespace(pid).expect("a PID namespace");
    let entries = fs::read_dir("/proc").expect("/proc");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| namespace(*pid).as_ref() == Some(&theirs))
        .collect()
}

#[test]
fn the_examples_do_what_they_say() {
    natively!();
    let directory = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios"));
    let mut files: Vec<_> = fs::read_dir(directory)
        .expect("the examples")
        .map(|entry| entry.expect("an example").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect();
    files.sort();
    let paths: Vec<_> = files.iter().map(PathBuf::as_path).collect();
    let output = play(&["--json", "--jobs", "3"], &paths);
    let events = events(&output);
    let mut passed = 0;
    for file in &files {
        let of_file = |event: &&Value| event["file"] == file.to_str().expect("a path in UTF-8");
        let mut own = events.iter().filter(of_file);
        if own
            .clone()
            .any(|event| event["event"] == "ended" && event["passed"] == true)
        {
            passed += 1;
            continue;
        }
        let failed = own.find(|event| event["event"] == "failed");
        let message = failed.map_or("", |event| event["message"].as_str().unwrap_or(""));
        let lacks_fq = message.contains("fq") && !kernel::can_delay();
        assert!(
            lacks_fq || !is_installed(file),
            "{}: {}",
            file.display(),
            text(&output)
        );
        eprintln!("left out: {}: {message}", file.display());
    }
    eprintln!("{passed} of {} examples passed", files.len());
}

/// Whether there is all that the scenario requires.
fn is_installed(file: &Path) -> bool {
    let scenario = Source::file(file).and_then(|source| Scenario::read(&source));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there =
        |program: &String| std::env::split_paths(&path).any(|there| there.join(program).is_file());
    scenario
        .expect("a valid example")
        .requires
        .iter()
        .all(is_there)
}

#[test]
fn what_is_not_as_expected_is_told() {
    natively!();
    let directory = Directory::new("scenario-expect");
    let report = directory.file("report.xml");
    let file = write(
        &directory,
        "unexpected",
        "  - {start: echo I am the server; sleep 100, on: b, as: server, ready: {output: server}}
  - {run: ping -c 1 -W 5 b, on: a, expect: {stdout: 1 received, within: 5s}}
  - {run: echo some output; echo and more >&2; exit 3, on: a, expect: {stdout: [some, {lacks: more}, other]}}
  - {run: echo never, on: a}
",
    );
    let output = play(&["--junit", report.to_str().expect("a path")], &[&file]);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(7), "{said}");
    for part in [
        "✓",
        "exit status 3, expected 0",
        "stdout does not contain \"other\"",
        "some output",
        "and more",
        "I am the server",
        "unexpected: failed",
    ] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
    assert!(!said.contains("lack"), "{said}");
    assert!(!said.contains("never"), "{said}");
    let report = fs::read_to_string(report).expect("the report");
    assert!(
        report.contains("tests=\"3\"") && report.contains("failures=\"1\""),
        "{report}"
    );
    assert!(report.contains("exit status 3, expected 0"), "{report}");
}

#[test]
fn what_hangs_is_killed() {
    natively!();
    let directory = Directory::new("scenario-hang");
    let late = write(
        &directory,
        "late",
        "  - {run: sleep 100.25 & sleep 100.25, on: a, timeout: 500ms}\n",
    );
    let unready = write(
        &directory,
        "unready",
        "  - {start: sleep 100.25, on: a, ready: {tcp: 4000, within: 300ms}}\n",
    );
    let dead = write(
        &directory,
        "dead",
        "  - {start: exit 5, on: a, as: x, ready: {tcp: 4000, within: 1h}}\n",
    );
    let output = play(&["--jobs", "3"], &[&late, &unready, &dead]);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(7), "{said}");
    for part in [
        "did not end within 500ms, and was killed",
        "not ready within 300ms",
        "ended by itself, with exit status 5",
        "0 passed, 3 failed",
    ] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
    assert_eq!(processes("sleep\x00100.25"), [0; 0]);
}

#[test]
fn faults_that_nothing_meets_prove_nothing() {
    natively!();
    let directory = Directory::new("scenario-idle");
    let faults = "{rules: [{name: dns, match: {protocol: udp, dst_port: 53}, drop: 100%}]}";
    let file = write(
        &directory,
        "idle",
        &format!(
            "  - {{faults: {faults}, on: a}}\n  - {{run: ping -c 1 -W 5 b, on: a}}\n  - {{stop: faults}}\n"
        ),
    );
    let output = play(&[], &[&file]);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(7), "{said}");
    assert!(said.contains("no packet met them"), "{said}");
}

/// A scenario that goes on for an hour, with a daemon and faults, once all of it is there.
struct Long {
    child: Child,
    /// All that it has started.
    inside: Vec<u32>,
}

impl Long {
    fn start(directory: &Directory, marker: &str) -> Self {
        let file = write(
            directory,
            "long",
            &format!(
                "  - {{start: setsid -f sleep 1{marker}; sleep 2{marker}, on: b, as: daemon}}
  - {{faults: {{rules: [{{drop: 100%}}]}}, on: a}}
  - {{run: sleep 3{marker}, on: a, timeout: 1h}}
"
            ),
        );
        let child = scenario(&[], &[&file]).spawn().expect("start injector");
        let last = format!("sleep\x003{marker}");
        let is_there = || !processes(&last).is_empty();
        assert!(
            wait_until(PATIENCE, is_there),
            "the last command does not run"
        );
        let inside = companions(processes(&format!("sleep\x001{marker}"))[0]);
        // Its init, the daemon, two commands with their shells or without, and the run.
        assert!(inside.len() >= 5, "{inside:?}");
        Self { child, inside }
    }

    #[track_caller]
    fn assert_gone(&self) {
        let is_there = |pid: &&u32| {
            // A number may have been used again.
            let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.contains("sleep") || line.contains("stage") || line.contains("--json")
        };
        let are_gone = || !self.inside.iter().any(|pid| is_there(&pid));
        assert!(
            wait_until(PATIENCE, are_gone),
            "some of {:?} is left",
            self.inside
        );
    }
}

#[test]
fn nothing_survives_sigkill() {
    natively!();
    let mut long = Long::start(&Directory::new("scenario-kill"), "071.5");
    long.child.kill().expect("kill injector");
    long.child.wait().expect("wait for injector");
    long.assert_gone();
}

#[test]
fn nothing_survives_ctrl_c() {
    natively!();
    let mut long = Long::start(&Directory::new("scenario-interrupt"), "072.5");
    let pid = Pid::from_raw(long.child.id() as i32);
    kill(pid, Signal::SIGINT).expect("interrupt injector");
    let status = long.child.wait().expect("wait for injector");
    assert_eq!(status.code(), Some(130));
    long.assert_gone();
}

#[test]
fn two_at_a_time_do_not_meet() {
    natively!();
    let directory = Directory::new("scenario-two");
    let place = directory.file("place");
    fs::create_dir_all(&place).expect("a directory");
    let place = place.display();
    // Each waits until the other one is there, too.
    let steps = format!(
        "  - run: |
      touch {place}/$(readlink /proc/self/ns/pid); until test $(ls {place} | wc -l) = 2; do sleep 0.02; done
    on: a
  - {{run: hostname && ping -c 1 -W 5 10.0.1.2, on: a, expect: {{stdout: [{{matches: '^a$'}}, 1 received]}}}}
"
    );
    let file = write(&directory, "two", &steps);
    let output = play(&["--jobs", "2"], &[&file, &file]);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("2 passed, 0 failed"), "{said}");
}

#[test]
fn nothing_is_played_where_a_file_is_wrong() {
    natively!();
    let directory = Directory::new("scenario-invalid");
    let right = write(&directory, "right", "  - {run: echo played, on: a}\n");
    let wrong = write(&directory, "wrong", "  - {run: x, on: a, timeuot: 1s}\n");
    let output = play(&[], &[&right, &wrong]);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(
        said.contains("wrong.yaml:4:21") && said.contains("did you mean `timeout`?"),
        "{said}"
    );
    assert!(!said.contains("played"), "{said}");
}

#[test]
fn what_faults_cannot_start_for_is_told() {
    natively!();
    let directory = Directory::new("scenario-conflict");
    let file = write(
        &directory,
        "conflict",
        "  - {faults: lossy, on: a, as: first}
  - {run: ping -c 1 -W 5 b, on: a, expect: {status: any}}
  - {faults: lossy, on: a, as: second}
",
    );
    let output = play(&[], &[&file]);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(said.contains("faults second: "), "{said}");
}

#[test]
fn without_privileges_there_are_no_faults_but_all_else() {
    natively!();
    const NOBODY: u32 = 65534;
    let directory = Directory::new("scenario-nobody");
    let plain = write(
        &directory,
        "plain",
        "  - {run: ping -c 1 -W 5 b, on: a, expect: {stdout: 1 received}}\n",
    );
    let faulty = write(&directory, "faulty", "  - {faults: lossy, on: a}\n");
    let binary = injector::public_copy(&directory);
    let as_nobody = |file: &Path| {
        let mut command = Command::new(&binary);
        command.arg("scenario").arg(file).uid(NOBODY).gid(NOBODY);
        command.output().expect("run injector")
    };
    let output = as_nobody(&faulty);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("run it as root"), "{said}");
    let output = as_nobody(&plain);
    let said = text(&output);
    if said.contains("user namespace") {
        eprintln!("left out, without user namespaces: {said}");
        return;
    }
    assert_eq!(output.status.code(), Some(0), "{said}");
}
