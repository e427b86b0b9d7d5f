//! `injector demo`
use super::Outcome;
use crate::cli::{Demo, Global};
pub(super) fn demo(_args: &Demo, _global: &Global) -> Outcome {
    todo!()
}
