//! `injector run --report`: what a run leaves behind to be read.

use std::fs;

use injector_tests::{Injector, Lab, directory::Directory, injector, udp::Flow};
use serde_json::Value;

const PHASES: &str = "
name: outages
seed: 1
phases:
  - {name: good, for: 2s, rules: [{name: udp, match: {protocol: udp}, drop: 0%}]}
  - {name: outage, for: 2s, rules: [{name: udp, match: {protocol: udp}, drop: 100%}]}
expect: [udp.matched=40, outage/udp.drop=100%, good/udp.dropped>0]
";

/// Plays it with some datagrams in each phase, and returns the file that is to be written.
#[track_caller]
fn report(name: &str) -> String {
    let (lab, directory) = (Lab::new(), Directory::new(name));
    let path = directory.file(name);
    let args = ["--report", path.to_str().expect("UTF-8")];
    let run = Injector::start_with(&lab.a, PHASES, &args);
    for _ in 0..2 {
        run.phase();
        Flow::new(20).send(&lab.a, &lab.b);
    }
    let end = run.wait();
    assert_eq!(end.code(), 7, "{}", end.stderr);
    fs::read_to_string(&path).expect("the report")
}

#[test]
fn as_json_it_has_what_was_asked_achieved_and_expected_and_how_it_went() {
    let report: Value = serde_json::from_str(&report("report.json")).expect("JSON");
    for (key, value) in [
        ("schema", "injector.report/v1"),
        ("profile", "outages"),
        ("device", "eth0"),
        ("reason", "time elapsed"),
    ] {
        assert_eq!(report[key], value);
    }
    assert_eq!(report["seed"], 1);
    let list = |key: &str| report[key].as_array().expect("a list").clone();
    let of = |key: &str, field: &str| -> Vec<Value> {
        list(key).iter().map(|entry| entry[field].clone()).collect()
    };
    assert_eq!(of("phases", "phase"), ["good", "outage"]);
    assert_eq!(of("rules", "matched"), [20, 20]);
    assert_eq!(of("rules", "dropped"), [0, 20]);
    assert_eq!(of("expectations", "passed"), [true, true, false]);
    let matched: Vec<_> = of("samples", "matched").iter().map(Value::as_u64).collect();
    assert!(matched.len() >= 3 && matched.is_sorted(), "{matched:?}");
    assert_eq!(matched.last(), Some(&Some(40)));
}

#[test]
fn as_html_it_needs_nothing_else() {
    let report = report("report.html");
    for part in [
        "<!DOCTYPE html>",
        "<title>outages on eth0: injector</title>",
        "1 of 3 not met",
        "<code>good/udp.dropped&gt;0</code>",
        "<title>outage, repetition 1</title>",
        "<polyline class=\"line dropped\"",
        "<dt>Seed</dt><dd>1</dd>",
    ] {
        assert!(report.contains(part), "{part}: {report}");
    }
    for foreign in ["http:", "https:", "<script", "url(", "@import", "src="] {
        assert!(!report.contains(foreign), "{foreign}");
    }
}

#[test]
fn a_report_in_an_unknown_format_is_refused() {
    let lab = Lab::new();
    let args = ["run", "lossy", "-i", "eth0", "--report", "/tmp/report.pdf"];
    let output = injector::call(&lab.a.netns, &args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(
        stderr.contains(".html, for people, or with .json"),
        "{stderr}"
    );
}
