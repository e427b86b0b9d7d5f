//! Delay: how it is spread, and how delays depend on each other.

use std::time::Duration;

use injector_tests::{Lab, stats, theory::Deviation, udp::Flow};

use super::subject::{Effort, Quantity, Subject, Unit};

const COUNT: u64 = 5000;
const MS: Duration = Duration::from_millis(1);
const TIME_MS: f64 = 100.0;
const JITTER_MS: f64 = 20.0;

pub fn subjects(effort: Effort) -> Vec<Subject> {
    let count = effort.of(COUNT);
    let spread = [
        ("uniform", Deviation::Uniform),
        ("normal", Deviation::Normal),
        ("pareto", Deviation::Pareto),
        ("paretonormal", Deviation::ParetoNormal),
    ];
    let spread = spread.map(|(name, form)| spread_by(name, form, count));
    let correlated = [0.25, 0.9].map(|correlation| correlated_by(correlation, count));
    spread.into_iter().chain(correlated).collect()
}

fn spread_by(name: &str, form: Deviation, count: u64) -> Subject {
    let distance = Quantity {
        name: "distance (Kolmogorov-Smirnov)",
        unit: Unit::One,
        theory: 0.0,
        bounds: 0.0..=stats::kolmogorov_bound(count),
    };
    let word = if name == "uniform" {
        String::new()
    } else {
        format!(" distribution {name}")
    };
    Subject {
        faults: format!("delay: {{time: 100ms, jitter: 20ms, distribution: {name}}}"),
        netem: format!("delay 100ms 20ms{word}"),
        quantities: vec![
            distance,
            mean(form, 0.0, count),
            deviation(form, 0.0, count),
        ],
        send: Box::new(move |lab| {
            let delays = delays_ms(lab, count);
            let cdf = |delay: f64| form.cdf((delay - TIME_MS) / JITTER_MS);
            let distance = stats::kolmogorov_distance(&delays, cdf);
            vec![
                Some(distance),
                Some(mean_of(&delays)),
                Some(deviation_of(&delays)),
            ]
        }),
    }
}

fn correlated_by(correlation: f64, count: u64) -> Subject {
    let form = Deviation::Uniform;
    let percent = 100.0 * correlation;
    let autocorrelation = Quantity {
        name: "autocorrelation",
        unit: Unit::One,
        theory: correlation,
        bounds: stats::lag1_bounds(count as usize, correlation, form.moments().kurtosis),
    };
    Subject {
        faults: format!("delay: {{time: 100ms, jitter: 20ms, correlation: {percent}%}}"),
        netem: format!("delay 100ms 20ms {percent}%"),
        quantities: vec![autocorrelation, deviation(form, correlation, count)],
        send: Box::new(move |lab| {
            let delays = delays_ms(lab, count);
            vec![Some(stats::lag1(&delays)), Some(deviation_of(&delays))]
        }),
    }
}

/// The delays of packets that are sent one a millisecond, in the order in which they were sent.
fn delays_ms(lab: &Lab, count: u64) -> Vec<f64> {
    let flow = Flow::new(count).gap(MS).linger(500 * MS);
    let mut delays = flow.send(&lab.a, &lab.b).delays();
    delays.sort_unstable();
    let in_ms = |(_, delay): (u64, Duration)| delay.as_secs_f64() * 1e3;
    delays.into_iter().map(in_ms).collect()
}

fn mean_of(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn deviation_of(values: &[f64]) -> f64 {
    let mean = mean_of(values);
    let squares: Vec<f64> = values.iter().map(|value| (value - mean).powi(2)).collect();
    mean_of(&squares).sqrt()
}

fn mean(form: Deviation, correlation: f64, count: u64) -> Quantity {
    let moments = form.moments();
    let theory = TIME_MS + JITTER_MS * moments.mean;
    let stray = JITTER_MS * moments.deviation / independent(count, correlation).sqrt();
    Quantity {
        name: "mean",
        unit: Unit::Milliseconds,
        theory,
        bounds: stats::normal(theory, stray),
    }
}

/// Squares are correlated as what they are the squares of, where that repeats itself or is drawn anew.
fn deviation(form: Deviation, correlation: f64, count: u64) -> Quantity {
    let moments = form.moments();
    let theory = JITTER_MS * moments.deviation;
    let stray = ((moments.kurtosis - 1.0) / independent(count, correlation)).sqrt() / 2.0;
    Quantity {
        name: "standard deviation",
        unit: Unit::Milliseconds,
        theory,
        bounds: stats::normal(theory, theory * stray),
    }
}

/// How many independent values say as much as so many of this autocorrelation at lag 1, and of its powers
/// at others.
fn independent(count: u64, correlation: f64) -> f64 {
    count as f64 * (1.0 - correlation) / (1.0 + correlation)
}
