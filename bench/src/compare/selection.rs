//! Packets that overtake, come twice, or are damaged.

use std::{collections::BTreeSet, time::Duration};

use injector_tests::{Lab, stats, theory::Chain, udp::Flow};

use super::{
    loss,
    subject::{Effort, Quantity, Subject, Unit},
};

const CORRELATED_COPIES: &str = "duplicate: {probability: 10%, correlation: 25%}";
const MS: Duration = Duration::from_millis(1);

pub fn subjects(effort: Effort) -> Vec<Subject> {
    let count = effort.of(10_000);
    vec![
        overtaking(effort.of(5000)),
        overtaking_apart(effort.of(5000)),
        twice("duplicate: 10%", "duplicate 10%", 0.0, count),
        twice(CORRELATED_COPIES, "duplicate 10% 25%", 0.25, count),
        // tc sends the correlation of copies only beside another one's.
        twice(
            CORRELATED_COPIES,
            "duplicate 10% 25% loss 0% 1%",
            0.25,
            count,
        ),
        damaged("corrupt: 10%", "corrupt 10%", 0.0, count),
        damaged(
            "corrupt: {probability: 10%, correlation: 25%}",
            "corrupt 10% 25%",
            0.25,
            count,
        ),
    ]
}

/// One a millisecond. The quantities are the share of those that overtake, and how many they do on average.
fn overtake(lab: &Lab, count: u64) -> [Option<f64>; 2] {
    let report = Flow::new(count)
        .gap(MS)
        .linger(500 * MS)
        .send(&lab.a, &lab.b);
    let overtaking = report.overtaking();
    let (n, sum) = (
        overtaking.len() as f64,
        overtaking.iter().map(|(_, extent)| extent).sum::<u64>(),
    );
    [Some(n / count as f64), (n > 0.0).then(|| sum as f64 / n)]
}

fn overtaking(count: u64) -> Subject {
    const P: f64 = 0.25;
    /// Packets that are sent while one is delayed: 49 surely, and one at the same time as it arrives.
    const WITHIN: f64 = 49.5;
    let stray = stats::normal(0.0, WITHIN * (P * (1.0 - P) / count as f64).sqrt());
    let theory = WITHIN * (1.0 - P);
    let extent = Quantity {
        name: "mean extent",
        unit: Unit::Packets,
        theory,
        bounds: theory - 0.5 + stray.start()..=theory + 0.5 + stray.end(),
    };
    Subject {
        faults: format!("delay: 50ms, reorder: {}%", 100.0 * P),
        netem: format!("delay 50ms reorder {}%", 100.0 * P),
        quantities: vec![loss::share(&Chain::bernoulli(P, 0.0), count), extent],
        send: Box::new(move |lab| overtake(lab, count).into()),
    }
}

/// From one that overtakes to the next it takes the gap less one, and then a geometric number.
fn overtaking_apart(count: u64) -> Subject {
    const P: f64 = 0.25;
    const GAP: f64 = 5.0;
    let (mean, variance) = (GAP - 1.0 + 1.0 / P, (1.0 - P) / (P * P));
    let n = count as f64;
    let stray = (n * variance / mean.powi(3)).sqrt();
    let hits = stats::normal(n / mean, stray);
    let share = Quantity {
        name: loss::SHARE,
        unit: Unit::Percent,
        theory: 1.0 / mean,
        bounds: hits.start() / n..=hits.end() / n,
    };
    Subject {
        faults: format!(
            "delay: 50ms, reorder: {{probability: {}%, gap: {GAP}}}",
            100.0 * P
        ),
        netem: format!("delay 50ms reorder {}% gap {GAP}", 100.0 * P),
        quantities: vec![share],
        send: Box::new(move |lab| vec![overtake(lab, count)[0]]),
    }
}

fn twice(faults: &str, netem: &str, correlation: f64, count: u64) -> Subject {
    hit(faults, netem, correlation, count, move |lab| {
        Flow::new(count).send(&lab.a, &lab.b).duplicated()
    })
}

/// Of large packets, because netem also hits the sender's hardware address, which nobody checks.
fn damaged(faults: &str, netem: &str, correlation: f64, count: u64) -> Subject {
    hit(faults, netem, correlation, count, move |lab| {
        Flow::new(count).len(1400).send(&lab.a, &lab.b).lost()
    })
}

/// One packet in ten.
fn hit(
    faults: &str,
    netem: &str,
    correlation: f64,
    count: u64,
    send: impl Fn(&Lab) -> BTreeSet<u64> + 'static,
) -> Subject {
    const P: f64 = 0.1;
    let quantities = vec![
        loss::share(&Chain::bernoulli(P, correlation), count),
        loss::autocorrelation(P, correlation, count),
    ];
    let names: Vec<&str> = quantities.iter().map(|quantity| quantity.name).collect();
    Subject {
        faults: faults.into(),
        netem: netem.into(),
        quantities,
        send: Box::new(move |lab| loss::judge(&names, &send(lab), count)),
    }
}
