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
    fate::{self, COPIES_MAX},
    random::LANES,
    wire::{self, PacketKey},
};

use crate::{
    foresee::Rule,
    globals,
    maps::{FAULTS, TARGET},
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
    /// Where that is.
    place: u32,
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
    let place = skb.cb::<3>();
    let split = record::split_at(place)?;
    let n = split.first + split.arrived;
    split.arrived += 1;
    let rule = Rule::new(slot, spec);
    if n / LANES >= split.block.end {
        rule.go_on(&mut split.block)?;
    }
    let hit = Hit {
        time_ns: split.now_ns,
        n,
        slot,
        packets: 1,
        sender: split.sender,
        ..Hit::default()
    };
    Segment {
        skb,
        rule,
        context,
        split,
        place,
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
            let context = self.context.word();
            self.hit.copies = send_copies(skb.context(), slot, self.n, context, self.place);
            if self.hit.copies != 0 {
                self.hit.faults |= faults::DUPLICATE;
            }
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

    /// Sends a copy on its way.
    #[inline(always)]
    fn copy(&mut self, number: u64) -> u32 {
        let (skb, slot) = (self.skb, self.rule.slot);
        if globals::uses(features::PACE) && self.split.left >= self.split.passage.admitted {
            record::rule(slot, |counters| counters.overlimit += 1);
            return EXCEEDED;
        }
        let passed_ns = self.pass();
        let context = self.send_at(passed_ns + self.rule.copy_delay_ns(number));
        record::enter(context.rule(), 1);
        let sent = if context.held() {
            skb.clone_to(globals::far_ifindex())
        } else {
            put_back::copy_to_device(skb, context)
        };
        if sent.is_err() {
            record::leave(context.rule(), 1);
            return NOT_SENT;
        }
        record::rule(slot, |counters| counters.duplicated += 1);
        SENT
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

/// Sends copies of packet `n`, of the split in `place`, on their way. Returns how many went.
///
/// A global function, which the verifier checks once, and not for whatever may have happened to the packet before.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn send_copies(ctx: *mut __sk_buff, slot: u32, n: u64, context: u32, place: u32) -> u32 {
    if !globals::uses(features::DUPLICATE) {
        return 0;
    }
    let Some(spec) = FAULTS.get(slot) else {
        return 0;
    };
    let (mut copy, mut sent) = (0, 0);
    while copy < spec.copies && copy < COPIES_MAX as u32 {
        let number = fate::number_of_copy(n, copy.into());
        match send_copy(ctx, slot, number, context, place) {
            SENT => sent += 1,
            EXCEEDED => break,
            _ => {}
        }
        copy += 1;
    }
    sent
}

/// What [`send_copy`] says: the kernel did not take it, it is on its way, or the queue has no room for more.
const NOT_SENT: u32 = 0;
const SENT: u32 = 1;
const EXCEEDED: u32 = 2;

/// Sends the copy of that number. A global function likewise: it is not walked again for each copy.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn send_copy(
    ctx: *mut __sk_buff,
    slot: u32,
    number: u64,
    context: u32,
    place: u32,
) -> u32 {
    if !globals::uses(features::DUPLICATE) {
        return NOT_SENT;
    }
    let (Some(spec), Some(split), Some(context)) = (
        FAULTS.get(slot),
        record::split_at(place),
        Context::from_word(context),
    ) else {
        return NOT_SENT;
    };
    Segment {
        skb: Skb::from(ctx),
        rule: Rule { slot, spec },
        context,
        n: number / COPIES_MAX,
        split,
        place,
        hit: Hit::default(),
    }
    .copy(number)
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
    if !globals::uses(features::CORRUPT) {
        return UNCHANGED;
    }
    let skb = Skb::from(ctx);
    let (Some(spec), Some(place)) = (FAULTS.get(slot), TARGET.get_ptr_mut(0)) else {
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
    // SAFETY: per-CPU, and the programs run with softirqs off, so that none interrupts another.
    unsafe { *place = target };
    let (mut bit, mut first) = (0, UNCHANGED);
    while bit < spec.corrupt_bits && bit < corrupt::BITS_MAX {
        let flipped = flip_bit(ctx, slot, n, bit);
        if first == UNCHANGED {
            first = flipped;
        }
        bit += 1;
    }
    first
}

/// Flips bit `bit` of those that are to be flipped in packet `n`, in the part that is in the map `TARGET`; returns its
/// place. A global function likewise: it is not walked again for each bit.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn flip_bit(ctx: *mut __sk_buff, slot: u32, n: u64, bit: u32) -> u32 {
    if !globals::uses(features::CORRUPT) {
        return UNCHANGED;
    }
    let (Some(spec), Some(target)) = (FAULTS.get(slot), TARGET.get(0)) else {
        return UNCHANGED;
    };
    let is_valid =
        globals::uses(features::CHECKSUM_VALID) && spec.flags & flags::CHECKSUM_VALID != 0;
    match target.flip(spec, n, bit) {
        Some(flip) if apply(Skb::from(ctx), &flip, is_valid).is_some() => {
            flip.offset as u32 * 8 + flip.mask.leading_zeros()
        }
        _ => UNCHANGED,
    }
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
