//! Where chance in a test begins.

use std::time::UNIX_EPOCH;

/// `TEST_SEED`, or a seed that is new each time; printed in any case.
pub fn seed() -> u64 {
    let given = std::env::var("TEST_SEED").ok();
    let seed = given.and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| {
        let now = UNIX_EPOCH.elapsed().expect("a time after 1970");
        now.as_nanos() as u64
    });
    eprintln!("TEST_SEED={seed}");
    seed
}
