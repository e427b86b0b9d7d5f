//! How delays are spread, how they depend on each other, and what that does to the order of packets.
//! Times are judged as in `delay.rs`. What is only worked out is judged natively alone: it is the same on
//! every kernel, and an emulated CPU takes minutes for it.

use std::{collections::BTreeSet, time::Duration};

use injector_tests::{
    Injector, Lab, clock, kernel,
    predict::Oracle,
    stats,
    theory::{Deviation, Lengths},
    udp::{Flow, Report},
};

const MS: Duration = Duration::from_millis(1);
const FORMS: [(&str, Deviation); 4] = [
    ("uniform", Deviation::Uniform),
    ("normal", Deviation::Normal),
    ("pareto", Deviation::Pareto),
    ("paretonormal", Deviation::ParetoNormal),
];

fn profile(seed: u64, faults: &str) -> String {
    format!("{{name: delay, seed: {seed}, rules: [{{match: {{protocol: udp}}, {faults}}}]}}")
}

/// Sends `count` datagrams, one a millisecond, of which none is lost.
#[track_caller]
fn send(profile: &str, count: u64) -> Report {
    let lab = Lab::new();
    let injector = Injector::start(&lab.a, profile);
    let flow = Flow::new(count).gap(MS).linger(500 * MS);
    let report = flow.send(&lab.a, &lab.b);
    injector.stop().achieved().assert_clean();
    assert_eq!(report.errors, Vec::<String>::new(), "errors at the sender");
    assert_eq!((report.lost(), report.damaged()), (BTreeSet::new(), 0));
    assert_eq!(report.arrivals.len() as u64, count);
    report
}

/// The deviations from a delay of 100 ms, in units of a jitter of 20 ms. They are rounded to 2^-16 of it,
/// so that the largest one, where a distribution is cut, is exactly that: delays are rounded down.
fn deviations(delays: &[Duration]) -> Vec<f64> {
    const UNIT: f64 = 0.02 / 65_536.0;
    let deviation = |delay: &Duration| ((delay.as_secs_f64() - 0.1) / UNIT).round() / 65_536.0;
    delays.iter().map(deviation).collect()
}

#[test]
fn delays_are_spread_as_in_theory() {
    if kernel::is_guest() {
        return;
    }
    for (seed, (name, form)) in (1..).zip(FORMS) {
        let delay = format!("delay: {{time: 100ms, jitter: 20ms, distribution: {name}}}");
        let delays = Oracle::new(&profile(seed, &delay)).delays(20_000);
        let deviations = deviations(&delays);
        let p = stats::kolmogorov_smirnov(&deviations, |deviation| form.cdf(deviation));
        stats::assert_plausible(name, p);
        for (_, other) in FORMS.iter().filter(|(_, other)| *other != form) {
            let p = stats::kolmogorov_smirnov(&deviations, |deviation| other.cdf(deviation));
            assert!(p < 1e-9, "{name} could be {other:?}: {p}");
        }
    }
}

/// A delay below 0 is none, and the others do not change for that.
#[test]
fn delays_that_would_be_below_0_are_0() {
    if kernel::is_guest() {
        return;
    }
    let delay = "delay: {time: 10ms, jitter: 20ms, distribution: normal}";
    let delays = Oracle::new(&profile(5, delay)).delays(20_000);
    let values: Vec<f64> = delays.iter().map(Duration::as_secs_f64).collect();
    let cdf = |delay: f64| match delay {
        ..0.0 => 0.0,
        _ => Deviation::Normal.cdf((delay - 0.01) / 0.02),
    };
    stats::assert_plausible("from 0", stats::kolmogorov_smirnov(&values, cdf));
    let none = delays.iter().filter(|delay| delay.is_zero()).count() as u64;
    stats::assert_share("none", none, 20_000, Deviation::Normal.cdf(-0.5));
}

#[test]
fn delays_are_correlated_as_asked() {
    const COUNT: u64 = 200_000;
    if kernel::is_guest() {
        return;
    }
    for (seed, (name, form)) in (6..).zip(FORMS) {
        for correlation in [0, 25, 90] {
            let delay = format!(
                "delay: {{time: 100ms, jitter: 20ms, distribution: {name}, correlation: {correlation}%}}"
            );
            let delays = Oracle::new(&profile(seed, &delay)).delays(COUNT);
            let (what, rho) = (
                format!("{name}, {correlation} %"),
                f64::from(correlation) / 100.0,
            );
            stats::assert_lag1(&what, &deviations(&delays), rho);
            // Draws of their own, each for a while.
            let runs: Vec<&[Duration]> = delays.chunk_by(|a, b| a == b).collect();
            let draws: Vec<Duration> = runs.iter().map(|run| run[0]).collect();
            let p = stats::kolmogorov_smirnov(&deviations(&draws), |x| form.cdf(x));
            stats::assert_plausible(&what, p);
            // From a table even independent draws coincide now and then: there are only so many.
            if form == Deviation::Uniform {
                let lengths: Vec<u64> = runs.iter().map(|run| run.len() as u64).collect();
                stats::assert_plausible(&what, Lengths::geometric(rho).fit(&lengths));
            }
        }
    }
}

#[test]
fn packets_take_as_long_as_was_foretold() {
    if !kernel::can_delay() {
        return;
    }
    let _alone = clock::alone();
    for (seed, (name, _)) in (10..).zip(&FORMS[1..]) {
        let delay = format!("delay: {{time: 80ms, jitter: 20ms, distribution: {name}}}");
        let profile = profile(seed, &delay);
        Oracle::new(&profile).assert_delays(&send(&profile, 800));
    }
}

#[test]
fn delays_of_received_packets_are_correlated() {
    const COUNT: u64 = 2000;
    if !kernel::can_delay() {
        return;
    }
    let _alone = clock::alone();
    for (seed, correlation) in [(13, 0), (14, 25), (15, 90)] {
        let delay = format!("delay: {{time: 60ms, jitter: 60ms, correlation: {correlation}%}}");
        let profile = profile(seed, &delay);
        let (report, oracle) = (send(&profile, COUNT), Oracle::new(&profile));
        let mut delays = report.delays();
        delays.sort_unstable();
        // What was late because the machine stood still, as others beside it, says nothing of the delays.
        let mut late = 0;
        let received = delays.iter().zip(oracle.delays(COUNT));
        let delays: Vec<f64> = received
            .map(|(&(_, delay), foretold)| {
                let is_late = delay - foretold > 5 * MS;
                late += u64::from(is_late);
                if is_late { foretold } else { delay }.as_secs_f64()
            })
            .collect();
        assert!(late < COUNT / 10 * 9, "{late} of {COUNT} were late");
        let what = format!("received, {correlation} %");
        stats::assert_lag1(&what, &delays, f64::from(correlation) / 100.0);
    }
}

#[test]
fn jitter_reorders_unless_the_order_is_kept() {
    const COUNT: u64 = 1000;
    if !kernel::can_delay() {
        return;
    }
    let _alone = clock::alone();
    for distribution in ["uniform", "pareto"] {
        let delay = |order: &str| {
            let delay = format!("time: 60ms, jitter: 40ms, distribution: {distribution}");
            profile(16, &format!("delay: {{{delay}, keep_order: {order}}}"))
        };
        let free = send(&delay("false"), COUNT);
        let overtaking = free.overtaking().len() as u64;
        assert!(overtaking > COUNT / 4, "{overtaking} of {COUNT} overtake");
        let kept = send(&delay("true"), COUNT);
        kept.assert_untouched();
        assert_waits_for_others(&kept, &Oracle::new(&delay("true")));
    }
}

/// A packet that overtakes none by itself takes as long as was foretold, and with it come those that would
/// have overtaken it.
#[track_caller]
fn assert_waits_for_others(report: &Report, oracle: &Oracle) {
    let delays = oracle.delays(report.sent.len() as u64);
    let (mut latest, mut lateness) = (report.sent[0], Vec::new());
    let mut former = report.arrivals[0];
    for ((arrival, sent), delay) in report.arrivals.iter().zip(&report.sent).zip(delays) {
        let departure = *sent + delay;
        if departure >= latest {
            latest = departure;
            assert!(arrival.at >= latest, "{} came early", arrival.number);
            lateness.push(arrival.at - latest);
        } else {
            lateness.push(arrival.at - former.at);
        }
        former = *arrival;
    }
    let lateness = stats::decile(lateness);
    let late_max = clock::late_max();
    assert!(
        lateness < late_max,
        "{lateness:?} late, nine in ten of them"
    );
}

#[test]
fn packets_overtake_as_foretold() {
    const COUNT: u64 = 2000;
    const DELAY: Duration = Duration::from_millis(50);
    if !kernel::can_delay() {
        return;
    }
    let _alone = clock::alone();
    for (seed, reorder) in [
        (17, "{probability: 25%, gap: 5}"),
        (18, "{probability: 25%, correlation: 50%, gap: 3}"),
        (19, "{every: 10}"),
    ] {
        let profile = profile(seed, &format!("delay: 50ms, reorder: {reorder}"));
        let foretold = Oracle::new(&profile).reordered(COUNT);
        let report = send(&profile, COUNT);
        let overtaking = report.overtaking();
        // Where the sender paused, before or while it sent one, the packets before have arrived.
        let pauses = |n: &&u64| {
            let n = **n as usize;
            let around = &report.sent[n - 1..COUNT.min(n as u64 + 2) as usize];
            around.windows(2).any(|pair| pair[1] - pair[0] > DELAY / 2)
        };
        let paused: BTreeSet<u64> = foretold.iter().filter(pauses).copied().collect();
        let mut numbers: BTreeSet<u64> = overtaking.iter().map(|&(n, _)| n).collect();
        numbers.extend(paused);
        assert!(
            numbers == foretold,
            "{reorder}: {numbers:?}, not {foretold:?}"
        );
        // Those overtaken that were sent during the delay, and are delayed.
        let is_overtaken = |n: u64, of: u64| {
            let (n, of) = (n as usize, of as usize);
            report.sent[n] + DELAY > report.sent[of]
        };
        let off = overtaking.iter().map(|&(of, extent)| {
            let delayed = (0..of).filter(|n| !foretold.contains(n));
            let expected = delayed.filter(|&n| is_overtaken(n, of)).count() as u64;
            extent.abs_diff(expected)
        });
        let off = stats::quartile(off);
        assert!(off <= 1, "{reorder}: the extent is off by {off}");
        Oracle::new(&profile).assert_delays(&report);
    }
}

#[test]
fn packets_that_overtake_lie_apart() {
    const COUNT: u64 = 200_000;
    const GAP: u64 = 5;
    if kernel::is_guest() {
        return;
    }
    let profile = profile(20, "delay: 50ms, reorder: {probability: 25%, gap: 5}");
    let numbers: Vec<u64> = Oracle::new(&profile).reordered(COUNT).into_iter().collect();
    assert!(numbers[0] >= GAP - 1);
    let distances = || numbers.windows(2).map(|pair| pair[1] - pair[0]);
    assert!(distances().all(|distance| distance >= GAP));
    // From then on, each packet is the next with a probability of 25 %.
    let waited: Vec<u64> = distances().map(|distance| distance - GAP + 1).collect();
    stats::assert_plausible("distances", Lengths::geometric(0.75).fit(&waited));
}
