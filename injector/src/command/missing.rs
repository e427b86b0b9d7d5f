//! What this kernel lacks, and faults may go without.

use super::guard::Guard;
use crate::{cli::Attach, datapath::probe, error::Failure, plan::Plan, profile::Profile};

/// Works a profile out, without what this kernel lacks if that is allowed.
pub(super) fn work_out(
    profile: Profile,
    seed: Option<u64>,
    guard: &Guard,
    attach: &Attach,
) -> Result<Vec<Plan>, Failure> {
    let (profile, left_out) = if attach.allow_missing.is_none() || probe::has_fq()? {
        (profile, Vec::new())
    } else {
        profile.without_holding()
    };
    let profile = guard.place().share_of(profile);
    let plans = guard.work_out(&profile, seed)?.into_iter();
    let plans = plans.map(|plan| Plan {
        left_out: left_out.clone(),
        ..plan
    });
    Ok(plans.collect())
}
