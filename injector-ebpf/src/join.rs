//! On the second pair's far end: what crossed whole joins what was split.

use crate::{
    put_back, record,
    skb::{SHOT, Skb},
};

/// Sends the packet on to where packets are held, or back if it has nothing to wait for.
#[inline(always)]
pub fn run(skb: Skb) -> i32 {
    let Some(context) = record::context(skb) else {
        return SHOT;
    };
    put_back::onward(skb, context)
}
