//! Whether a run has achieved what was expected.

use serde::Serialize;

use super::{
    format::{count, percent, table},
    report::{Achieved, AchievedRule, Path},
};
use crate::{
    plan::Hook,
    profile::{Count, Direction, Expectation, PathCount, Quantity, Selection, Share},
};

/// What has become of an expectation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// What was expected.
    pub expectation: String,
    /// What was counted; a share of nothing is none.
    pub achieved: Option<Measured>,
    /// Whether it is as expected.
    pub passed: bool,
}

/// A number that was counted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Measured {
    /// A count.
    Count(u64),
    /// A share, 0 to 1; more where there are several copies of a packet.
    Share(f64),
}

/// Compares what was expected with what was achieved.
pub fn judge(expectations: &[Expectation], achieved: &Achieved) -> Vec<Verdict> {
    let judge = |expectation| judge_one(expectation, achieved);
    expectations.iter().map(judge).collect()
}

fn judge_one(expectation: &Expectation, achieved: &Achieved) -> Verdict {
    let of = |rule: &&AchievedRule| covers(&expectation.rules, rule);
    let rules = || achieved.rules.iter().filter(of);
    let (number, measured) = match expectation.quantity {
        Quantity::Count(count) => counted(rules().map(|rule| of_rule(rule, count)).sum()),
        Quantity::Path(count) => counted(of_path(&achieved.path, count)),
        Quantity::Share(share) => shared(rules(), share),
    };
    Verdict {
        expectation: expectation.to_string(),
        achieved: measured,
        passed: number.is_some_and(|number| expectation.condition.holds(number)),
    }
}

fn covers(selection: &Selection, rule: &AchievedRule) -> bool {
    let same = |wanted: &Option<String>, found: Option<&str>| {
        wanted.as_deref().is_none_or(|name| found == Some(name))
    };
    let goes = match selection.direction {
        Some(Direction::Egress) => rule.direction == Hook::Egress,
        Some(Direction::Ingress) => rule.direction == Hook::Ingress,
        Some(Direction::Both) | None => true,
    };
    goes && same(&selection.phase, rule.phase.as_deref()) && same(&selection.rule, Some(&rule.rule))
}

fn counted(number: u64) -> (Option<u64>, Option<Measured>) {
    (Some(number), Some(Measured::Count(number)))
}

/// The share of all these rules' packets, as a number of 2^-32, and as it is.
fn shared<'a>(
    rules: impl Iterator<Item = &'a AchievedRule>,
    share: Share,
) -> (Option<u64>, Option<Measured>) {
    let (hits, of) = rules.fold((0, 0), |(hits, of), rule| {
        let (more, of_more) = rule.share(share);
        (hits + more, of + of_more)
    });
    let measured = (of > 0).then(|| Measured::Share(hits as f64 / of as f64));
    (odds(hits, of), measured)
}

/// A share as a number of 2^-32: the nearest, but for none and all of them, which nothing else is.
fn odds(hits: u64, of: u64) -> Option<u64> {
    let (hits, of) = (u128::from(hits), u128::from(of));
    let nearest = ((hits << 32) + of / 2).checked_div(of)?;
    Some(match nearest as u64 {
        0 if hits > 0 => 1,
        ALL if hits < of => ALL - 1,
        nearest => nearest,
    })
}

const ALL: u64 = 1 << 32;

fn of_rule(rule: &AchievedRule, count: Count) -> u64 {
    match count {
        Count::Matched => rule.matched,
        Count::Bytes => rule.bytes,
        Count::Dropped => rule.dropped,
        Count::Corrupted => rule.corrupted,
        Count::Duplicated => rule.duplicated,
        Count::Reordered => rule.reordered,
        Count::Delayed => rule.delayed,
        Count::Marked => rule.marked,
        Count::Overlimit => rule.overlimit,
    }
}

fn of_path(path: &Path, count: PathCount) -> u64 {
    match count {
        PathCount::Unmatched => path.unmatched,
        PathCount::Protected => path.protected,
        PathCount::Unparseable => path.unparseable,
        PathCount::Lapsed => path.lapsed,
        PathCount::FailedOpen => path.failed_open,
        PathCount::Unstamped => path.unstamped,
        PathCount::Unowned => path.unowned,
        PathCount::Lost => path.lost,
    }
}

/// A line per expectation.
pub fn text(verdicts: &[Verdict]) -> String {
    let row = |verdict: &Verdict| {
        let passed = if verdict.passed { "passed" } else { "FAILED" };
        vec![
            verdict.expectation.clone(),
            shown(verdict.achieved),
            passed.to_owned(),
        ]
    };
    let rows = verdicts.iter().map(row).collect();
    table(&["EXPECTED", "ACHIEVED", "VERDICT"], rows)
}

/// What was counted, in words.
pub fn shown(measured: Option<Measured>) -> String {
    match measured {
        Some(Measured::Count(number)) => count(number),
        Some(Measured::Share(share)) => percent(share),
        None => "no packets".into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{datapath::counters::Snapshot, plan::Asked};

    fn rule(
        phase: Option<&str>,
        name: &str,
        hook: Hook,
        matched: u64,
        dropped: u64,
    ) -> AchievedRule {
        use crate::datapath::journal::RecordedRule;
        use injector_common::abi::RuleCounters;
        let recorded = RecordedRule {
            name: name.into(),
            hook,
            asked: Asked::default(),
            independent: Vec::new(),
        };
        let snapshot = Snapshot {
            rules: vec![RuleCounters {
                matched,
                dropped,
                corrupted: (matched - dropped) / 2,
                ..RuleCounters::default()
            }],
            ..Snapshot::default()
        };
        let mut achieved = Achieved::new(&[recorded], &snapshot);
        achieved.rules[0].phase = phase.map(str::to_owned);
        achieved.rules.swap_remove(0)
    }

    fn achieved(rules: Vec<AchievedRule>) -> Achieved {
        let nothing = Achieved::new(&[], &Snapshot::default());
        Achieved { rules, ..nothing }
    }

    fn verdict(expectation: &str, achieved: &Achieved) -> Verdict {
        let expectation = expectation.parse().unwrap();
        judge(&[expectation], achieved).swap_remove(0)
    }

    #[test]
    fn rules_of_the_same_name_count_together_unless_more_is_said() {
        let achieved = achieved(vec![
            rule(Some("one"), "db", Hook::Egress, 100, 1),
            rule(Some("one"), "db", Hook::Ingress, 50, 0),
            rule(Some("two"), "db", Hook::Egress, 20, 4),
            rule(Some("two"), "web", Hook::Egress, 7, 7),
        ]);
        for (what, number) in [
            ("db.matched", 170),
            ("db.dropped", 5),
            ("one/db.matched", 150),
            ("db/egress.matched", 120),
            ("two/db/egress.dropped", 4),
            ("matched", 177),
            ("path.unmatched", 0),
        ] {
            let verdict = verdict(&format!("{what}={number}"), &achieved);
            assert_eq!(verdict.achieved, Some(Measured::Count(number)), "{what}");
            assert!(verdict.passed, "{what}");
        }
        let drop = verdict("two/db.drop=20%", &achieved);
        assert_eq!(
            (drop.achieved, drop.passed),
            (Some(Measured::Share(0.2)), true)
        );
        // What is dropped cannot be corrupted.
        assert!(verdict("two/db.corrupt=50%", &achieved).passed);
    }

    #[test]
    fn a_share_of_nothing_fails() {
        let achieved = achieved(vec![rule(None, "db", Hook::Egress, 0, 0)]);
        for expectation in ["db.drop=0%", "db.drop!=1%", "db.drop<=100%"] {
            let verdict = verdict(expectation, &achieved);
            assert_eq!(
                (verdict.achieved, verdict.passed),
                (None, false),
                "{expectation}"
            );
        }
        assert!(verdict("db.dropped=0", &achieved).passed);
        assert!(!verdict("db.matched>0", &achieved).passed);
    }

    #[test]
    fn one_in_very_many_is_more_than_none_and_less_than_all() {
        const MANY: u64 = 1 << 60;
        for (dropped, expectation) in [
            (1, "drop!=0%"),
            (MANY - 1, "drop!=100%"),
            (MANY, "drop=100%"),
        ] {
            let achieved = achieved(vec![rule(None, "db", Hook::Egress, MANY, dropped)]);
            assert!(verdict(expectation, &achieved).passed, "{expectation}");
        }
    }

    #[test]
    fn a_table_tells_asked_and_achieved() {
        let achieved = achieved(vec![rule(None, "db", Hook::Egress, 1_000, 12)]);
        let expectations = ["db.drop=1%±0.1%", "db.matched>=1000"].map(|e| e.parse().unwrap());
        let text = text(&judge(&expectations, &achieved));
        let expected = "EXPECTED          ACHIEVED  VERDICT\n\
                        db.drop=1%±0.1%   1.20%     FAILED\n\
                        db.matched>=1000  1,000     passed\n";
        assert_eq!(text, expected);
    }

    proptest! {
        /// In exact arithmetic, on a grid of hundredths of a percent.
        #[test]
        fn shares_are_judged_as_if_exactly(
            dropped in 0..=10_000u64, value in 0..=10_000u64, tolerance in 0..500u64,
        ) {
            let achieved = achieved(vec![rule(None, "db", Hook::Egress, 10_000, dropped)]);
            let percent = |n: u64| format!("{}.{:02}%", n / 100, n % 100);
            let (value_text, tolerance_text) = (percent(value), percent(tolerance));
            let holds = |text: String| verdict(&text, &achieved).passed;
            let equal = holds(format!("drop={value_text}±{tolerance_text}"));
            prop_assert_eq!(equal, dropped.abs_diff(value) <= tolerance);
            prop_assert_eq!(holds(format!("drop={value_text}")), dropped == value);
            prop_assert_eq!(holds(format!("drop!={value_text}")), dropped != value);
            prop_assert_eq!(holds(format!("drop>={value_text}")), dropped >= value);
            prop_assert_eq!(holds(format!("drop<={value_text}")), dropped <= value);
            prop_assert_eq!(holds(format!("drop>{value_text}")), dropped > value);
            prop_assert_eq!(holds(format!("drop<{value_text}")), dropped < value);
        }
    }
}
