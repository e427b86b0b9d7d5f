//! Device ingress before socket buffers: rules that only drop.

use aya_ebpf::{
    bindings::xdp_action::{XDP_DROP, XDP_PASS},
    programs::XdpContext,
};
use injector_common::{
    abi::INGRESS,
    fate::{self, Fate},
};

use crate::{classify, frame::Frame, globals, maps::FAULTS, record};

/// Drops or passes. What is no rule's, or not only a drop's, is left to the tc hook, which counts
/// it.
#[inline(always)]
pub fn run(ctx: &XdpContext) -> u32 {
    match decide(ctx) {
        Some(Fate::Drop) => XDP_DROP,
        _ => XDP_PASS,
    }
}

#[inline(always)]
fn decide(ctx: &XdpContext) -> Option<Fate> {
    let slot = classify::find_rule(&frame(ctx), false, INGRESS).ok()??;
    let spec = FAULTS.get(slot)?;
    let frame_len = frame(ctx).len();
    if !globals::xdp_decides(spec, frame_len as u32) || record::lapsed() || record::draining() {
        return None;
    }
    let fate = if spec.drops_all() {
        Fate::Drop
    } else {
        fate::decide(spec, record::advance(slot, 1)?)
    };
    record::rule(slot, |counters| {
        counters.matched += 1;
        counters.bytes += frame_len as u64;
        counters.dropped += u64::from(matches!(fate, Fate::Drop));
    });
    Some(fate)
}

#[inline(always)]
fn frame(ctx: &XdpContext) -> Frame {
    Frame::new(ctx.data(), ctx.data_end())
}
