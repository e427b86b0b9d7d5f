use std::collections::BTreeSet;

use injector_common::random::Stream;

use super::*;
use crate::stats::{Runs, assert_plausible};

const COUNT: u64 = 100_000;

/// Uniform numbers, one after the other.
struct Dice {
    stream: Stream,
    rolls: u64,
}

impl Dice {
    fn new(seed: u64) -> Self {
        Self {
            stream: Stream::new(seed),
            rolls: 0,
        }
    }

    fn happens(&mut self, p: f64) -> bool {
        self.roll() < p
    }

    fn roll(&mut self) -> f64 {
        self.rolls += 1;
        self.stream.word(self.rolls) as f64 / 2f64.powi(64)
    }
}

/// Asks for the fates of packets one by one.
fn lost(mut is_lost: impl FnMut() -> bool) -> BTreeSet<u64> {
    (0..COUNT).filter(|_| is_lost()).collect()
}

fn bernoulli(seed: u64, p: f64, correlation: f64) -> BTreeSet<u64> {
    let mut dice = Dice::new(seed);
    let mut is_lost = dice.happens(p);
    lost(|| {
        if !dice.happens(correlation) {
            is_lost = dice.happens(p);
        }
        is_lost
    })
}

fn gemodel(seed: u64, [p, r, one_minus_h, one_minus_k]: [f64; 4]) -> BTreeSet<u64> {
    let mut dice = Dice::new(seed);
    let mut is_bad = false;
    lost(|| {
        is_bad = if is_bad {
            !dice.happens(r)
        } else {
            dice.happens(p)
        };
        dice.happens(if is_bad { one_minus_h } else { one_minus_k })
    })
}

fn four_states(seed: u64, [p13, p31, p32, p23, p14]: [f64; 5]) -> BTreeSet<u64> {
    let mut dice = Dice::new(seed);
    let mut state = 1;
    lost(|| {
        let roll = dice.roll();
        state = match state {
            1 if roll < p13 => 3,
            1 if roll < p13 + p14 => 4,
            2 if roll < p23 => 3,
            3 if roll < p31 => 1,
            3 if roll < p31 + p32 => 2,
            4 => 1,
            same => same,
        };
        state > 2
    })
}

#[track_caller]
fn assert_agree(chain: &Chain, lost: &BTreeSet<u64>) {
    chain.assert_loss("lost", lost.len() as u64, COUNT);
    let runs = Runs::new(lost, COUNT);
    assert_plausible("bursts", chain.bursts().fit(&runs.bursts));
    assert_plausible("gaps", chain.gaps().fit(&runs.gaps));
}

#[track_caller]
fn assert_close(actual: f64, expected: f64) {
    assert!((actual - expected).abs() < 1e-9, "{actual}, not {expected}");
}

#[test]
fn a_simulation_of_independent_losses_agrees() {
    for (seed, p) in [(1, 0.01), (2, 0.3)] {
        assert_agree(&Chain::bernoulli(p, 0.0), &bernoulli(seed, p, 0.0));
    }
}

#[test]
fn a_simulation_of_correlated_losses_agrees() {
    for (seed, p, correlation) in [(3, 0.02, 0.25), (4, 0.1, 0.9), (5, 0.5, 0.5)] {
        let lost = bernoulli(seed, p, correlation);
        assert_agree(&Chain::bernoulli(p, correlation), &lost);
    }
}

#[test]
fn a_simulation_of_gilbert_elliott_agrees() {
    for (seed, [p, r, h, k]) in [
        (6, [0.01, 0.2, 1.0, 0.0]),
        (7, [0.02, 0.1, 0.5, 0.0]),
        (8, [0.05, 0.3, 0.8, 0.01]),
    ] {
        let lost = gemodel(seed, [p, r, h, k]);
        assert_agree(&Chain::gemodel(p, r, h, k), &lost);
    }
}

#[test]
fn a_simulation_of_four_states_agrees() {
    for (seed, [p13, p31, p32, p23, p14]) in [
        (9, [0.01, 0.2, 0.0, 1.0, 0.0]),
        (10, [0.02, 0.2, 0.3, 0.4, 0.01]),
        (11, [0.1, 0.1, 0.5, 0.1, 0.1]),
    ] {
        let lost = four_states(seed, [p13, p31, p32, p23, p14]);
        assert_agree(&Chain::four_states(p13, p31, p32, p23, p14), &lost);
    }
}

/// The number lost strays as far as is computed: also where losses come in bursts.
#[test]
fn the_number_lost_has_the_deviation_computed() {
    let [p13, p31, p32, p23, p14] = [0.05, 0.2, 0.3, 0.4, 0.05];
    let chain = Chain::four_states(p13, p31, p32, p23, p14);
    let lost = four_states(12, [p13, p31, p32, p23, p14]);
    let parts = 500;
    let n = COUNT / parts;
    let strays = (0..parts).map(|part| {
        let count = lost.range(part * n..(part + 1) * n).count() as f64;
        (count - chain.loss_rate() * n as f64).powi(2)
    });
    let variance = strays.sum::<f64>() / parts as f64;
    let ratio = variance / chain.loss_deviation(n).powi(2);
    // The mean of 500 squares of normal variables strays by sqrt(2 / 500).
    let bounds = stats::normal(1.0, (2.0 / parts as f64).sqrt());
    assert!(bounds.contains(&ratio), "{ratio}, not in {bounds:?}");
}

#[test]
fn a_parameter_that_is_off_by_a_fifth_is_found() {
    let lost = gemodel(13, [0.02, 0.2, 1.0, 0.0]);
    let bursts = Runs::new(&lost, COUNT).bursts;
    assert_plausible(
        "right",
        Chain::gemodel(0.02, 0.2, 1.0, 0.0).bursts().fit(&bursts),
    );
    assert!(Chain::gemodel(0.02, 0.24, 1.0, 0.0).bursts().fit(&bursts) < 1e-3);
    let gaps = Runs::new(&lost, COUNT).gaps;
    assert!(Chain::gemodel(0.024, 0.2, 1.0, 0.0).gaps().fit(&gaps) < 1e-3);
}

#[test]
fn correlated_losses_are_as_many_as_independent_ones() {
    for correlation in [0.0, 0.5, 0.99] {
        assert_close(Chain::bernoulli(0.03, correlation).loss_rate(), 0.03);
    }
}

#[test]
fn the_variance_of_correlated_losses_is_the_known_one() {
    let independent = 1e6 * 0.03 * 0.97;
    let variance = Chain::bernoulli(0.03, 0.6)
        .loss_deviation(1_000_000)
        .powi(2);
    assert_close(variance / independent, 1.6 / 0.4);
    let independent = Chain::bernoulli(0.03, 0.6).independent(1_000_000);
    assert!(independent.abs_diff(250_000) <= 1, "{independent}");
}

#[test]
fn bursts_of_correlated_losses_are_geometric() {
    let bursts = Chain::bernoulli(0.1, 0.5).bursts();
    let geometric = Lengths::geometric(0.1 + 0.5 * 0.9);
    assert_eq!(bursts.stride, 1);
    for (actual, expected) in bursts.probabilities.iter().zip(&geometric.probabilities) {
        assert_close(*actual, *expected);
    }
    assert_close(geometric.mean(), 1.0 / 0.45);
}

#[test]
fn gilbert_elliott_is_stationary_at_p_by_p_plus_r() {
    let chain = Chain::gemodel(0.01, 0.09, 0.5, 0.01);
    assert_close(chain.stationary()[1], 0.1);
    assert_close(chain.loss_rate(), 0.1 * 0.5 + 0.9 * 0.01);
}

/// The ways between the states form a tree, so that as many packets take each way as its reverse.
#[test]
fn four_states_are_stationary_where_the_flows_balance() {
    let (p13, p31, p32, p23, p14) = (0.02, 0.2, 0.3, 0.4, 0.01);
    let shares = Chain::four_states(p13, p31, p32, p23, p14).stationary();
    assert_close(shares.iter().sum(), 1.0);
    assert_close(shares[0] * p14, shares[3]);
    assert_close(shares[0] * p13, shares[2] * p31);
    assert_close(shares[1] * p23, shares[2] * p32);
}

#[test]
fn states_that_cannot_be_reached_do_not_count() {
    let chain = Chain::four_states(0.01, 0.2, 0.0, 0.0, 0.0);
    assert_eq!(chain.stationary().len(), 2);
    assert_close(chain.loss_rate(), 0.01 / 0.21);
}

#[test]
fn rare_losses_are_found_exactly() {
    assert!((Chain::gemodel(1e-9, 0.5, 1.0, 0.0).loss_rate() / 2e-9 - 1.0).abs() < 1e-8);
}

/// Every other packet is lost: nothing is left to chance.
#[test]
fn a_chain_that_goes_round_in_circles_does_not_stray() {
    let chain = Chain::four_states(0.0, 1.0, 0.0, 1.0, 1.0);
    assert_close(chain.loss_rate(), 0.5);
    assert!(chain.loss_deviation(1_000_000) < 1e-2);
    assert_eq!(chain.bursts().probabilities, [1.0]);
    assert_eq!(chain.bursts().fit(&[1; 100]), 1.0);
    assert_eq!(chain.bursts().fit(&[2]), 0.0);
}

#[test]
fn bursts_that_begin_in_one_state_only_are_independent() {
    assert_eq!(Chain::gemodel(0.02, 0.1, 0.5, 0.0).bursts().stride, 1);
    assert!(Chain::gemodel(0.02, 0.1, 0.5, 0.01).bursts().stride > 1);
}

#[test]
#[should_panic(expected = "one fate")]
fn without_losses_there_are_no_bursts() {
    Chain::bernoulli(0.0, 0.5).bursts();
}
