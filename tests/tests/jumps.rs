//! The wall clock jumps: nothing of a run depends on it. Alone in its executable, because others look at that clock.

use std::{
    thread,
    time::{Duration, Instant},
};

use injector_tests::{Injector, Lab, kernel, udp::Flow};
use nix::{
    sys::time::{TimeSpec, TimeValLike as _},
    time::{ClockId, clock_gettime, clock_settime},
};

const YEAR: i64 = 365 * 24 * 3600;
/// How long each phase takes.
const PHASE: Duration = Duration::from_secs(2);

fn jump(seconds: i64) {
    let clock = ClockId::CLOCK_REALTIME;
    let now = clock_gettime(clock).expect("read the clock");
    clock_settime(clock, now + TimeSpec::seconds(seconds)).expect("set the clock");
}

/// Only where the clock is our own.
#[test]
fn a_clock_that_jumps_changes_nothing() {
    const DELAY: Duration = Duration::from_millis(40);
    const PROFILE: &str = "
name: jumping
seed: 1
phases:
  - {name: late, for: 2s, rules: [{match: {protocol: udp}, delay: 40ms}]}
  - {name: later, for: 2s, rules: [{match: {protocol: udp}, delay: 50ms}]}
  - {name: last, for: 2s, rules: [{match: {protocol: udp}, delay: 60ms}]}";
    if !kernel::is_guest() {
        return;
    }
    let lab = Lab::new();
    let run = Injector::start(&lab.a, PROFILE);
    assert_eq!(run.phase().phase, "late");
    let begun = Instant::now();
    for (seconds, next) in [(YEAR, "later"), (-2 * YEAR, "last")] {
        let flow = Flow::new(40).linger(Duration::from_millis(500));
        let report = thread::scope(|scope| {
            let report = scope.spawn(|| flow.send(&lab.a, &lab.b));
            jump(seconds);
            report.join().expect("the flow")
        });
        assert!(report.lost().is_empty(), "{next}");
        assert!(
            report.delays().iter().all(|(_, delay)| *delay >= DELAY),
            "{next}"
        );
        assert_eq!(run.phase().phase, next);
    }
    assert!(
        begun.elapsed() >= 2 * PHASE - Duration::from_millis(100),
        "a phase was cut short"
    );
    let end = run.wait();
    jump(YEAR);
    assert!(
        begun.elapsed() >= 3 * PHASE - Duration::from_millis(100),
        "the end came early"
    );
    end.achieved().assert_clean();
}
