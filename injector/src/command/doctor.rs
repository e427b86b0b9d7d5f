//! `injector doctor`
use super::Outcome;
use crate::cli::{Doctor, Global};
pub(super) fn doctor(_args: &Doctor, _global: &Global) -> Outcome {
    todo!()
}
