//! Packets that bear a stamp of another clock than fq's.

use std::time::Duration;

use injector_tests::{Injector, Lab, kernel, udp::Flow};

/// fq drops what is stamped further ahead than its horizon, as the wall clock is by half a century.
#[test]
fn stamps_of_the_wall_clock_are_taken_off_and_counted() {
    const COUNT: u64 = 100;
    let fault = if kernel::can_delay() {
        "delay: 20ms"
    } else {
        "duplicate: 100%"
    };
    let profile =
        format!("{{name: stamped, seed: 1, rules: [{{match: {{dst_port: 5000}}, {fault}}}]}}");
    let lab = Lab::new();
    let run = Injector::start(&lab.a, &profile);
    let flow = Flow::new(COUNT).linger(Duration::from_secs(1));
    for (flow, expected) in [(flow.clone(), 0), (flow.stamped(), COUNT)] {
        let report = flow.send(&lab.a, &lab.b);
        assert_eq!(report.errors, Vec::<String>::new());
        assert_eq!((report.lost().len(), report.damaged()), (0, 0));
        if kernel::can_delay() {
            let delays = report.delays();
            let least = delays.into_iter().map(|(_, delay)| delay).min();
            assert!(least >= Some(Duration::from_millis(20)), "{least:?}");
        }
        assert_eq!(run.counters().path.unstamped, expected);
    }
    run.stop().achieved().assert_clean();
}

#[test]
fn what_no_rule_touches_keeps_its_stamp() {
    let profile = "{name: elsewhere, seed: 1, rules: [{match: {dst_port: 5001}, drop: 100%}]}";
    let lab = Lab::new();
    let run = Injector::start(&lab.a, profile);
    let report = Flow::new(100).stamped().send(&lab.a, &lab.b);
    report.assert_untouched();
    assert_eq!(run.stop().achieved().path.unstamped, 0);
}
