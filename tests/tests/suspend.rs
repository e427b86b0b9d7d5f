//! The machine is suspended to memory. Alone in its executable, which it takes along.

use std::fs;

use injector_tests::{Injector, Lab, kernel, udp::Flow};

/// The emulated machine's clock wakes it.
fn suspend(seconds: u32) {
    fs::write("/sys/class/rtc/rtc0/wakealarm", format!("+{seconds}")).expect("set the alarm");
    fs::write("/sys/power/state", "mem").expect("suspend");
}

/// Of a few datagrams, how many are lost.
fn lost(lab: &Lab) -> usize {
    Flow::new(20).send(&lab.a, &lab.b).lost().len()
}

#[test]
fn time_goes_on_while_the_machine_is_suspended() {
    const LOSE: &str = "
name: short
seed: 1
rules: [{match: {protocol: udp}, drop: 100%}]";
    const PHASES: &str = "
name: phases
seed: 1
phases:
  - {name: lose, for: 8s, rules: [{match: {protocol: udp}, drop: 100%}]}
  - {name: pass, for: 2s, rules: [{match: {protocol: tcp}, drop: 100%}]}
  - {name: mark, for: 1h, rules: [{match: {protocol: udp}, drop: 50%}]}";
    if !kernel::is_guest() {
        return;
    }
    let [short, long, phased] = [Lab::new(), Lab::new(), Lab::new()];
    let over = Injector::start_with(&short.a, LOSE, &["--for", "10s"]);
    let _staying = Injector::start_with(&long.a, LOSE, &["--for", "1h"]);
    let changing = Injector::start(&phased.a, PHASES);
    assert_eq!(changing.phase().phase, "lose");
    for lab in [&short, &long, &phased] {
        assert_eq!(lost(lab), 20);
    }
    suspend(12);
    // Its process may not have run yet.
    assert_eq!(lost(&short), 0, "faults that were to be over");
    let end = over.wait();
    assert_eq!(end.code(), 0, "{end:?}");
    let next = changing.phase();
    assert_eq!(next.phase, "mark", "a phase was played that had passed");
    assert!((1..20).contains(&lost(&phased)), "the last phase");
    assert_eq!(lost(&long), 20, "faults that were to stay");
    assert_eq!(changing.stop().code(), 0);
}
