//! On the second pair's far end: what crossed whole joins what was split.

use injector_common::abi::Context;

use crate::{
    globals, put_back, record,
    skb::{SHOT, Skb},
};

/// Sends the packet on to where packets are held, or back if it has nothing to wait for.
#[inline(always)]
pub fn run(skb: Skb) -> i32 {
    let Some(context) = Context::from_word(skb.cb::<4>()) else {
        record::path(|counters| counters.stray += 1);
        return SHOT;
    };
    if context.held() {
        skb.to_egress(globals::far_ifindex())
    } else {
        put_back::to_device(skb, context)
    }
}
