//! Faults that another file describes in place, where it could name a profile.

use serde::Deserialize;

use super::conflict::Conflict;
use super::files::Files;
use super::resolve::resolve;
use super::schema::{IN_A_RULE, RawPhase, RawProfile, RawRule, given};
use super::shape::{OneOrMany, Phases, Rules};
use super::strict::{Elsewhere, Vocabulary};
use super::text::{Name, Seed};
use super::yaml::FieldPath;
use super::{Fragments, Profile, Repeat};

/// A profile without a name and expectations, which are said around it, as typed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Inline {
    #[serde(default, deserialize_with = "given")]
    seed: Option<Seed>,
    #[serde(default, deserialize_with = "given")]
    rules: Option<Rules<RawRule, 1>>,
    #[serde(default, deserialize_with = "given")]
    phases: Option<Phases<RawPhase>>,
    #[serde(default, deserialize_with = "given")]
    repeat: Option<Repeat>,
    #[serde(default, deserialize_with = "given")]
    fragments: Option<Fragments>,
}

impl Vocabulary for Inline {
    const WHAT: &'static str = "`faults`";
    const ELSEWHERE: &'static [Elsewhere] = &[
        IN_A_RULE,
        (&["for", "ramp"], "into a phase, under `phases`"),
        (&["expect"], "beside `faults`"),
    ];
}

impl Inline {
    /// Returns the profile, whose mapping is at `at`.
    pub(crate) fn resolve(
        self,
        name: &str,
        at: &FieldPath,
        files: &mut Files<'_>,
    ) -> Result<Profile, Box<Conflict>> {
        let raw = RawProfile {
            name: Name(name.to_owned()),
            description: None,
            seed: self.seed,
            rules: self.rules,
            phases: self.phases,
            repeat: self.repeat,
            fragments: self.fragments,
            expect: OneOrMany::default(),
            interfaces: OneOrMany::default(),
            targets: None,
            partition: None,
        };
        resolve(raw, files).map_err(|conflict| conflict.inside(at))
    }
}
