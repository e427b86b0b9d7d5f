//! Table: round trips.

use injector_tests::{Family, Lab};

use crate::{
    condition::Condition::{self, Bare, Injector, Netem},
    contest::{Contest, Contestant, Measured},
    echo,
    record::Unit,
    stream::Route,
};

const ROWS: [(&str, &[Condition]); 3] = [
    (
        "unmatched",
        &[Bare, Injector("--drop 1% --to 192.0.2.1:9/udp")],
    ),
    (
        "exact, but no packet is hit",
        &[
            Bare,
            Netem("loss 0.0000001%"),
            Injector("--drop 0.0000001%"),
        ],
    ),
    ("delay 1 ms", &[Netem("delay 1ms"), Injector("--delay 1ms")]),
];

/// Measures them. The faults are on the way there only.
pub fn measure(contest: &Contest) {
    let lab = Lab::new();
    for (name, conditions) in ROWS {
        let contestants = conditions.iter().map(|condition| {
            Contestant::new(condition.name(), || round_trip(&lab, *condition, contest))
        });
        contest.row(name, Unit::Microseconds, contestants.collect());
    }
}

fn round_trip(lab: &Lab, condition: Condition, contest: &Contest) -> Measured {
    let _applied = condition.apply(&lab.a)?;
    let address = lab.b.at(Family::V4, 5002);
    let route = Route {
        client: &lab.a,
        connect: address,
        server: &lab.b,
        listen: address,
    };
    echo::median_us(&route, contest.effort.length)
}
