//! Table: one TCP stream.

use injector_tests::Lab;

use crate::{
    condition::{
        self,
        Condition::{Bare, Injector, Netem, NetemOnSingleSegments, SingleSegments},
        Rows,
    },
    contest::Contest,
    record::Unit,
    stream::{self, Route},
};

/// A lossy stream is throttled by congestion control, alike wherever single wire packets are lost;
/// one that loses whole super-packets is throttled otherwise. `gso_max_segs 1` therefore stands
/// first where losses are exact, even without any of its own.
const ROWS: &Rows = &[
    (
        "unmatched",
        &[Bare, Injector("--drop 1% --to 192.0.2.1:9/udp")],
    ),
    (
        "exact, but no packet is hit",
        &[SingleSegments, Bare, Injector("--corrupt 0.0000001%")],
    ),
    (
        "loss 0.1 %",
        &[
            SingleSegments,
            Netem("loss 0.1%"),
            NetemOnSingleSegments("loss 0.1%"),
            Injector("--drop 0.1%"),
        ],
    ),
    (
        "loss 1 %",
        &[
            SingleSegments,
            Netem("loss 1%"),
            NetemOnSingleSegments("loss 1%"),
            Injector("--drop 1%"),
        ],
    ),
    (
        "corrupt 0.1 %",
        &[
            SingleSegments,
            Netem("corrupt 0.1%"),
            NetemOnSingleSegments("corrupt 0.1%"),
            Injector("--corrupt 0.1%"),
        ],
    ),
    (
        "duplicate 1 %",
        &[
            SingleSegments,
            Netem("duplicate 1%"),
            NetemOnSingleSegments("duplicate 1%"),
            Injector("--duplicate 1%"),
        ],
    ),
    (
        "delay 10 µs",
        &[Bare, Netem("delay 10us"), Injector("--delay 10us")],
    ),
    (
        "delay 50 ms",
        &[Netem("delay 50ms"), Injector("--delay 50ms")],
    ),
    (
        "delay 50 ms, exact",
        &[
            NetemOnSingleSegments("delay 50ms"),
            Injector("--delay 50ms --corrupt 0.0000001%"),
        ],
    ),
    (
        "delay 50 ms, loss 1 %",
        &[
            NetemOnSingleSegments("delay 50ms loss 1%"),
            Netem("delay 50ms loss 1%"),
            Injector("--delay 50ms --drop 1%"),
        ],
    ),
];

/// Measures them.
pub fn measure(contest: &Contest) {
    let lab = Lab::new();
    let route = Route::direct(&lab, 5001);
    condition::compare(contest, Unit::GbitPerSecond, &lab.a, ROWS, || {
        stream::goodput(&route, contest.effort.length)
    });
}
