//! How delays, sizes and the gaps between hits are distributed.

use std::{collections::BTreeMap, time::Duration};

use injector_tests::{Injector, Lab, injector, kernel, predict::Oracle, tcp::Transfer, udp::Flow};

const COUNT: u64 = 6000;

/// Ethernet, IPv4 and UDP.
const HEADERS: usize = 14 + 20 + 8;

/// From, to and how many, as the kernel is to have counted these.
fn count(values: impl IntoIterator<Item = u64>) -> Vec<(u64, u64, u64)> {
    let mut counts = BTreeMap::new();
    for value in values {
        let low = if value == 0 { 0 } else { 1 << value.ilog2() };
        *counts.entry(low).or_default() += 1;
    }
    let high = |low| if low == 0 { 0 } else { 2 * low - 1 };
    counts
        .into_iter()
        .map(|(low, count)| (low, high(low), count))
        .collect()
}

#[test]
fn hits_are_as_far_apart_as_was_foretold() {
    const PROFILE: &str = "
name: gaps
seed: 5
rules: [{match: {protocol: udp}, drop: {model: gemodel, p: 2%, r: 20%, one_minus_h: 70%}, duplicate: 1%}]";
    let oracle = Oracle::new(PROFILE);
    let hits: Vec<_> = oracle
        .dropped(COUNT)
        .union(&oracle.duplicated(COUNT))
        .copied()
        .collect();
    let expected = count(hits.windows(2).map(|pair| pair[1] - pair[0]));
    assert!(expected.len() > 5, "{expected:?}");
    for batch in [1, 25] {
        let lab = Lab::new();
        let injector = Injector::start(&lab.a, PROFILE);
        Flow::new(COUNT).batch(batch).send(&lab.a, &lab.b);
        let end = injector.stop();
        assert_eq!(
            end.achieved().only().gap.counts(),
            expected,
            "{batch} at a time"
        );
    }
}

#[test]
fn packets_are_counted_by_their_size_on_the_wire() {
    const PROFILE: &str = "
name: sizes
seed: 6
rules: [{name: datagrams, match: {protocol: udp}, drop: 1%}, {name: stream, match: {protocol: tcp}, drop: 0.01%}]";
    let lab = Lab::new();
    let injector = Injector::start(&lab.a, PROFILE);
    for (len, batch) in [(100, 1), (600, 25), (1200, 1)] {
        Flow::new(1000).len(len).batch(batch).send(&lab.a, &lab.b);
    }
    Transfer::new(2_000_000)
        .send(&lab.a, &lab.b)
        .assert_intact(2_000_000);
    let status = injector::call(&lab.a.netns, &["status", "--histograms"]);
    let end = injector.stop();
    let sizes = &end.achieved().rule("datagrams").size;
    let sent = [100, 600, 1200].map(|len| [(len + HEADERS) as u64; 1000]);
    assert_eq!(sizes.counts(), count(sent.into_iter().flatten()));
    // Full segments, each with its own headers, and handshakes.
    let stream = end.achieved().rule("stream");
    let full: u64 = stream
        .size
        .counts()
        .iter()
        .filter(|(low, ..)| *low == 1024)
        .map(|(.., n)| n)
        .sum();
    // Those at the end of a super-packet are shorter.
    assert!(10 * full >= 9 * (2_000_000 / 1448), "{stream:?}");
    assert_eq!(
        stream.size.counts().iter().map(|(.., n)| n).sum::<u64>(),
        stream.matched
    );
    let status = String::from_utf8_lossy(&status.stdout);
    assert!(
        status.contains("datagrams egress: size in bytes\n"),
        "{status}"
    );
    assert!(status.contains("128 .. 255  1,000 |@@@@"), "{status}");
}

#[test]
fn delays_are_counted_as_they_were_given() {
    if !kernel::can_delay() {
        return;
    }
    const PROFILE: &str = "
name: delays
seed: 7
rules: [{match: {protocol: udp}, drop: 1%, delay: {time: 40ms, jitter: 39ms}}]";
    let lab = Lab::new();
    let injector = Injector::start(&lab.a, PROFILE);
    Flow::new(1000)
        .gap(Duration::from_millis(1))
        .linger(Duration::from_millis(100))
        .send(&lab.a, &lab.b);
    let end = injector.stop();
    let oracle = Oracle::new(PROFILE);
    let delays = (0..1000).filter_map(|n| oracle.delay(n));
    let expected = count(delays.map(|delay| delay.as_micros() as u64));
    assert_eq!(end.achieved().only().delay_us.counts(), expected);
}
