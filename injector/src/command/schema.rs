//! `injector schema`

use super::{Outcome, print};

/// A test compares it with the types that read a profile.
const SCHEMA: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../docs/profile.schema.json"
));

pub(super) fn schema() -> Outcome {
    print(SCHEMA)
}
