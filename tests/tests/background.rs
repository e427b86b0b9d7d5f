//! `injector apply`: faults in the background, other rules for them, and their end.

use std::time::{Duration, Instant};

use injector_tests::{
    Injector, Lab,
    background::{FREE, SILENCE, SILENT, arrive, clear, json, status, stderr},
    clock::{PATIENCE, wait_until},
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
