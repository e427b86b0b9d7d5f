//! Other rules in the course of a run: on all interfaces at once, or on none.

use std::time::Instant;

use super::{Event, Play, Player, after, left};
use crate::{
    command::{
        names::{Change, Named},
        print_json_line,
        run::{
            phases,
            prepare::{Chosen, Prepared},
        },
    },
    datapath::session,
    error::Failure,
    lookup::{Answer, Lookups},
    observe::{audit::Moment, report},
    profile::Profile,
    units::HostName,
};

/// Refuses a profile that cannot be watched.
pub(in crate::command::run) fn require_steady(profile: &Profile) -> Result<(), Failure> {
    match profile.timeline() {
        Some(_) => Err(phases::not_watched(profile)),
        None => Ok(()),
    }
}

impl Play<'_> {
    /// Puts other rules into force, for each interface its own, and has their names looked up. When this returns,
    /// no packet meets the former ones any more.
    pub(in crate::command) fn swap(&mut self, prepared: Vec<Prepared>) -> Result<(), Failure> {
        self.exchange(prepared)?;
        self.look_up_names();
        Ok(())
    }

    fn exchange(&mut self, prepared: Vec<Prepared>) -> Result<(), Failure> {
        for (player, prepared) in self.players.iter().zip(&prepared) {
            player.require_room(prepared)?;
        }
        let mut ready = Vec::new();
        for (player, prepared) in self.players.iter_mut().zip(&prepared) {
            ready.push(player.make_ready(prepared)?);
        }
        let (duration, total) = (prepared[0].duration, prepared[0].total());
        let (now, ends) = (Instant::now(), after(total));
        let parts = self.players.iter_mut().zip(&ready).zip(&prepared);
        for ((player, ready), prepared) in parts {
            player.put_into_force(ready, prepared, left(ends))?;
        }
        session::wait_for_programs();
        (self.ends, self.deadline) = (ends, after(duration));
        for ((player, ready), prepared) in self.players.iter_mut().zip(ready).zip(prepared) {
            player.take_up(ready, prepared, now)?;
        }
        self.log(Moment::Swap, None);
        Ok(())
    }

    fn named(&self) -> Option<&Named> {
        self.players[0].prepared().named.as_ref()
    }

    /// Has the names of the profile in force looked up again and again.
    pub(super) fn look_up_names(&mut self) {
        let names = self.named().map(Named::names);
        self.lookups = names.map(Lookups::start);
        self.lost.clear();
    }

    /// Takes up what names stand for now. Where that cannot be put into force, says why, and the former rules
    /// stay.
    pub(super) fn rename(&mut self, answers: Vec<(HostName, Answer)>) -> Result<(), Failure> {
        let Some(mut named) = self.named().cloned() else {
            return Ok(());
        };
        let changes = named.update(answers, &mut self.lost);
        if changes
            .iter()
            .any(|change| matches!(change, Change::Moved(..)))
            && let Err(failure) = self.swap_named(&named)
        {
            self.live.print(failure);
            return Ok(());
        }
        changes
            .iter()
            .try_for_each(|change| self.say_change(change))
    }

    /// Puts rules with other addresses into force: at once, or, where there are phases, from the next one on.
    fn swap_named(&mut self, named: &Named) -> Result<(), Failure> {
        let renamed = (self.players.iter()).map(|player| player.renamed(named.clone()));
        let mut renamed = renamed.collect::<Result<Vec<_>, _>>()?;
        if self.players[0].phases().is_none() {
            for prepared in &mut renamed {
                prepared.duration = left(self.deadline);
            }
            return self.exchange(renamed);
        }
        for (player, prepared) in self.players.iter_mut().zip(renamed) {
            player.replan(prepared);
        }
        Ok(())
    }

    fn say_change(&mut self, change: &Change) -> Result<(), Failure> {
        let elapsed_ms = self.elapsed_ms();
        if self.global.json {
            print_json_line(&match change {
                Change::Moved(name, addresses) => Event::Renamed {
                    elapsed_ms,
                    name,
                    addresses,
                },
                Change::Lost(name, error) => Event::Unnamed {
                    elapsed_ms,
                    name,
                    error: error.to_string(),
                },
            })?;
        }
        self.live.print(format_args!("{}: {change}", self.name()));
        Ok(())
    }

    /// Swaps the saved profile in. Where that fails, says why, and the old one stays in force.
    pub(super) fn reload(&mut self) -> Result<(), Failure> {
        // Where the device is gone, the counters will tell.
        let Ok(former) = self.look()? else {
            return Ok(());
        };
        if let Err(failure) = self.swap_saved() {
            self.live.print(failure);
            return Ok(());
        }
        let Some(record) = self.session().record() else {
            return Ok(());
        };
        if self.global.json {
            return print_json_line(&Event::Reloaded {
                elapsed_ms: self.elapsed_ms(),
                profile: &record.profile,
                seed: record.seed,
                former: &former,
            });
        }
        if !self.global.quiet {
            self.live.print(format_args!(
                "{}: faults changed: profile {}, seed {}; until now:\n{}",
                self.name(),
                record.profile,
                record.seed,
                report::text(&former).trim_end()
            ));
        }
        Ok(())
    }

    fn swap_saved(&mut self) -> Result<(), Failure> {
        let chosen = Chosen::new(self.faults, self.global)?;
        require_steady(&chosen.profile)?;
        // A seed that was drawn at the start stays: what was not edited does not change.
        let seed = self.faults.seed.or(chosen.profile.seed);
        let seed = seed.or(self.session().record().map(|record| record.seed));
        self.players[0]
            .place()
            .require_same_targets(&chosen.profile)?;
        let guards = || self.players.iter().map(Player::guard);
        let mut prepared = Prepared::all(chosen, seed, self.faults, guards())?;
        for (guard, prepared) in guards().zip(&mut prepared) {
            guard.require_end(&prepared.plans)?;
            prepared.duration = left(self.deadline);
        }
        self.swap(prepared)
    }
}
