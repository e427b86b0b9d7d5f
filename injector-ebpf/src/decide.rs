//! On the pair's far end: the fate of one wire packet.
//!
//! Packets come here by two ways. Those that the splitter sends come by the far end's egress, while
//! the program that lifted the super-packet still waits: nothing can overtake them. Those that
//! crossed the pair come by its ingress, through the queue of a processor; that is the way where
//! checksums are filled in, so that corruption shows.

use aya_ebpf::bindings::__sk_buff;
use injector_common::{
    abi::{Context, FaultSpec, Hit, Split, fault, faults, features, flags},
    corrupt::{self, Flip, Target},
    fate::COPIES_MAX,
    random::LANES,
    wire::{self, PacketKey},
};

use crate::{
    foresee::Rule,
    globals,
    maps::FAULTS,
    put_back, record,
    skb::{SHOT, Skb},
    trace,
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
    record::crossed(context.rule(), 1);
    if context.is_undecided() {
        let Some(decided) = carry_out(skb, context, Checksums::Filled) else {
            return SHOT;
        };
        context = decided;
    }
    if context.held() {
        skb.to_egress(globals::far_ifindex())
    } else {
        put_back::to_device(skb, context)
    }
}

/// A segment, when its super-packet has been split.
struct Segment<'a> {
    skb: Skb,
    rule: Rule<'a>,
    context: Context,
    /// What it has in common with the others.
    split: &'a mut Split,
    /// Its index among the packets of the rule.
    n: u64,
    /// What has happened to it.
    hit: Hit,
}

/// Carries out what happens to a segment, and says how what is left of it goes on.
#[inline(always)]
pub fn carry_out(skb: Skb, context: Context, checksums: Checksums) -> Option<Context> {
    let slot = context.rule().slot();
    let spec = FAULTS.get(slot)?;
    let split = record::split_at(skb.cb::<3>())?;
    let n = split.first + split.arrived;
    split.arrived += 1;
    let rule = Rule::new(slot, spec);
    if n / LANES >= split.block.end {
        rule.go_on(&mut split.block)?;
    }
    let hit = Hit {
        n,
        slot,
        packets: 1,
        ..Hit::default()
    };
    Segment {
        skb,
        rule,
        context,
        split,
        n,
        hit,
    }
    .carry_out(checksums)
}

impl Segment<'_> {
    #[inline(always)]
    fn carry_out(mut self, checksums: Checksums) -> Option<Context> {
        let (skb, slot, spec) = (self.skb, self.rule.slot, self.rule.spec);
        if self.split.block.is_touched(self.n % LANES) {
            record::hit(slot, self.n, 1);
        }
        if self.is_lost() {
            record::leave(self.context.rule(), 1);
            trace::packet(skb, self.hit);
            return None;
        }
        if checksums == Checksums::Filled
            && globals::uses(features::CORRUPT)
            && self.is_hit(fault::CORRUPT)
        {
            self.corrupt();
        }
        skb.set_cb::<3>(self.split.priority);
        let passed_ns = self.pass();
        if globals::uses(features::DUPLICATE) && self.is_hit(fault::DUPLICATE) {
            self.duplicate();
        }
        let delay_ns = if globals::uses(features::REORDER) && self.is_hit(fault::REORDER) {
            record::rule(slot, |counters| counters.reordered += 1);
            self.hit.faults |= faults::REORDER;
            0
        } else {
            if spec.delays() {
                record::rule(slot, |counters| counters.delayed += 1);
            }
            self.split.passage.delay_ns
        };
        let departure_ns = passed_ns + delay_ns;
        self.hit.delay_ns = departure_ns.saturating_sub(self.split.due_ns);
        if self.hit.delay_ns != 0 {
            self.hit.faults |= faults::DELAY;
        }
        if self.hit.faults != 0 {
            trace::packet(skb, self.hit);
        }
        Some(self.send_at(departure_ns))
    }

    #[inline(always)]
    fn corrupt(&mut self) {
        let (skb, slot) = (self.skb, self.rule.slot);
        self.hit.faults |= faults::CORRUPT;
        trace::before(skb, self.hit);
        let bit = corrupt_packet(skb.context(), slot, self.n);
        if bit == UNCHANGED {
            self.hit.faults &= !faults::CORRUPT;
            return;
        }
        self.hit.bit = bit;
        record::rule(slot, |counters| counters.corrupted += 1);
    }

    #[inline(always)]
    fn is_hit(&self, fault: usize) -> bool {
        self.split.block.is_hit(fault, self.n % LANES)
    }

    /// Whether the packet is dropped, by chance or because the queue is full; marked where that will do.
    #[inline(always)]
    fn is_lost(&mut self) -> bool {
        let passage = &self.split.passage;
        if globals::uses(features::DROP) && self.is_hit(fault::DROP) {
            if self.is_marked(flags::ECN) {
                return false;
            }
            record::rule(self.rule.slot, |counters| counters.dropped += 1);
            self.hit.faults |= faults::DROP;
            return true;
        }
        if globals::uses(features::PACE)
            && self.split.left >= passage.unmarked
            && (self.split.left >= passage.admitted || !self.is_marked(flags::QUEUE_ECN))
        {
            record::rule(self.rule.slot, |counters| counters.overlimit += 1);
            self.hit.faults |= faults::OVERLIMIT;
            return true;
        }
        false
    }

    /// Marks the packet where the rule does so in place of dropping, and says whether it is.
    #[inline(always)]
    fn is_marked(&mut self, flag: u32) -> bool {
        let is_marked = mark(self.skb, self.rule.slot, self.rule.spec, flag);
        if is_marked {
            self.hit.faults |= faults::MARK;
        }
        is_marked
    }

    /// Lets one more packet pass the bottleneck; returns when.
    #[inline(always)]
    fn pass(&mut self) -> u64 {
        let nth = self.split.left;
        self.split.left += 1;
        self.rule
            .passed_ns(&self.split.passage, self.split.due_ns, nth)
    }

    /// Sends copies on their way.
    #[inline(always)]
    fn duplicate(&mut self) {
        let (skb, slot) = (self.skb, self.rule.slot);
        let mut copy = 0;
        while copy < self.rule.spec.copies && copy < COPIES_MAX as u32 {
            if globals::uses(features::PACE) && self.split.left >= self.split.passage.admitted {
                record::rule(slot, |counters| counters.overlimit += 1);
                return;
            }
            let passed_ns = self.pass();
            let delay_ns = self.rule.copy_delay_ns(self.n, copy.into());
            let context = self.send_at(passed_ns + delay_ns);
            record::enter(context.rule(), 1);
            let sent = if context.held() {
                skb.clone_to(globals::far_ifindex())
            } else {
                put_back::copy_to_device(skb, context)
            };
            if sent.is_ok() {
                record::rule(slot, |counters| counters.duplicated += 1);
                self.hit.faults |= faults::DUPLICATE;
                self.hit.copies += 1;
            } else {
                record::leave(context.rule(), 1);
            }
            copy += 1;
        }
    }

    /// Lets the packet know when it departs.
    #[inline(always)]
    fn send_at(&self, departure_ns: u64) -> Context {
        let held = globals::has_fq() && departure_ns > self.split.now_ns;
        let Rule { slot, spec } = self.rule;
        if held {
            record::hold(slot, departure_ns);
        }
        if spec.delays() || spec.paces() {
            let delay_ns = departure_ns.saturating_sub(self.split.due_ns);
            record::rule(slot, |counters| counters.add_delay(delay_ns, 1));
        }
        self.skb.carry_ns(departure_ns);
        let context = self.context.decided(held);
        self.skb.set_cb::<4>(context.word());
        context
    }
}

/// Marks a packet "congestion experienced" where the rule does so in place of dropping, and says whether
/// it is.
#[inline(always)]
pub fn mark(skb: Skb, slot: u32, spec: &FaultSpec, flag: u32) -> bool {
    if !globals::uses(features::ECN) || spec.flags & flag == 0 || !skb.mark_ce() {
        return false;
    }
    record::rule(slot, |counters| counters.marked += 1);
    true
}

/// What [`corrupt_packet`] says where it flipped nothing.
const UNCHANGED: u32 = u32::MAX;

/// Flips bits of packet `n`; returns the first one's place. The near end has filled in the checksum, as a NIC would
/// have, so that it no longer fits, unless the rule wants one that does.
///
/// A global function, which the verifier checks once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn corrupt_packet(ctx: *mut __sk_buff, slot: u32, n: u64) -> u32 {
    let skb = Skb::from(ctx);
    let Some(spec) = FAULTS.get(slot) else {
        return UNCHANGED;
    };
    let frame = skb.headers();
    // The pair carries Ethernet, whatever the device does.
    let Ok(layout) = wire::parse(&frame, false, features::LAYOUT, &mut PacketKey::default()) else {
        return UNCHANGED;
    };
    let Some(target) = Target::of(&frame, layout, skb.len() as usize, spec) else {
        return UNCHANGED;
    };
    let is_valid =
        globals::uses(features::CHECKSUM_VALID) && spec.flags & flags::CHECKSUM_VALID != 0;
    let (mut bit, mut first) = (0, UNCHANGED);
    while bit < spec.corrupt_bits && bit < corrupt::BITS_MAX {
        if let Some(flip) = target.flip(spec, n, bit)
            && apply(skb, &flip, is_valid).is_some()
            && first == UNCHANGED
        {
            first = flip.offset as u32 * 8 + flip.mask.leading_zeros();
        }
        bit += 1;
    }
    first
}

/// Flips a bit, and corrects the checksum where that is to be valid, and is known.
#[inline(always)]
fn apply(skb: Skb, flip: &Flip, is_valid: bool) -> Option<()> {
    let checksum = match flip.checksum {
        Some(checksum) if is_valid => checksum,
        _ => return flip_byte(skb, flip, true),
    };
    let from = load_word(skb, checksum.word, checksum.padded)?;
    flip_byte(skb, flip, false)?;
    let to = load_word(skb, checksum.word, checksum.padded)?;
    skb.fix_checksum(checksum.offset, from, to, checksum.optional);
    Some(())
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
