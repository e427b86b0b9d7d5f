//! Runs that wait for their device: `--wait-for-device`.

use std::{
    thread,
    time::{Duration, Instant},
};

use injector_tests::{
    Injector, Lab,
    clock::{PATIENCE, wait_until},
    injector::{self, Background},
    kernel,
    residue::{self, Programs, Snapshot},
    tool,
    udp::Flow,
};
use nix::sys::signal::Signal;
use serde_json::Value;

const SILENCE: &str = "{name: silence, seed: 7, rules: [{match: {protocol: udp}, drop: 100%}]}";
const LOSS: &str = "{name: loss, seed: 7, rules: [{drop: 100%}]}";
const MTU: u32 = 1500;

/// What `status` says of the only run.
fn status(lab: &Lab) -> Value {
    let output = injector::call(&lab.a.netns, &["status", "--json"]);
    let status: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let runs = status["runs"].as_array().expect("runs");
    assert!(runs.len() <= 1, "{runs:?}");
    runs.first().cloned().unwrap_or_default()
}

#[track_caller]
fn is_in_state(lab: &Lab, state: &str) -> Value {
    assert!(
        wait_until(3 * PATIENCE, || status(lab)["state"] == state),
        "not {state}, but {}",
        status(lab)
    );
    status(lab)
}

/// Whether packets arrive at host B.
fn arrive(lab: &Lab) -> bool {
    !Flow::new(20).send(&lab.a, &lab.b).arrivals.is_empty()
}

fn delete(lab: &Lab) {
    lab.a.run(|| tool::ip("link delete dev eth0"));
}

/// Asserts that nothing of a run is left but its own record.
#[track_caller]
fn is_let_go(lab: &Lab, programs: &Programs) {
    programs.assert_gone();
    let devices = lab.a.run(residue::devices);
    assert!(
        !devices.iter().any(|name| name.starts_with("inj")),
        "{devices:?}"
    );
}

#[test]
fn a_run_waits_for_the_next_device_of_the_name() {
    let ways: &[&str] = match (kernel::has_tcx(), kernel::is_guest()) {
        (true, false) => &["tcx", "clsact"],
        (true, true) => &["tcx"],
        (false, _) => &["clsact"],
    };
    for way in ways {
        let lab = Lab::new();
        let args = ["--wait-for-device", "--attach", way];
        let run = Injector::start_with(&lab.a, SILENCE, &args);
        let first = run.started().clone();
        let programs = Programs::of(&lab.a.netns);
        assert!(!arrive(&lab));
        delete(&lab);
        let former = run.waiting().former.expect("what was achieved");
        assert_eq!(former.rules[0].dropped, 20, "{way}");
        let said = is_in_state(&lab, "waiting");
        assert_eq!(
            (&said["device"], &said["profile"]),
            (&"eth0".into(), &"silence".into())
        );
        is_let_go(&lab, &programs);

        // A device that has but the index is nobody's business.
        lab.a.run(|| {
            let index = first.ifindex;
            tool::ip(&format!(
                "link add name other0 index {index} type veth peer name other1"
            ));
            tool::ip("link set dev other0 up");
        });
        let before = Snapshot::of(&lab.a.netns);
        thread::sleep(Duration::from_millis(400));
        before.assert_same(&lab.a.netns);
        lab.plug(MTU);
        let second = run.in_force();
        assert_ne!(second.ifindex, first.ifindex);
        assert_eq!(
            (second.seed, second.attached),
            (first.seed, first.attached),
            "{way}"
        );
        is_in_state(&lab, "running");
        assert!(!arrive(&lab), "{way}: no faults on the new device");
        let end = run.stop();
        // Of the new device alone.
        assert_eq!(end.achieved().rules[0].dropped, 20, "{way}");
        assert!(arrive(&lab));
        assert_eq!(
            residue::records(&lab.a.netns),
            Vec::<String>::new(),
            "{way}"
        );
        let hooks = lab.a.run(residue::hooks);
        assert!(!hooks.contains("injector"), "{way}: {hooks}");
    }
}

#[test]
fn a_run_may_begin_without_a_device_and_end_so() {
    let lab = Lab::without_cable();
    let before = Snapshot::of(&lab.a.netns);
    let start = |args: &[&str]| {
        let args: Vec<&str> = ["--wait-for-device"].iter().chain(args).copied().collect();
        Injector::start_with(&lab.a, SILENCE, &args)
    };
    // Longer than `status` takes.
    let run = start(&["--for", if kernel::is_guest() { "8s" } else { "1s" }]);
    is_in_state(&lab, "waiting");
    let end = run.wait();
    assert_eq!(end.code(), 0, "{}", end.stderr);
    let ended = end.ended.expect("the last event");
    assert_eq!(&ended.reason, "time elapsed");
    assert!(ended.achieved.rules.is_empty());
    assert_eq!(start(&[]).interrupt().code(), 130);
    let run = start(&["--", "sh", "-c", "exit 7"]);
    // Its command is not started before there are faults.
    is_in_state(&lab, "waiting");
    lab.plug(MTU);
    assert_eq!(run.wait().code(), 7);
    delete(&lab);

    let run = start(&[]);
    let second = injector::call_run(&lab.a.netns, "eth0", SILENCE, &["--wait-for-device"]);
    assert_eq!(injector::code(second.status), 5);
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains(&run.pid().to_string()), "{said}");
    let cleared = injector::call(&lab.a.netns, &["clear", "-i", "eth0"]);
    assert!(cleared.status.success());
    assert_eq!(run.wait().code(), 0);
    before.assert_same(&lab.a.netns);

    start(&[]).kill();
    assert_eq!(status(&lab)["state"], "killed");
    let cleared = injector::call(&lab.a.netns, &["clear", "--all"]);
    assert!(cleared.status.success());
    before.assert_same(&lab.a.netns);
}

#[test]
fn time_that_is_spent_waiting_counts() {
    let lab = Lab::new();
    let run = Injector::start_with(&lab.a, SILENCE, &["--wait-for-device", "--for", "60s"]);
    let started = Instant::now();
    delete(&lab);
    run.waiting();
    lab.plug(MTU);
    run.in_force();
    let elapsed = started.elapsed().as_millis() as u64;
    let left = is_in_state(&lab, "running")["ends_in_ms"].as_u64();
    let left = left.expect("when it ends");
    assert!(
        left <= 60_000 - elapsed,
        "{left} ms left after {elapsed} ms"
    );
    assert_eq!(run.stop().code(), 0);
}

#[test]
fn faults_in_the_background_wait_for_their_device() {
    let lab = Lab::without_cable();
    let held = Background::apply(&lab.a, SILENCE, &["--wait-for-device"]);
    let pid: Value = held.pid.as_raw().into();
    // What has to be prepared for any rules takes an emulated processor its time.
    for _ in 0..if kernel::is_guest() { 1 } else { 2 } {
        assert_eq!(is_in_state(&lab, "waiting")["pid"], pid);
        let second = injector::call_apply(&lab.a.netns, "eth0", LOSS, &["--wait-for-device"]);
        assert_eq!(injector::code(second.status), 5);
        lab.plug(MTU);
        is_in_state(&lab, "running");
        assert!(!arrive(&lab));
        let swapped = Background::apply(&lab.a, LOSS, &[]);
        assert_eq!((swapped.swapped, swapped.pid), (true, held.pid));
        std::mem::forget(swapped);
        delete(&lab);
        // What was in force last goes on.
        assert_eq!(is_in_state(&lab, "waiting")["profile"], "loss");
    }
    held.signal(Signal::SIGTERM);
    assert!(wait_until(PATIENCE, || status(&lab).is_null()));
    assert_eq!(residue::records(&lab.a.netns), Vec::<String>::new());
}

#[test]
fn a_wait_ends_with_its_namespace() {
    let lab = Lab::without_cable();
    let run = Injector::start_with(&lab.a, SILENCE, &["--wait-for-device"]);
    let process = run.pid().as_raw() as u32;
    drop(lab);
    let end = run.wait();
    assert_eq!(end.code(), 5, "{}", end.stderr);
    assert_eq!(residue::records_by(process), Vec::<String>::new());
}
