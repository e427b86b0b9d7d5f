//! A profile without some of its faults.

use std::{collections::BTreeSet, sync::Arc};

use super::{Conditions, Point, Profile, Recording, Replay, Rule};

impl Profile {
    /// The profile without the faults that hold packets, and the keys of those that it had. Which rule
    /// matches a packet stays the same.
    #[must_use]
    pub fn without_holding(mut self) -> (Self, Vec<String>) {
        let keys: BTreeSet<_> = self.course.rules_mut().flat_map(take_holding).collect();
        (self, keys.into_iter().map(str::to_owned).collect())
    }
}

fn take_holding(rule: &mut Rule) -> impl Iterator<Item = &'static str> + use<> {
    let taken = [
        ("delay", rule.delay.take().is_some()),
        ("rate", rule.rate.take().is_some()),
        ("reorder", rule.reorder.take().is_some()),
        ("slot", rule.slot.take().is_some()),
        ("replay", replay_loss(&mut rule.replay)),
    ];
    taken.into_iter().filter(|(_, is)| *is).map(|(key, _)| key)
}

/// Leaves of a recording what is lost; whether there was more in it.
fn replay_loss(replay: &mut Option<Replay>) -> bool {
    let Some(Replay { recording, .. }) = replay else {
        return false;
    };
    let Recording::Conditions(Conditions { points, .. }) = recording else {
        *replay = None;
        return true;
    };
    let first = points[0];
    let lossy = |point: &Point| Point {
        delay: None,
        jitter: None,
        rate: None,
        ..*point
    };
    *points = points.iter().map(lossy).collect::<Arc<[_]>>();
    if first.drop.is_none() {
        *replay = None;
    }
    [first.delay, first.jitter].iter().any(Option::is_some) || first.rate.is_some()
}
