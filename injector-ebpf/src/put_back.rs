//! On the pair's near end: back to where the packet was lifted.

use injector_common::abi::{Context, RETURN_MAGIC};

use crate::{
    globals, record,
    skb::{SHOT, Skb},
};

/// Redirects the packet to the device, marked so that it is not lifted again.
#[inline(always)]
pub fn run(skb: Skb) -> i32 {
    let Some(context) = Context::from_word(skb.cb::<4>()) else {
        record::path(|counters| counters.stray += 1);
        return SHOT;
    };
    record::path(|counters| counters.returned += 1);
    let priority = skb.cb::<3>();
    // On egress the priority survives the redirect, also when our program on the device is gone;
    // on ingress only that program can restore it.
    skb.set_priority(priority);
    skb.set_tstamp(0);
    skb.set_cb::<1>(priority);
    skb.set_cb::<2>(globals::dev_ifindex());
    skb.set_cb::<3>(RETURN_MAGIC[0]);
    skb.set_cb::<4>(RETURN_MAGIC[1]);
    // The crossing took the destination address for another host's.
    skb.set_for_host();
    if context.ingress() {
        skb.to_ingress(globals::dev_ifindex())
    } else {
        skb.to_egress(globals::dev_ifindex())
    }
}
