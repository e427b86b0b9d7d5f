//! Faults that another file describes, in place of a profile's name.

use serde::Deserialize;

use super::conflict::Conflict;
use super::files::Files;
use super::resolve::resolve;
use super::schema::{RawPhase, RawProfile, RawRule, given};
use super::shape::{Phases, Rules};
use super::strict::{Elsewhere, Vocabulary};
use super::text::{Name, Seed};
use super::yaml::FieldPath;
use super::{Profile, Repeat};

/// A profile without a name, as typed.
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
}

impl Vocabulary for Inline {
    const WHAT: &'static str = "`faults`";
    const ELSEWHERE: &'static [Elsewhere] = RawProfile::ELSEWHERE;
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
        };
        resolve(raw, files).map_err(|conflict| conflict.inside(at))
    }
}
