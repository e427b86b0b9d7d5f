//! On the pair's far end: the fate of one wire packet.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use injector_common::{
    abi::{Context, FaultSpec, features, flags},
    corrupt::{self, Flip},
    fate::{self, Fate},
    wire::{self, PacketKey},
};

use crate::{
    globals,
    maps::FAULTS,
    record,
    skb::{SHOT, Skb},
};

/// Decides, and carries the decision out.
#[inline(always)]
pub fn run(skb: Skb) -> i32 {
    let Some(context) = Context::from_word(skb.cb::<4>()) else {
        record::path(|counters| counters.stray += 1);
        return SHOT;
    };
    let slot = context.slot();
    let Some(spec) = FAULTS.get(slot) else {
        return SHOT;
    };
    let Some(n) = record::advance(slot, 1) else {
        return SHOT;
    };
    let bytes = u64::from(skb.len());
    let fate = fate::decide(spec, n);
    record::rule(slot, |counters| {
        counters.matched += 1;
        counters.bytes += bytes;
        counters.dropped += u64::from(matches!(fate, Fate::Drop));
    });
    let Fate::Deliver {
        corrupt,
        duplicate_delay_ns,
        delay_ns,
    } = fate
    else {
        return SHOT;
    };
    if let Some(draw) = corrupt
        && flip(skb, spec, draw)
    {
        record::rule(slot, |counters| counters.corrupted += 1);
    }
    // SAFETY: the helper only reads the clock.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    let planned_ns = skb.carried_ns();
    if let Some(delay_ns) = duplicate_delay_ns {
        skb.carry_ns(fate::departure_ns(now_ns, planned_ns, delay_ns));
        if skb.clone_to(globals::far_ifindex()).is_ok() {
            record::rule(slot, |counters| counters.duplicated += 1);
        }
    }
    skb.carry_ns(fate::departure_ns(now_ns, planned_ns, delay_ns));
    if spec.delays() {
        record::rule(slot, |counters| counters.delayed += 1);
    }
    skb.to_egress(globals::far_ifindex())
}

/// Flips one bit. The near end has filled in the checksum, as a NIC would have, so that it no
/// longer fits, unless the rule wants one that does.
#[inline(always)]
fn flip(skb: Skb, spec: &FaultSpec, draw: u64) -> bool {
    let frame = skb.headers();
    // The pair carries Ethernet, whatever the device does.
    let mut key = PacketKey::default();
    let Ok(layout) = wire::parse(&frame, false, features::ALL, &mut key) else {
        return false;
    };
    let Some(flip) = corrupt::choose(&frame, &layout, skb.len() as usize, draw) else {
        return false;
    };
    if spec.flags & flags::CHECKSUM_VALID == 0 {
        return flip_byte(skb, &flip, true).is_some();
    }
    let Some(checksum) = flip.checksum else {
        return flip_byte(skb, &flip, true).is_some();
    };
    let Some(from) = load_word(skb, checksum.word, checksum.padded) else {
        return false;
    };
    if flip_byte(skb, &flip, false).is_none() {
        return false;
    }
    let Some(to) = load_word(skb, checksum.word, checksum.padded) else {
        return false;
    };
    skb.fix_checksum(checksum.offset, from, to, checksum.optional);
    true
}

#[inline(always)]
fn flip_byte(skb: Skb, flip: &Flip, wire_like: bool) -> Option<()> {
    let byte = skb.load_byte(flip.offset)?;
    skb.store_byte(flip.offset, byte ^ flip.mask, wire_like)
        .ok()
}

/// A 16-bit word in the byte order of the wire, as checksums see it.
#[inline(always)]
fn load_word(skb: Skb, offset: usize, padded: bool) -> Option<u16> {
    let low = skb.load_byte(offset)?;
    let high = if padded {
        0
    } else {
        skb.load_byte(offset + 1)?
    };
    Some(u16::from_ne_bytes([low, high]))
}
