//! The runs that somebody watches, and what their rules have counted of late.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use serde::Serialize;

use super::{
    format,
    overview::Run,
    rates::{History, Rates},
    report::{self, AchievedRule},
};
use crate::plan::Hook;

/// A run, as it was last seen, and how it came there.
#[derive(Debug)]
pub struct Watched {
    /// The run.
    pub run: Run,
    /// Of each of its rules.
    pub histories: Vec<History>,
}

/// What tells a rule from others on this machine.
type Key = (u64, String, u32, String, Hook);

/// [`Line::schema`].
pub const SCHEMA: &str = "injector.watch/v1";

/// All runs at one moment, for programs.
#[derive(Serialize)]
pub struct Line<'a> {
    schema: &'static str,
    time: String,
    runs: Vec<RunWithRates<'a>>,
}

#[derive(Serialize)]
struct RunWithRates<'a> {
    #[serde(flatten)]
    run: &'a Run,
    /// In the order of the rules; `null` where it is too early to know.
    rates: Vec<Option<Rates>>,
}

impl Watched {
    /// Takes what was seen at `at`, a time that increases.
    pub fn update(former: Vec<Self>, runs: Vec<Run>, at: Duration) -> Vec<Self> {
        let mut histories: HashMap<Key, History> = HashMap::new();
        for Self { run, histories: of } in former {
            histories.extend(keys(&run).into_iter().zip(of));
        }
        let watched = runs.into_iter().map(|run| {
            let mut of_rules = Vec::new();
            for (key, rule) in keys(&run).iter().zip(run.rules()) {
                let mut history = histories.remove(key).unwrap_or_default();
                history.add(at, rule.into());
                of_rules.push(history);
            }
            Self {
                run,
                histories: of_rules,
            }
        });
        watched.collect()
    }

    /// A line for each rule, or for the run where it has none.
    pub fn lines(&self, now: SystemTime) -> Vec<String> {
        let now = humantime::format_rfc3339_seconds(now);
        let device = &self.run.device;
        let rules = self.run.rules().iter();
        let lines: Vec<_> = rules
            .zip(&self.histories)
            .map(|(rule, history)| {
                let rates = match history.rates() {
                    Some(rates) => format!(
                        "{} packets/s, {}/s, {} hits/s; ",
                        format::per_second(rates.packets_per_s),
                        format::rate(rates.bits_per_s as u64),
                        format::per_second(rates.hits_per_s)
                    ),
                    None => String::new(),
                };
                let matched = format::count(rule.matched);
                let words = report::words(rule).into_iter();
                let told: Vec<_> = [format!("{rates}matched {matched}")]
                    .into_iter()
                    .chain(words)
                    .collect();
                let (name, direction) = (&rule.rule, rule.direction);
                format!("{now} {device} {direction} {name}: {}", told.join("; "))
            })
            .collect();
        if lines.is_empty() {
            return vec![format!("{now} {device}: {}", self.run.state())];
        }
        lines
    }
}

impl<'a> Line<'a> {
    /// All of them, now.
    pub fn new(watched: &'a [Watched], now: SystemTime) -> Self {
        let with_rates = |watched: &'a Watched| RunWithRates {
            run: &watched.run,
            rates: watched.histories.iter().map(History::rates).collect(),
        };
        Self {
            schema: SCHEMA,
            time: humantime::format_rfc3339_millis(now).to_string(),
            runs: watched.iter().map(with_rates).collect(),
        }
    }
}

fn keys(run: &Run) -> Vec<Key> {
    let key = |rule: &AchievedRule| {
        (
            run.netns,
            run.device.clone(),
            run.pid,
            rule.rule.clone(),
            rule.direction,
        )
    };
    run.rules().iter().map(key).collect()
}
