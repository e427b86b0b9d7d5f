//! Profiles that name other files: recordings, and tables of a distribution.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;

use injector::profile::{
    self, Course, Distribution, Interpolation, Point, QueueLimit, RECORDED_LINES_MAX, Recording,
    Report, Rule,
};
use injector::units::DurationNs;
use tempfile::TempDir;

/// A directory with a file `data`, and a profile `profile.yaml` of one rule.
fn directory(data: &str, rule: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("data"), data).unwrap();
    let profile = format!("name: x\nrules:\n  - {{{rule}}}\n");
    fs::write(directory.path().join("profile.yaml"), profile).unwrap();
    directory
}

fn rules(directory: &Path) -> Vec<Rule> {
    let profile = profile::read(&directory.join("profile.yaml"));
    match profile.unwrap_or_else(|error| panic!("{error}")).course {
        Course::Steady(rules) => rules,
        Course::Phased(timeline) => panic!("{timeline:?}"),
    }
}

fn rule(data: &str, rule: &str) -> Rule {
    rules(directory(data, rule).path()).remove(0)
}

fn refusal(directory: &Path) -> Report {
    match profile::read(&directory.join("profile.yaml")) {
        Ok(profile) => panic!("accepted: {profile:?}"),
        Err(error) => error.report(),
    }
}

fn points(rule: &Rule) -> &[Point] {
    match &rule.replay.as_ref().unwrap().recording {
        Recording::Conditions(conditions) => &conditions.points,
        Recording::Opportunities(times) => panic!("{times:?}"),
    }
}

const CONDITIONS: &str = "time,delay,rate\n0,80ms,20mbit\n1.5,100ms,1mbit\n";

#[test]
fn a_table_of_conditions_is_played_as_the_rule_says() {
    let short = rule(CONDITIONS, "replay: data");
    let long = rule(
        CONDITIONS,
        "replay: {file: data, loop: false, interpolation: linear}",
    );
    assert_eq!(short, long);
    assert_eq!(points(&short).len(), 2);
    assert_eq!(points(&short)[1].delay, "100ms".parse().ok());
    let other = rule(
        CONDITIONS,
        "replay: {file: data, loop: true, interpolation: step}",
    );
    let replay = other.replay.unwrap();
    assert!(replay.repeat);
    let Recording::Conditions(conditions) = replay.recording else {
        panic!("no conditions")
    };
    assert_eq!(conditions.interpolation, Interpolation::Step);
}

#[test]
fn a_mahimahi_trace_begins_anew() {
    for text in ["replay: data", "replay: {file: data, loop: true}"] {
        let replay = rule("0\n5\n5\n12\n", text).replay.unwrap();
        assert!(replay.repeat);
        assert_eq!(
            replay.recording,
            Recording::Opportunities([0, 5, 5, 12].into())
        );
    }
}

#[test]
fn what_the_recording_gives_needs_no_value_and_may_be_refined() {
    let rule = rule(
        CONDITIONS,
        "replay: data, drop: 1%, delay: {jitter: 5ms, distribution: normal}, rate: {queue: 1s}",
    );
    let delay = rule.delay.unwrap();
    assert_eq!(delay.distribution, Distribution::Normal);
    assert_eq!(delay.time, "80ms".parse().unwrap());
    let rate = rule.rate.unwrap();
    assert_eq!(rate.queue, QueueLimit::Time("1s".parse().unwrap()));
    assert_eq!(rate.bandwidth, "20mbit".parse().unwrap());
    assert!(rule.drop.is_some());
}

#[test]
fn recorded_delays_can_be_overtaken() {
    assert!(
        rule(CONDITIONS, "replay: data, reorder: 2%")
            .reorder
            .is_some()
    );
    let directory = directory("time,drop\n0,1%\n", "replay: data, reorder: 2%");
    let message = "`reorder` without `delay`: there is nothing to overtake";
    assert_eq!(refusal(directory.path()).message, message);
}

#[test]
fn names_start_at_the_directory_of_the_profile_or_are_absolute() {
    let directory = directory(
        "1 2 3",
        "delay: {time: 9ms, jitter: 1ms, distribution: {table: data}}",
    );
    let table = |rule: &Rule| rule.delay.clone().unwrap().distribution;
    let expected = Distribution::Table([1, 2, 3].into());
    assert_eq!(table(&rules(directory.path())[0]), expected);
    let data = directory.path().join("data");
    let text = format!(
        "name: x\nrules: [{{delay: {{time: 9ms, jitter: 1ms, distribution: {{table: {}}}}}}}]",
        data.display()
    );
    let profile = profile::parse("text", &text).unwrap();
    assert_eq!(table(&profile.rules().next().unwrap()[0]), expected);
}

#[test]
fn an_error_names_the_file_and_the_line_and_who_asked() {
    let directory = directory("# a path\ntime,drop\n0,1%\n1, 5\n", "replay: data");
    let data = directory.path().join("data").display().to_string();
    let report = refusal(directory.path());
    assert_eq!(
        (report.file, report.line, report.column),
        (data.clone(), Some(4), Some(4))
    );
    assert_eq!(report.path.as_deref(), Some("rules[0].replay"));
    assert_eq!(report.message, "`5` is ambiguous as a probability");
    let error = profile::read(&directory.path().join("profile.yaml")).unwrap_err();
    assert!(
        error.to_string().contains(&format!("{data}:4:4")),
        "{error}"
    );
}

#[test]
fn a_line_without_end_is_not_shown_in_full() {
    let directory = directory(
        &format!("{}x", "1 ".repeat(10_000)),
        "delay: {time: 9ms, jitter: 1ms, distribution: {table: data}}",
    );
    let error = profile::read(&directory.path().join("profile.yaml")).unwrap_err();
    assert!(error.to_string().len() < 2_000, "{error}");
}

#[test]
fn files_that_are_no_text_or_too_large_are_refused() {
    let directory = directory("", "replay: data");
    let data = directory.path().join("data");
    fs::write(&data, b"0\n\xff\n").unwrap();
    assert!(
        refusal(directory.path())
            .message
            .ends_with("is not text: byte 2 is not UTF-8")
    );
    File::create(&data).unwrap().set_len(1 << 40).unwrap();
    assert!(
        refusal(directory.path())
            .message
            .ends_with("data is too large")
    );
}

#[test]
fn recordings_are_read_once_and_bounded_together() {
    let directory = directory("", "replay: data");
    let lines = |name: &str, count: usize| {
        let mut file = BufWriter::new(File::create(directory.path().join(name)).unwrap());
        (1..=count).for_each(|time| writeln!(file, "{time}").unwrap());
    };
    let profile = |rules: &str| {
        let text = format!("name: x\nrules: [{rules}]\n");
        fs::write(directory.path().join("profile.yaml"), text).unwrap();
    };
    lines("data", RECORDED_LINES_MAX);
    profile(&"{replay: data}, ".repeat(3));
    assert_eq!(rules(directory.path()).len(), 3);
    lines("more", 1);
    profile("{replay: more}, {replay: data}");
    assert!(
        refusal(directory.path())
            .message
            .ends_with("data is too long")
    );
}

#[test]
fn a_recording_may_last_as_long_as_a_duration() {
    let rule = rule("time,drop\n0,0%\n3600,100%\n", "replay: data");
    assert_eq!(points(&rule)[1].time, DurationNs::MAX);
}
