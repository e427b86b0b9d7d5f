//! The process that holds faults in the background, and what is known of it.

use std::{fs, io::Write as _, os::unix::net::UnixStream, process::Child, thread, time::Duration};

use injector_tests::{
    Lab,
    background::{FREE, SILENCE, SILENT, arrive, clear, json, status, stderr},
    clock::{PATIENCE, wait_until},
    injector::{self, Background},
    kernel, reign,
    residue::{self, Snapshot},
    shell::{Shell, command},
    udp::Flow,
};
use nix::sys::signal::Signal;
use serde_json::Value;

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

#[test]
fn clear_all_ends_the_runs_of_every_namespace() {
    let labs = [Lab::new(), Lab::new(), Lab::new()];
    let befores = labs.each_ref().map(|lab| Snapshot::of(&lab.a.netns));
    let (mut shell, injector) = (Shell::start(), command());
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
