//! What is expected of a run, and how it ends where that is not achieved.

use std::{fs, process::Output};

use injector_tests::{
    Injector, Lab,
    directory::Directory,
    injector::{self, End, Verdict},
    udp::Flow,
};

const DATAGRAMS: u64 = 200;

/// Drops every fourth datagram that leaves, and has a rule for what never comes.
const QUARTER: &str = "
name: quarter
seed: 1
rules:
  - {name: udp, direction: both, match: {protocol: udp}, drop: {every: 4}}
  - {name: sctp, match: {protocol: sctp}, drop: 1%}
";

/// Sends datagrams through a run, and ends it.
#[track_caller]
fn judged(profile: &str, args: &[&str]) -> End {
    let lab = Lab::new();
    let run = Injector::start_with(&lab.a, profile, args);
    let report = Flow::new(DATAGRAMS).send(&lab.a, &lab.b);
    assert_eq!(report.lost().len() as u64, DATAGRAMS / 4);
    run.stop()
}

fn verdicts(end: &End) -> Vec<Verdict> {
    end.ended
        .as_ref()
        .expect("the event `ended`")
        .expectations
        .clone()
}

fn verdict(expectation: &str, achieved: Option<f64>, passed: bool) -> Verdict {
    Verdict {
        expectation: expectation.into(),
        achieved,
        passed,
    }
}

#[test]
fn what_was_achieved_at_the_receiver_is_judged() {
    let args = [
        "--expect=udp.drop=25%+-0.1%",
        "--expect=udp/egress.matched = 200",
        "--expect=udp/ingress.matched=0",
        "--expect=dropped=50",
        "--expect=path.lost=0",
    ];
    let end = judged(QUARTER, &args);
    assert_eq!(end.code(), 0, "{}", end.stderr);
    let expected = [
        verdict("udp.drop=25%±0.1%", Some(0.25), true),
        verdict("udp/egress.matched=200", Some(200.0), true),
        verdict("udp/ingress.matched=0", Some(0.0), true),
        verdict("dropped=50", Some(50.0), true),
        verdict("path.lost=0", Some(0.0), true),
    ];
    assert_eq!(verdicts(&end), expected);
}

#[test]
fn what_was_not_achieved_is_exit_code_7() {
    let profile = format!("{QUARTER}expect: [udp.drop=25%, sctp.drop<50%]\n");
    let end = judged(&profile, &["--expect", "udp.drop<=24.9%", "--expect-fired"]);
    assert_eq!(end.code(), 7, "{}", end.stderr);
    let expected = [
        verdict("udp.drop=25%", Some(0.25), true),
        verdict("sctp.drop<50%", None, false),
        verdict("udp.drop<=24.9%", Some(0.25), false),
        verdict("sctp.matched>0", Some(0.0), false),
        verdict("udp.matched>0", Some(200.0), true),
    ];
    assert_eq!(verdicts(&end), expected);
    let said = "error: 3 of 5 expectations not met: sctp.drop<50%, udp.drop<=24.9%, sctp.matched>0";
    assert!(end.stderr.contains(said), "{}", end.stderr);
}

#[test]
fn phases_are_judged_together_or_one_by_one() {
    const PHASES: &str = "
name: outages
seed: 1
repeat: 2
phases:
  - {name: good, for: 1s, rules: [{name: udp, match: {protocol: udp}, drop: 0%}]}
  - {name: outage, for: 1s, rules: [{name: udp, match: {protocol: udp}, drop: 100%}]}
";
    let lab = Lab::new();
    let args = ["good/udp.drop=0%", "outage/udp.drop=100%", "udp.matched=80"];
    let run = Injector::start_with(&lab.a, PHASES, &args.map(|e| ["--expect", e]).concat());
    for _ in 0..4 {
        run.phase();
        Flow::new(20).send(&lab.a, &lab.b);
    }
    let end = run.wait();
    assert_eq!(end.code(), 0, "{:?}", end.ended);
    let [good, outage] = [Some(0.0), Some(1.0)];
    let expected = [(args[0], good), (args[1], outage), (args[2], Some(80.0))];
    assert_eq!(
        verdicts(&end),
        expected.map(|(e, achieved)| verdict(e, achieved, true))
    );
}

/// Runs a command over a network that drops every fourth ping.
#[track_caller]
fn over_pings(args: &[&str], command: &[&str]) -> Output {
    const PINGS: &str =
        "{name: pings, rules: [{name: ping, match: {protocol: icmp}, drop: {every: 4}}]}";
    let lab = Lab::new();
    let directory = Directory::new("pings");
    let path = directory.file("pings.yaml");
    fs::write(&path, PINGS).expect("write the profile");
    let path = path.to_str().expect("UTF-8");
    let run = [&["run", path, "-i", "eth0"], args, &["--"], command].concat();
    injector::call(&lab.a.netns, &run)
}

#[test]
fn a_command_that_fails_by_itself_says_more_than_an_expectation() {
    const PING: &str = "ping -q -c 8 -i 0.01 -W 1 10.77.0.2";
    let directory = Directory::new("junit");
    let path = directory.file("junit.xml");
    let junit = path.to_str().expect("UTF-8");
    let [met, missed] = [
        ["--expect", "ping.dropped=2"],
        ["--expect", "ping.dropped=3"],
    ];
    for (expect, end, code) in [(met, "", 0), (missed, "", 7), (missed, "; exit 3", 3)] {
        let args = [&expect[..], &["--junit", junit]].concat();
        let output = over_pings(&args, &["sh", "-c", &format!("{PING}{end}")]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        let line = match expect == met {
            true => "ping.dropped=2  2         passed",
            false => "ping.dropped=3  2         FAILED",
        };
        let table = format!("EXPECTED        ACHIEVED  VERDICT\n{line}\n");
        assert!(stderr.contains(&table), "{stderr}");
        let xml = fs::read_to_string(&path).expect("the file");
        let case = format!("<testcase name=\"{}\" classname=\"pings\"", expect[1]);
        assert!(xml.contains(&case), "{xml}");
        let failure = "<failure message=\"achieved: 2\"/>";
        assert_eq!(xml.contains(failure), expect == missed, "{xml}");
    }
}

#[test]
fn what_cannot_be_expected_is_refused_before_anything_is_touched() {
    let lab = Lab::new();
    let call = |profile: &str, args: &[&str], code: i32, words: &[&str]| {
        let output = injector::call_run(&lab.a.netns, &lab.a.device, profile, args);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "");
        assert!(words.iter().all(|word| stderr.contains(word)), "{stderr}");
    };
    let refused = |expectation, words| call(QUARTER, &["--expect", expectation], 2, words);
    refused(
        "udpp.drop=1%",
        &["`udpp` is not a rule of the profile", "did you mean `udp`?"],
    );
    refused(
        "udp.dorp=1%",
        &[
            "`dorp` is not a quantity",
            "a share (drop,",
            "matched, bytes,",
        ],
    );
    refused(
        "udp.drop=5",
        &["`5` is ambiguous as a probability: write 5% or 0.05"],
    );
    refused("sctp/ingress.drop=5%", &["is not a direction of the rule"]);
    refused("good/udp.drop=5%", &["the profile has no phases"]);
    let profile = format!("{QUARTER}expect:\n  - udpp.drop=1%\n");
    call(
        &profile,
        &[],
        3,
        &["--> -:8:5", "field: expect[0]", "did you mean `udp`?"],
    );
    let watched = ["run", "lossy", "-i", "eth0", "--watch", "--expect-fired"];
    let output = injector::call(&lab.a.netns, &watched);
    assert_eq!(output.status.code(), Some(2));
    let nowhere = ["--junit", "/no/such/directory/junit.xml"];
    call(
        QUARTER,
        &nowhere,
        2,
        &["cannot create /no/such/directory/junit.xml"],
    );
    let applied = ["apply", "lossy", "-i", "eth0", "--expect-fired"];
    assert_eq!(
        injector::call(&lab.a.netns, &applied).status.code(),
        Some(2)
    );
}
