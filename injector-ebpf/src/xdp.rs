//! Device ingress before socket buffers: rules that only drop.

use aya_ebpf::{
    bindings::xdp_action::{XDP_DROP, XDP_PASS},
    programs::XdpContext,
};
use injector_common::{
    abi::{FaultSpec, Hit, INGRESS, fault, faults},
    random::LANES,
};

use crate::{
    classify,
    foresee::{self, AT_FIRST, Rule},
    fragments,
    frame::Frame,
    globals,
    maps::FAULTS,
    record::{self, Lease},
    trace,
};

/// Drops or passes. What is no rule's, or not only a drop's, is left to the tc hook, which counts
/// it.
#[inline(always)]
pub fn run(ctx: &XdpContext) -> u32 {
    match is_dropped(ctx) {
        Some(true) => XDP_DROP,
        _ => XDP_PASS,
    }
}

#[inline(always)]
fn is_dropped(ctx: &XdpContext) -> Option<bool> {
    classify::read_key(&frame(ctx), false, |_, _| {}).ok()?;
    let table = classify::table(INGRESS);
    fragments::follow(table);
    let slot = classify::find_rule(table)?;
    // There is none for what is protected.
    let spec = FAULTS.get(slot)?;
    let frame_len = frame(ctx).len();
    if !globals::xdp_decides(spec, frame_len as u32) || record::lease() != Lease::Valid {
        return None;
    }
    let (dropped, n) = if spec.drops_all() {
        (true, u64::MAX)
    } else {
        decide(slot, spec)?
    };
    record::rule(slot, |counters| {
        counters.matched += 1;
        counters.bytes += frame_len as u64;
        counters.size.add(frame_len as u64, 1);
        counters.dropped += u64::from(dropped);
    });
    if dropped {
        let hit = Hit {
            n,
            slot,
            faults: faults::DROP,
            packets: 1,
            ..Hit::default()
        };
        trace::frame(ctx.ctx, hit);
    }
    Some(dropped)
}

/// Whether the rule's next packet is dropped, and its index.
#[inline(always)]
fn decide(slot: u32, spec: &FaultSpec) -> Option<(bool, u64)> {
    let rule = Rule::new(slot, spec);
    let taken = record::take(slot, 1)?;
    let is_found = rule.seek(taken.first);
    record::keep(slot, taken, AT_FIRST);
    if !is_found {
        return None;
    }
    let block = foresee::scratch(AT_FIRST)?;
    // SAFETY: as `scratch` says.
    let is_hit = unsafe { &*block }.is_hit(fault::DROP, taken.first % LANES);
    if is_hit {
        record::hit(slot, taken.first, 1);
    }
    Some((is_hit, taken.first))
}

#[inline(always)]
fn frame(ctx: &XdpContext) -> Frame {
    Frame::new(ctx.data(), ctx.data_end())
}
