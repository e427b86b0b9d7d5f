use super::{Chain, NEGLIGIBLE, dot, normalized};
use crate::stats;

/// Runs with more in common than this are not taken for independent of each other.
const INDEPENDENCE: f64 = 0.01;

/// How long runs of packets with the same fate are.
#[derive(Clone, Debug)]
pub struct Lengths {
    /// The probability of each length, from 1 on; longer ones hardly ever occur.
    pub probabilities: Vec<f64>,
    /// Runs so far apart in their sequence are independent of each other.
    pub stride: usize,
}

impl Lengths {
    /// The lengths of runs that go on with probability `more` after each packet: those of the same
    /// delay where that is the delays' correlation.
    pub fn geometric(more: f64) -> Self {
        assert!((0.0..1.0).contains(&more), "runs that never end");
        let still = |&still: &f64| Some(still * more);
        let begun = std::iter::successors(Some(1.0), still);
        Self {
            probabilities: begun
                .take_while(|&still| still > NEGLIGIBLE)
                .map(|still| still * (1.0 - more))
                .collect(),
            stride: 1,
        }
    }

    /// The mean length.
    pub fn mean(&self) -> f64 {
        let lengths = (1..=self.probabilities.len()).map(|length| length as f64);
        dot(&self.probabilities, lengths)
    }

    /// The standard deviation of a length.
    pub fn deviation(&self) -> f64 {
        let mean = self.mean();
        let squares = (1..=self.probabilities.len()).map(|length| (length as f64 - mean).powi(2));
        dot(&self.probabilities, squares).sqrt()
    }

    /// The p-value of the `lengths` of consecutive runs.
    #[track_caller]
    pub fn fit(&self, lengths: &[u64]) -> f64 {
        let longest = self.probabilities.len();
        let mut counts = vec![0; longest + 1];
        for &length in lengths.iter().step_by(self.stride) {
            counts[(length as usize).min(longest + 1) - 1] += 1;
        }
        let mut probabilities = self.probabilities.clone();
        probabilities.push((1.0 - probabilities.iter().sum::<f64>()).max(0.0));
        stats::chi_square(&counts, &probabilities)
    }
}

impl Chain {
    /// How many packets are lost one after the other.
    pub fn bursts(&self) -> Lengths {
        self.runs(&self.losses, &self.arrivals())
    }

    /// How many packets arrive between two bursts.
    pub fn gaps(&self) -> Lengths {
        self.runs(&self.arrivals(), &self.losses)
    }

    fn arrivals(&self) -> Vec<f64> {
        self.losses.iter().map(|loss| 1.0 - loss).collect()
    }

    /// Of packets with one fate, given each state's probability of it, and of the other fate.
    fn runs(&self, within: &[f64], beyond: &[f64]) -> Lengths {
        // In which states runs begin: at packets that come after one of the other fate.
        let before = product(&self.stationary(), beyond);
        let begin = product(&self.step(&before), within);
        assert!(begin.iter().sum::<f64>() > 0.0, "all packets have one fate");
        let begin = normalized(begin);
        let mut probabilities = Vec::new();
        let mut weights = begin.clone();
        while weights.iter().sum::<f64>() > NEGLIGIBLE {
            let next = self.step(&weights);
            probabilities.push(dot(&next, beyond.iter().copied()));
            weights = product(&next, within);
        }
        Lengths {
            probabilities,
            stride: self.stride(&begin, within, beyond),
        }
    }

    /// How many runs it takes to forget in which state one of them began.
    ///
    /// Two ways for a run to begin are as different as the states in which the next one then begins:
    /// by a factor, Dobrushin's coefficient, smaller with each run.
    fn stride(&self, begin: &[f64], within: &[f64], beyond: &[f64]) -> usize {
        let states: Vec<usize> = (0..begin.len())
            .filter(|&state| begin[state] > 0.0)
            .collect();
        if states.len() == 1 {
            return 1;
        }
        let next_begin = |&state: &usize| {
            let mut weights = vec![0.0; begin.len()];
            weights[state] = 1.0;
            self.leave(self.leave(weights, within, beyond), beyond, within)
        };
        let next: Vec<Vec<f64>> = states.iter().map(next_begin).collect();
        let apart = |(a, b): (&Vec<f64>, &Vec<f64>)| {
            let differences = a.iter().zip(b).map(|(a, b)| (a - b).abs());
            differences.sum::<f64>() / 2.0
        };
        let pairs = next.iter().flat_map(|a| next.iter().map(move |b| (a, b)));
        let memory = pairs.map(apart).fold(0.0, f64::max);
        assert!(memory < 1.0, "the runs never forget how the first began");
        // What one run is may depend on how the next one begins, whatever it began like itself.
        let steps = std::iter::successors(Some(1.0), |left| Some(left * memory));
        1 + steps.take_while(|&left| left > INDEPENDENCE).count()
    }

    /// The states of the first packets with the other fate.
    fn leave(&self, mut weights: Vec<f64>, within: &[f64], beyond: &[f64]) -> Vec<f64> {
        let mut left = vec![0.0; weights.len()];
        while weights.iter().sum::<f64>() > NEGLIGIBLE {
            let next = self.step(&weights);
            for (sum, part) in left.iter_mut().zip(product(&next, beyond)) {
                *sum += part;
            }
            weights = product(&next, within);
        }
        left
    }
}

fn product(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a * b).collect()
}
