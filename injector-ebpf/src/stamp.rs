//! On the pair's far end, behind the decision: the departure time that fq obeys.

use crate::{
    globals, record,
    skb::{OK, SHOT, Skb},
};

/// Writes the carried departure time.
#[inline(always)]
pub fn run(skb: Skb) -> i32 {
    if record::context(skb).is_none() {
        return SHOT;
    }
    // fq sends packets of priority 7 (TC_PRIO_CONTROL) at once; the true priority is in cb[3].
    skb.set_priority(0);
    if globals::has_fq() {
        skb.set_tstamp(skb.carried_ns());
    }
    OK
}
