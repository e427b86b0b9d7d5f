//! What is expected of a run, and whether that was achieved.

use std::collections::BTreeSet;

use crate::{
    cli::Judge,
    error::{Code, Failure},
    observe::verdict::Verdict,
    profile::{Expectation, Profile},
};

/// Adds what the command line expects to what the profile does.
pub(super) fn expect(profile: &mut Profile, args: &Judge) -> Result<(), Failure> {
    for expectation in &args.expect {
        let unknown =
            |error| Failure::new(Code::Usage, format!("`--expect {expectation}`: {error}"));
        profile.require(expectation).map_err(unknown)?;
    }
    profile.expect.extend(args.expect.iter().cloned());
    if args.expect_fired {
        // Those of the same name, in several phases, count together.
        let names: BTreeSet<_> = profile.rules().flatten().map(|rule| &rule.name).collect();
        let fired: Vec<_> = names
            .into_iter()
            .map(|name| Expectation::fired(name))
            .collect();
        profile.expect.extend(fired);
    }
    Ok(())
}

/// Fails where something was expected and not achieved.
pub(super) fn require_passed(verdicts: &[Verdict]) -> Result<(), Failure> {
    let failed: Vec<_> = verdicts.iter().filter(|verdict| !verdict.passed).collect();
    if failed.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = failed.iter().map(|verdict| &*verdict.expectation).collect();
    let message = format!(
        "{} of {} expectations not met: {}",
        failed.len(),
        verdicts.len(),
        names.join(", ")
    );
    Err(Failure::new(Code::Missed, message))
}
