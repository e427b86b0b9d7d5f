//! On the device: which packets are lifted, and by which lane.

use aya_ebpf::{bindings::__sk_buff, helpers::bpf_ktime_get_ns};
use injector_common::{
    abi::{self, Context, FaultSpec, RETURN_MAGIC, RuleCounters, RuleId, Split, features, flags},
    fate::{self, Touch},
    wire::Unparseable,
};

use crate::{
    classify, foresee, globals,
    maps::FAULTS,
    record::{self, Ahead},
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

/// When a packet is to go on.
#[derive(Clone, Copy)]
struct Departure {
    time_ns: u64,
    /// Whether it waits for that in fq, and does not go on at once.
    held: bool,
}

/// A way to where packets are held, or put back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lane {
    /// By the splitter, which makes wire packets of super-packets. Like [`Lane::Straight`] it has no
    /// queue: until packets are held or put back, the sender waits.
    Split,
    /// Over the pair, whose near end splits, too, and also fills in checksums.
    Across,
    /// As they are.
    Straight,
}

impl Lane {
    #[inline(always)]
    fn ifindex(self) -> u32 {
        match self {
            Self::Split => globals::splitter_ifindex(),
            Self::Across => globals::near_ifindex(),
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

/// Recognises a packet that the pair has put back, and restores its priority, which no crossing
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
            return self.delay(first);
        }
        match foresee::touch(self.spec, first, self.packets) {
            Touch::Drop => self.drop_all(),
            Touch::Some => self.split(first),
            Touch::None if self.spec.delays() => self.delay(first),
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
        self.lift(
            self.splitting_lane(),
            departure,
            Context::undecided,
            |counters| {
                counters.split += self.packets;
            },
        )
    }

    /// Delays the packet as one: its first wire packet's delay is everybody's.
    #[inline(always)]
    fn delay(self, first: u64) -> i32 {
        let lane = self.lane_behind(record::ahead(self.slot));
        self.carry(lane, self.departure_of(first), |counters| {
            counters.delayed += self.packets;
        })
    }

    /// Lets a packet pass to which nothing is to happen; behind the others of its rule where some are
    /// still on their way, so as not to overtake them.
    #[inline(always)]
    fn follow(self) -> i32 {
        let ahead = record::ahead(self.slot);
        if ahead.packets == 0 {
            return PASS;
        }
        let mut departure = self.departure(0);
        departure.time_ns = departure.time_ns.max(ahead.latest_ns);
        // Also when their time has come: they have still to come back.
        departure.held |= ahead.latest_ns != 0;
        let lane = self.lane_behind(ahead);
        self.carry(lane, departure, |_| {})
    }

    /// Lifts the packet as it is.
    #[inline(always)]
    fn carry(self, lane: Lane, departure: Departure, count: impl FnOnce(&mut RuleCounters)) -> i32 {
        self.skb.carry_ns(departure.time_ns);
        self.skb.set_cb::<3>(self.skb.priority());
        self.lift(lane, departure, Context::decided, count)
    }

    /// Where packets of the rule are still crossing the pair, across behind them: a queue may keep them
    /// for longer than the rule delays.
    #[inline(always)]
    fn lane_behind(self, ahead: Ahead) -> Lane {
        if self.splits() && ahead.crossing != 0 {
            Lane::Across
        } else {
            Lane::Straight
        }
    }

    #[inline(always)]
    fn splitting_lane(self) -> Lane {
        let corrupts = globals::uses(features::CORRUPT) && self.spec.corrupt_odds != 0;
        if corrupts || !globals::has_splitter() || self.skb.is_uncounted() {
            Lane::Across
        } else {
            Lane::Split
        }
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
        let time_ns = fate::departure_ns(now_ns, self.skb.tstamp(), delay_ns);
        Departure {
            time_ns,
            held: globals::has_fq() && time_ns > now_ns,
        }
    }

    /// Sends a clone on its way and consumes the original.
    ///
    /// The clone belongs to no socket. Without that, a delayed packet would count against its
    /// socket's limits (TCP Small Queues, `SO_SNDBUF`) and throttle the sender, which a long wire
    /// does not.
    #[inline(always)]
    fn lift(
        self,
        lane: Lane,
        departure: Departure,
        fate: impl FnOnce(Context) -> Context,
        count: impl FnOnce(&mut RuleCounters),
    ) -> i32 {
        let Self { skb, slot, .. } = self;
        let from_ingress = self.direction == Direction::Ingress;
        let rule = record::rule_id(slot);
        let context = fate(Context::new(rule, from_ingress, departure.held));
        skb.set_cb::<4>(context.word());
        if globals::raw_ip() && skb.push_ethernet().is_err() {
            return self.fail_open();
        }
        record::enter(slot, self.packets);
        if departure.held {
            record::hold(slot, departure.time_ns);
        }
        if lane == Lane::Across {
            record::cross(slot, self.packets);
        }
        if skb.clone_to(lane.ifindex()).is_ok() {
            record::rule(slot, count);
            return skb.consume();
        }
        record::leave(rule, self.packets);
        if lane == Lane::Across {
            record::arrived(rule, self.packets);
        }
        if globals::raw_ip() {
            // The Ethernet header cannot be taken off again.
            record::rule(slot, |counters| counters.lost += self.packets);
            return skb.consume();
        }
        self.fail_open()
    }

    /// The way is gone or down: no packet may be lost for that.
    #[inline(always)]
    fn fail_open(self) -> i32 {
        record::rule(self.slot, |counters| counters.failed_open += self.packets);
        PASS
    }
}
