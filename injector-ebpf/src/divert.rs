//! On the device: which packets are lifted, and by which lane.

use aya_ebpf::bindings::__sk_buff;
use injector_common::{
    abi::{
        self, Context, Hit, RETURN_MAGIC, RuleCounters, RuleId, fault, faults, features, flags, hit,
    },
    fate::{self, Forecast},
    field,
    pace::{Passage, Train},
    random::LANES,
    wire::{self, Layout, PacketKey, Unparseable},
};

use crate::{
    classify, decide,
    foresee::{self, AT_FIRST, AT_LAST, Rule},
    fragments, globals,
    maps::FAULTS,
    owner,
    record::{self, Ahead, Lease, Taken},
    skb::{PASS, Skb},
    trace,
};

/// A packet that a rule matched.
#[derive(Clone, Copy)]
struct Matched<'a> {
    skb: Skb,
    rule: Rule<'a>,
    /// The direction, as the maps number it.
    direction: u32,
    /// How many packets it is on the wire.
    packets: u64,
    /// How many bytes each of them has there.
    wire_bytes: u64,
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
pub fn run(skb: Skb, direction: u32) -> i32 {
    if has_returned(skb) {
        return PASS;
    }
    match find_rule(skb, direction) {
        Some(slot) => divert_packet(skb.context(), slot, direction),
        None => PASS,
    }
}

/// Does with a packet what its rule wants.
///
/// A global function: so it does not share the stack with the search for the rule.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn divert_packet(ctx: *mut __sk_buff, slot: u32, direction: u32) -> i32 {
    let skb = Skb::from(ctx);
    let Some(spec) = FAULTS.get(slot) else {
        return PASS;
    };
    if direction == abi::INGRESS && globals::xdp_decides(spec, skb.len()) {
        return PASS;
    }
    let lease = record::lease();
    if lease == Lease::Lapsed {
        record::path(|counters| counters.lapsed += 1);
        return PASS;
    }
    let packets = skb.wire_packets();
    let matched = Matched {
        skb,
        rule: Rule::new(slot, spec),
        direction,
        packets,
        wire_bytes: skb.wire_bytes(packets),
    };
    if lease == Lease::Over {
        return matched.follow();
    }
    let bytes = u64::from(skb.len());
    record::rule(slot, |counters| {
        counters.matched += matched.packets;
        counters.bytes += bytes;
        counters.size.add(matched.wire_bytes, matched.packets);
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

/// What [`read_key_of_packet`] says of one that it could read.
const READ: u32 = 0;
const UNPARSEABLE: u32 = 1;

#[inline(always)]
fn find_rule(skb: Skb, direction: u32) -> Option<u32> {
    if read_key_of_packet(skb.context()) != READ {
        record::path(|counters| counters.unparseable += 1);
        return None;
    }
    let table = classify::table(direction);
    fragments::follow(table);
    if globals::uses(features::field(field::OWNER)) {
        owner::complete_key(skb.context(), direction, table);
    }
    match classify::find_rule(table) {
        None => record::path(|counters| counters.unmatched += 1),
        Some(classify::PROTECTED) if globals::uses(features::PROTECT) => {
            record::path(|counters| counters.protected += 1);
        }
        found => return found,
    }
    None
}

/// A global function, which the verifier checks once: what follows it is not walked again for each
/// of the many ways through the parser. Nor has it what follows it on its stack.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn read_key_of_packet(ctx: *mut __sk_buff) -> u32 {
    let skb = Skb::from(ctx);
    let read = || {
        classify::read_key(&skb.linear(), globals::raw_ip(), |key, layout| {
            complete(skb, key, layout);
        })
    };
    let mut found = read();
    // Rare, and dear: the headers of a packet that others hold too are copied.
    if found == Err(Unparseable::Truncated) && skb.pull_headers() {
        found = read();
    }
    if found.is_ok() { READ } else { UNPARSEABLE }
}

/// What a packet's frame does not tell.
#[inline(always)]
fn complete(skb: Skb, key: &mut PacketKey, layout: &Layout) {
    let features = globals::features();
    let looks_at = |field| globals::uses(features::field(field));
    if looks_at(field::MARK) {
        key.fields.set(features, field::MARK, skb.mark().into());
    }
    // The outermost tag, where it does not stand in the frame.
    if looks_at(field::VLAN) && skb.vlan_present() != 0 {
        let id = wire::vlan_id(skb.vlan_tci() as u16);
        key.fields.set(features, field::VLAN, id);
    }
    if looks_at(field::LENGTH)
        && let Some(len) = skb.segment_len(layout.network)
    {
        key.fields.set(features, field::LENGTH, len);
    }
    if looks_at(field::CONNECTION) {
        key.fields
            .set(features, field::CONNECTION, skb.wire_packets());
    }
}

/// When a packet is to go on.
#[derive(Clone, Copy)]
struct Departure {
    /// When it came.
    now_ns: u64,
    /// When it was to, by its sender's plan.
    due_ns: u64,
    /// How it passes the rule's bottleneck, and how long it is delayed.
    passage: Passage,
    /// When the last of its packets departs.
    time_ns: u64,
    /// Whether it waits for that in fq, and does not go on at once.
    held: bool,
}

/// Super-packets that take longer than this for a bottleneck pass it packet by packet.
const WHOLE_MAX_NS: u64 = 250_000;

impl Matched<'_> {
    /// Takes the packet's indexes, and foresees what they mean.
    #[inline(always)]
    fn decide(self) -> i32 {
        let Rule { slot, spec } = self.rule;
        if spec.drops_all() {
            return self.drop_all(u64::MAX);
        }
        let Some(taken) = record::take(slot, self.packets) else {
            return PASS;
        };
        let Some((drawn, forecast)) = self.foresee(taken) else {
            return self.fail_open();
        };
        if forecast.dropped == self.packets && !self.marks() {
            record::hit(slot, taken.first, self.packets);
            return self.drop_all(taken.first);
        }
        let departure = self.departure(drawn, forecast);
        let is_hit = forecast.touched || !forecast.complete;
        if self.splits() && (is_hit || self.is_spread(&departure.passage)) {
            return self.split(taken.first, departure);
        }
        self.pass_whole(taken.first, departure)
    }

    /// The packet whose delay the first one has, and what is going to happen to all of them. `None` where
    /// that cannot be worked out.
    #[inline(always)]
    fn foresee(self, taken: Taken) -> Option<(u64, Forecast)> {
        let Rule { slot, spec } = self.rule;
        if !self.splits() && spec.delay.keep_odds == 0 {
            // Only the index matters.
            return Some((taken.first, Forecast::default()));
        }
        let is_found = self.rule.seek(taken.first);
        let mut forecast = Forecast::default();
        let mut latest = AT_FIRST;
        if is_found && self.splits() {
            forecast = self.rule.foresee(taken.first, self.packets)?;
            latest = AT_LAST;
        }
        // Also where it was not: the next packet goes on from there.
        record::keep(slot, taken, latest);
        if !is_found {
            return None;
        }
        Some((self.drawn(taken.first), forecast))
    }

    /// Lets a packet of which nothing else is to become pass the rule's bottleneck, and its delay.
    #[inline(always)]
    fn pass_whole(self, n: u64, departure: Departure) -> i32 {
        let Rule { slot, spec } = self.rule;
        let passage = &departure.passage;
        let mut faults = 0;
        if globals::uses(features::PACE) {
            if passage.admitted == 0 {
                return self.exceed(n, departure);
            }
            if passage.unmarked < passage.admitted {
                if !decide::mark(self.skb, slot, spec, flags::QUEUE_ECN) {
                    return self.exceed(n, departure);
                }
                faults |= faults::MARK;
            }
        }
        if departure.held || spec.delays() {
            self.delay(n, departure, faults)
        } else {
            self.tell(Hit {
                time_ns: departure.now_ns,
                n,
                faults,
                ..Hit::default()
            });
            self.follow()
        }
    }

    /// Tells whoever listens what happens to the packet.
    #[inline(always)]
    fn tell(self, hit: Hit) {
        if hit.faults == 0 {
            return;
        }
        trace::packet(
            self.skb,
            Hit {
                slot: self.rule.slot,
                packets: self.packets as u32,
                flags: if globals::raw_ip() { hit::RAW_IP } else { 0 },
                ..hit
            },
        );
    }

    /// The packet whose delay packet `n` has.
    #[inline(always)]
    fn drawn(self, n: u64) -> u64 {
        match foresee::scratch(AT_FIRST) {
            // SAFETY: as `scratch` says.
            Some(block) if globals::uses(features::CORRELATION) => unsafe {
                (*block).draw(n % LANES)
            },
            _ => n,
        }
    }

    #[inline(always)]
    fn drop_all(self, n: u64) -> i32 {
        record::rule(self.rule.slot, |counters| counters.dropped += self.packets);
        self.tell(Hit {
            n,
            faults: faults::DROP,
            ..Hit::default()
        });
        self.skb.consume()
    }

    /// Drops what finds no room in the queue.
    #[inline(always)]
    fn exceed(self, n: u64, departure: Departure) -> i32 {
        record::rule(self.rule.slot, |counters| {
            counters.overlimit += self.packets;
        });
        self.tell(Hit {
            time_ns: departure.now_ns,
            n,
            faults: faults::OVERLIMIT,
            ..Hit::default()
        });
        self.skb.consume()
    }

    #[inline(always)]
    fn split(self, first: u64, departure: Departure) -> i32 {
        let (Some((place, split)), Some(block)) = (record::new_split(), foresee::scratch(AT_FIRST))
        else {
            return PASS;
        };
        // SAFETY: as `scratch` says.
        unsafe { foresee::copy(block, &raw mut split.block) };
        split.first = first;
        split.now_ns = departure.now_ns;
        split.due_ns = departure.due_ns;
        split.passage = departure.passage;
        split.arrived = 0;
        split.left = 0;
        split.sender = trace::sender(self.skb);
        split.priority = self.skb.priority();
        self.skb.set_cb::<3>(place);
        let lane = self.splitting_lane();
        self.lift(lane, departure, true, |counters| {
            counters.split += self.packets;
        })
    }

    /// Delays the packet as one: its first wire packet's delay is everybody's.
    #[inline(always)]
    fn delay(self, n: u64, departure: Departure, faults: u32) -> i32 {
        // Before it gets a header, where its device has none.
        let delay_ns = departure.time_ns.saturating_sub(departure.due_ns);
        self.tell(Hit {
            time_ns: departure.now_ns,
            n,
            delay_ns,
            faults: faults | faults::DELAY,
            ..Hit::default()
        });
        let lane = if self.splits() {
            self.lane_behind(record::ahead(self.rule.slot))
        } else {
            Lane::Straight
        };
        let delays = self.rule.spec.delays();
        self.carry(lane, departure, |counters| {
            if delays {
                counters.delayed += self.packets;
            }
            counters.add_delay(delay_ns, self.packets);
        })
    }

    /// Lets a packet pass to which nothing is to happen; behind the others of its rule where some are
    /// still on their way, so as not to overtake them.
    #[inline(always)]
    fn follow(self) -> i32 {
        let ahead = record::ahead(self.rule.slot);
        if ahead.packets == 0 {
            return PASS;
        }
        let now_ns = record::monotonic_ns();
        let due_ns = self.due_ns(now_ns);
        let departure = Departure {
            now_ns,
            due_ns,
            passage: Passage::default(),
            time_ns: due_ns.max(ahead.latest_ns),
            // Also when their time has come: they have still to come back.
            held: globals::has_fq() && (due_ns > now_ns || ahead.latest_ns != 0),
        };
        self.carry(self.lane_behind(ahead), departure, |_| {})
    }

    /// Lifts the packet as it is.
    #[inline(always)]
    fn carry(self, lane: Lane, departure: Departure, count: impl FnOnce(&mut RuleCounters)) -> i32 {
        self.skb.carry_ns(departure.time_ns);
        self.skb.set_cb::<3>(self.skb.priority());
        self.lift(lane, departure, false, count)
    }

    /// Where packets of the rule are still crossing the pair, across behind them: a queue may keep them
    /// for longer than the rule delays.
    #[inline(always)]
    fn lane_behind(self, ahead: Ahead) -> Lane {
        if ahead.crossing != 0 {
            Lane::Across
        } else {
            Lane::Straight
        }
    }

    #[inline(always)]
    fn splitting_lane(self) -> Lane {
        let corrupts =
            globals::uses(features::CORRUPT) && self.rule.spec.chance(fault::CORRUPT).is_possible();
        if corrupts || !globals::has_splitter() || self.skb.is_uncounted() {
            Lane::Across
        } else {
            Lane::Split
        }
    }

    #[inline(always)]
    fn splits(self) -> bool {
        globals::uses(features::SPLIT) && self.rule.spec.flags & flags::SPLIT != 0
    }

    /// Whether the rule marks packets in place of dropping them.
    #[inline(always)]
    fn marks(self) -> bool {
        globals::uses(features::ECN) && self.rule.spec.flags & flags::ECN != 0
    }

    /// Whether the packets of a super-packet leave the bottleneck one by one: a recorded link delivers
    /// no more than one at a time.
    #[inline(always)]
    fn is_spread(self, passage: &Passage) -> bool {
        globals::uses(features::PACE)
            && self.packets > 1
            && (passage.admitted < self.packets || passage.spacing_ns * self.packets > WHOLE_MAX_NS)
    }

    #[inline(always)]
    fn departure(self, drawn: u64, forecast: Forecast) -> Departure {
        let Rule { spec, .. } = self.rule;
        let now_ns = record::monotonic_ns();
        let due_ns = self.due_ns(now_ns);
        let delay_ns = self.rule.delay_ns(spec.delay.key, drawn);
        let copies = forecast.duplicated * u64::from(spec.copies);
        // Those that are marked in place of being dropped pass, too.
        let dropped = if self.marks() { 0 } else { forecast.dropped };
        let train = Train {
            packets: self.packets - dropped + copies,
            bytes: self.wire_bytes as u32,
            markable: self.is_markable(),
        };
        let passage = self.rule.pass(due_ns, train, delay_ns);
        let last = train.packets.max(1) - 1;
        let time_ns = self.rule.passed_ns(&passage, due_ns, last) + passage.delay_ns;
        Departure {
            now_ns,
            due_ns,
            passage,
            time_ns,
            held: globals::has_fq() && time_ns > now_ns,
        }
    }

    /// Whether it can be marked at the queue's limit, in place of being dropped.
    #[inline(always)]
    fn is_markable(self) -> bool {
        globals::uses(features::ECN)
            && self.rule.spec.flags & flags::QUEUE_ECN != 0
            && self.skb.is_ect()
    }

    /// When the packet is due, if it came now: the sender's pacing may have planned a later moment.
    #[inline(always)]
    fn due_ns(self, now_ns: u64) -> u64 {
        fate::due_ns(now_ns, self.skb.tstamp())
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
        undecided: bool,
        count: impl FnOnce(&mut RuleCounters),
    ) -> i32 {
        let (skb, slot) = (self.skb, self.rule.slot);
        let from_ingress = self.direction == abi::INGRESS;
        let rule = record::rule_id(slot);
        let mut context = Context::new(rule, from_ingress, departure.held);
        if undecided {
            context = context.undecided();
        }
        skb.set_cb::<4>(context.word());
        if globals::raw_ip() && skb.push_ethernet().is_err() {
            return self.fail_open();
        }
        record::enter(rule, self.packets);
        if departure.held {
            record::hold(slot, departure.time_ns);
        }
        if lane == Lane::Across {
            record::cross(rule, self.packets);
        }
        if skb.clone_to(lane.ifindex()).is_ok() {
            record::rule(slot, count);
            if fate::is_of_another_clock(departure.now_ns, skb.tstamp()) {
                record::path(|counters| counters.unstamped += self.packets);
            }
            return skb.consume();
        }
        record::leave(rule, self.packets);
        if lane == Lane::Across {
            record::crossed(rule, self.packets);
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
        record::rule(self.rule.slot, |counters| {
            counters.failed_open += self.packets;
        });
        PASS
    }
}
