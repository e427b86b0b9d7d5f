//! What is expected of a command, and whether it did that.

use std::{fmt, time::Duration};

use regex_lite::Regex;

/// What is expected of a command.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Expectation {
    /// How it ends.
    pub status: Status,
    /// What it says on standard output: all of these.
    pub stdout: Vec<Pattern>,
    /// What it says on standard error: all of these.
    pub stderr: Vec<Pattern>,
    /// The longest that it takes.
    pub within: Option<Duration>,
    /// The shortest that it takes.
    pub at_least: Option<Duration>,
}

/// How a command ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// In whatever way.
    Any,
    /// With an exit status other than 0.
    Failure,
    /// With one of these exit statuses.
    OneOf(Vec<u8>),
}

impl Default for Status {
    fn default() -> Self {
        Self::OneOf(vec![0])
    }
}

/// What a text must be like.
#[derive(Debug, Clone)]
pub enum Pattern {
    /// This is in it.
    Contains(String),
    /// This is not in it.
    Lacks(String),
    /// This matches a part of it; `^` and `$` are the ends of lines.
    Matches(Regex),
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Pattern {
    /// Whether the text is like that.
    pub fn is_met_by(&self, text: &str) -> bool {
        match self {
            Self::Contains(part) => text.contains(part.as_str()),
            Self::Lacks(part) => !text.contains(part.as_str()),
            Self::Matches(regex) => regex.is_match(text),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Contains(part) => write!(f, "contain {part:?}"),
            Self::Lacks(part) => write!(f, "lack {part:?}"),
            Self::Matches(regex) => write!(f, "match /{}/", regex.as_str()),
        }
    }
}

/// A command that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its exit status, 128 plus the signal that ended it as a shell tells it.
    pub status: u8,
    /// How long it took.
    pub elapsed: Duration,
    /// What it said on standard output.
    pub stdout: String,
    /// What it said on standard error.
    pub stderr: String,
}

impl Expectation {
    /// What of it the command did not do, in words.
    pub fn judge(&self, ended: &Ended) -> Vec<String> {
        let mut missed = Vec::new();
        let (is_met, wanted) = match &self.status {
            Status::Any => (true, String::new()),
            Status::Failure => (ended.status != 0, "other than 0".into()),
            Status::OneOf(these) => (these.contains(&ended.status), one_of(these)),
        };
        if !is_met {
            missed.push(format!("exit status {}, expected {wanted}", ended.status));
        }
        for (stream, patterns, text) in [
            ("stdout", &self.stdout, &ended.stdout),
            ("stderr", &self.stderr, &ended.stderr),
        ] {
            let unlike = patterns.iter().filter(|pattern| !pattern.is_met_by(text));
            missed.extend(unlike.map(|pattern| format!("{stream} does not {pattern}")));
        }
        let took = |wanted: &str, bound: Duration| {
            let (elapsed, bound) = (shown(ended.elapsed), humantime::format_duration(bound));
            format!("took {elapsed}, expected at {wanted} {bound}")
        };
        let too_long = self.within.filter(|most| ended.elapsed > *most);
        missed.extend(too_long.map(|most| took("most", most)));
        let too_short = self.at_least.filter(|least| ended.elapsed < *least);
        missed.extend(too_short.map(|least| took("least", least)));
        missed
    }
}

/// To the millisecond.
fn shown(elapsed: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_millis(elapsed.as_millis() as u64))
}

fn one_of(statuses: &[u8]) -> String {
    let statuses: Vec<_> = statuses.iter().map(u8::to_string).collect();
    statuses.join(" or ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ended(status: u8, millis: u64, stdout: &str) -> Ended {
        Ended {
            status,
            elapsed: Duration::from_millis(millis),
            stdout: stdout.into(),
            stderr: String::new(),
        }
    }

    #[test]
    fn success_is_expected_where_nothing_is_said() {
        let nothing = Expectation::default();
        assert_eq!(nothing.judge(&ended(0, 5, "")), Vec::<String>::new());
        assert_eq!(
            nothing.judge(&ended(3, 5, "")),
            ["exit status 3, expected 0"]
        );
    }

    #[test]
    fn all_that_is_missed_is_told() {
        let much = Expectation {
            status: Status::Failure,
            stdout: vec![
                Pattern::Contains("PONG".into()),
                Pattern::Lacks("error".into()),
                Pattern::Matches(Regex::new("(?m)^[0-9]+$").unwrap()),
            ],
            stderr: vec![Pattern::Contains("said".into())],
            within: Some(Duration::from_secs(1)),
            at_least: None,
        };
        assert_eq!(
            much.judge(&ended(0, 1500, "an error")),
            [
                "exit status 0, expected other than 0",
                "stdout does not contain \"PONG\"",
                "stdout does not lack \"error\"",
                "stdout does not match /(?m)^[0-9]+$/",
                "stderr does not contain \"said\"",
                "took 1s 500ms, expected at most 1s",
            ]
        );
        let met = Ended {
            stderr: "it said so".into(),
            ..ended(1, 1000, "PONG\n17\n")
        };
        assert_eq!(much.judge(&met), Vec::<String>::new());
    }

    proptest! {
        #[test]
        fn bounds_are_kept(millis in 0u64..5000, least in 0u64..5000, most in 0u64..5000, status: u8) {
            let expected = Expectation {
                status: Status::OneOf(vec![0, 28]),
                within: Some(Duration::from_millis(most)),
                at_least: Some(Duration::from_millis(least)),
                ..Expectation::default()
            };
            let missed = expected.judge(&ended(status, millis, ""));
            let is_met = (least..=most).contains(&millis) && matches!(status, 0 | 28);
            prop_assert_eq!(missed.is_empty(), is_met);
        }
    }
}
