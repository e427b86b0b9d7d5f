//! Starting and ending: exit codes, and what is left behind.

use std::{
    collections::BTreeSet,
    os::unix::process::CommandExt as _,
    process::Output,
    thread,
    time::{Duration, Instant},
};

use ::injector::plan::Hook;
use injector_tests::{
    Host, Injector, Lab,
    clock::wait_until,
    injector::{self, Background, End},
    kernel,
    predict::Oracle,
    residue::{self, Programs, Snapshot},
    tool,
    tun::Tun,
    udp::Flow,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

const SILENCE: &str = "{name: silence, seed: 1, rules: [{direction: both, drop: 100%}]}";
/// A rule that matches, and does next to nothing.
const MILD: &str = "{name: mild, seed: 1, rules: [{direction: both, drop: 0.0000001%}]}";

/// The ways of attaching that this kernel has.
fn ways() -> Vec<&'static str> {
    if kernel::has_tcx() {
        vec!["tcx", "clsact"]
    } else {
        vec!["clsact"]
    }
}

#[track_caller]
fn code(output: &Output) -> i32 {
    let code = injector::code(output.status);
    eprintln!(
        "exit code {code}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    code
}

/// Starts a run that every packet suffers from, lets it `end`, and asserts the exit code and that
/// nothing is left.
#[track_caller]
fn leaves_nothing(ways: &[&str], args: &[&str], expected: i32, end: impl Fn(Injector) -> End) {
    for &way in ways {
        let lab = Lab::new();
        let before = Snapshot::of(&lab.a.netns);
        let args: Vec<&str> = ["--attach", way].iter().chain(args).copied().collect();
        let injector = Injector::start_with(&lab.a, SILENCE, &args);
        let programs = Programs::of(&lab.a.netns);
        assert!(
            injector
                .started()
                .attached
                .iter()
                .all(|hook| hook.via == way)
        );
        assert!(!before.differences(&Snapshot::of(&lab.a.netns)).is_empty());
        let end = end(injector);

        assert_eq!(end.code(), expected, "{way}: {}", end.stderr);
        assert!(end.ended.is_some(), "{way}: no last event");
        before.assert_same(&lab.a.netns);
        programs.assert_gone();
        Flow::new(50).send(&lab.a, &lab.b).assert_untouched();
    }
}

#[test]
fn sigterm_ends_a_run_well() {
    leaves_nothing(&ways(), &[], 0, Injector::stop);
}

#[test]
fn a_signal_that_comes_while_a_run_starts_leaves_nothing() {
    let lab = Lab::new();
    let before = Snapshot::of(&lab.a.netns);
    for wait_ms in [0, 20, 50, 100, 150, 200, 300, 500] {
        let mut child = injector::command()
            .args(["run", "-q", "-i", &lab.a.device, "--drop", "50%"])
            .arg("--netns")
            .arg(lab.a.netns.path())
            .spawn()
            .expect("start a run");
        thread::sleep(Duration::from_millis(wait_ms));
        kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).expect("send SIGTERM");
        let code = injector::code(child.wait().expect("wait for the run"));
        // 143: it came before anything was changed.
        assert!([0, 143].contains(&code), "after {wait_ms} ms: {code}");
        before.assert_same(&lab.a.netns);
    }
}

#[test]
fn ctrl_c_interrupts_a_run() {
    leaves_nothing(&ways()[..1], &[], 130, Injector::interrupt);
}

#[test]
fn a_run_ends_when_its_time_has_elapsed() {
    leaves_nothing(&ways()[..1], &["--for", "1500ms"], 0, |injector| {
        let end = injector.wait();
        assert_eq!(
            end.ended.as_ref().map(|ended| &*ended.reason),
            Some("time elapsed")
        );
        end
    });
}

#[test]
fn a_run_ends_with_its_command_and_has_its_status() {
    leaves_nothing(
        &ways()[..1],
        &["--", "sh", "-c", "sleep 1.5; exit 7"],
        7,
        Injector::wait,
    );
}

#[test]
fn a_command_that_is_killed_counts_as_in_a_shell() {
    leaves_nothing(
        &ways()[..1],
        &["--", "sh", "-c", "sleep 1.5; kill -KILL $$"],
        128 + 9,
        Injector::wait,
    );
}

#[test]
fn the_command_is_under_fault() {
    let lab = Lab::new();
    let output = injector::call_run(
        &lab.a.netns,
        &lab.a.device,
        SILENCE,
        &["--", "ping", "-c", "1", "-W", "1", "10.77.0.2"],
    );
    assert_eq!(code(&output), 1, "ping's status for silence");
    let mild = ["--", "ping", "-c", "1", "-W", "5", "10.77.0.2"];
    let output = injector::call_run(&lab.a.netns, &lab.a.device, MILD, &mild);
    assert_eq!(code(&output), 0);
}

#[test]
fn faults_are_in_force_when_the_run_says_so() {
    let lab = Lab::new();
    for round in 0..10 {
        let injector = Injector::start(&lab.a, SILENCE);
        let report = Flow::new(20)
            .linger(Duration::from_millis(20))
            .send(&lab.a, &lab.b);
        let end = injector.stop();
        let path = end.achieved().path;
        assert_eq!(
            (report.arrivals.len(), path.failed_open),
            (0, 0),
            "round {round}"
        );
    }
}

/// Asserts that a killed run no longer does harm after `limit`, and that `clear` removes what it
/// has left.
#[track_caller]
fn ends_after_a_kill(way: &str, limit: Duration) {
    let lab = Lab::new();
    let before = Snapshot::of(&lab.a.netns);
    let injector = Injector::start_with(&lab.a, SILENCE, &["--attach", way]);
    let programs = Programs::of(&lab.a.netns);
    assert_eq!(Flow::new(20).send(&lab.a, &lab.b).arrivals.len(), 0);
    let killed = Instant::now();
    assert_eq!(injector.kill().code(), 128 + 9);

    let flow = || Flow::new(20).linger(Duration::from_millis(50));
    let works = || {
        flow().send(&lab.a, &lab.b).lost().is_empty()
            && flow().send(&lab.b, &lab.a).lost().is_empty()
    };
    assert!(
        wait_until(limit, works),
        "still silent {:?} after the kill",
        killed.elapsed()
    );
    let status: Value = json(&injector::call(&lab.a.netns, &["status", "--json"]));
    assert_eq!(
        (&status["runs"][0]["device"], &status["runs"][0]["alive"]),
        (&Value::from("eth0"), &Value::from(false))
    );
    assert_eq!(
        code(&injector::call(&lab.a.netns, &["clear", "-i", "eth0"])),
        0
    );
    before.assert_same(&lab.a.netns);
    programs.assert_gone();
    Flow::new(50).send(&lab.a, &lab.b).assert_untouched();
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("JSON on standard output")
}

#[test]
fn after_a_kill_tcx_programs_are_gone_at_once() {
    if kernel::has_tcx() {
        ends_after_a_kill("tcx", Duration::ZERO);
    }
}

#[test]
fn after_a_kill_clsact_programs_lapse() {
    ends_after_a_kill("clsact", Duration::from_secs(6));
}

#[test]
fn a_new_run_cleans_up_after_a_killed_one() {
    for way in ways() {
        let lab = Lab::new();
        let before = Snapshot::of(&lab.a.netns);
        Injector::start_with(&lab.a, SILENCE, &["--attach", way]).kill();
        let injector = Injector::start_with(&lab.a, MILD, &["--attach", way]);
        Flow::new(100).send(&lab.a, &lab.b).assert_untouched();
        let end = injector.stop();
        assert!(end.achieved().rules[0].matched >= 100);
        before.assert_same(&lab.a.netns);
    }
}

#[test]
fn a_run_that_hangs_does_no_harm_and_recovers() {
    let lab = Lab::new();
    let injector = Injector::start(&lab.a, SILENCE);
    injector.signal(Signal::SIGSTOP);
    let flow = Flow::new(20).linger(Duration::from_millis(50));
    let works = || flow.send(&lab.a, &lab.b).lost().is_empty();
    let lapsed = wait_until(Duration::from_secs(6), works);
    injector.signal(Signal::SIGCONT);
    assert!(lapsed, "still silent");
    assert!(
        wait_until(Duration::from_secs(3), || !works()),
        "no faults any more"
    );
    let end = injector.stop();
    assert!(end.achieved().path.lapsed > 0);
}

#[test]
fn a_second_run_on_a_device_is_refused() {
    let lab = Lab::new();
    let first = Injector::start(&lab.a, SILENCE);
    let during = Snapshot::of(&lab.a.netns);
    let output = injector::call_run(&lab.a.netns, &lab.a.device, MILD, &[]);
    assert_eq!(code(&output), 5);
    assert!(String::from_utf8_lossy(&output.stderr).contains(&first.pid().to_string()));
    during.assert_same(&lab.a.netns);
    assert_eq!(Flow::new(20).send(&lab.a, &lab.b).arrivals.len(), 0);
    first.stop().achieved();
}

#[test]
fn two_devices_have_a_run_each() {
    let lab = Lab::new();
    lab.a
        .run(|| tool::ip("link add name second0 type veth peer name second1"));
    let before = Snapshot::of(&lab.a.netns);
    let first = Injector::start(&lab.a, SILENCE);
    let between = Snapshot::of(&lab.a.netns);
    let second = Injector::start_on(&lab.a.netns, "second0", MILD, &[]);
    assert_eq!(
        code(&injector::call(&lab.a.netns, &["clear", "-i", "second0"])),
        0
    );
    assert_eq!(second.wait().code(), 0);
    between.assert_same(&lab.a.netns);
    assert_eq!(
        Flow::new(20).send(&lab.a, &lab.b).arrivals.len(),
        0,
        "the first one is over"
    );
    first.stop().achieved();
    before.assert_same(&lab.a.netns);
}

#[test]
fn clear_stops_a_running_run() {
    let lab = Lab::new();
    let before = Snapshot::of(&lab.a.netns);
    let injector = Injector::start(&lab.a, SILENCE);
    assert_eq!(code(&injector::call(&lab.a.netns, &["clear", "--all"])), 0);
    assert_eq!(injector.wait().code(), 0);
    before.assert_same(&lab.a.netns);
}

#[test]
fn status_shows_a_run_and_its_counters() {
    let lab = Lab::new();
    let args = ["--drop", "100%", "--to", "10.77.0.2"];
    let injector = Injector::start_with(&lab.a, "", &args);
    Flow::new(50).send(&lab.a, &lab.b);
    let status = json(&injector::call(&lab.a.netns, &["status", "--json"]));
    let run = &status["runs"][0];
    assert_eq!(run["pid"], injector.pid().as_raw());
    assert_eq!(run["alive"], true);
    assert_eq!(run["rules"][0]["dropped"], 50);
    injector.stop().achieved();
    let status = json(&injector::call(&lab.a.netns, &["status", "--json"]));
    assert_eq!(status["runs"], Value::Array(Vec::new()));
}

#[test]
fn a_deleted_device_ends_the_run() {
    for way in ways() {
        let lab = Lab::new();
        let injector = Injector::start_with(&lab.a, SILENCE, &["--attach", way]);
        let programs = Programs::of(&lab.a.netns);
        lab.a.run(|| tool::ip("link delete dev eth0"));
        let end = injector.wait();
        assert_eq!(end.code(), 5, "{way}: {}", end.stderr);
        assert_eq!(lab.a.run(residue::devices), ["lo"], "{way}");
        assert_eq!(
            residue::records(&lab.a.netns),
            Vec::<String>::new(),
            "{way}"
        );
        programs.assert_gone();
    }
}

#[test]
fn a_renamed_device_is_cleared_all_the_same() {
    for way in ways() {
        let lab = Lab::new();
        let rename = |from: &str, to: &str| {
            lab.a.run(|| tool::ip(&format!("link set dev {from} down")));
            lab.a
                .run(|| tool::ip(&format!("link set dev {from} name {to} up")));
        };
        rename("eth0", "lan0");
        rename("lan0", "eth0");
        let before = Snapshot::of(&lab.a.netns);
        let injector = Injector::start_with(&lab.a, SILENCE, &["--attach", way]);
        let programs = Programs::of(&lab.a.netns);
        rename("eth0", "lan0");
        assert_eq!(injector.stop().code(), 0, "{way}");
        rename("lan0", "eth0");
        before.assert_same(&lab.a.netns);
        programs.assert_gone();
    }
}

/// Asserts that a run is refused with an exit code, and nothing changed.
#[track_caller]
fn is_refused(host: &Host, device: &str, profile: &str, args: &[&str], expected: i32) {
    let before = Snapshot::of(&host.netns);
    let output = injector::call_run(&host.netns, device, profile, args);
    assert_eq!(code(&output), expected);
    assert!(!output.stderr.is_empty(), "no reason is given");
    before.assert_same(&host.netns);
}

#[test]
fn a_missing_device_is_a_conflict() {
    is_refused(&Lab::new().a, "eth7", SILENCE, &[], 5);
}

#[test]
fn an_invalid_profile_is_refused() {
    is_refused(
        &Lab::new().a,
        "eth0",
        "{name: wrong, rules: [{drop: 5}]}",
        &[],
        3,
    );
}

#[test]
fn contradicting_flags_are_refused() {
    is_refused(&Lab::new().a, "eth0", SILENCE, &["--drop", "1%"], 2);
}

#[test]
fn a_link_type_that_is_not_supported_is_refused() {
    const ARPHRD_CAN: u16 = 280;
    let lab = Lab::new();
    let tun = Tun::with_link_type(&lab.a.netns, "can0", ARPHRD_CAN);
    is_refused(&lab.a, tun.name(), SILENCE, &[], 4);
}

#[test]
fn a_delay_without_fq_is_refused() {
    if kernel::can_delay() {
        return;
    }
    let lab = Lab::new();
    is_refused(
        &lab.a,
        "eth0",
        "{name: late, seed: 1, rules: [{delay: 10ms}]}",
        &[],
        4,
    );
}

#[test]
fn what_needs_fq_is_left_out_where_that_is_allowed() {
    const COUNT: u64 = 500;
    const PROFILE: &str = "
name: lossy-and-late
seed: 5
rules:
  - {name: both, match: {protocol: udp, dst_port: 5000}, drop: 20%, delay: 30ms, reorder: 5%}
  - {name: slow, match: {protocol: udp, dst_port: 5001}, rate: 10kbit}
  - {name: rest, match: {protocol: udp}, drop: 100%}";
    const ALLOWED: [&str; 2] = ["--allow-missing", "delay"];
    let expected: &[&str] = match kernel::can_delay() {
        true => &[],
        false => &["delay", "rate", "reorder"],
    };
    let lab = Lab::new();
    let plan = injector::call_run(
        &lab.a.netns,
        "eth0",
        PROFILE,
        &["--allow-missing", "delay", "--dry-run"],
    );
    assert_eq!(json(&plan)["left_out"], Value::from(expected));

    let run = Injector::start_with(&lab.a, PROFILE, &ALLOWED);
    assert_eq!(run.started().left_out, expected);
    let report = Flow::new(COUNT)
        .linger(Duration::from_millis(300))
        .send(&lab.a, &lab.b);
    assert_eq!(
        report.lost(),
        Oracle::of(PROFILE, "both", Hook::Egress).dropped(COUNT)
    );
    if !kernel::can_delay() {
        // A rule of which nothing is left still takes its packets from those after it.
        Flow::new(50)
            .port(5001)
            .send(&lab.a, &lab.b)
            .assert_untouched();
    }
    let status = injector::call(&lab.a.netns, &["status"]);
    let said = String::from_utf8_lossy(&status.stdout).into_owned();
    assert_eq!(
        said.contains("left out: delay, rate, reorder"),
        !kernel::can_delay(),
        "{said}"
    );
    let delayed = run.stop().achieved().rule("both").delayed;
    assert_eq!(delayed == 0, !kernel::can_delay());

    // In the background others may come, of which each says what it may go without.
    let held = Background::apply(&lab.a, SILENCE, &[]);
    let swapped = injector::call_apply(&lab.a.netns, "eth0", PROFILE, &ALLOWED);
    assert_eq!(json(&swapped)["left_out"], Value::from(expected));
    let refused = injector::call_apply(&lab.a.netns, "eth0", PROFILE, &[]);
    assert_eq!(code(&refused), if kernel::can_delay() { 0 } else { 4 });
    drop(held);
}

#[test]
fn an_unprivileged_user_is_refused() {
    const NOBODY: u32 = 65534;
    let output = injector::command()
        .args(["run", "-i", "lo", "--drop", "1%"])
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .expect("run injector");
    assert_eq!(code(&output), 4);
    assert!(String::from_utf8_lossy(&output.stderr).contains("CAP_NET_ADMIN"));
}

#[test]
fn a_dry_run_changes_nothing() {
    let lab = Lab::new();
    let before = Snapshot::of(&lab.a.netns);
    let output = injector::call_run(&lab.a.netns, &lab.a.device, SILENCE, &["--dry-run"]);
    assert_eq!(code(&output), 0);
    assert!(!output.stdout.is_empty());
    before.assert_same(&lab.a.netns);
}

#[test]
fn starting_and_stopping_lose_no_packet() {
    for way in ways() {
        let lab = Lab::new();
        // Linux takes a device's queues out of service for a moment when clsact is added to it or
        // deleted (dev_deactivate in qdisc_graft), which is nothing that a loader could prevent.
        if way == "clsact" {
            lab.a.run(|| tool::tc("qdisc add dev eth0 clsact"));
        }
        let flow = Flow::new(3000).gap(Duration::from_millis(1));
        let report = thread::scope(|scope| {
            let report = scope.spawn(|| flow.send(&lab.a, &lab.b));
            while !report.is_finished() {
                let injector = Injector::start_with(&lab.a, MILD, &["--attach", way]);
                thread::sleep(Duration::from_millis(50));
                assert_eq!(injector.stop().achieved().path.lost, 0, "{way}");
            }
            report.join().expect("the flow")
        });
        assert_eq!(report.errors, Vec::<String>::new(), "{way}");
        assert_eq!(
            (report.lost(), report.duplicated()),
            (BTreeSet::new(), BTreeSet::new())
        );
        assert_eq!(report.damaged(), 0, "{way}");
    }
}
