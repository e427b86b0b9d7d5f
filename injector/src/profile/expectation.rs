//! What a run is expected to achieve.

mod quantity;
mod rules;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use super::Direction;
use crate::units::scalar::{self, Scalar};
use crate::units::{Reason, UnitError};

pub use self::quantity::{Count, PathCount, Quantity, Share};

/// A condition on what rules have achieved together, such as `db.drop=1%±0.3%`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation {
    /// Which rules; all of them, where nothing is said.
    pub rules: Selection,
    /// What of theirs, or of what is outside the rules.
    pub quantity: Quantity,
    /// What it has to be.
    pub condition: Condition,
}

/// Rules: those that have everything that is said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    /// The phase; the rules of all phases where it is absent.
    pub phase: Option<String>,
    /// The name.
    pub rule: Option<String>,
    /// The direction; both where it is absent.
    pub direction: Option<Direction>,
}

/// What a number has to be. Shares are numbers of 2^-32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    comparison: Comparison,
    value: u64,
    /// Only where it has to be equal.
    tolerance: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    NotEqual,
    AtLeast,
    AtMost,
    Equal,
    Above,
    Below,
}

/// In the order in which they are tried: the longer ones first.
const OPERATORS: [(&str, Comparison); 6] = [
    ("!=", Comparison::NotEqual),
    (">=", Comparison::AtLeast),
    ("<=", Comparison::AtMost),
    ("=", Comparison::Equal),
    (">", Comparison::Above),
    ("<", Comparison::Below),
];

/// Where the sign is not at hand, it may be written as the second of these.
const TOLERANCE_SIGNS: [&str; 2] = ["±", "+-"];
/// What stands in a rule's place for what is outside the rules.
const PATH: &str = "path";

const OF_RULES: &str = "a share (drop, corrupt, duplicate, reorder) or a count (matched, bytes, \
    dropped, corrupted, duplicated, reordered, delayed, marked, overlimit) of a rule";
const OF_THE_PATH: &str =
    "unmatched, protected, unparseable, lapsed, failed_open, unstamped, unowned or lost";

impl Scalar for Expectation {
    const EXPECTED: &'static str =
        "an expectation such as db.drop=1%±0.3%, db.matched>=1000 or path.unmatched=0";
}

#[cfg(test)]
scalar::schema_of!(Expectation as "Expectation", {
    "type": "string",
    "pattern": "^[^!=<>]+([=<>]|!=|>=|<=)[^!=<>]+$",
});

impl Expectation {
    /// That a rule has matched something.
    pub fn fired(rule: &str) -> Self {
        Self {
            rules: Selection {
                rule: Some(rule.to_owned()),
                ..Selection::default()
            },
            quantity: Quantity::Count(Count::Matched),
            condition: Condition {
                comparison: Comparison::Above,
                value: 0,
                tolerance: 0,
            },
        }
    }
}

impl FromStr for Expectation {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let malformed =
            || UnitError::new(text, Reason::Malformed("an expectation"), Self::EXPECTED);
        let operator = text.find(['!', '=', '<', '>']).ok_or_else(malformed)?;
        let (what, rest) = text.split_at(operator);
        let (comparison, value) = OPERATORS
            .iter()
            .find_map(|(sign, comparison)| Some((*comparison, rest.strip_prefix(sign)?)))
            .ok_or_else(malformed)?;
        if value.starts_with(['!', '=', '<', '>']) {
            return Err(malformed().hint("the operators are = != >= <= > <"));
        }
        let (rules, quantity) = subject(what.trim())?;
        let (value, tolerance) = match TOLERANCE_SIGNS
            .iter()
            .find_map(|sign| value.split_once(sign))
        {
            Some((value, tolerance)) => (value, Some(tolerance.trim())),
            None => (value, None),
        };
        if tolerance.is_some() && comparison != Comparison::Equal {
            return Err(malformed().hint("a tolerance goes with = alone"));
        }
        Ok(Self {
            rules,
            quantity,
            condition: Condition {
                comparison,
                value: quantity.number(value.trim())?,
                tolerance: tolerance.map_or(Ok(0), |text| quantity.tolerance(text))?,
            },
        })
    }
}

/// Reads what an expectation is about. Names may contain points, quantities do not.
fn subject(text: &str) -> Result<(Selection, Quantity), UnitError> {
    let (rules, quantity) = match text.rsplit_once('.') {
        Some((rules, quantity)) => (Some(rules), quantity),
        None => (None, text),
    };
    let of_rules = || {
        let count = Count::find(quantity).map(Quantity::Count);
        count.or_else(|| Share::find(quantity).map(Quantity::Share))
    };
    if let Some(quantity) = of_rules() {
        return Ok((
            rules.map_or(Ok(Selection::default()), str::parse)?,
            quantity,
        ));
    }
    let of_the_path = PathCount::find(quantity);
    let expected = match rules {
        Some(PATH) => OF_THE_PATH,
        _ => OF_RULES,
    };
    let error = UnitError::new(quantity, Reason::Malformed("a quantity"), expected);
    match (rules, of_the_path) {
        (Some(PATH), Some(count)) => Ok((Selection::default(), Quantity::Path(count))),
        (_, Some(_)) => Err(error.hint(format!("write {PATH}.{quantity}"))),
        _ => Err(error),
    }
}

impl FromStr for Selection {
    type Err = UnitError;

    /// Reads `[PHASE/]RULE[/DIRECTION]`.
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (names, direction) = match text.rsplit_once('/') {
            Some((names, "egress")) => (names, Some(Direction::Egress)),
            Some((names, "ingress")) => (names, Some(Direction::Ingress)),
            _ => (text, None),
        };
        let (phase, rule) = match names.split_once('/') {
            Some((phase, rule)) => (Some(phase), rule),
            None => (None, names),
        };
        if rule.is_empty() || rule.contains('/') || phase == Some("") {
            const EXPECTED: &str = "RULE, PHASE/RULE, RULE/DIRECTION or PHASE/RULE/DIRECTION";
            return Err(UnitError::new(
                text,
                Reason::Malformed("the name of a rule"),
                EXPECTED,
            ));
        }
        Ok(Self {
            phase: phase.map(str::to_owned),
            rule: Some(rule.to_owned()),
            direction,
        })
    }
}

impl Condition {
    /// Whether a number is as it has to be.
    pub fn holds(self, number: u64) -> bool {
        match self.comparison {
            Comparison::Equal => number.abs_diff(self.value) <= self.tolerance,
            Comparison::NotEqual => number != self.value,
            Comparison::AtLeast => number >= self.value,
            Comparison::AtMost => number <= self.value,
            Comparison::Above => number > self.value,
            Comparison::Below => number < self.value,
        }
    }
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.quantity.word();
        match (self.quantity, &self.rules.rule) {
            (Quantity::Path(_), _) => write!(f, "{PATH}.{word}")?,
            (_, Some(_)) => write!(f, "{}.{word}", self.rules)?,
            (_, None) => f.write_str(word)?,
        }
        let Condition {
            comparison,
            value,
            tolerance,
        } = self.condition;
        let sign = OPERATORS.iter().find(|(_, other)| *other == comparison);
        let sign = sign.map_or("", |(sign, _)| sign);
        write!(f, "{sign}{}", self.quantity.show(value))?;
        let rounded = u64::from(matches!(self.quantity, Quantity::Share(_)));
        match tolerance.checked_sub(rounded) {
            Some(tolerance) if tolerance > 0 => write!(f, "±{}", self.quantity.show(tolerance)),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = self.direction.map(|direction| direction.to_string());
        let parts = [&self.phase, &self.rule, &direction];
        let parts: Vec<_> = parts.into_iter().flatten().map(String::as_str).collect();
        f.write_str(&parts.join("/"))
    }
}

impl<'de> Deserialize<'de> for Expectation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        scalar::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Expectation {
        text.parse().unwrap()
    }

    fn refusal(text: &str) -> String {
        text.parse::<Expectation>().unwrap_err().to_string()
    }

    #[test]
    fn rules_are_named_with_phase_and_direction() {
        let selection = |phase: Option<&str>, rule: &str, direction| Selection {
            phase: phase.map(str::to_owned),
            rule: Some(rule.to_owned()),
            direction,
        };
        let egress = Some(Direction::Egress);
        for (text, rules) in [
            ("db.drop=1%", selection(None, "db", None)),
            ("v1.2.drop=1%", selection(None, "v1.2", None)),
            ("db/egress.drop=1%", selection(None, "db", egress)),
            ("outage/db.drop=1%", selection(Some("outage"), "db", None)),
            ("a/b/egress.drop=1%", selection(Some("a"), "b", egress)),
            ("egress.drop=1%", selection(None, "egress", None)),
            ("path.dropped=1", selection(None, "path", None)),
            ("dropped=1", Selection::default()),
            ("path.unmatched=1", Selection::default()),
        ] {
            assert_eq!(parsed(text).rules, rules, "{text}");
        }
    }

    #[test]
    fn a_tolerance_is_absolute_and_its_edges_are_within() {
        let share = |hits: u64, of: u64| (hits << 32) / of;
        let condition = parsed("db.drop=1%±0.3%").condition;
        for (per_mille, holds) in [(6, false), (7, true), (10, true), (13, true), (14, false)] {
            assert_eq!(
                condition.holds(share(per_mille, 1000)),
                holds,
                "{per_mille}"
            );
        }
        let condition = parsed("db.matched = 100 +- 5").condition;
        for (count, holds) in [(94, false), (95, true), (105, true), (106, false)] {
            assert_eq!(condition.holds(count), holds, "{count}");
        }
    }

    #[test]
    fn operators_compare() {
        for (operator, holds) in [
            ("=", [false, true, false]),
            ("!=", [true, false, true]),
            (">=", [false, true, true]),
            ("<=", [true, true, false]),
            (">", [false, false, true]),
            ("<", [true, false, false]),
        ] {
            let condition = parsed(&format!("db.bytes{operator}7")).condition;
            assert_eq!([6, 7, 8].map(|n| condition.holds(n)), holds, "{operator}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (text, words) in [
            (
                "db.drop",
                "is not an expectation: expected an expectation such as",
            ),
            (
                "db.drop=5",
                "`5` is ambiguous as a probability: write 5% or 0.05",
            ),
            ("db.drop=1%±5", "`5` is ambiguous as a probability"),
            ("db.drop==5%", "the operators are = != >= <= > <"),
            ("db.drop=>5%", "the operators are = != >= <= > <"),
            ("db.drop>1%±1%", "a tolerance goes with = alone"),
            (
                "db.dorp=5%",
                "`dorp` is not a quantity: expected a share (drop, corrupt",
            ),
            ("db.unmatched=5", "write path.unmatched"),
            ("path.unmatchd=5", "expected unmatched, protected"),
            ("db.matched=5%", "`5%` is not a whole number"),
            ("db.matched=-1", "`-1` is negative"),
            ("a/b/c.matched=1", "`a/b/c` is not the name of a rule"),
            ("/b.matched=1", "is not the name of a rule"),
            (".matched=1", "is not the name of a rule"),
        ] {
            assert!(refusal(text).contains(words), "{text}: {}", refusal(text));
        }
    }

    proptest! {
        #[test]
        fn display_parses_back(
            rule in "(path|([a-z]{1,3}/)?[a-z][a-z.]{0,3}[a-z](/egress|/ingress)?)",
            quantity in "(drop|reorder|matched|overlimit)",
            operator in "(=|!=|>=|<=|>|<)",
            value in 0..=100u64,
            tolerance in 0..50u64,
        ) {
            let unit = if ["drop", "reorder"].contains(&&*quantity) { "%" } else { "" };
            let tolerance = match operator.as_str() {
                "=" => format!("+-{tolerance}{unit}"),
                _ => String::new(),
            };
            let text = format!("{rule}.{quantity} {operator} {value}{unit}{tolerance}");
            // A bare 0 is a probability of its own.
            let expectation = parsed(&text);
            prop_assert_eq!(parsed(&expectation.to_string()), expectation);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,8}[./]?\\PC{0,4}(=|>=|<|!)\\PC{0,8}") {
            if let Ok(expectation) = text.parse::<Expectation>() {
                let _ = expectation.to_string();
            }
        }
    }
}
