//! `scripts/dist`, which makes distribution files from times that were measured.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/dist");
/// netem's unit of a deviation is the jitter divided by this.
const SCALE: f64 = 8192.0;

fn run(input: &str) -> Output {
    let mut child = Command::new(SCRIPT)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start scripts/dist");
    let mut stdin = child.stdin.take().expect("its input");
    stdin.write_all(input.as_bytes()).expect("write the times");
    drop(stdin);
    child.wait_with_output().expect("wait for it")
}

/// A file that it made.
#[derive(Debug, PartialEq)]
struct Made {
    comments: Vec<String>,
    values: Vec<i16>,
}

impl Made {
    fn of(output: &Output) -> Self {
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{output:?}");
        let (comments, rows): (Vec<&str>, _) = text.lines().partition(|line| line.starts_with('#'));
        let value = |word: &str| word.parse().unwrap_or_else(|_| panic!("a value: {word}"));
        let values = rows.iter().flat_map(|row| row.split(' ').map(value));
        Self {
            comments: comments.into_iter().map(String::from).collect(),
            values: values.collect(),
        }
    }

    /// What a comment says, in ms.
    fn noted(&self, what: &str) -> f64 {
        let prefix = format!("# {what}: ");
        let found = (self.comments.iter()).find_map(|line| line.strip_prefix(&prefix));
        let time = found.and_then(|time| time.strip_suffix("ms"));
        time.expect("a comment").parse().expect("a number")
    }

    /// Mean and standard deviation, in jitters.
    fn moments(&self) -> (f64, f64) {
        let values = || self.values.iter().map(|&value| f64::from(value) / SCALE);
        let n = self.values.len() as f64;
        let mean = values().sum::<f64>() / n;
        let variance = values().map(|value| (value - mean).powi(2)).sum::<f64>() / n;
        (mean, variance.sqrt())
    }
}

fn made(input: &str) -> Made {
    Made::of(&run(input))
}

#[track_caller]
fn assert_refused(input: &str, error: &str) {
    let output = run(input);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        format!("dist: {error}\n")
    );
    assert!(output.stdout.is_empty(), "{output:?}");
}

/// Times spread like an exponential variable: at least 20 ms, 3 ms more on average.
fn exponential(count: u32) -> String {
    let mut text = String::new();
    // In no order: 7919 is a prime number.
    for rank in (0..count).map(|i| i * 7919 % count) {
        let share = (f64::from(rank) + 0.5) / f64::from(count);
        writeln!(text, "{:.6}", 20.0 - 3.0 * (1.0 - share).ln()).unwrap();
    }
    text
}

#[test]
fn the_file_holds_the_quantiles_of_the_times() {
    let made = made(&exponential(10_000));
    assert_eq!(made.values.len(), 4096);
    assert!(made.values.is_sorted());
    assert!(
        (made.noted("time") - 23.0).abs() < 0.01,
        "{:?}",
        made.comments
    );
    assert!(
        (made.noted("jitter") - 3.0).abs() < 0.01,
        "{:?}",
        made.comments
    );
    for (i, &value) in made.values.iter().enumerate() {
        let share = (i as f64 + 0.5) / 4096.0;
        let expected = (-(1.0 - share).ln() - 1.0).min(i16::MAX as f64 / SCALE);
        let deviation = f64::from(value) / SCALE;
        assert!(
            (deviation - expected).abs() < 0.02,
            "{i}: {deviation}, not {expected}"
        );
    }
}

#[test]
fn time_and_jitter_in_the_comments_go_with_the_values() {
    let times = "10.5\n11\n12\n9\n10\n10.5\n11\n10\n9.5\n10.5\n";
    let made = made(times);
    assert_eq!(made.noted("time"), 10.4);
    // Of 10 times the sum of squares is 6.4, by 9.
    assert_eq!(made.noted("jitter"), 0.843_274);
    let (mean, deviation) = made.moments();
    assert!(mean.abs() < 0.01, "{mean}");
    // The table's own is divided by 10, and rounds the corners of the steps.
    assert!((0.85..1.0).contains(&deviation), "{deviation}");
}

#[test]
fn times_may_have_units() {
    let with_units = "# from a log\n\n  10ms\n11000us\n0.012 s\r\n13000000ns\n14\n0.00025m\n";
    assert_eq!(made(with_units), made("10\n11\n12\n13\n14\n15\n"));
}

#[test]
fn what_netem_cannot_hold_is_cut_and_counted() {
    let made = made(&("10\n11\n".repeat(500) + "1000\n"));
    assert_eq!(made.values.last(), Some(&i16::MAX));
    let cut = "# cut: 1 of 1001 times, more than 4 jitters from the mean";
    assert!(
        made.comments.iter().any(|line| line == cut),
        "{:?}",
        made.comments
    );
}

#[test]
fn a_bad_line_is_named() {
    for bad in ["fast", "1 2", "-3", "3 parsecs", "1e3", "ms", "1.2.3ms"] {
        assert_refused(
            &format!("10\n# a comment\n{bad}\n11\n"),
            &format!("standard input:3: not a time such as 12.3 or 12.3ms: {bad}"),
        );
    }
}

#[test]
fn times_that_do_not_vary_are_refused() {
    for input in ["", "# nothing\n", "10\n", "10\n10ms\n"] {
        assert_refused(
            input,
            "standard input: at least two different times are needed",
        );
    }
}

#[test]
fn a_file_is_read_like_standard_input() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("times with a space");
    fs::write(&path, exponential(100)).expect("write the times");
    let output = Command::new(SCRIPT).arg(&path).output();
    assert_eq!(
        Made::of(&output.expect("run scripts/dist")),
        made(&exponential(100))
    );
}
