//! From the command line to what is to be played, before anything is touched.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::phases;
use crate::{
    cli::{Faults, Global},
    command::{guard::Guard, invalid_profile, missing, names::Named, quick, seed_of},
    datapath::Options,
    error::{Code, Failure},
    plan::{Plan, Schedule},
    profile::{Answers, Expectation, Profile, Source},
    units::Owner,
};

/// A profile as it was chosen.
pub(in crate::command) struct Chosen {
    pub profile: Profile,
    /// The SHA-256 of its text; flags have none.
    pub sha256: Option<String>,
}

impl Chosen {
    /// What the command line asks for.
    pub(in crate::command) fn new(faults: &Faults, global: &Global) -> Result<Self, Failure> {
        Self::from(faults, None, global)
    }

    /// Likewise; standard input may have been read by somebody else.
    pub(in crate::command) fn from(
        faults: &Faults,
        stdin: Option<String>,
        global: &Global,
    ) -> Result<Self, Failure> {
        let mut chosen = Self::of_anybody(faults, stdin, global)?;
        if faults.only_command {
            chosen.profile = chosen.profile.only_of(&Owner::Command);
        }
        Ok(chosen)
    }

    /// Whoever's packets it is about.
    fn of_anybody(
        faults: &Faults,
        stdin: Option<String>,
        global: &Global,
    ) -> Result<Self, Failure> {
        match (&faults.profile, quick::profile(&faults.quick)?) {
            (Some(argument), None) => {
                let source = match stdin {
                    Some(text) => Ok(Source::of_stdin(text)),
                    None => Source::open(argument),
                };
                let source = source.map_err(|error| invalid_profile(&error, global))?;
                Self::parse(&source, global)
            }
            (None, Some(profile)) => Ok(Self {
                profile,
                sha256: None,
            }),
            (Some(_), Some(_)) => Err(Failure::new(
                Code::Usage,
                "a profile and faults from flags exclude each other",
            )
            .hint("write the faults into the profile, or leave the profile away")),
            (None, None) => Err(Failure::new(Code::Usage, "nothing to inject")
                .hint("name a profile, or ask for a fault: `--drop 1%`, `--delay 80ms`")),
        }
    }

    /// What a text asks for.
    pub(in crate::command) fn parse(source: &Source, global: &Global) -> Result<Self, Failure> {
        let profile = source.parse();
        let digest = Sha256::digest(source.text());
        Ok(Self {
            profile: profile.map_err(|error| invalid_profile(&error, global))?,
            sha256: Some(digest.iter().map(|byte| format!("{byte:02x}")).collect()),
        })
    }
}

/// What is to be played.
#[derive(Clone)]
pub(in crate::command) struct Prepared {
    /// One for each phase.
    pub plans: Vec<Plan>,
    /// When which phase comes, where there are phases.
    pub schedule: Option<Schedule>,
    /// How long it may take.
    pub duration: Option<Duration>,
    /// What it is expected to achieve.
    pub expect: Vec<Expectation>,
    /// See [`Chosen`].
    pub sha256: Option<String>,
    /// Where the profile has names of hosts: what they stand for.
    pub named: Option<Named>,
}

impl Prepared {
    /// Works out the profile for each interface, by its guard, under a seed that overrides the profile's own: the
    /// same everywhere.
    pub(in crate::command) fn all<'a>(
        chosen: Chosen,
        seed: Option<u64>,
        faults: &Faults,
        guards: impl IntoIterator<Item = &'a Guard>,
    ) -> Result<Vec<Self>, Failure> {
        let Chosen { profile, sha256 } = chosen;
        let schedule = phases::schedule(&profile, faults)?;
        let seed = Some(seed_of(&profile, seed)?);
        let expect = profile.expect.clone();
        let named = Named::look_up(&profile)?;
        let profile = named.as_ref().map_or(profile, Named::profile);
        let one = |guard: &Guard| {
            Ok(Self {
                plans: missing::work_out(profile.clone(), seed, guard, &faults.attach)?,
                named: named.clone(),
                duration: faults.duration,
                schedule: schedule.clone(),
                expect: expect.clone(),
                sha256: sha256.clone(),
            })
        };
        guards.into_iter().map(one).collect()
    }

    /// The same, of names that stand for other addresses.
    pub(in crate::command) fn renamed(
        &self,
        named: Named,
        faults: &Faults,
        guard: &Guard,
    ) -> Result<Self, Failure> {
        let seed = Some(self.first().seed);
        Ok(Self {
            plans: missing::work_out(named.profile(), seed, guard, &faults.attach)?,
            named: Some(named),
            ..self.clone()
        })
    }

    /// What its names stand for.
    pub(in crate::command) fn answers(&self) -> Option<&Answers> {
        self.named.as_ref().map(|named| &named.answers)
    }

    /// How long it takes, where that is known.
    pub(in crate::command) fn total(&self) -> Option<Duration> {
        let phased = self.schedule.as_ref().and_then(Schedule::total);
        self.duration.into_iter().chain(phased).min()
    }

    /// What comes into force first.
    pub(in crate::command) fn first(&self) -> &Plan {
        let phase = self
            .schedule
            .as_ref()
            .map_or(0, |schedule| schedule.first().phase);
        &self.plans[phase]
    }

    /// How far on its course that is when it begins.
    pub(in crate::command) fn elapsed(&self) -> Duration {
        self.schedule
            .as_ref()
            .map_or(Duration::ZERO, Schedule::elapsed)
    }

    /// How to begin.
    pub(in crate::command) fn options(&self, faults: &Faults) -> Options {
        Options {
            attach: faults.attach.attach,
            xdp: faults.attach.xdp,
            interfaces: 1,
            lapse: faults.lapse,
            background: false,
            command_group: faults.only_command,
        }
    }
}
