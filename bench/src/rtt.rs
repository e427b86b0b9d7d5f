//! Table: round trips.

use injector_tests::Lab;

use crate::{
    condition::{
        self,
        Condition::{Bare, Injector, Netem},
        Rows,
    },
    contest::Contest,
    echo,
    record::Unit,
    stream::Route,
};

const ROWS: &Rows = &[
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
    let route = Route::direct(&lab, 5002);
    condition::compare(contest, Unit::Microseconds, &lab.a, ROWS, || {
        echo::median_us(&route, contest.effort.length)
    });
}
