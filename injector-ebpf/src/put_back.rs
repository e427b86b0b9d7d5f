//! Back to where the packet was lifted.

use injector_common::abi::{Context, RETURN_MAGIC};

use crate::{
    globals, record,
    skb::{NotSent, SHOT, Skb},
};

/// On the near end: what fq has let go returns to the device.
#[inline(always)]
pub fn run(skb: Skb) -> i32 {
    let Some(context) = record::context(skb) else {
        return SHOT;
    };
    to_device(skb, context)
}

/// Redirects the packet to the device.
#[inline(always)]
pub fn to_device(skb: Skb, context: Context) -> i32 {
    mark(skb, context);
    if context.ingress() {
        skb.to_ingress(globals::dev_ifindex())
    } else {
        skb.to_egress(globals::dev_ifindex())
    }
}

/// Sends a copy of the packet to the device.
#[inline(always)]
pub fn copy_to_device(skb: Skb, context: Context) -> Result<(), NotSent> {
    mark(skb, context);
    let copied = if context.ingress() {
        skb.clone_to_ingress(globals::dev_ifindex())
    } else {
        skb.clone_to(globals::dev_ifindex())
    };
    // For whoever marks the packet itself.
    skb.set_cb::<3>(skb.cb::<1>());
    copied
}

/// Lets our program on the device know the packet, so that it is not lifted again.
#[inline(always)]
fn mark(skb: Skb, context: Context) {
    let priority = skb.cb::<3>();
    // On egress the priority survives the redirect, also when our program on the device is gone;
    // on ingress only that program can restore it.
    skb.set_priority(priority);
    skb.set_tstamp(0);
    skb.set_cb::<0>(context.rule().word());
    skb.set_cb::<1>(priority);
    skb.set_cb::<2>(globals::dev_ifindex());
    skb.set_cb::<3>(RETURN_MAGIC[0]);
    skb.set_cb::<4>(RETURN_MAGIC[1]);
    // The crossing took the destination address for another host's.
    skb.set_for_host();
}
