//! What a rule asks for in the long run, to compare with what it achieves.

use injector_common::{
    abi::{Chain, Chance, FaultSpec, Pace, fault, model},
    chance::Tables as _,
    random::CERTAIN,
};
use serde::{Deserialize, Serialize};

use super::models::Models;
use crate::profile::Share;

/// What a rule asks; absent where it does not. Shares are 0 to 1, of packets that are there; 0 where
/// the packets are named one by one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Asked {
    /// The share that is dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drop: Option<f64>,
    /// The share that is corrupted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub corrupt: Option<f64>,
    /// How many copies each gets, on average.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicate: Option<f64>,
    /// The share that is not delayed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reorder: Option<f64>,
    /// The middle of the delays, in ns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_ns: Option<u64>,
    /// How far delays stray from it: at most, or by standard deviation, in ns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter_ns: Option<u64>,
    /// Bits a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_bps: Option<u64>,
}

impl Asked {
    /// What is asked of a share.
    pub fn share(&self, share: Share) -> Option<f64> {
        match share {
            Share::Drop => self.drop,
            Share::Corrupt => self.corrupt,
            Share::Duplicate => self.duplicate,
            Share::Reorder => self.reorder,
        }
    }

    pub(super) fn of(spec: &FaultSpec, models: &Models) -> Self {
        let share_of = |fault: usize| share(&spec.chances[fault], models);
        let some = |number: u64| (number != 0).then_some(number);
        Self {
            drop: share_of(fault::DROP),
            corrupt: share_of(fault::CORRUPT),
            duplicate: share_of(fault::DUPLICATE).map(|share| share * f64::from(spec.copies)),
            reorder: share_of(fault::REORDER).map(|share| apart(share, spec.reorder_gap)),
            delay_ns: some(spec.delay.time_ns),
            jitter_ns: some(spec.delay.jitter_ns),
            rate_bps: Pace::bits_per_second(spec.pace.byte_ns),
        }
    }
}

/// The shares of packets of which each is hit by itself, with the same probability as all others: how far
/// chance may stray is known of them.
pub(super) fn independent(spec: &FaultSpec) -> Vec<Share> {
    let is_steady = spec.track.len == 0;
    let shares = [
        (Share::Drop, fault::DROP, true),
        (Share::Corrupt, fault::CORRUPT, true),
        (Share::Duplicate, fault::DUPLICATE, spec.copies == 1),
        (Share::Reorder, fault::REORDER, spec.reorder_gap == 1),
    ];
    let is_independent = |fault: usize| {
        let Chance { model, odds, .. } = spec.chances[fault];
        // Certainty leaves nothing to chance.
        is_steady && model == model::INDEPENDENT && (1..CERTAIN).contains(&odds)
    };
    let shares = shares
        .into_iter()
        .filter(|(_, fault, alone)| *alone && is_independent(*fault));
    shares.map(|(share, ..)| share).collect()
}

/// The share that is left if `gap - 1` packets lie between two: then as many pass on average until the next
/// one, and those that the chance leaves out.
fn apart(share: f64, gap: u64) -> f64 {
    if share == 0.0 {
        0.0
    } else {
        1.0 / ((gap - 1) as f64 + 1.0 / share)
    }
}

fn share(chance: &Chance, models: &Models) -> Option<f64> {
    match chance.model {
        model::INDEPENDENT => Some(of_certain(chance.odds)),
        model::EVERY => Some(1.0 / chance.count as f64),
        model::LISTED => Some(0.0),
        model::MARKOV => models.chain(chance.first).map(hit_share),
        _ => None,
    }
}

fn hit_share(chain: &Chain) -> f64 {
    let states = chain.states.iter().zip(stationary(chain));
    states
        .map(|(state, share)| share * of_certain(state.hit_odds))
        .sum()
}

fn of_certain(odds: u64) -> f64 {
    odds as f64 / CERTAIN as f64
}

/// How likely each state of a chain is in the long run, if it starts in state 0.
///
/// By squaring the matrix of a lazy chain, which stays where it is half of the time: it has the same
/// long run, and does not oscillate.
pub(super) fn stationary(chain: &Chain) -> [f64; 4] {
    const SQUARINGS: usize = 64;
    let mut power = [[0.0; 4]; 4];
    for (from, state) in chain.states.iter().enumerate() {
        let mut less = 0.0;
        for (bits, odds) in (1..).zip(state.leave_odds) {
            let step = (of_certain(odds) - less) / 2.0;
            less = of_certain(odds);
            power[from][from ^ bits] = step;
        }
        power[from][from] = 1.0 - less / 2.0;
    }
    for _ in 0..SQUARINGS {
        power = squared(&power);
    }
    power[0]
}

fn squared(matrix: &[[f64; 4]; 4]) -> [[f64; 4]; 4] {
    matrix.map(|row| {
        let mut result = [0.0; 4];
        for (share, next) in row.iter().zip(matrix) {
            for (cell, chance) in result.iter_mut().zip(next) {
                *cell += share * chance;
            }
        }
        // Rounding errors would double with each squaring.
        let sum: f64 = result.iter().sum();
        result.map(|cell| cell / sum)
    })
}

#[cfg(test)]
mod tests {
    use crate::{
        plan::Plan,
        profile::{self, Share},
    };

    /// Of the last phase, or of the only one.
    fn independent(rules: &str) -> Vec<Share> {
        let text = format!("name: test\n{rules}");
        let plans = Plan::all(&profile::parse("test", &text).unwrap(), 1).unwrap();
        plans.last().unwrap().rules[0].independent()
    }

    #[test]
    fn only_shares_of_packets_that_are_hit_each_by_itself_are_independent() {
        use Share::{Corrupt, Drop, Duplicate, Reorder};
        for (faults, shares) in [
            ("drop: 1%", &[Drop][..]),
            ("drop: 100%", &[]),
            ("drop: {probability: 1%, correlation: 25%}", &[]),
            ("drop: {every: 100}, corrupt: 1%", &[Corrupt]),
            ("drop: {model: gemodel, p: 1%, r: 10%}", &[]),
            ("duplicate: 1%", &[Duplicate]),
            ("duplicate: {probability: 1%, copies: 2}", &[]),
            ("delay: 1s, reorder: 1%", &[Reorder]),
            ("delay: 1s, reorder: {probability: 1%, gap: 5}", &[]),
        ] {
            assert_eq!(
                independent(&format!("rules: [{{{faults}}}]")),
                shares,
                "{faults}"
            );
        }
        let ramp = "phases:
  - {name: a, for: 1s, rules: [{drop: 1%}]}
  - {name: b, for: 1s, ramp: true, rules: [{drop: 2%}]}";
        assert_eq!(independent(ramp), []);
    }
}
