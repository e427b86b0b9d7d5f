//! Whether there are the rules that something is expected of.

use super::{Expectation, Selection};
use crate::profile::nearest::{list, nearest};
use crate::profile::{Course, Direction, Profile, Rule};
use crate::units::{Reason, UnitError};

impl Profile {
    /// Makes sure that there are the rules that an expectation is about.
    ///
    /// # Errors
    ///
    /// Where there are none, with what may have been meant.
    pub fn require(&self, expectation: &Expectation) -> Result<(), UnitError> {
        self.course.require(&expectation.rules)
    }
}

impl Course {
    /// Makes sure that there are such rules.
    pub(in crate::profile) fn require(&self, selection: &Selection) -> Result<(), UnitError> {
        let Some(name) = &selection.rule else {
            return Ok(());
        };
        let rules: Vec<&Rule> = match &selection.phase {
            Some(phase) => self.phase(phase)?.iter().collect(),
            None => self.rules().flatten().collect(),
        };
        let mut named = rules.iter().filter(|rule| rule.name == *name).peekable();
        if named.peek().is_none() {
            let names = rules.iter().map(|rule| rule.name.as_str());
            return Err(unknown(name, "a rule of the profile", "rules", names));
        }
        let Some(direction) = selection.direction else {
            return Ok(());
        };
        let goes = |rule: &&Rule| [direction, Direction::Both].contains(&rule.direction);
        if named.any(goes) {
            return Ok(());
        }
        let error = UnitError::new(
            &format!("{name}/{direction}"),
            Reason::Malformed("a direction of the rule"),
            "the direction that the rule has",
        );
        Err(error.hint(format!("write {name}, for all that it does")))
    }

    fn phase(&self, name: &str) -> Result<&[Rule], UnitError> {
        let phases = match self {
            Self::Steady(_) => &[][..],
            Self::Phased(timeline) => &timeline.phases,
        };
        let names = phases.iter().map(|phase| phase.name.as_str());
        let phase = phases.iter().find(|phase| phase.name == name);
        phase
            .map(|phase| phase.rules.as_slice())
            .ok_or_else(|| unknown(name, "a phase of the profile", "phases", names))
    }
}

/// A name that nothing has.
fn unknown<'a>(
    name: &str,
    what: &'static str,
    plural: &str,
    names: impl Iterator<Item = &'a str>,
) -> UnitError {
    /// More help nobody.
    const SHOWN_MAX: usize = 8;
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    names.dedup();
    let error = UnitError::new(
        name,
        Reason::Malformed(what),
        "a name that the profile gives",
    );
    if let Some(name) = nearest(name, &names) {
        return error.hint(format!("did you mean `{name}`?"));
    }
    if names.is_empty() {
        return error.hint(format!("the profile has no {plural}"));
    }
    names.truncate(SHOWN_MAX);
    error.hint(format!("its {plural}: {}", list(&names, "and")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::parse;

    fn parsed(text: &str) -> Expectation {
        text.parse().unwrap()
    }

    #[test]
    fn rules_that_are_not_there_are_refused() {
        const PHASED: &str = "name: p\nphases:\n- {name: one, for: 1s, rules: [{name: db}]}\n\
                              - {name: two, for: 1s, rules: [{name: web, direction: both}]}";
        let profile = parse("p", PHASED).unwrap();
        let refusal = |text: &str| profile.require(&parsed(text)).unwrap_err().to_string();
        for text in [
            "db.drop=1%",
            "one/db.drop=1%",
            "db/egress.drop=1%",
            "web/ingress.drop=1%",
            "drop=1%",
            "path.lost=0",
        ] {
            assert_eq!(profile.require(&parsed(text)), Ok(()), "{text}");
        }
        for (text, words) in [
            ("bd.drop=1%", "`bd` is not a rule of the profile"),
            ("webb.drop=1%", "did you mean `web`?"),
            ("nothing.drop=1%", "its rules: `db` and `web`"),
            ("two/db.drop=1%", "its rules: `web`"),
            (
                "twoo/web.drop=1%",
                "`twoo` is not a phase of the profile: did you mean `two`?",
            ),
            (
                "db/ingress.drop=1%",
                "`db/ingress` is not a direction of the rule: write db",
            ),
        ] {
            assert!(refusal(text).contains(words), "{text}: {}", refusal(text));
        }
        let steady = parse("p", "name: p\nrules: [{name: db}]").unwrap();
        let error = steady.require(&parsed("one/db.drop=1%")).unwrap_err();
        assert!(
            error.to_string().contains("the profile has no phases"),
            "{error}"
        );
    }
}
