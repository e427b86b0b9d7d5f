//! What the models of loss and delay promise, worked out from their parameters alone.

mod deviation;
mod lengths;

pub use self::{
    deviation::{Deviation, Moments},
    lengths::Lengths,
};
use crate::stats;

/// Weights and probabilities below this do not count.
const NEGLIGIBLE: f64 = 1e-12;

/// A Markov chain whose states packets go through one by one, each with a probability of loss.
#[derive(Clone, Debug)]
pub struct Chain {
    /// From each state, the probability of each as the next.
    transitions: Vec<Vec<f64>>,
    /// In each state, the probability of loss.
    losses: Vec<f64>,
}

impl Chain {
    /// Packets that are hit with probability `p` each, where being hit has the autocorrelation
    /// `correlation` at lag 1.
    ///
    /// With that probability a packet has the fate of the one before, else it draws its own: after a
    /// hit the probability is p + ρ (1 - p), after none p (1 - ρ).
    pub fn bernoulli(p: f64, correlation: f64) -> Self {
        let after_hit = p + correlation * (1.0 - p);
        let after_none = p * (1.0 - correlation);
        Self::new(
            &[
                &[1.0 - after_none, after_none],
                &[1.0 - after_hit, after_hit],
            ],
            &[0.0, 1.0],
        )
    }

    /// The Gilbert-Elliott model: from good to bad with `p`, back with `r`, lost in the bad state with
    /// `one_minus_h`, in the good one with `one_minus_k`.
    pub fn gemodel(p: f64, r: f64, one_minus_h: f64, one_minus_k: f64) -> Self {
        Self::new(&[&[1.0 - p, p], &[r, 1.0 - r]], &[one_minus_k, one_minus_h])
    }

    /// The 4-state model (Salsano, Ludovici, Ordine, "Definition of a general and intuitive loss model
    /// for packet networks and its implementation in the Netem module in the Linux kernel"): 1 good, 2 good within a burst, 3 lost within a burst, 4 lost alone.
    pub fn four_states(p13: f64, p31: f64, p32: f64, p23: f64, p14: f64) -> Self {
        Self::new(
            &[
                &[1.0 - p13 - p14, 0.0, p13, p14],
                &[0.0, 1.0 - p23, p23, 0.0],
                &[p31, p32, 1.0 - p31 - p32, 0.0],
                &[1.0, 0.0, 0.0, 0.0],
            ],
            &[0.0, 0.0, 1.0, 1.0],
        )
    }

    /// The first state is that of the first packet; what cannot be reached from there is left out.
    fn new(transitions: &[&[f64]], losses: &[f64]) -> Self {
        for row in transitions {
            let sum: f64 = row.iter().sum();
            let are_probabilities = row.iter().all(|p| (0.0..=1.0).contains(p));
            assert!(
                are_probabilities && (sum - 1.0).abs() < 1e-9,
                "not a distribution: {row:?}"
            );
        }
        let reached = reachable(transitions);
        let pick = |row: &[f64]| -> Vec<f64> { reached.iter().map(|&state| row[state]).collect() };
        Self {
            transitions: reached
                .iter()
                .map(|&state| pick(transitions[state]))
                .collect(),
            losses: pick(losses),
        }
    }

    /// The share of the packets that are in each state, in the long run.
    ///
    /// By elimination without a subtraction, so that nothing cancels (Grassmann, Taksar and Heyman,
    /// "Regenerative analysis and steady state distributions for Markov chains", Operations Research
    /// 33, 1985).
    pub fn stationary(&self) -> Vec<f64> {
        let mut transitions = self.transitions.clone();
        for last in (1..transitions.len()).rev() {
            let (others, eliminated) = transitions.split_at_mut(last);
            let ways_out = &eliminated[0][..last];
            let out: f64 = ways_out.iter().sum();
            assert!(out > 0.0, "the chain never returns to its first state");
            for row in others {
                row[last] /= out;
                let into = row[last];
                for (direct, way_out) in row.iter_mut().zip(ways_out) {
                    *direct += into * way_out;
                }
            }
        }
        let mut shares = vec![1.0];
        for state in 1..transitions.len() {
            let into = transitions.iter().map(|row| row[state]);
            shares.push(dot(&shares, into));
        }
        normalized(shares)
    }

    /// The share of the packets that are lost.
    pub fn loss_rate(&self) -> f64 {
        dot(&self.stationary(), self.losses.iter().copied())
    }

    /// The standard deviation of the number that are lost of `n`, for large `n`.
    ///
    /// Its square is n times the sum of the covariances of a packet's loss with that of all packets,
    /// before and after it.
    pub fn loss_deviation(&self, n: u64) -> f64 {
        let p = self.loss_rate();
        let excess = |(share, loss): (f64, &f64)| share * (loss - p);
        let mut weights: Vec<f64> = (self.stationary().into_iter())
            .zip(&self.losses)
            .map(excess)
            .collect();
        let itself = dot(&weights, self.losses.iter().copied());
        // A chain that stays in its state every other time takes twice as long for everything, and
        // comes to rest even if this one goes round in circles.
        let mut after = -itself;
        while weights.iter().map(|weight| weight.abs()).sum::<f64>() > NEGLIGIBLE {
            after += 0.5 * dot(&weights, self.losses.iter().copied());
            let next = self.step(&weights);
            weights = (weights.iter().zip(next))
                .map(|(a, b)| 0.5 * (a + b))
                .collect();
        }
        (n as f64 * (p * (1.0 - p) + 2.0 * after).max(0.0)).sqrt()
    }

    /// How many packets that are lost independently of each other say as much about the probability
    /// of loss as `n` of these: what to ask [`stats::power`] about.
    pub fn independent(&self, n: u64) -> u64 {
        let p = self.loss_rate();
        let (n, deviation) = (n as f64, self.loss_deviation(n));
        (n * n * p * (1.0 - p) / deviation.powi(2)) as u64
    }

    /// Asserts that as many of `n` packets were lost as should be.
    #[track_caller]
    pub fn assert_loss(&self, what: &str, lost: u64, n: u64) {
        let bounds = stats::normal(n as f64 * self.loss_rate(), self.loss_deviation(n));
        eprintln!(
            "{what}: {lost} of {n}, expected {bounds:.1?}; {:.0} % off is found with probability {:.4}",
            stats::ERROR * 100.0,
            stats::power(self.independent(n), self.loss_rate())
        );
        assert!(
            bounds.contains(&(lost as f64)),
            "{what}: {lost} of {n} is not within {bounds:?}"
        );
    }

    /// The states of the next packets.
    fn step(&self, weights: &[f64]) -> Vec<f64> {
        let next = |state: usize| {
            let into = self.transitions.iter().map(|row| row[state]);
            dot(weights, into)
        };
        (0..weights.len()).map(next).collect()
    }
}

/// The states that can come after the first one, and that one, in order.
fn reachable(transitions: &[&[f64]]) -> Vec<usize> {
    let mut reached = vec![0];
    let mut visited = 0;
    while let Some(&state) = reached.get(visited) {
        let next = (0..transitions.len()).filter(|&next| transitions[state][next] > 0.0);
        let new: Vec<usize> = next.filter(|next| !reached.contains(next)).collect();
        reached.extend(new);
        visited += 1;
    }
    reached.sort_unstable();
    reached
}

fn dot(a: &[f64], b: impl IntoIterator<Item = f64>) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn normalized(weights: Vec<f64>) -> Vec<f64> {
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / sum).collect()
}

#[cfg(test)]
mod tests;
