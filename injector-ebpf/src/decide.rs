//! On the pair's far end: the fate of one wire packet.
//!
//! Packets come here by two ways. Those that the splitter sends come by the far end's egress, while
//! the program that lifted the super-packet still waits: nothing can overtake them. Those that
//! crossed the pair come by its ingress, through the queue of a processor; that is the way where
//! checksums are filled in, so that corruption shows.

use injector_common::{
    abi::{Context, FaultSpec, features, flags},
    corrupt::{self, Flip},
    fate::{self, Fate},
    wire::{self, PacketKey},
};

use crate::{
    globals,
    maps::FAULTS,
    put_back, record,
    skb::{SHOT, Skb},
};

/// Whether a packet's checksums are there, or left to a NIC to fill in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Checksums {
    Filled,
    Unfilled,
}

/// What has crossed the pair is decided, where that has not been done, and goes on to where packets
/// are held, or back to the device.
#[inline(always)]
pub fn run(skb: Skb) -> i32 {
    let Some(mut context) = record::context(skb) else {
        return SHOT;
    };
    record::arrived(context.rule(), 1);
    if context.is_undecided() {
        if !is_delivered(skb, context, Checksums::Filled) {
            return SHOT;
        }
        context = context.decided();
    }
    if context.held() {
        skb.to_egress(globals::far_ifindex())
    } else {
        put_back::to_device(skb, context)
    }
}

/// Decides, carries the decision out, and says whether anything of the packet is left.
#[inline(always)]
pub fn is_delivered(skb: Skb, context: Context, checksums: Checksums) -> bool {
    let slot = context.rule().slot();
    let Some(spec) = FAULTS.get(slot) else {
        return false;
    };
    let Some(split) = record::arrive(skb.cb::<3>()) else {
        return false;
    };
    let context = context.decided();
    skb.set_cb::<3>(split.priority);
    skb.set_cb::<4>(context.word());
    let Fate::Deliver {
        corrupt,
        duplicate_delay_ns,
        ..
    } = fate::decide(spec, split.first + u64::from(split.arrived))
    else {
        record::rule(slot, |counters| counters.dropped += 1);
        record::leave(context.rule(), 1);
        return false;
    };
    if checksums == Checksums::Filled
        && globals::uses(features::CORRUPT)
        && let Some(draw) = corrupt
        && flip(skb, spec, draw)
    {
        record::rule(slot, |counters| counters.corrupted += 1);
    }
    if spec.delays() {
        record::rule(slot, |counters| counters.delayed += 1);
    }
    if globals::uses(features::DUPLICATE)
        && let Some(delay_ns) = duplicate_delay_ns
    {
        let undelayed_ns = split.departure_ns - fate::delay_ns(spec, split.first);
        copy(skb, context, undelayed_ns + delay_ns);
    }
    skb.carry_ns(split.departure_ns);
    true
}

/// Sends a duplicate on its way.
#[inline(always)]
fn copy(skb: Skb, context: Context, departure_ns: u64) {
    let slot = context.rule().slot();
    record::enter(slot, 1);
    let sent = if context.held() {
        record::hold(slot, departure_ns);
        skb.carry_ns(departure_ns);
        skb.clone_to(globals::far_ifindex())
    } else {
        put_back::copy_to_device(skb, context)
    };
    if sent.is_ok() {
        record::rule(slot, |counters| counters.duplicated += 1);
    } else {
        record::leave(context.rule(), 1);
    }
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
    if !globals::uses(features::CHECKSUM_VALID) || spec.flags & flags::CHECKSUM_VALID == 0 {
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
