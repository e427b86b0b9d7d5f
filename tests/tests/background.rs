//! `injector apply`: faults in the background, other rules for them, and their end.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::fs::PermissionsExt as _,
    process::{Child, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use injector_tests::{
    Injector, Lab,
    clock::{PATIENCE, wait_until},
    directory::Directory,
    foreign::{Counted, Foreign, Side},
    injector::{self, Background},
    kernel,
    reign::{self, PORTS},
    residue::{self, Programs, Snapshot},
    tool,
    udp::Flow,
};
use nix::sys::signal::Signal;
use serde_json::Value;

const SILENCE: &str = "{name: silence, seed: 1, rules: [{direction: both, drop: 100%}]}";

/// As `sha256sum` has it.
const SILENCE_SHA256: &str = "1bf72db3d0bdf12582a7c2e3fe8252f8cc770ec0b6dfd4092e1c09206d48eb73";

/// The ways of attaching that this kernel has.
fn ways() -> Vec<&'static str> {
    match kernel::has_tcx() {
        true => vec!["tcx", "clsact"],
        false => vec!["clsact"],
    }
}

/// Likewise, each without XDP, and XDP where the driver has no part in it.
fn attachments() -> Vec<[&'static str; 2]> {
    let plain = ways().into_iter().map(|way| [way, "off"]);
    plain.chain([["clsact", "generic"]]).collect()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("JSON on standard output")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What `status` says of the only run.
fn status(lab: &Lab) -> Value {
    json(&injector::call(&lab.a.netns, &["status", "--json"]))["runs"][0].clone()
}

#[track_caller]
fn clear(lab: &Lab) -> String {
    let output = injector::call(&lab.a.netns, &["clear", "-i", "eth0"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Whether a packet arrives, in each direction.
fn arrive(lab: &Lab) -> [bool; 2] {
    let flow = Flow::new(5).linger(Duration::from_millis(50));
    let there = flow.send(&lab.a, &lab.b);
    let back = flow.send(&lab.b, &lab.a);
    [there, back].map(|report| !report.arrivals.is_empty())
}

const SILENT: [bool; 2] = [false; 2];
const FREE: [bool; 2] = [true; 2];

#[test]
fn faults_are_in_force_when_apply_returns_and_clear_ends_them() {
    for way in ways() {
        let lab = Lab::new();
        let before = Snapshot::of(&lab.a.netns);
        let held = Background::apply(&lab.a, SILENCE, &["--attach", way]);
        assert_eq!(arrive(&lab), SILENT, "{way}");
        assert!(!held.swapped);
        let run = status(&lab);
        let said = ["pid", "background", "state", "profile"].map(|key| run[key].clone());
        let expected: [Value; 4] = [
            held.pid.as_raw().into(),
            true.into(),
            "running".into(),
            "silence".into(),
        ];
        assert_eq!(said, expected, "{way}");
        let programs = Programs::of(&lab.a.netns);

        assert!(
            clear(&lab).contains(&format!("stopped pid {}", held.pid)),
            "{way}"
        );
        before.assert_same(&lab.a.netns);
        programs.assert_gone();
        assert_eq!(arrive(&lab), FREE, "{way}");
        assert_eq!(clear(&lab), "nothing to clear\n");
        before.assert_same(&lab.a.netns);
    }
}

#[test]
fn the_holder_is_alone_with_its_faults() {
    let lab = Lab::new();
    let held = Background::apply(&lab.a, SILENCE, &[]);
    let process = |file: &str| format!("/proc/{}/{file}", held.pid);
    let links = ["fd/0", "fd/1", "fd/2", "cwd"].map(|file| fs::read_link(process(file)).unwrap());
    assert_eq!(
        links.map(|link| link.display().to_string()),
        ["/dev/null", "/dev/null", "/dev/null", "/"]
    );
    let stat = fs::read_to_string(process("stat")).unwrap();
    let fields: Vec<_> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    assert_eq!(fields[3], held.pid.to_string(), "its session: {stat}");
    held.signal(Signal::SIGHUP);
    thread::sleep(Duration::from_millis(100));
    assert_eq!(arrive(&lab), SILENT);
}

#[test]
fn a_second_apply_swaps_and_after_its_return_no_packet_meets_the_old_rules() {
    let lab = Lab::new();
    let profiles = [reign::drop_to(PORTS[0], 2), reign::drop_to(PORTS[1], 299)];
    let held = Background::apply(&lab.a, &profiles[0], &[]);
    let gap = Duration::from_micros(if kernel::is_guest() { 6_000 } else { 400 });
    reign::assert_explained(&lab, gap, |turn| {
        let output = injector::call_apply(&lab.a.netns, "eth0", &profiles[turn], &[]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert_eq!(json(&output)["pid"], held.pid.as_raw());
    });
}

#[test]
fn what_cannot_be_applied_changes_nothing() {
    let lab = Lab::new();
    let held = Background::apply(&lab.a, &reign::drop_to(5000, 0), &[]);
    let during = status(&lab);
    for (profile, args, code) in [
        ("{name: wrong, rules: [{dorp: 1%}]}", &[][..], 3),
        (SILENCE, &["--drop", "1%"], 2),
        (SILENCE, &["--phase", "none"], 2),
        (SILENCE, &["--audit", "/nowhere/at/all"], 2),
        ("", &["does-not-exist"], 3),
    ] {
        let output = injector::call_apply(&lab.a.netns, "eth0", profile, args);
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        let flow = |port| Flow::new(3).port(port).linger(Duration::from_millis(50));
        assert!(flow(5000).send(&lab.a, &lab.b).arrivals.is_empty());
        flow(5001).send(&lab.a, &lab.b).assert_untouched();
        let now = status(&lab);
        assert_eq!(
            (&now["pid"], &now["profile"]),
            (&during["pid"], &during["profile"])
        );
    }
    drop(held);
}

#[test]
fn a_swap_may_bring_phases_a_seed_and_an_end() {
    let phases = "{name: turns, repeat: forever, phases: [
        {name: quiet, for: 1h, rules: [{direction: both, drop: 100%}]},
        {name: loud, for: 30m, rules: []}]}";
    let lab = Lab::new();
    let before = Snapshot::of(&lab.a.netns);
    let _first = Background::apply(&lab.a, SILENCE, &["--for", "10m"]);
    assert!(
        status(&lab)["ends_in_ms"]
            .as_u64()
            .is_some_and(|ms| ms <= 600_000)
    );

    let held = Background::apply(&lab.a, phases, &["--seed", "77"]);
    let run = status(&lab);
    assert_eq!(
        (run["phase"].as_str(), run["seed"].as_u64(), held.seed),
        (Some("quiet"), Some(77), 77)
    );
    assert_eq!(run["next_phase"]["phase"], "loud");
    let next = run["next_phase"]["in_ms"].as_u64().expect("a time");
    assert!((3_500_000..=3_600_000).contains(&next), "{next}");
    assert_eq!(run["ends_in_ms"], Value::Null);
    assert_eq!(arrive(&lab), SILENT);

    let held = Background::apply(&lab.a, phases, &["--phase", "loud", "--for", "2s"]);
    assert_eq!(arrive(&lab), FREE);
    assert!(held.swapped);
    let ended = || residue::records(&lab.a.netns).is_empty();
    assert!(wait_until(PATIENCE, ended), "it does not end");
    before.assert_same(&lab.a.netns);
}

/// Waits until packets arrive again, in both directions; returns when they did.
#[track_caller]
fn wait_until_free(lab: &Lab, what: &str) -> Instant {
    assert!(
        wait_until(PATIENCE, || arrive(lab) == FREE),
        "{what}: still silent"
    );
    Instant::now()
}

/// Waits until none arrives, which a short lease may take a while for where the loader is kept waiting.
#[track_caller]
fn wait_until_silent(lab: &Lab, what: &str) {
    let is_silent = || arrive(lab) == SILENT;
    assert!(wait_until(PATIENCE, is_silent), "{what}: no faults");
}

#[test]
fn faults_end_in_time_also_when_their_process_is_stopped() {
    const TIME: Duration = Duration::from_secs(3);
    for [way, xdp] in attachments() {
        let lab = Lab::new();
        let what = format!("{way}, XDP {xdp}");
        let asked = Instant::now();
        let args = [
            "--for", "3s", "--lapse", "1m", "--attach", way, "--xdp", xdp,
        ];
        let held = Background::apply(&lab.a, SILENCE, &args);
        held.signal(Signal::SIGSTOP);
        assert!(arrive(&lab) == SILENT || asked.elapsed() > TIME, "{what}");
        let free = wait_until_free(&lab, &what);
        assert!(free - asked > TIME, "{what}: too early");
        // It was not the lease that ended them.
        let run = status(&lab);
        assert!(run["lease_ms"].as_u64() > Some(0), "{what}: {run}");
        assert_eq!(run["ends_in_ms"], 0, "{what}");
        assert_eq!(run["path"]["lapsed"], 0, "{what}");
        // Once it goes on, it undoes everything.
        held.signal(Signal::SIGCONT);
        let ended = || residue::records(&lab.a.netns).is_empty();
        assert!(wait_until(PATIENCE, ended), "{what}: it does not end");
    }
}

#[test]
fn faults_lapse_when_their_process_is_stopped_and_come_back_with_it() {
    for [way, xdp] in attachments() {
        let lab = Lab::new();
        let what = format!("{way}, XDP {xdp}");
        let before = Snapshot::of(&lab.a.netns);
        let args = ["--lapse", "1s", "--attach", way, "--xdp", xdp];
        let held = Background::apply(&lab.a, SILENCE, &args);
        wait_until_silent(&lab, &what);
        held.signal(Signal::SIGSTOP);
        wait_until_free(&lab, &what);
        assert_eq!(status(&lab)["state"], "lapsed", "{what}");
        let text = injector::call(&lab.a.netns, &["status"]);
        assert!(String::from_utf8_lossy(&text.stdout).contains("lapsed"));

        held.signal(Signal::SIGCONT);
        wait_until_silent(&lab, &what);
        // One that is stopped ends, too, and undoes everything.
        held.signal(Signal::SIGSTOP);
        clear(&lab);
        before.assert_same(&lab.a.netns);
        assert_eq!(arrive(&lab), FREE, "{what}");
    }
}

#[test]
fn faults_end_with_their_process_and_the_rest_is_cleared_or_taken_over() {
    for way in ways() {
        let lab = Lab::new();
        let before = Snapshot::of(&lab.a.netns);
        let args = ["--lapse", "1s", "--attach", way];
        for round in 0..2 {
            let held = Background::apply(&lab.a, SILENCE, &args);
            let programs = Programs::of(&lab.a.netns);
            wait_until_silent(&lab, way);
            held.signal(Signal::SIGKILL);
            wait_until_free(&lab, way);
            // Dying takes a moment longer than letting go of the device.
            let is_dead = || status(&lab)["state"] == "killed";
            assert!(wait_until(PATIENCE, is_dead), "{way}: it lives");
            if round == 0 {
                clear(&lab);
                before.assert_same(&lab.a.netns);
                programs.assert_gone();
            }
            drop(held);
        }
        // What the second one has left is taken over.
        // With a lease that a busy machine does not break.
        let args = ["--attach", way];
        let held = Background::apply(&lab.a, &reign::drop_to(5000, 0), &args);
        assert!(!held.swapped, "{way}");
        assert!(Flow::new(3).send(&lab.a, &lab.b).arrivals.is_empty());
        clear(&lab);
        before.assert_same(&lab.a.netns);
    }
}

#[test]
fn a_failing_apply_leaves_nothing_and_says_what_run_says() {
    let lab = Lab::new();
    let before = Snapshot::of(&lab.a.netns);
    let mut cases = vec![
        ("eth7", SILENCE, &[][..], 5),
        ("eth0", "{name: wrong, rules: [{drop: 5}]}", &[], 3),
        ("eth0", SILENCE, &["--drop", "1%"], 2),
        ("eth0", SILENCE, &["--audit", "/nowhere/at/all"], 2),
        ("eth0", SILENCE, &["--lapse", "100ms"], 2),
        ("lo", SILENCE, &["--xdp", "native"], 6),
    ];
    if !kernel::can_delay() {
        cases.push(("eth0", "{name: late, rules: [{delay: 10ms}]}", &[], 4));
    }
    for (device, profile, args, code) in cases {
        let run = injector::call_run(&lab.a.netns, device, profile, args);
        let apply = injector::call_apply(&lab.a.netns, device, profile, args);
        eprintln!("{}", stderr(&apply));
        assert_eq!(apply.status.code(), run.status.code());
        assert_eq!(apply.status.code(), Some(code));
        assert_eq!(stderr(&apply).replace("apply", "run"), stderr(&run));
        before.assert_same(&lab.a.netns);
    }
}

/// Starts as many processes at once; none of them must end before the others have started.
fn race(lab: &Lab, verb: &str, count: usize) -> Vec<Child> {
    let args = [
        "--drop",
        "100%",
        "--direction",
        "both",
        "-i",
        "eth0",
        "--json",
    ];
    let start = |_| {
        injector::command()
            .arg("--netns")
            .arg(lab.a.netns.path())
            .arg(verb)
            .args(args)
            .spawn()
            .expect("start injector")
    };
    (0..count).map(start).collect()
}

/// Fewer where processors are emulated.
fn racers() -> usize {
    if kernel::is_guest() { 6 } else { 50 }
}

#[test]
fn of_runs_that_start_at_once_one_wins() {
    let lab = Lab::new();
    let before = Snapshot::of(&lab.a.netns);
    let mut runs = race(&lab, "run", racers());
    let ended = |runs: &mut Vec<Child>| {
        let codes = runs.iter_mut().map(|run| run.try_wait().unwrap());
        codes.flatten().map(injector::code).collect::<Vec<_>>()
    };
    assert!(wait_until(4 * PATIENCE, || ended(&mut runs).len() == racers() - 1));
    assert_eq!(ended(&mut runs), vec![5; racers() - 1]);
    assert!(wait_until(4 * PATIENCE, || arrive(&lab) == SILENT));
    clear(&lab);
    let mut codes: Vec<_> = runs
        .into_iter()
        .map(|run| run.wait_with_output().expect("wait for injector"))
        .map(|output| injector::code(output.status))
        .collect();
    codes.sort_unstable();
    assert_eq!((codes[0], codes.len()), (0, racers()));
    before.assert_same(&lab.a.netns);
}

#[test]
fn of_applies_at_once_one_holds_the_faults_of_all() {
    let lab = Lab::new();
    let before = Snapshot::of(&lab.a.netns);
    let applied: Vec<_> = race(&lab, "apply", racers())
        .into_iter()
        .map(|apply| apply.wait_with_output().expect("wait for injector"))
        .map(|output| {
            assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
            json(&output)
        })
        .collect();
    assert!(applied.iter().all(|one| one["pid"] == applied[0]["pid"]));
    let first = applied.iter().filter(|one| one["swapped"] == false);
    assert_eq!(first.count(), 1);
    assert_eq!(arrive(&lab), SILENT);
    clear(&lab);
    before.assert_same(&lab.a.netns);
}

#[test]
fn a_run_is_not_swapped_but_replaced() {
    let lab = Lab::new();
    let before = Snapshot::of(&lab.a.netns);
    let run = Injector::start(&lab.a, SILENCE);
    let profile = reign::drop_to(5000, 0);
    let refused = injector::call_apply(&lab.a.netns, "eth0", &profile, &[]);
    assert_eq!(refused.status.code(), Some(5));
    for told in [&*run.pid().to_string(), "silence", "--replace"] {
        assert!(stderr(&refused).contains(told), "{}", stderr(&refused));
    }
    assert_eq!(arrive(&lab), SILENT);

    // An invalid one ends nothing.
    let refused = injector::call_apply(&lab.a.netns, "eth0", "nonsense", &["--replace"]);
    assert_eq!((refused.status.code(), arrive(&lab)), (Some(3), SILENT));

    let held = Background::apply(&lab.a, &profile, &["--replace"]);
    assert_eq!((run.wait().code(), held.swapped), (0, false));
    assert_eq!(arrive(&lab), [false, true]);
    let again = Background::apply(&lab.a, SILENCE, &["--replace"]);
    assert_ne!(held.pid, again.pid);
    assert_eq!(arrive(&lab), SILENT);
    let run = Injector::start_with(&lab.a, &profile, &["--replace"]);
    assert_eq!(arrive(&lab), [false, true]);
    assert_eq!(run.stop().code(), 0);
    before.assert_same(&lab.a.netns);
}

#[test]
fn what_others_have_come_to_use_is_left_and_named() {
    let lab = Lab::new();
    let held = Background::apply(&lab.a, SILENCE, &["--attach", "clsact"]);
    held.signal(Signal::SIGKILL);
    let counted = Counted {
        len: 0,
        mark: 0,
        priority: 0,
    };
    let foreign = Foreign::on_clsact(&lab.a, Side::Egress, counted);
    let said = clear(&lab);
    assert!(
        said.contains("left clsact") && said.contains("others have filters"),
        "{said}"
    );
    let filters = lab.a.run(|| tool::tc("filter show dev eth0 egress"));
    assert!(
        filters.contains("foreign") && !filters.contains("injector"),
        "{filters}"
    );
    drop(foreign);
    assert_eq!(clear(&lab), "nothing to clear\n");
}

#[test]
fn a_namespace_is_found_again_when_its_name_is_gone() {
    let lab = Lab::new();
    let before = Snapshot::of(&lab.a.netns);
    let mut named = lab.a.run(|| {
        let sleep = std::process::Command::new("sleep").arg("1000").spawn();
        sleep.expect("a process in the namespace")
    });
    let name = format!("pid:{}", named.id());
    let args = ["--netns", &name, "apply", "-i", "eth0", "--drop", "100%"];
    let output = injector::command().args(args).output().expect("apply");
    named.kill().expect("kill it");
    named.wait().expect("wait for it");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    // The holder looks for its device each second.
    thread::sleep(Duration::from_secs(3));
    assert_eq!(arrive(&lab), [false, true]);
    clear(&lab);
    before.assert_same(&lab.a.netns);
}

#[test]
fn nonsense_on_the_socket_changes_nothing() {
    use std::os::unix::net::UnixStream;
    let lab = Lab::new();
    let held = Background::apply(&lab.a, SILENCE, &[]);
    let records = residue::records(&lab.a.netns);
    let socket = records.iter().find(|name| name.ends_with("sock"));
    let connect = || {
        let path = format!("/run/injector/{}", socket.expect("a socket"));
        UnixStream::connect(path).expect("connect to the holder")
    };
    for text in ["", "{", "nonsense", &"[".repeat(5_000_000)] {
        // It may hang up in the middle.
        let _ = connect().write_all(text.as_bytes());
    }
    let mut other = connect();
    let request = r#"{"schema": "injector.control/v9", "arguments": [], "directory": "/", "stdin": null, "seed": 1}"#;
    other.write_all(request.as_bytes()).unwrap();
    other.shutdown(std::net::Shutdown::Write).unwrap();
    let answer = std::io::read_to_string(other).expect("an answer");
    assert!(
        answer.contains("failed") && answer.contains("v9"),
        "{answer}"
    );
    // One says nothing, and keeps others waiting for a while.
    let silent = connect();
    assert_eq!(arrive(&lab), SILENT);
    let swapped = Background::apply(&lab.a, &reign::drop_to(5000, 0), &[]);
    assert_eq!(swapped.pid, held.pid);
    assert_eq!(arrive(&lab), [false, true]);
    drop(silent);
}

#[test]
fn a_record_of_a_newer_version_is_refused_and_stays() {
    let lab = Lab::new();
    let held = Background::apply(&lab.a, SILENCE, &[]);
    let name = residue::records(&lab.a.netns)
        .into_iter()
        .find(|name| name.ends_with("json"));
    let path = format!("/run/injector/{}", name.expect("a record"));
    drop(held);
    let record = r#"{"schema": "injector.state/v9", "pid": 1}"#;
    fs::create_dir_all("/run/injector").unwrap();
    fs::write(&path, record).unwrap();
    let calls: [&[&str]; 4] = [
        &["apply", "-i", "eth0", "--drop", "1%"],
        &["run", "-i", "eth0", "--drop", "1%"],
        &["clear", "--all"],
        &["status"],
    ];
    let outputs = calls.map(|args| injector::call(&lab.a.netns, args));
    let kept = fs::read_to_string(&path);
    fs::remove_file(&path).unwrap();
    for output in outputs {
        let stderr = stderr(&output);
        assert_eq!(output.status.code(), Some(5), "{stderr}");
        assert!(
            stderr.contains("injector.state/v9") && stderr.contains("hint: clear it"),
            "{stderr}"
        );
    }
    assert_eq!(kept.unwrap(), record);
}

#[test]
fn status_forgets_what_was_killed_in_a_namespace_that_is_no_more() {
    let lab = Lab::new();
    let held = Background::apply(&lab.a, SILENCE, &[]);
    held.signal(Signal::SIGKILL);
    let left: Vec<_> = residue::records(&lab.a.netns)
        .into_iter()
        .map(|name| format!("/run/injector/{name}"))
        .collect();
    assert_eq!(left.len(), 2, "a record and a socket: {left:?}");
    // It is still there, and may be cleared.
    let other = Lab::new();
    let look = || injector::call(&other.a.netns, &["status"]);
    assert_eq!(String::from_utf8_lossy(&look().stdout), "no runs\n");
    assert!(left.iter().all(|path| fs::exists(path).unwrap()));
    std::mem::forget(held);
    drop(lab);
    let gone = || {
        look();
        left.iter().all(|path| !fs::exists(path).unwrap())
    };
    assert!(wait_until(PATIENCE, gone), "{left:?}");
}

/// The lines of an audit, as `event` and what `pick` says of it.
fn lines(text: &str, keys: &[&str]) -> Vec<Vec<Value>> {
    let line = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("a line of JSON");
        keys.iter().map(|key| line[key].clone()).collect()
    };
    text.lines().map(line).collect()
}

#[test]
fn a_start_a_swap_and_an_end_are_noted_each_in_a_line() {
    let (lab, directory) = (Lab::new(), Directory::new("audit"));
    let path = directory.file("audit.log");
    let file = path.to_str().expect("UTF-8");
    Injector::start_with(&lab.a, SILENCE, &["--audit", file]).interrupt();
    let held = Background::apply(&lab.a, SILENCE, &["--audit", file]);
    Background::apply(&lab.a, &reign::drop_to(5000, 0), &["--seed", "9"]);
    let text = fs::read_to_string(&path).unwrap();
    let who = ["event", "profile", "seed", "uid", "holder_pid"];
    let noted = lines(&text, &who);
    let pid = Value::from(held.pid.as_raw());
    let events: Vec<_> = noted.iter().map(|line| line[0].as_str().unwrap()).collect();
    assert_eq!(events, ["start", "stop", "start", "swap", "stop"], "{text}");
    let swap: Vec<Value> = vec!["swap".into(), "to-5000".into(), 9.into(), 0.into(), pid];
    assert_eq!(noted[3], swap);
    let reasons: Vec<_> = lines(&text, &["reason"]).concat();
    assert_eq!(
        reasons,
        [
            Value::Null,
            "interrupted".into(),
            Value::Null,
            Value::Null,
            "terminated".into()
        ]
    );
    let hashes = lines(&text, &["sha256"]).concat();
    assert_eq!(
        (&hashes[0], &hashes[2]),
        (&SILENCE_SHA256.into(), &SILENCE_SHA256.into())
    );
    assert_ne!(hashes[2], hashes[3]);
    let places = lines(&text, &["device", "ifindex"]);
    assert!(
        places
            .iter()
            .all(|place| place[0] == "eth0" && place[1] == lab.a.ifindex())
    );
    for line in lines(
        &text,
        &["time", "boot_ns", "command", "pid", "loginuid", "netns"],
    ) {
        assert!(
            line[0].as_str().is_some_and(|time| time.ends_with('Z')),
            "{line:?}"
        );
        assert!(line[1].as_u64() > Some(0) && line[3].as_u64() > Some(1));
        let command = line[2].as_array().expect("a command line");
        assert!(
            command.iter().any(|argument| argument == "-i"),
            "{command:?}"
        );
        assert_ne!(line[5]["inode"], Value::Null);
    }
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

/// What a shell does, as root in a `/run` of its own, in which `/run/test` is the lab's first namespace.
struct Shell {
    child: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Shell {
    fn new() -> Self {
        let mut child = std::process::Command::new("unshare")
            .args(["--mount", "sh"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let answers = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut shell = Self { child, answers };
        shell.call("mount -t tmpfs tmpfs /run");
        shell
    }

    /// Runs a line, and returns what it says.
    #[track_caller]
    fn call(&mut self, line: &str) -> String {
        let stdin = self.child.stdin.as_mut().expect("a pipe");
        writeln!(stdin, "{line}; echo \"status $?\"").expect("write to the shell");
        let mut said = String::new();
        loop {
            let from = said.len();
            assert_ne!(
                self.answers.read_line(&mut said).unwrap(),
                0,
                "the shell has ended"
            );
            if said[from..].starts_with("status ") {
                assert_eq!(&said[from..], "status 0\n", "{line}: {said}");
                said.truncate(from);
                return said;
            }
        }
    }

    /// Where this shell sees a path of its own.
    fn outside(&self, path: &str) -> String {
        format!("/proc/{}/root{path}", self.child.id())
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The command, for a shell.
fn command() -> String {
    injector::command()
        .get_program()
        .to_str()
        .expect("UTF-8")
        .to_owned()
}

#[test]
fn clear_all_ends_the_runs_of_every_namespace() {
    let labs = [Lab::new(), Lab::new(), Lab::new()];
    let befores = labs.each_ref().map(|lab| Snapshot::of(&lab.a.netns));
    let (mut shell, injector) = (Shell::new(), command());
    let apply = |lab: &Lab| {
        let netns = lab.a.netns.path();
        let netns = netns.display();
        format!(
            "{injector} --netns {netns} apply -i eth0 --drop 100% --direction both --attach clsact --json"
        )
    };
    for lab in &labs {
        shell.call(&apply(lab));
        assert_eq!(arrive(lab), SILENT);
    }
    // One is stopped, one was killed, one is well.
    let pids = r#"sed -n 's/^  "pid": \(.*\),/\1/p' /run/injector/*.json"#;
    shell.call(&format!("kill -STOP $({pids} | head -n 1)"));
    shell.call(&format!("dead=$({pids} | tail -n 1); kill -KILL $dead"));
    shell.call("while kill -0 $dead 2>/dev/null; do sleep 0.1; done");
    let said = shell.call(&format!("{injector} clear --all"));
    assert_eq!(said.lines().count(), 3, "{said}");
    assert_eq!(said.matches("stopped pid").count(), 2, "{said}");
    for (lab, before) in labs.iter().zip(&befores) {
        before.assert_same(&lab.a.netns);
        assert_eq!(arrive(lab), FREE);
    }
    assert_eq!(
        shell.call(&format!("{injector} clear --all")),
        "nothing to clear\n"
    );
}

#[test]
fn without_a_file_the_journal_of_the_machine_hears_of_it() {
    use std::os::unix::net::UnixDatagram;
    let lab = Lab::new();
    let mut shell = Shell::new();
    shell.call("mkdir -p /run/systemd/journal");
    let journal = UnixDatagram::bind(shell.outside("/run/systemd/journal/socket")).expect("bind");
    journal.set_read_timeout(Some(PATIENCE)).unwrap();
    let netns = lab.a.netns.path();
    let injector = format!("{} --netns {}", command(), netns.display());
    shell.call(&format!("{injector} apply -i eth0 --drop 100%"));
    shell.call(&format!("{injector} clear -i eth0"));
    for event in ["start", "stop"] {
        let mut datagram = vec![0; 65_536];
        let len = journal.recv(&mut datagram).expect("a datagram");
        let text = str::from_utf8(&datagram[..len]).expect("UTF-8");
        let fields: Vec<_> = text
            .lines()
            .filter_map(|line| line.split_once('='))
            .collect();
        let field = |name| {
            fields
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| *value)
        };
        assert_eq!(field("SYSLOG_IDENTIFIER"), Some("injector"));
        assert_eq!(field("INJECTOR_DEVICE"), Some("eth0"));
        let message: Value =
            serde_json::from_str(field("MESSAGE").expect("a message")).expect("JSON");
        assert_eq!(
            (&message["event"], &message["profile"]),
            (&event.into(), &"quick".into())
        );
        assert_eq!(text.lines().count(), fields.len(), "{text}");
    }
}
