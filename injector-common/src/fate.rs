//! What happens to the n-th packet of a rule.
//!
//! The faults act in this order: drop, then corrupt, then duplicate, then rate, then delay and
//! reorder. A corrupted packet's copy is corrupted alike; the copy draws its own delay.

use crate::{
    abi::{Block, FaultSpec, fault, model},
    chance::{self, Hits, Tables},
    distribution,
    random::{LANES, Stream},
};

/// The values of a rule that can change from one moment to the next.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Levels {
    /// Odds of packets that are hit independently of each other, by [`fault`].
    pub odds: [u64; fault::COUNT],
    /// Middle of the delay.
    pub time_ns: u64,
    /// Its jitter.
    pub jitter_ns: u64,
    /// How long a byte takes, as in [`Pace::byte_ns`](crate::abi::Pace::byte_ns).
    pub byte_ns: u64,
}

impl FaultSpec {
    /// The values where they do not change.
    #[inline(always)]
    pub const fn levels(&self) -> Levels {
        Levels {
            odds: [
                self.chances[0].odds,
                self.chances[1].odds,
                self.chances[2].odds,
                self.chances[3].odds,
            ],
            time_ns: self.delay.time_ns,
            jitter_ns: self.delay.jitter_ns,
            byte_ns: self.pace.byte_ns,
        }
    }
}

impl Block {
    /// Goes on to the next block. `hits` works out what a fault does there, of which it gets the index,
    /// the odds, the block's number and the chain's state; `keep_apart` is [`chance::keep_apart`].
    #[inline(always)]
    pub fn go_on(
        &mut self,
        spec: &FaultSpec,
        levels: &Levels,
        hits: impl Fn(usize, u64, u64, u64) -> Hits,
        keep_apart: impl Fn(u64, u64, u64, u64) -> u64,
    ) {
        let number = self.end;
        self.drawn = if number == 0 { 0 } else { self.draw(LANES - 1) };
        self.end += 1;
        self.fresh = if spec.delay.keep_odds == 0 {
            u64::MAX
        } else {
            !hits(fault::COUNT, spec.delay.keep_odds, number, 0).packets
        };
        let mut fault = 0;
        while fault < fault::COUNT {
            let of_fault = hits(fault, levels.odds[fault], number, self.states[fault].into());
            self.hits[fault] = of_fault.packets;
            self.states[fault] = of_fault.state as u16;
            fault += 1;
        }
        if spec.reorder_gap > 1 {
            let reordered = self.hits[fault::REORDER];
            if number == 0 {
                self.reorder_from = spec.reorder_gap - 1;
            }
            let kept = keep_apart(reordered, self.begin(), spec.reorder_gap, self.reorder_from);
            self.hits[fault::REORDER] = kept;
            if kept != 0 {
                self.reorder_from = self.begin() + last_lane(kept) + spec.reorder_gap;
            }
        }
    }

    /// Works out anew, after its values have changed, what does not depend on packets before this block.
    /// `hits` is as in [`Self::go_on`], without state.
    #[inline(always)]
    pub fn refresh(
        &mut self,
        spec: &FaultSpec,
        levels: &Levels,
        hits: impl Fn(usize, u64, u64) -> u64,
    ) {
        let mut fault = 0;
        while fault < fault::COUNT {
            let is_kept_apart = fault == fault::REORDER && spec.reorder_gap > 1;
            if spec.chances[fault].model == model::INDEPENDENT && !is_kept_apart {
                self.hits[fault] = hits(fault, levels.odds[fault], self.end - 1);
            }
            fault += 1;
        }
    }

    /// The index of the packet whose delay that in `lane` has.
    #[inline(always)]
    pub const fn draw(&self, lane: u64) -> u64 {
        let fresh = self.fresh & lanes_before(lane + 1);
        if fresh == 0 {
            self.drawn
        } else {
            self.begin() + last_lane(fresh)
        }
    }

    /// The index of the first packet.
    #[inline(always)]
    pub const fn begin(&self) -> u64 {
        (self.end - 1) * LANES
    }

    /// Whether the packet in `lane` is hit by a fault.
    #[inline(always)]
    pub const fn is_hit(&self, fault: usize, lane: u64) -> bool {
        (self.hits[fault % fault::COUNT] >> lane) & 1 != 0
    }

    /// Whether anything but a delay happens to the packet of a lane.
    #[inline(always)]
    pub const fn is_touched(&self, lane: u64) -> bool {
        let [a, b, c, d] = self.hits;
        ((a | b | c | d) >> lane) & 1 != 0
    }
}

/// What a fault does to the packets of a block, or, beyond the last fault, which of them have the delay
/// of the packet before.
#[inline(always)]
pub fn hits(
    spec: &FaultSpec,
    fault: usize,
    odds: u64,
    number: u64,
    state: u64,
    tables: &impl Tables,
) -> Hits {
    if fault < fault::COUNT {
        return spec.chances[fault].hits(odds, number, state, tables);
    }
    Hits {
        packets: Stream::new(spec.delay.keep_key).hits(odds, number),
        state,
    }
}

/// What the faults that act on single packets do to several together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forecast {
    /// How many they drop.
    pub dropped: u64,
    /// How many of the others they duplicate.
    pub duplicated: u64,
    /// Whether they do anything to any packet.
    pub touched: bool,
    /// Whether all packets were looked at.
    pub complete: bool,
}

/// Blocks of 64 packets that are looked at for one super-packet: beyond that no super-packet of 64 KiB
/// comes whose segments have 536 bytes or more.
pub const FORECAST_BLOCKS_MAX: u64 = 4;

impl Forecast {
    /// Takes into account what a block says of the packets from `first` to before `end`, the segments of
    /// one super-packet. Says whether there is more to be said of them in the next block.
    #[inline(always)]
    pub fn add(&mut self, block: &Block, first: u64, end: u64) -> bool {
        let begin = block.begin();
        let lanes = lanes_from(first.saturating_sub(begin)) & lanes_before(end - begin);
        let drops = block.hits[fault::DROP] & lanes;
        let copies = block.hits[fault::DUPLICATE] & lanes & !drops;
        let others = (block.hits[fault::CORRUPT] | block.hits[fault::REORDER]) & lanes;
        self.touched |= drops | copies | others != 0;
        self.dropped += u64::from(drops.count_ones());
        self.duplicated += u64::from(copies.count_ones());
        self.complete = begin + LANES >= end;
        !self.complete
    }
}

/// The lanes of a block from `lane` on.
#[inline(always)]
const fn lanes_from(lane: u64) -> u64 {
    u64::MAX << lane
}

/// The lanes of a block before `lane`, which is not 0.
#[inline(always)]
const fn lanes_before(lane: u64) -> u64 {
    if lane >= LANES {
        u64::MAX
    } else {
        (1 << lane) - 1
    }
}

/// The last lane of some.
#[inline(always)]
const fn last_lane(lanes: u64) -> u64 {
    LANES - 1 - lanes.leading_zeros() as u64
}

/// The delay that packet `n` draws from the stream at `key`, in ns.
#[inline(always)]
pub fn delay_ns(spec: &FaultSpec, levels: &Levels, key: u64, n: u64, tables: &impl Tables) -> u64 {
    let stream = Stream::new(key);
    if spec.delay.distribution == 0 {
        if levels.jitter_ns == 0 {
            return levels.time_ns;
        }
        return levels.time_ns - levels.jitter_ns + stream.up_to(n, 2 * levels.jitter_ns);
    }
    match tables.distribution(spec.delay.distribution - 1) {
        Some(distribution) => {
            let deviation_ns = distribution.deviation_ns(stream.word(n), levels.jitter_ns);
            distribution::delay_ns(levels.time_ns, deviation_ns)
        }
        None => levels.time_ns,
    }
}

/// The delay of a copy of packet `n`, in ns. The copies are counted from 0.
#[inline(always)]
pub fn copy_delay_ns(
    spec: &FaultSpec,
    levels: &Levels,
    n: u64,
    copy: u64,
    tables: &impl Tables,
) -> u64 {
    let number = number_of_copy(n, copy);
    delay_ns(spec, levels, spec.delay.copy_key, number, tables)
}

/// Where a copy of packet `n` is in the stream of the copies.
#[inline(always)]
pub const fn number_of_copy(n: u64, copy: u64) -> u64 {
    n * COPIES_MAX + copy
}

/// Most copies of a packet.
pub const COPIES_MAX: u64 = 8;

/// From when on a packet is delayed: now, or the moment that the sender's pacing had planned for it,
/// whichever is later.
///
/// `planned_ns` is the packet's own `tstamp`. fq's clock is CLOCK_MONOTONIC; a stamp further ahead
/// than [`PLAN_HORIZON_NS`] belongs to another clock and is ignored.
#[inline(always)]
pub const fn due_ns(now_ns: u64, planned_ns: u64) -> u64 {
    // A stamp in the past wraps to a huge distance and is ignored by the same comparison.
    if planned_ns.wrapping_sub(now_ns) <= PLAN_HORIZON_NS {
        planned_ns
    } else {
        now_ns
    }
}

/// Whether a packet's own `tstamp` is of another clock: wall-clock time, such as the stamp of a packet
/// that was received and is being forwarded.
#[inline(always)]
pub const fn is_of_another_clock(now_ns: u64, stamp_ns: u64) -> bool {
    stamp_ns > now_ns + PLAN_HORIZON_NS
}

/// Longest time that a pacing stamp may lie ahead. fq itself drops what is more than 10 s ahead by
/// default (`horizon`), so no sender plans further.
pub const PLAN_HORIZON_NS: u64 = 20 * crate::NSEC_PER_SEC;

/// The fate of one wire packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Dropped: nothing else happens to it.
    Drop,
    /// Delivered, perhaps damaged, late or more than once.
    Deliver {
        /// Bits are flipped.
        corrupt: bool,
        /// How many copies are made.
        copies: u32,
        /// It is not delayed, and so overtakes others.
        reorder: bool,
        /// The delay of the packet itself in ns, rate and order aside.
        delay_ns: u64,
    },
}

/// The fates of a rule's packets, one after the other; where its values change over time, as they are in
/// the end.
#[derive(Clone, Copy, Debug)]
pub struct Fates<'a, T> {
    spec: &'a FaultSpec,
    tables: &'a T,
    levels: Levels,
    block: Block,
}

impl<'a, T: Tables> Fates<'a, T> {
    /// From the first packet on.
    pub fn new(spec: &'a FaultSpec, tables: &'a T) -> Self {
        Self {
            spec,
            tables,
            levels: if spec.changes() {
                spec.levels_at(u64::MAX, tables)
            } else {
                spec.levels()
            },
            block: Block::default(),
        }
    }

    /// What is worked out of 64 packets, among them packet `n`.
    pub fn block(&mut self, n: u64) -> &Block {
        if n / LANES + 1 < self.block.end {
            self.block = Block::default();
        }
        let Self {
            spec,
            tables,
            levels,
            ..
        } = *self;
        while self.block.end <= n / LANES {
            self.block.go_on(
                spec,
                &levels,
                |fault, odds, number, state| hits(spec, fault, odds, number, state, tables),
                |hits, begin, gap, from| chance::keep_apart(hits, begin, gap, from, tables),
            );
        }
        &self.block
    }

    /// The fate of packet `n`, counting from 0.
    pub fn fate(&mut self, n: u64) -> Fate {
        let (block, lane) = (*self.block(n), n % LANES);
        if block.is_hit(fault::DROP, lane) {
            return Fate::Drop;
        }
        let (reorder, key) = (block.is_hit(fault::REORDER, lane), self.spec.delay.key);
        Fate::Deliver {
            corrupt: block.is_hit(fault::CORRUPT, lane),
            copies: self.spec.copies * u32::from(block.is_hit(fault::DUPLICATE, lane)),
            reorder,
            delay_ns: match reorder {
                true => 0,
                false => delay_ns(self.spec, &self.levels, key, block.draw(lane), self.tables),
            },
        }
    }

    /// The delay of a copy of packet `n`, in ns. The copies are counted from 0.
    pub fn copy_delay_ns(&self, n: u64, copy: u64) -> u64 {
        copy_delay_ns(self.spec, &self.levels, n, copy, self.tables)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        abi::{Chain, ChainState, Chance, Delay, flags, model},
        random::CERTAIN,
    };

    /// One chain, of two states.
    struct OneChain(Chain);

    impl Tables for OneChain {
        fn chain(&self, _: u32) -> Option<&Chain> {
            Some(&self.0)
        }
    }

    fn bursts() -> OneChain {
        let state = |hit_odds, leave| ChainState {
            hit_odds,
            leave_odds: [leave; 3],
        };
        let states = [state(0, CERTAIN / 50), state(CERTAIN, CERTAIN / 5)];
        OneChain(Chain {
            states: [states[0], states[1], states[0], states[0]],
            first: 0,
        })
    }

    prop_compose! {
        fn any_chance()(markov: bool, key: u64, odds in prop_oneof![
            3 => Just(0), 3 => 1..CERTAIN / 50, 1 => 1..=CERTAIN, 1 => Just(CERTAIN),
        ]) -> Chance {
            let model = if markov { model::MARKOV } else { model::INDEPENDENT };
            Chance { model, key, odds, ..Chance::default() }
        }
    }

    prop_compose! {
        fn any_spec()(
            chances in [any_chance(), any_chance(), any_chance(), any_chance()],
            keys in prop::array::uniform3(any::<u64>()),
            time_ns in 0u64..1 << 42,
            jitter in 0.0..=1.0,
            keep_odds in prop_oneof![Just(0), 0..CERTAIN],
            reorder_gap in 1u64..80,
            copies in 1u32..=8,
        ) -> FaultSpec {
            FaultSpec {
                chances,
                delay: Delay {
                    time_ns,
                    jitter_ns: (time_ns as f64 * jitter) as u64,
                    key: keys[0],
                    copy_key: keys[1],
                    keep_odds,
                    keep_key: keys[2],
                    ..Delay::default()
                },
                reorder_gap,
                copies,
                flags: flags::MEMORY,
                ..FaultSpec::default()
            }
        }
    }

    fn fates(spec: &FaultSpec, count: u64) -> Vec<Fate> {
        let tables = bursts();
        let mut fates = Fates::new(spec, &tables);
        (0..count).map(|n| fates.fate(n)).collect()
    }

    const COUNT: u64 = 300;

    proptest! {
        #[test]
        fn a_fate_does_not_depend_on_where_one_begins_to_look(spec in any_spec(), n in 0..COUNT) {
            let tables = bursts();
            prop_assert_eq!(Fates::new(&spec, &tables).fate(n), fates(&spec, COUNT)[n as usize]);
        }

        #[test]
        fn delays_stay_within_their_bounds(spec in any_spec()) {
            let Delay { time_ns, jitter_ns, .. } = spec.delay;
            let bounds = time_ns - jitter_ns..=time_ns + jitter_ns;
            for fate in fates(&spec, COUNT) {
                if let Fate::Deliver { delay_ns, reorder: false, .. } = fate {
                    prop_assert!(bounds.contains(&delay_ns));
                }
            }
            let delay_ns = copy_delay_ns(&spec, &spec.levels(), 7, 3, &bursts());
            prop_assert!(bounds.contains(&delay_ns));
        }

        #[test]
        fn a_kept_delay_is_that_of_the_packet_before(spec in any_spec()) {
            let spec = FaultSpec { chances: [Chance::default(); fault::COUNT], ..spec };
            let delay = |fate: &Fate| match fate {
                Fate::Deliver { delay_ns, .. } => *delay_ns,
                Fate::Drop => unreachable!(),
            };
            let delays: Vec<_> = fates(&spec, COUNT).iter().map(delay).collect();
            let kept = Stream::new(spec.delay.keep_key);
            for n in 1..COUNT {
                let own = delay_ns(&spec, &spec.levels(), spec.delay.key, n, &bursts());
                let is_kept = kept.hit(spec.delay.keep_odds, n);
                let expected = if is_kept { delays[n as usize - 1] } else { own };
                prop_assert_eq!(delays[n as usize], expected);
            }
        }

        #[test]
        fn a_fault_does_not_change_the_chances_of_another(spec in any_spec()) {
            let mut without_drop = spec;
            without_drop.chances[fault::DROP] = Chance::default();
            let without_drop = fates(&without_drop, COUNT);
            for (fate, other) in fates(&spec, COUNT).into_iter().zip(without_drop) {
                prop_assert!(fate == Fate::Drop || fate == other);
            }
        }

        #[test]
        fn what_does_not_change_is_the_same_when_it_is_worked_out_anew(spec in any_spec(), n in 0..COUNT) {
            let tables = bursts();
            let block = *Fates::new(&spec, &tables).block(n);
            let mut anew = block;
            anew.refresh(&spec, &spec.levels(), |fault, odds, number| {
                hits(&spec, fault, odds, number, 0, &tables).packets
            });
            prop_assert_eq!(anew, block);
        }

        #[test]
        fn certain_loss_drops_everything(spec in any_spec()) {
            let mut spec = spec;
            spec.chances[fault::DROP] = Chance::independent(CERTAIN, 0);
            prop_assert!(fates(&spec, COUNT).iter().all(|fate| *fate == Fate::Drop));
        }

        #[test]
        fn what_is_foreseen_of_several_packets_is_what_is_decided_of_each(
            spec in any_spec(), first in 0u64..1000, count in 1u64..=192,
        ) {
            let tables = bursts();
            let mut each = Fates::new(&spec, &tables);
            let mut expected = Forecast { complete: true, ..Forecast::default() };
            for n in first..first + count {
                let lane = n % LANES;
                let block = *each.block(n);
                let is_hit = |fault| block.is_hit(fault, lane);
                let dropped = is_hit(fault::DROP);
                expected.dropped += u64::from(dropped);
                expected.duplicated += u64::from(is_hit(fault::DUPLICATE) && !dropped);
                expected.touched |= (0..fault::COUNT).any(is_hit);
            }
            let (mut forecast, mut at) = (Forecast::default(), first);
            while forecast.add(each.block(at), first, first + count) {
                at += LANES;
            }
            prop_assert_eq!(forecast, expected);
        }

        #[test]
        fn nothing_is_due_before_its_plan(
            now in 1u64 << 40..1 << 50, ahead in 0..=PLAN_HORIZON_NS,
        ) {
            prop_assert_eq!(due_ns(now, now + ahead), now + ahead);
            prop_assert_eq!(due_ns(now, now - ahead.max(1)), now);
            prop_assert_eq!(due_ns(now, 0), now);
            prop_assert_eq!(due_ns(now, now + PLAN_HORIZON_NS + 1), now);
            prop_assert!(is_of_another_clock(now, now + PLAN_HORIZON_NS + 1));
            prop_assert!(!is_of_another_clock(now, now + ahead));
            prop_assert!(!is_of_another_clock(now, 0));
        }
    }

    #[test]
    fn between_two_that_overtake_lie_as_many_as_asked() {
        let mut spec = FaultSpec {
            reorder_gap: 5,
            ..FaultSpec::default()
        };
        spec.chances[fault::REORDER] = Chance::independent(CERTAIN, 0);
        let overtakes = |fate: &Fate| matches!(fate, Fate::Deliver { reorder: true, .. });
        for (n, fate) in (1..).zip(fates(&spec, COUNT)) {
            assert_eq!(overtakes(&fate), n % 5 == 0, "packet {n}");
        }
    }

    #[test]
    fn no_two_copies_share_their_delay() {
        let copies = |n| (0..COPIES_MAX).map(move |copy| number_of_copy(n, copy));
        assert!((0..10).flat_map(copies).is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn a_rule_without_faults_delivers_at_once() {
        let untouched = Fate::Deliver {
            corrupt: false,
            copies: 0,
            reorder: false,
            delay_ns: 0,
        };
        let spec = FaultSpec::default();
        assert!(fates(&spec, COUNT).iter().all(|fate| *fate == untouched));
    }
}
