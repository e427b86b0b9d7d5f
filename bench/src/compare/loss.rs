//! Loss: independent, correlated, by chains.

use std::collections::BTreeSet;

use injector_tests::{
    stats::{self, Runs},
    theory::Chain,
    udp::Flow,
};

use super::subject::{Effort, Quantity, Subject, Unit, Values};

/// Bursts of one chain in so many packets that they say something even where each holds for long.
const COUNT: u64 = 20_000;

pub fn subjects(effort: Effort) -> Vec<Subject> {
    let count = effort.of(COUNT);
    let correlated = |p: f64, correlation: f64| {
        let (percent, rho) = (100.0 * p, 100.0 * correlation);
        subject(
            count,
            &format!("drop: {{probability: {percent}%, correlation: {rho}%}}"),
            &format!("loss {percent}% {rho}%"),
            vec![
                share(&Chain::bernoulli(p, correlation), count),
                autocorrelation(p, correlation, count),
            ],
        )
    };
    let chained = |faults: &str, netem: &str, chain: &Chain| {
        let quantities = vec![share(chain, count), mean_burst(chain, count)];
        subject(count, faults, netem, quantities)
    };
    vec![
        subject(
            count,
            "drop: 1%",
            "loss 1%",
            vec![
                share(&Chain::bernoulli(0.01, 0.0), count),
                autocorrelation(0.01, 0.0, count),
            ],
        ),
        correlated(0.01, 0.25),
        correlated(0.1, 0.25),
        correlated(0.1, 0.9),
        chained(
            "drop: {model: gemodel, p: 2%, r: 15%, one_minus_h: 70%, one_minus_k: 1%}",
            "loss gemodel 2% 15% 70% 1%",
            &Chain::gemodel(0.02, 0.15, 0.7, 0.01),
        ),
        chained(
            "drop: {model: state, p13: 2%, p31: 20%, p32: 30%, p23: 40%, p14: 1%}",
            "loss state 2% 20% 30% 40% 1%",
            &Chain::four_states(0.02, 0.2, 0.3, 0.4, 0.01),
        ),
    ]
}

fn subject(count: u64, faults: &str, netem: &str, quantities: Vec<Quantity>) -> Subject {
    let names: Vec<&str> = quantities.iter().map(|quantity| quantity.name).collect();
    Subject {
        faults: faults.into(),
        netem: netem.into(),
        quantities,
        send: Box::new(move |lab| {
            let report = Flow::new(count).send(&lab.a, &lab.b);
            judge(&names, &report.lost(), count)
        }),
    }
}

/// The values of quantities of this file, of packets that were hit.
pub fn judge(names: &[&str], hit: &BTreeSet<u64>, count: u64) -> Values {
    let value = |name: &&str| match *name {
        MEAN_BURST => mean(&Runs::new(hit, count).bursts),
        AUTOCORRELATION => {
            let is_hit = |n| f64::from(u8::from(hit.contains(&n)));
            let series: Vec<f64> = (0..count).map(is_hit).collect();
            Some(stats::lag1(&series)).filter(|value| value.is_finite())
        }
        _ => Some(hit.len() as f64 / count as f64),
    };
    names.iter().map(value).collect()
}

fn mean(lengths: &[u64]) -> Option<f64> {
    let count = lengths.len() as f64;
    (count > 0.0).then(|| lengths.iter().sum::<u64>() as f64 / count)
}

pub const SHARE: &str = "share";
pub const MEAN_BURST: &str = "mean burst";
const AUTOCORRELATION: &str = "autocorrelation";

/// The share of packets that are hit.
pub fn share(chain: &Chain, count: u64) -> Quantity {
    let (theory, n) = (chain.loss_rate(), count as f64);
    let hits = stats::normal(n * theory, chain.loss_deviation(count));
    Quantity {
        name: SHARE,
        unit: Unit::Percent,
        theory,
        bounds: hits.start().max(0.0) / n..=hits.end() / n,
    }
}

/// That of being hit, at lag 1.
pub fn autocorrelation(p: f64, correlation: f64, count: u64) -> Quantity {
    let variance = p * (1.0 - p);
    let kurtosis = (1.0 - 3.0 * variance) / variance;
    Quantity {
        name: AUTOCORRELATION,
        unit: Unit::One,
        theory: correlation,
        bounds: stats::lag1_bounds(count as usize, correlation, kurtosis),
    }
}

/// How many packets are hit one after the other.
pub fn mean_burst(chain: &Chain, count: u64) -> Quantity {
    let lengths = chain.bursts();
    let theory = lengths.mean();
    // Those that follow each other closely tell the same.
    let bursts = count as f64 * chain.loss_rate() / theory / lengths.stride as f64;
    Quantity {
        name: MEAN_BURST,
        unit: Unit::Packets,
        theory,
        bounds: stats::normal(theory, lengths.deviation() / bursts.sqrt()),
    }
}
