//! On the pair's far end, on the way out: what is to wait gets the departure time that fq obeys,
//! everything else returns to the device at once.

use injector_common::abi::features;

use crate::{
    decide::{self, Checksums},
    globals, put_back, record,
    skb::{OK, SHOT, Skb},
};

/// Decides the packet's fate, where that has not been done, and holds it or puts it back.
#[inline(always)]
pub fn run(skb: Skb) -> i32 {
    let Some(mut context) = record::context(skb) else {
        return SHOT;
    };
    if globals::uses(features::SPLIT) && context.is_undecided() {
        let Some(decided) = decide::carry_out(skb, context, Checksums::Unfilled) else {
            return skb.consume();
        };
        context = decided;
    }
    if !context.held() {
        return put_back::to_device(skb, context);
    }
    // fq sends packets of priority 7 (TC_PRIO_CONTROL) at once; the true priority is in cb[3].
    skb.set_priority(0);
    skb.set_tstamp(skb.carried_ns());
    OK
}
