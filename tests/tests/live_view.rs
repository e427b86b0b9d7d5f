//! `injector watch`: runs on a screen, or in lines. `run --watch` has tests of its own.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use injector_tests::{Injector, Lab, injector, terminal::Terminal, udp::Flow};
use nix::sys::signal::Signal;
use serde_json::Value;
use statrs::distribution::{Binomial, DiscreteCDF as _};

/// Ethernet, IPv4 and UDP.
const HEADERS: u64 = 14 + 20 + 8;

const LOSSY: &str = "
name: lossy
seed: 1
rules: [{name: udp, match: {protocol: udp}, drop: {every: 4}}]
";

fn watch(lab: &Lab, args: &[&str]) -> Command {
    let mut command = injector::command();
    command.arg("--netns").arg(lab.a.netns.path());
    command.arg("watch").args(args);
    command
}

#[track_caller]
fn lines(lab: &Lab, args: &[&str]) -> Vec<String> {
    let output = watch(lab, args).output().expect("run injector");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines().map(str::to_owned).collect()
}

#[test]
fn the_screen_shows_what_the_receiver_missed_and_the_terminal_is_restored() {
    let lab = Lab::new();
    let _run = Injector::start(&lab.a, LOSSY);
    let mut terminal = Terminal::start(watch(&lab, &["--interval", "200ms"]));
    terminal.wait_for("eth0: profile lossy, seed 1, pid");
    terminal.wait_for("matched 0; dropped 0 (-, asked 25.0%)");
    let report = Flow::new(200).len(100).send(&lab.a, &lab.b);
    assert_eq!(report.lost().len(), 50);
    terminal.wait_for("▶ udp  egress");
    terminal.wait_for("matched 200; dropped 50 (25.0%, asked 25.0%)");
    // The burst is the highest point of both curves.
    terminal.wait_for("█");

    terminal.press("h");
    terminal.wait_for("udp egress: size in bytes");
    terminal.wait_for("128 .. 255  200 |@@@@");
    terminal.press("h?");
    terminal.wait_for("histograms of what is chosen");
    terminal.press("?k");
    terminal.wait_for("▶ eth0: profile lossy");
    terminal.press("p");
    terminal.wait_for("PAUSED");
    terminal.press("p");

    terminal.resize(12, 60);
    terminal.wait_for("eth0: profile lossy, seed 1, pid");
    terminal.wait_for("? help");
    let widest = |contents: String| contents.lines().map(|line| line.chars().count()).max();
    assert!(
        widest(terminal.contents()) <= Some(60),
        "{}",
        terminal.contents()
    );

    terminal.press("q");
    assert_eq!(terminal.assert_restored().code(), Some(0));
}

#[test]
fn the_terminal_is_restored_however_it_ends() {
    let lab = Lab::new();
    let _run = Injector::start(&lab.a, LOSSY);
    let start = |args: &[&str]| {
        let terminal = Terminal::start(watch(&lab, args));
        terminal.wait_for("profile lossy");
        terminal
    };
    let mut terminal = start(&[]);
    terminal.signal(Signal::SIGTERM);
    assert_eq!(terminal.assert_restored().code(), Some(0));
    let mut terminal = start(&[]);
    terminal.press("\x03");
    assert_eq!(terminal.assert_restored().code(), Some(130));
    // The beginning of what an arrow key sends, and then nothing: signals are heard all the same.
    let mut terminal = start(&[]);
    terminal.press("\x1b[");
    terminal.signal(Signal::SIGTERM);
    assert_eq!(terminal.assert_restored().code(), Some(0));
    assert_eq!(start(&[]).hang_up().code(), Some(0));
    let mut terminal = Terminal::start(watch(&lab, &["--count", "2", "--interval", "100ms"]));
    assert_eq!(terminal.assert_restored().code(), Some(0));
}

#[test]
fn colours_are_left_out_where_nobody_wants_them() {
    /// Of 256, as crossterm has them; ours are among the first 16.
    const FOREGROUND: &str = "\x1b[38;5;";
    let lab = Lab::new();
    let _run = Injector::start(&lab.a, LOSSY);
    for (variable, has_colours) in [("NO_COLOR", false), ("UNRELATED", true)] {
        let mut command = watch(&lab, &[]);
        command.env_remove("NO_COLOR").env(variable, "1");
        let mut terminal = Terminal::start(command);
        terminal.wait_for("profile lossy");
        terminal.press("q");
        terminal.assert_restored();
        assert_eq!(
            terminal.raw().contains(FOREGROUND),
            has_colours,
            "{:?}",
            terminal.raw()
        );
    }
}

#[test]
fn it_waits_for_runs_and_says_when_they_are_gone() {
    let lab = Lab::new();
    let terminal = Terminal::start(watch(&lab, &["--interval", "100ms"]));
    terminal.wait_for("no run; waiting for one");
    let run = Injector::start(&lab.a, LOSSY);
    terminal.wait_for("eth0: profile lossy");
    run.stop();
    terminal.wait_for("no run; waiting for one");
}

#[test]
fn a_pipe_gets_a_line_for_each_rule_each_time() {
    let lab = Lab::new();
    assert_eq!(
        lines(&lab, &["--count", "2", "--interval", "100ms"]),
        [""; 0]
    );
    let _run = Injector::start(&lab.a, LOSSY);
    Flow::new(200).send(&lab.a, &lab.b);
    let lines = lines(&lab, &["-i", "eth0", "--count", "3", "--interval", "100ms"]);
    assert_eq!(lines.len(), 3, "{lines:#?}");
    let totals = "matched 200; dropped 50 (25.0%, asked 25.0%)";
    for (line, rates) in lines
        .iter()
        .zip(["", "0 packets/s, 0bit/s, 0 hits/s; ", "0 packets/s, "])
    {
        assert!(
            line.contains(&format!(" eth0 egress udp: {rates}")),
            "{line}"
        );
        assert!(line.ends_with(totals), "{line}");
    }
    let dumb = Terminal::start({
        let mut command = Command::new("env");
        let watch = watch(&lab, &["--count", "1"]);
        command
            .arg("TERM=dumb")
            .arg(watch.get_program())
            .args(watch.get_args());
        command
    });
    dumb.wait_for("dropped 50");
    assert!(!dumb.raw().contains('\x1b'), "{:?}", dumb.raw());
}

/// Rates are of what was sent, in the time from the first look to the last: at least three intervals, at
/// most all the time that the command took.
#[test]
fn rates_are_those_of_the_traffic() {
    const COUNT: u64 = 400;
    const LEN: u64 = 100;
    const INTERVAL: Duration = Duration::from_millis(500);
    let lab = Lab::new();
    let run = Injector::start(&lab.a, LOSSY);
    let begun = Instant::now();
    let lines = std::thread::scope(|scope| {
        let look = || lines(&lab, &["--json", "--count", "4", "--interval", "500ms"]);
        let watcher = scope.spawn(look);
        // Not before the first look.
        std::thread::sleep(INTERVAL);
        Flow::new(COUNT).len(LEN as usize).send(&lab.a, &lab.b);
        watcher.join().expect("the watcher")
    });
    let longest = begun.elapsed();
    assert_eq!(run.counters().only().matched, COUNT);
    let last: Value = serde_json::from_str(lines.last().expect("a line")).expect("JSON");
    assert_eq!(last["schema"], "injector.watch/v1");
    let run = &last["runs"][0];
    let seen = run["rules"][0]["matched"].as_u64().expect("a count");
    assert!(seen > 0, "{last}");
    let rate = |what: &str| run["rates"][0][what].as_f64().expect("a rate");
    let packets = rate("packets_per_s");
    let [slowest, fastest] = [longest, 3 * INTERVAL].map(|time| seen as f64 / time.as_secs_f64());
    assert!(
        (slowest..=fastest * 1.001).contains(&packets),
        "{packets}: {slowest} to {fastest}"
    );
    let share = rate("hits_per_s") / packets;
    assert!((share - 0.25).abs() < 0.01, "{share}");
    let bits = rate("bits_per_s") / packets;
    assert!((bits - (8 * (LEN + HEADERS)) as f64).abs() < 1e-6, "{bits}");
}

#[test]
fn all_namespaces_are_seen_on_demand() {
    let labs = [Lab::new(), Lab::new()];
    let runs = labs.each_ref().map(|lab| Injector::start(&lab.a, LOSSY));
    let mut command = injector::command();
    let output = command
        .args(["watch", "--all", "--json", "--count", "1"])
        .output();
    let output = output.expect("run injector");
    let line: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let pids: Vec<_> = line["runs"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|run| &run["pid"])
        .collect();
    for run in &runs {
        assert!(pids.contains(&&Value::from(run.pid().as_raw())), "{pids:?}");
    }
    assert_eq!(lines(&labs[0], &["--all", "--count", "1"]).len(), 1);
}

/// By the binomial distribution itself: at either end of the interval, what was counted is about as
/// unlikely as 2.5 %.
#[test]
fn status_says_how_far_the_chance_may_be() {
    const COUNT: u64 = 4_000;
    let lab = Lab::new();
    let profile = "
name: bounds
seed: 11
rules:
  - {name: udp, match: {protocol: udp}, drop: 5%, corrupt: {probability: 10%, correlation: 30%}}";
    let run = Injector::start(&lab.a, profile);
    let lost = Flow::new(COUNT).batch(25).send(&lab.a, &lab.b).lost().len() as u64;
    let status = injector::call(&lab.a.netns, &["status", "--json"]);
    let status: Value = serde_json::from_slice(&status.stdout).expect("JSON");
    let rule = &status["runs"][0]["rules"][0];
    let dropped = rule["dropped"].as_u64().expect("a count");
    assert!((1..=lost).contains(&dropped), "{dropped} of {lost}");
    let end = |which: &str| {
        let end = &rule["chances"]["drop"][which];
        Binomial::new(end.as_f64().expect("a chance"), COUNT).expect("a chance")
    };
    let [as_many, as_few] = [end("low").sf(dropped - 1), end("high").cdf(dropped)];
    for tail in [as_many, as_few] {
        assert!((0.015..0.035).contains(&tail), "{tail}: {rule}");
    }
    assert!(rule["chances"]["corrupt"].is_null(), "{rule}");
    let text = injector::call(&lab.a.netns, &["status"]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    let with_bound = text.contains("% ± 0.6") || text.contains("% ± 0.7");
    assert!(with_bound && text.contains(", asked 5.00%)"), "{text}");
    assert!(run.stop().achieved().only().dropped == dropped);
}
