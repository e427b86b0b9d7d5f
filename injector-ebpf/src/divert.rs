//! On the device: which packets are lifted onto the pairs, and by which lane.

use aya_ebpf::{bindings::__sk_buff, helpers::bpf_ktime_get_ns};
use injector_common::{
    abi::{self, Context, FaultSpec, RETURN_MAGIC, RuleCounters, RuleId, Split, features, flags},
    fate::{self, Touch},
    wire::Unparseable,
};

use crate::{
    classify, foresee, globals,
    maps::FAULTS,
    record,
    skb::{PASS, Skb},
};

/// Which of the device's hooks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Egress,
    Ingress,
}

impl Direction {
    #[inline(always)]
    fn table(self) -> u32 {
        match self {
            Self::Egress => abi::EGRESS,
            Self::Ingress => abi::INGRESS,
        }
    }
}

/// A packet that a rule matched.
#[derive(Clone, Copy)]
struct Matched<'a> {
    skb: Skb,
    slot: u32,
    spec: &'a FaultSpec,
    direction: Direction,
    /// How many packets it is on the wire.
    packets: u64,
}

/// When a packet is to go on; at once where that is now.
#[derive(Clone, Copy)]
struct Departure {
    now_ns: u64,
    time_ns: u64,
}

/// A way through the pairs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lane {
    /// Over the first pair, which splits super-packets, to where each segment's fate is decided.
    Split,
    /// Over the second pair, whole: as many hops as by [`Lane::Split`], so that order is kept.
    Whole,
    /// Straight to where packets are held: nothing has to be split in this rule.
    Straight,
}

impl Lane {
    #[inline(always)]
    fn ifindex(self) -> u32 {
        match self {
            Self::Split => globals::near_ifindex(),
            Self::Whole => globals::whole_ifindex(),
            Self::Straight => globals::far_ifindex(),
        }
    }
}

/// Lifts a packet that a rule matches; everything else passes.
#[inline(always)]
pub fn run(skb: Skb, direction: Direction) -> i32 {
    if has_returned(skb) {
        return PASS;
    }
    let Some(slot) = find_rule(skb, direction) else {
        return PASS;
    };
    let Some(spec) = FAULTS.get(slot) else {
        return PASS;
    };
    if direction == Direction::Ingress && globals::xdp_decides(spec, skb.len()) {
        return PASS;
    }
    if record::lapsed() {
        record::path(|counters| counters.lapsed += 1);
        return PASS;
    }
    let matched = Matched {
        skb,
        slot,
        spec,
        direction,
        packets: skb.wire_packets(),
    };
    if record::draining() {
        return matched.follow();
    }
    let bytes = u64::from(skb.len());
    record::rule(slot, |counters| {
        counters.matched += matched.packets;
        counters.bytes += bytes;
    });
    if spec.flags & flags::EXEMPT != 0 {
        return PASS;
    }
    matched.decide()
}

/// Recognises a packet that the pairs have put back, and restores its priority, which no crossing
/// keeps.
#[inline(always)]
fn has_returned(skb: Skb) -> bool {
    if skb.cb::<3>() != RETURN_MAGIC[0]
        || skb.cb::<4>() != RETURN_MAGIC[1]
        || skb.cb::<2>() != globals::dev_ifindex()
    {
        return false;
    }
    // Should the packet come by again, it is a new one.
    skb.set_cb::<4>(0);
    skb.set_priority(skb.cb::<1>());
    record::leave(RuleId::from_word(skb.cb::<0>()), skb.wire_packets());
    true
}

/// What [`find_slot_of_packet`] says in place of a slot.
const UNMATCHED: u32 = u32::MAX;
const UNPARSEABLE: u32 = u32::MAX - 1;

#[inline(always)]
fn find_rule(skb: Skb, direction: Direction) -> Option<u32> {
    match find_slot_of_packet(skb.context(), direction.table()) {
        UNMATCHED => record::path(|counters| counters.unmatched += 1),
        UNPARSEABLE => record::path(|counters| counters.unparseable += 1),
        slot => return Some(slot),
    }
    None
}

/// A global function, which the verifier checks once: what follows it is not walked again for each
/// of the many ways through the parser.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn find_slot_of_packet(ctx: *mut __sk_buff, table: u32) -> u32 {
    let skb = Skb::from(ctx);
    let mut found = classify::find_rule(&skb.linear(), globals::raw_ip(), table);
    // Rare, and dear: the headers of a packet that others hold too are copied.
    if found == Err(Unparseable::Truncated) && skb.pull_headers() {
        found = classify::find_rule(&skb.linear(), globals::raw_ip(), table);
    }
    match found {
        Ok(Some(slot)) => slot,
        Ok(None) => UNMATCHED,
        Err(_) => UNPARSEABLE,
    }
}

impl Matched<'_> {
    /// Takes the packet's indexes, and foresees what they mean.
    #[inline(always)]
    fn decide(self) -> i32 {
        if self.spec.drops_all() {
            return self.drop_all();
        }
        let Some(first) = record::advance(self.slot, self.packets) else {
            return PASS;
        };
        if !self.splits() {
            return self.delay(Lane::Straight, first);
        }
        match foresee::touch(self.spec, first, self.packets) {
            Touch::Drop => self.drop_all(),
            Touch::Some => self.split(first),
            Touch::None if self.spec.delays() => self.delay(Lane::Whole, first),
            Touch::None => self.follow(),
        }
    }

    #[inline(always)]
    fn drop_all(self) -> i32 {
        record::rule(self.slot, |counters| counters.dropped += self.packets);
        self.skb.consume()
    }

    #[inline(always)]
    fn split(self, first: u64) -> i32 {
        let departure = self.departure_of(first);
        let split = Split {
            departure_ns: departure.time_ns,
            first,
            priority: self.skb.priority(),
            arrived: 0,
        };
        let Some(place) = record::split(split) else {
            return PASS;
        };
        self.skb.set_cb::<3>(place);
        self.lift(Lane::Split, departure, |counters| {
            counters.split += self.packets;
        })
    }

    /// Delays the packet as one: its first wire packet's delay is everybody's.
    #[inline(always)]
    fn delay(self, lane: Lane, first: u64) -> i32 {
        self.carry(lane, self.departure_of(first), |counters| {
            counters.delayed += self.packets;
        })
    }

    /// Lets a packet pass to which nothing is to happen; through the pairs where others of its rule
    /// are still on their way, so as not to overtake them.
    #[inline(always)]
    fn follow(self) -> i32 {
        let ahead = record::ahead(self.slot);
        if ahead.packets == 0 {
            return PASS;
        }
        let lane = if self.splits() {
            Lane::Whole
        } else {
            Lane::Straight
        };
        let mut departure = self.departure(0);
        departure.time_ns = departure.time_ns.max(ahead.latest_ns);
        self.carry(lane, departure, |_| {})
    }

    /// Lifts the packet as it is.
    #[inline(always)]
    fn carry(self, lane: Lane, departure: Departure, count: impl FnOnce(&mut RuleCounters)) -> i32 {
        self.skb.carry_ns(departure.time_ns);
        self.skb.set_cb::<3>(self.skb.priority());
        self.lift(lane, departure, count)
    }

    #[inline(always)]
    fn splits(self) -> bool {
        globals::uses(features::SPLIT) && self.spec.flags & flags::SPLIT != 0
    }

    #[inline(always)]
    fn departure_of(self, first: u64) -> Departure {
        self.departure(fate::delay_ns(self.spec, first))
    }

    #[inline(always)]
    fn departure(self, delay_ns: u64) -> Departure {
        // SAFETY: the helper only reads the clock.
        let now_ns = unsafe { bpf_ktime_get_ns() };
        Departure {
            now_ns,
            time_ns: fate::departure_ns(now_ns, self.skb.tstamp(), delay_ns),
        }
    }

    /// Sends a clone through the pairs and consumes the original.
    ///
    /// The clone belongs to no socket. Without that, a delayed packet would count against its
    /// socket's limits (TCP Small Queues, `SO_SNDBUF`) and throttle the sender, which a long wire
    /// does not.
    #[inline(always)]
    fn lift(self, lane: Lane, departure: Departure, count: impl FnOnce(&mut RuleCounters)) -> i32 {
        let Self { skb, slot, .. } = self;
        let from_ingress = self.direction == Direction::Ingress;
        let held = departure.time_ns > departure.now_ns;
        let rule = record::rule_id(slot);
        skb.set_cb::<4>(Context::new(rule, from_ingress, held).word());
        if globals::raw_ip() && skb.push_ethernet().is_err() {
            return self.fail_open();
        }
        record::enter(slot, self.packets, departure.time_ns);
        if skb.clone_to(lane.ifindex()).is_ok() {
            record::rule(slot, count);
            return skb.consume();
        }
        record::leave(rule, self.packets);
        if globals::raw_ip() {
            // The Ethernet header cannot be taken off again.
            record::rule(slot, |counters| counters.lost += self.packets);
            return skb.consume();
        }
        self.fail_open()
    }

    /// The pair is gone or down: no packet may be lost for that.
    #[inline(always)]
    fn fail_open(self) -> i32 {
        record::rule(self.slot, |counters| counters.failed_open += self.packets);
        PASS
    }
}
