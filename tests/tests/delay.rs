//! Latency. Times on an emulated CPU are noisy above: what is asserted is the
//! shortest time, and the time that a quarter of the packets is faster than.

use std::{collections::BTreeSet, fs, time::Duration};

use injector_common::fate::Fate;
use injector_tests::{
    Family, Host, Injector, Lab, clock, directory::Directory, echo::Echoes, injector, kernel,
    predict::Oracle, stats, tcp::Transfer, tool, udp::Flow,
};

const MS: Duration = Duration::from_millis(1);

fn netem(host: &Host, delay: &str) {
    let device = &host.device;
    host.run(|| {
        tool::tc(&format!(
            "qdisc add dev {device} root netem limit 100000 delay {delay}"
        ))
    });
}

#[test]
fn a_round_trip_takes_as_long_as_under_netem() {
    if !kernel::can_delay() || !kernel::has_netem() {
        return;
    }
    let _alone = clock::alone();
    let profile = "{name: delay, seed: 1, rules: [{delay: 50ms}]}";
    for family in Family::ALL {
        let echoes = Echoes::new(150).family(family).gap(5 * MS).linger(500 * MS);
        let lab = Lab::new();
        netem(&lab.a, "50ms");
        let reference = echoes.send(&lab.a, &lab.b);
        let lab = Lab::new();
        let injector = Injector::start(&lab.a, profile);
        let report = echoes.send(&lab.a, &lab.b);
        injector.stop().achieved().assert_clean();

        assert_eq!(report.replies.len(), 150, "{family:?}");
        assert_eq!(report.errors, Vec::<String>::new(), "{family:?}");
        let (ours, theirs) = (report.quartile(), reference.quartile());
        assert!(
            ours.abs_diff(theirs) < clock::late_max(),
            "{family:?}: {ours:?}, by netem {theirs:?}"
        );
        assert!(ours >= 50 * MS, "{family:?}: {ours:?}");
    }
}

#[test]
fn both_directions_add_up_in_a_round_trip() {
    if !kernel::can_delay() {
        return;
    }
    let _alone = clock::alone();
    let lab = Lab::new();
    let args = ["--delay", "20ms", "--direction", "both"];
    let injector = Injector::start_with(&lab.a, "", &args);
    let report = Echoes::new(100)
        .gap(5 * MS)
        .linger(500 * MS)
        .send(&lab.a, &lab.b);
    injector.stop().achieved().assert_clean();

    assert_eq!(report.replies.len(), 100);
    let time = report.quartile();
    let expected = 40 * MS..40 * MS + 2 * clock::late_max();
    assert!(expected.contains(&time), "{time:?}");
}

#[test]
fn a_fast_sender_is_not_held_back_and_loses_nothing() {
    if !kernel::can_delay() {
        return;
    }
    let _alone = clock::alone();
    // 50 Mbit/s on the wire for 2 s.
    let flow = Flow::new(8700)
        .len(1400)
        .gap(Duration::from_micros(230))
        .linger(500 * MS);
    let lab = Lab::new();
    let injector = Injector::start(&lab.a, "{name: far, seed: 1, rules: [{delay: 100ms}]}");
    let report = flow.send(&lab.a, &lab.b);
    let end = injector.stop();

    assert_eq!(report.errors, Vec::<String>::new());
    assert_eq!((report.lost(), report.damaged()), (BTreeSet::new(), 0));
    end.achieved().assert_clean();
    // A sender that waits for its packets to be freed takes five times as long as it should.
    let took = *report.sent.last().expect("a datagram") - report.sent[0];
    assert!(took < Duration::from_secs(8), "sending took {took:?}");
    assert!(stats::quartile(report.delays().into_iter().map(|(_, delay)| delay)) >= 100 * MS);
}

#[test]
fn tcp_is_not_much_slower_than_under_netem() {
    if !kernel::can_delay() || !kernel::has_netem() {
        return;
    }
    let _alone = clock::alone();
    let transfer = Transfer::new(1 << 32).time_max(Duration::from_secs(2));
    let lab = Lab::new();
    netem(&lab.a, "50ms");
    let reference = transfer.send(&lab.a, &lab.b);
    let lab = Lab::new();
    let injector = Injector::start(&lab.a, "{name: far, seed: 1, rules: [{delay: 50ms}]}");
    let report = transfer.send(&lab.a, &lab.b);
    injector.stop().achieved().assert_clean();

    assert!(report.intact && reference.intact);
    let share = report.goodput() / reference.goodput();
    eprintln!(
        "{:.0} Mbit/s, {share:.2} of netem's",
        report.goodput() / 1e6
    );
    assert!(
        share >= 0.3,
        "{share:.2} of netem's {:.0} bit/s",
        reference.goodput()
    );
}

#[test]
fn jitter_spreads_the_delay_evenly() {
    const COUNT: u64 = 1000;
    if !kernel::can_delay() {
        return;
    }
    let _alone = clock::alone();
    let profile = "
name: jitter
seed: 20
rules: [{match: {protocol: udp}, delay: {time: 30ms, jitter: 10ms}}]";
    let lab = Lab::new();
    let injector = Injector::start(&lab.a, profile);
    let report = Flow::new(COUNT)
        .gap(MS)
        .linger(500 * MS)
        .send(&lab.a, &lab.b);
    injector.stop().achieved().assert_clean();

    assert_eq!(
        (report.lost(), report.duplicated()),
        (BTreeSet::new(), BTreeSet::new())
    );
    Oracle::new(profile).assert_delays(&report);
    let mut delays: Vec<Duration> = report
        .delays()
        .into_iter()
        .map(|(_, delay)| delay)
        .collect();
    delays.sort_unstable();
    assert!(delays[0] >= 20 * MS, "the shortest is {:?}", delays[0]);
    // A quantile of n even draws strays by the square root of q (1 - q) / n of the spread: within
    // 3.3 of those in all but a thousandth. What a packet takes besides comes on top, and is more
    // the busier the machine is.
    for (quantile, expected, noise) in [(0.1, 22.0, 2.0), (0.5, 30.0, 4.0), (0.9, 38.0, 8.0)] {
        let actual = delays[(quantile * COUNT as f64) as usize].as_secs_f64() * 1e3;
        let deviation = 3.3 * 20.0 * (quantile * (1.0 - quantile) / COUNT as f64).sqrt();
        let bounds = expected - deviation..expected + deviation + noise;
        assert!(
            bounds.contains(&actual),
            "quantile {quantile}: {actual} ms, not in {bounds:?}"
        );
    }
}

#[test]
fn delay_goes_together_with_loss() {
    const COUNT: u64 = 1000;
    if !kernel::can_delay() {
        return;
    }
    let _alone = clock::alone();
    let profile = "
name: late-and-lossy
seed: 21
rules: [{match: {protocol: udp}, drop: 10%, delay: {time: 30ms, jitter: 10ms}}]";
    let lab = Lab::new();
    let injector = Injector::start(&lab.a, profile);
    let report = Flow::new(COUNT)
        .gap(MS)
        .linger(500 * MS)
        .send(&lab.a, &lab.b);
    let end = injector.stop();

    assert_eq!(report.lost(), Oracle::new(profile).dropped(COUNT));
    Oracle::new(profile).assert_delays(&report);
    assert_eq!(
        end.achieved().only().delayed,
        COUNT - report.lost().len() as u64
    );
    end.achieved().assert_clean();
}

#[test]
fn fragments_are_delayed_like_whole_packets() {
    const COUNT: u64 = 100;
    if !kernel::can_delay() {
        return;
    }
    let _alone = clock::alone();
    for (family, headers) in [(Family::V4, 28), (Family::V6, 48)] {
        let lab = Lab::new();
        let profile = "
name: far
seed: 1
rules: [{match: {protocol: udp}, delay: 20ms}]";
        let injector = Injector::start(&lab.a, profile);
        // Two bytes more than fit into one packet.
        let flow = Flow::new(COUNT).family(family).len(1500 - headers + 2);
        let report = flow.gap(2 * MS).linger(300 * MS).send(&lab.a, &lab.b);
        let end = injector.stop();

        assert_eq!(
            (report.lost(), report.damaged()),
            (BTreeSet::new(), 0),
            "{family:?}"
        );
        assert_eq!(end.achieved().only().delayed, 2 * COUNT, "{family:?}");
        end.achieved().assert_clean();
        let delay = stats::quartile(report.delays().into_iter().map(|(_, delay)| delay));
        let expected = 20 * MS..20 * MS + clock::late_max();
        assert!(expected.contains(&delay), "{family:?}: {delay:?}");
    }
}

#[test]
fn jumbo_packets_are_delayed_whole() {
    const BYTES: u64 = 4 << 20;
    if !kernel::can_delay() {
        return;
    }
    let _alone = clock::alone();
    let lab = Lab::with_mtu(9000);
    let injector = Injector::start(&lab.a, "{name: far, seed: 1, rules: [{delay: 20ms}]}");
    let report = Flow::new(100)
        .len(8972)
        .gap(5 * MS)
        .linger(300 * MS)
        .send(&lab.a, &lab.b);
    let stream = Transfer::new(BYTES).send(&lab.a, &lab.b);
    injector.stop().achieved().assert_clean();

    assert_eq!((report.lost(), report.damaged()), (BTreeSet::new(), 0));
    let delay = stats::quartile(report.delays().into_iter().map(|(_, delay)| delay));
    let expected = 20 * MS..20 * MS + clock::late_max();
    assert!(expected.contains(&delay), "{delay:?}");
    stream.assert_intact(BYTES);
}

#[test]
fn what_is_held_at_the_end_is_still_delivered() {
    const COUNT: u64 = 200;
    if !kernel::can_delay() {
        return;
    }
    let _alone = clock::alone();
    let lab = Lab::new();
    let injector = Injector::start(&lab.a, "{name: far, seed: 1, rules: [{delay: 700ms}]}");
    let flow = Flow::new(COUNT).gap(MS).linger(1500 * MS);
    let (report, end) = std::thread::scope(|scope| {
        let report = scope.spawn(|| flow.send(&lab.a, &lab.b));
        std::thread::sleep(400 * MS);
        let end = injector.stop();
        (report.join().expect("the flow"), end)
    });

    assert_eq!(
        (report.lost(), report.duplicated()),
        (BTreeSet::new(), BTreeSet::new())
    );
    end.achieved().assert_clean();
}

#[test]
fn arriving_packets_are_delayed_as_foretold() {
    const COUNT: u64 = 400;
    if !kernel::can_delay() {
        return;
    }
    let _alone = clock::alone();
    let profile = "
name: late
seed: 19
rules: [{direction: ingress, match: {protocol: udp}, delay: {time: 30ms, jitter: 10ms}}]";
    let (gap, linger) = (Duration::from_millis(2), Duration::from_millis(400));
    let lab = Lab::new();
    let injector = Injector::start(&lab.b, profile);
    let report = Flow::new(COUNT)
        .gap(gap)
        .linger(linger)
        .send(&lab.a, &lab.b);
    injector.stop().achieved().assert_clean();

    assert_eq!((report.lost(), report.damaged()), (BTreeSet::new(), 0));
    Oracle::new(profile).assert_delays(&report);
}

#[test]
fn arriving_echoes_and_streams_are_delayed() {
    const BYTES: u64 = 2 << 20;
    if !kernel::can_delay() {
        return;
    }
    let _alone = clock::alone();
    let profile = "{name: late, seed: 1, rules: [{direction: ingress, delay: 30ms}]}";
    let lab = Lab::new();
    let injector = Injector::start(&lab.b, profile);
    for family in Family::ALL {
        let (gap, linger) = (Duration::from_millis(5), Duration::from_millis(400));
        let echoes = Echoes::new(60).family(family).gap(gap).linger(linger);
        let report = echoes.send(&lab.a, &lab.b);
        assert_eq!(report.replies.len(), 60, "{family:?}");
        let time = report.quartile();
        let expected = 30 * MS..30 * MS + 2 * clock::late_max();
        assert!(expected.contains(&time), "{family:?}: {time:?}");
        Transfer::new(BYTES)
            .family(family)
            .send(&lab.a, &lab.b)
            .assert_intact(BYTES);
    }
    injector.stop().achieved().assert_clean();
}

#[test]
fn a_copy_takes_a_delay_of_its_own() {
    const COUNT: u64 = 500;
    if !kernel::can_delay() {
        return;
    }
    let _alone = clock::alone();
    let profile = "
name: late-copies
seed: 12
rules: [{match: {protocol: udp}, duplicate: 50%, delay: {time: 40ms, jitter: 20ms}}]";
    let lab = Lab::new();
    let injector = Injector::start(&lab.a, profile);
    let flow = Flow::new(COUNT)
        .gap(Duration::from_millis(4))
        .linger(Duration::from_millis(400));
    let report = flow.send(&lab.a, &lab.b);
    let end = injector.stop();

    let oracle = Oracle::new(profile);
    assert_eq!(report.lost(), BTreeSet::new());
    assert_eq!(report.duplicated(), oracle.duplicated(COUNT));
    let mut errors = Vec::new();
    let mut fates = oracle.fates();
    for number in 0..COUNT {
        let Fate::Deliver {
            copies, delay_ns, ..
        } = fates.fate(number)
        else {
            panic!("nothing is dropped");
        };
        let of_copies = (0..copies.into()).map(|copy| fates.copy_delay_ns(number, copy));
        let mut expected: Vec<u64> = of_copies.chain([delay_ns]).collect();
        expected.sort_unstable();
        let delays = report.delays();
        let actual = delays
            .iter()
            .filter(|(n, _)| *n == number)
            .map(|(_, delay)| *delay);
        for (actual, expected) in actual.zip(expected) {
            let expected = Duration::from_nanos(expected);
            assert!(
                actual >= expected,
                "{number} came after {actual:?}, before {expected:?}"
            );
            errors.push(actual - expected);
        }
    }
    let error = stats::quartile(errors);
    assert!(error < clock::late_max(), "copies are {error:?} late");
    end.achieved().assert_clean();
}

/// The one example of a scenario that delays is played here too, because the machines that play the others may have no
/// fq; guests have what it requires.
#[test]
fn a_page_takes_as_long_as_the_network() {
    // Kernels do not differ in it: one guest will do.
    if !kernel::can_delay() || kernel::is_guest() && !kernel::has_tcx() {
        return;
    }
    let directory = Directory::new("http-latency");
    let file = directory.file("http-latency.yaml");
    let example = include_str!("../../scenarios/http-latency.yaml");
    fs::write(&file, example).expect("write the scenario");
    let mut scenario = injector::command();
    let output = scenario.arg("scenario").arg(file).output();
    let output = output.expect("run injector");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("http-latency: passed"), "{said}");
}
