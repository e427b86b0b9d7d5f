//! When packets leave that share a bottleneck: a rate, slots, or only their order.
//!
//! Nothing is queued here. Each packet is told when it will leave, given those before it, and fq
//! holds it until then (EDT). So the queue is known without being there: it is what will take from
//! now until the link is free.

use crate::{
    NSEC_PER_SEC,
    abi::{FaultSpec, Pace, PaceState, Track, flags},
    chance::Tables,
    random::Stream,
    track::partition,
};

/// Several packets of the same size, one after the other: the segments of one super-packet, or one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Train {
    /// How many.
    pub packets: u64,
    /// Bytes of each on the wire.
    pub bytes: u32,
    /// Whether they can be marked in place of being dropped.
    pub markable: bool,
}

impl Train {
    /// Bytes, and whether they can be marked, as one word.
    #[inline(always)]
    pub const fn kind(self) -> u64 {
        self.bytes as u64 | (self.markable as u64) << 32
    }

    /// Of so many packets of the [`kind`](Self::kind).
    #[inline(always)]
    pub const fn of_kind(packets: u64, kind: u64) -> Self {
        Self {
            packets,
            bytes: kind as u32,
            markable: kind >> 32 != 0,
        }
    }
}

/// How a train passes the bottleneck.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passage {
    /// When the first packet has passed, in ns; at once where that is in the past.
    pub base_ns: u64,
    /// When the next one has, after that.
    pub spacing_ns: u64,
    /// In place of both: the opportunity of a recorded link that the first takes.
    pub opportunity: u64,
    /// Bytes of it that are taken already.
    pub taken: u64,
    /// Bytes that each packet takes.
    pub bytes: u64,
    /// How long each is delayed after that.
    pub delay_ns: u64,
    /// How many packets find room in the queue. The others are dropped.
    pub admitted: u64,
    /// How many of these find room within the limit. The others are marked.
    pub unmarked: u64,
}

impl Passage {
    /// One that holds up nobody.
    #[inline(always)]
    pub const fn free(base_ns: u64) -> Self {
        Self {
            base_ns,
            spacing_ns: 0,
            opportunity: 0,
            taken: 0,
            bytes: 0,
            delay_ns: 0,
            admitted: u64::MAX,
            unmarked: u64::MAX,
        }
    }

    /// When packet `n` of the train has passed, if it came at `now_ns`. The first is 0.
    #[inline(always)]
    pub const fn passed_ns(&self, now_ns: u64, n: u64) -> u64 {
        max(self.base_ns + n * self.spacing_ns, now_ns)
    }

    /// The opportunity with which packet `n` of the train has passed.
    #[inline(always)]
    pub const fn opportunity_of(&self, n: u64) -> u64 {
        self.opportunity + (self.taken + (n + 1) * self.bytes).saturating_sub(1) / OPPORTUNITY_BYTES
    }
}

/// What a recorded link delivers at each opportunity, in bytes (Mahimahi, USENIX ATC 2015).
pub const OPPORTUNITY_BYTES: u64 = 1500;

/// A recorded link: it began at an instant, and begins anew whenever it ends.
#[derive(Clone, Copy, Debug)]
pub struct Link<'a> {
    /// When it was able to deliver.
    pub track: &'a Track,
    /// When it began, on the monotonic clock, in ns.
    pub begin_ns: u64,
}

impl Link<'_> {
    /// The number of the first opportunity that is not before `now_ns`.
    #[inline(always)]
    pub fn next(&self, now_ns: u64, tables: &impl Tables) -> u64 {
        let elapsed_ns = now_ns.wrapping_sub(self.begin_ns);
        let at_ns = self.track.time_ns(elapsed_ns);
        let is_past = |place| match tables.opportunity_ms(self.track.first + place) {
            Some(ms) => u64::from(ms) * NSEC_PER_MSEC < at_ns,
            None => false,
        };
        let place = u64::from(partition(self.track.len, is_past));
        let turns = elapsed_ns / max(self.track.period_ns, 1);
        turns * u64::from(self.track.len) + place
    }

    /// When an opportunity is.
    #[inline(always)]
    pub fn instant_ns(&self, number: u64, tables: &impl Tables) -> u64 {
        let len = max(self.track.len as u64, 1);
        let place = (number % len) as u32;
        let ms = tables.opportunity_ms(self.track.first + place);
        let in_turn_ns = u64::from(ms.unwrap_or(0)) * NSEC_PER_MSEC;
        let in_track_ns = number / len * self.track.period_ns + in_turn_ns;
        self.begin_ns.wrapping_add(in_track_ns)
    }

    /// When packet `n` of a train has passed.
    #[inline(always)]
    pub fn passed_ns(&self, passage: &Passage, n: u64, tables: &impl Tables) -> u64 {
        self.instant_ns(passage.opportunity_of(n), tables)
    }
}

const NSEC_PER_MSEC: u64 = 1_000_000;

impl Pace {
    /// The fractional bits of [`Self::byte_ns`]: enough for 1 % at 1 Tbit/s, and few enough for 64 KiB
    /// at 1 bit/s.
    pub const BYTE_NS_SHIFT: u32 = 14;

    /// Bits of a byte in a second, in the units of `byte_ns`.
    const BYTE_SECOND: u64 = (8 * NSEC_PER_SEC) << Self::BYTE_NS_SHIFT;

    /// How long a byte takes at a rate, which is not 0, in the units of the field of that name.
    pub const fn byte_ns(bits_per_second: u64) -> u64 {
        let byte_ns = (Self::BYTE_SECOND + bits_per_second / 2) / bits_per_second;
        max(byte_ns, 1)
    }

    /// The rate at which a byte takes so long; `None` where none is meant.
    pub const fn bits_per_second(byte_ns: u64) -> Option<u64> {
        match byte_ns {
            0 => None,
            _ => Some((Self::BYTE_SECOND + byte_ns / 2) / byte_ns),
        }
    }

    /// What a packet of `bytes` comes to on the wire.
    #[inline(always)]
    const fn on_wire(&self, bytes: u64) -> u64 {
        let bytes = bytes.saturating_add_signed(self.overhead as i64);
        if self.cell_size == 0 {
            return bytes;
        }
        let cell = self.cell_size as u64;
        bytes.div_ceil(cell) * cell
    }

    /// How long a packet of `bytes` takes at `byte_ns`.
    #[inline(always)]
    pub const fn packet_ns(&self, byte_ns: u64, bytes: u64) -> u64 {
        (self.on_wire(bytes) * byte_ns) >> Self::BYTE_NS_SHIFT
    }
}

/// Lets a train pass that comes at `now_ns` and is delayed by `delay_ns` after that. `next` is the next
/// opportunity of a recorded link, where there is one.
#[inline(always)]
pub fn pass(
    spec: &FaultSpec,
    byte_ns: u64,
    state: &mut PaceState,
    now_ns: u64,
    next: u64,
    train: Train,
    delay_ns: u64,
) -> Passage {
    if spec.pace.opportunities.len != 0 {
        let passage = take(&spec.pace, state, next, train);
        return Passage {
            delay_ns,
            ..passage
        };
    }
    let mut passage = transmit(spec, byte_ns, state, now_ns, train);
    passage.delay_ns = delay_ns;
    if passage.admitted == 0 {
        return passage;
    }
    if spec.pace.slot_bytes != 0 {
        if state.slot_ns.saturating_sub(now_ns) > spec.pace.queue_ns {
            passage.admitted = 0;
            return passage;
        }
        let ready_ns = max(passage.base_ns, now_ns);
        passage.base_ns = enter_slot(&spec.pace, state, ready_ns, train);
    }
    if spec.flags & flags::KEEP_ORDER != 0 {
        let first_ns = passage.passed_ns(now_ns, 0);
        passage.delay_ns = max(delay_ns, state.latest_ns.saturating_sub(first_ns));
        let last_ns = passage.passed_ns(now_ns, passage.admitted - 1);
        state.latest_ns = last_ns + passage.delay_ns;
    }
    passage
}

/// Sends a train over a link of one rate.
#[inline(always)]
const fn transmit(
    spec: &FaultSpec,
    byte_ns: u64,
    state: &mut PaceState,
    now_ns: u64,
    train: Train,
) -> Passage {
    let spacing_ns = spec.pace.packet_ns(byte_ns, train.bytes as u64);
    if spacing_ns == 0 {
        return Passage::free(now_ns);
    }
    let start_ns = max(state.free_ns, now_ns);
    let waiting_ns = start_ns - now_ns;
    let unmarked = room_for(&spec.pace, byte_ns, waiting_ns, spacing_ns, train, 1);
    let admitted = if spec.flags & flags::QUEUE_ECN != 0 && train.markable {
        room_for(&spec.pace, byte_ns, waiting_ns, spacing_ns, train, 2)
    } else {
        unmarked
    };
    state.free_ns = start_ns + admitted * spacing_ns;
    // What may leave at once does not wait for its own transmission either.
    let base_ns = (start_ns + spacing_ns).saturating_sub(spec.pace.burst_ns);
    Passage {
        spacing_ns,
        admitted,
        unmarked,
        ..Passage::free(base_ns)
    }
}

/// Lets a train take opportunities of a recorded link, from `next` on: those that nobody has taken.
#[inline(always)]
const fn take(pace: &Pace, state: &mut PaceState, next: u64, train: Train) -> Passage {
    if state.slot < next {
        state.slot = next;
        state.slot_bytes = 0;
    }
    let bytes = max(pace.on_wire(train.bytes as u64), 1);
    let waiting = (state.slot - next) * OPPORTUNITY_BYTES + state.slot_bytes;
    let admitted = room(pace.queue_bytes, waiting, bytes, train.packets);
    let passage = Passage {
        opportunity: state.slot,
        taken: state.slot_bytes,
        bytes,
        admitted,
        unmarked: admitted,
        ..Passage::free(0)
    };
    let taken = state.slot_bytes + admitted * bytes;
    state.slot += taken / OPPORTUNITY_BYTES;
    state.slot_bytes = taken % OPPORTUNITY_BYTES;
    passage
}

/// How many packets of a train find room within so many times the queue's limits.
#[inline(always)]
const fn room_for(
    pace: &Pace,
    byte_ns: u64,
    waiting_ns: u64,
    spacing_ns: u64,
    train: Train,
    times: u64,
) -> u64 {
    // What the burst lets out does not wait.
    let limit_ns = pace.queue_ns * times + pace.burst_ns;
    let by_time = room(limit_ns, waiting_ns, spacing_ns, train.packets);
    if pace.queue_bytes == u64::MAX {
        return by_time;
    }
    let limit = pace.queue_bytes * times + in_bytes(pace.burst_ns, byte_ns);
    let waiting = in_bytes(waiting_ns, byte_ns);
    let by_bytes = room(
        limit,
        waiting,
        pace.on_wire(train.bytes as u64),
        train.packets,
    );
    min(by_time, by_bytes)
}

/// How many bytes take so long.
#[inline(always)]
const fn in_bytes(time_ns: u64, byte_ns: u64) -> u64 {
    (time_ns << Pace::BYTE_NS_SHIFT) / max(byte_ns, 1)
}

/// How many packets come to wait for no more than the limit, if each takes `spacing` and the first would
/// wait for `waiting`: all in ns, or in bytes.
#[inline(always)]
const fn room(limit: u64, waiting: u64, spacing: u64, packets: u64) -> u64 {
    if waiting > limit {
        return 0;
    }
    min(
        packets,
        ((limit - waiting) / max(spacing, 1)).saturating_add(1),
    )
}

/// Takes a train into the slot that has room for it: it leaves when that begins. A train that begins
/// in a slot also ends in it.
#[inline(always)]
const fn enter_slot(pace: &Pace, state: &mut PaceState, ready_ns: u64, train: Train) -> u64 {
    let leaves_ns = max(ready_ns, state.slot_ns);
    state.slot_packets += train.packets;
    state.slot_bytes += train.packets * train.bytes as u64;
    if state.slot_packets >= pace.slot_packets as u64 || state.slot_bytes >= pace.slot_bytes {
        let wait_ns =
            pace.slot_min_ns + Stream::new(pace.slot_key).up_to(state.slot, pace.slot_span_ns);
        state.slot_ns = leaves_ns + wait_ns;
        state.slot += 1;
        state.slot_packets = 0;
        state.slot_bytes = 0;
    }
    leaves_ns
}

#[inline(always)]
const fn max(a: u64, b: u64) -> u64 {
    if a > b { a } else { b }
}

#[inline(always)]
const fn min(a: u64, b: u64) -> u64 {
    if a < b { a } else { b }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use proptest::{collection::vec, prelude::*};

    use super::*;

    const MBIT: u64 = 1_000_000;
    const FOREVER: u64 = 1 << 62;

    fn link(bits_per_second: u64, queue_ns: u64) -> FaultSpec {
        FaultSpec {
            pace: Pace {
                byte_ns: Pace::byte_ns(bits_per_second),
                queue_ns,
                queue_bytes: u64::MAX,
                ..Pace::default()
            },
            ..FaultSpec::default()
        }
    }

    fn one(bytes: u64) -> Train {
        Train::of_kind(1, bytes)
    }

    /// Passes packets that come all at the same time; when each has passed.
    fn burst(spec: &FaultSpec, count: u64, bytes: u64) -> Vec<Option<u64>> {
        let mut state = PaceState::default();
        let mut pass = || {
            pass(
                spec,
                spec.pace.byte_ns,
                &mut state,
                NOW_NS,
                0,
                one(bytes),
                0,
            )
        };
        let each = (0..count).map(|_| pass());
        each.map(|passage| (passage.admitted != 0).then(|| passage.passed_ns(NOW_NS, 0)))
            .collect()
    }

    const NOW_NS: u64 = 1 << 40;

    #[test]
    fn a_packet_takes_as_long_as_its_bits() {
        // 1250 bytes are 10,000 bits.
        let passed = burst(&link(10 * MBIT, FOREVER), 3, 1250);
        assert_eq!(passed, [1, 2, 3].map(|n| Some(NOW_NS + n * 1_000_000)));
    }

    #[test]
    fn overhead_and_cells_count() {
        // ATM: 1250 bytes and 8 of overhead take 27 cells of 48 bytes.
        let mut spec = link(8 * MBIT, FOREVER);
        (spec.pace.overhead, spec.pace.cell_size) = (8, 48);
        assert_eq!(spec.pace.packet_ns(spec.pace.byte_ns, 1250), 27 * 48 * 1000);
        spec.pace.overhead = -1250;
        assert_eq!(spec.pace.packet_ns(spec.pace.byte_ns, 1250), 0);
    }

    #[test]
    fn as_much_as_the_burst_goes_at_once() {
        let mut spec = link(8 * MBIT, FOREVER);
        spec.pace.burst_ns = 4_000_000;
        let passed = burst(&spec, 6, 1000);
        let after_ms = |ms: u64| Some(NOW_NS + ms * 1_000_000);
        assert_eq!(passed, [0, 0, 0, 0, 1, 2].map(after_ms));
    }

    #[test]
    fn what_the_burst_lets_out_does_not_wait() {
        let mut spec = link(8 * MBIT, 2_000_000);
        spec.pace.burst_ns = 4_000_000;
        // Four go at once, the next one is sent for 1 ms, and two wait.
        assert_eq!(burst(&spec, 100, 1000).iter().flatten().count(), 4 + 1 + 2);
    }

    #[test]
    fn what_would_wait_longer_than_the_limit_is_dropped() {
        // One in transmission, and ten that wait for up to 10 ms.
        let passed = burst(&link(8 * MBIT, 10_000_000), 100, 1000);
        assert_eq!(passed.iter().flatten().count(), 11);
        assert!(passed[..11].iter().all(Option::is_some));
    }

    #[test]
    fn beyond_the_limit_packets_are_marked_up_to_twice_of_it() {
        let mut spec = link(8 * MBIT, 10_000_000);
        spec.flags = flags::QUEUE_ECN;
        let train = Train {
            packets: 40,
            bytes: 1000,
            markable: true,
        };
        let mut state = PaceState::default();
        let passage = pass(&spec, spec.pace.byte_ns, &mut state, NOW_NS, 0, train, 0);
        assert_eq!((passage.unmarked, passage.admitted), (11, 21));
        // What cannot be marked takes no more room than without marks.
        let train = Train {
            markable: false,
            ..train
        };
        let mut state = PaceState::default();
        let passage = pass(&spec, spec.pace.byte_ns, &mut state, NOW_NS, 0, train, 0);
        assert_eq!((passage.unmarked, passage.admitted), (11, 11));
    }

    #[test]
    fn a_slot_ends_with_the_packet_that_makes_up_its_bytes() {
        let spec = FaultSpec {
            pace: Pace {
                slot_min_ns: 1_000_000,
                slot_packets: u32::MAX,
                slot_bytes: 2500,
                queue_ns: FOREVER,
                queue_bytes: u64::MAX,
                ..Pace::default()
            },
            ..FaultSpec::default()
        };
        let passed = burst(&spec, 7, 1000);
        let slots = [0, 0, 0, 1, 1, 1, 2];
        assert_eq!(passed, slots.map(|n| Some(NOW_NS + n * 1_000_000)));
    }

    #[test]
    fn a_recorded_link_delivers_1500_bytes_at_a_time_and_keeps_none_for_later() {
        let pace = Pace {
            queue_bytes: u64::MAX,
            ..Pace::default()
        };
        let mut state = PaceState::default();
        let mut opportunity =
            |next, bytes| take(&pace, &mut state, next, one(bytes)).opportunity_of(0);
        let sizes = [500, 500, 500, 1500, 100, 1400];
        assert_eq!(sizes.map(|bytes| opportunity(0, bytes)), [0, 0, 0, 1, 2, 2]);
        assert_eq!([100, 1500].map(|bytes| opportunity(9, bytes)), [9, 10]);
    }

    #[test]
    fn a_slot_takes_so_many_packets() {
        let spec = FaultSpec {
            pace: Pace {
                slot_min_ns: 1_000_000,
                slot_packets: 3,
                slot_bytes: u64::MAX,
                queue_ns: FOREVER,
                queue_bytes: u64::MAX,
                ..Pace::default()
            },
            ..FaultSpec::default()
        };
        let passed = burst(&spec, 7, 100);
        let after_ms = |ms: u64| Some(NOW_NS + ms * 1_000_000);
        assert_eq!(passed, [0, 0, 0, 1, 1, 1, 2].map(after_ms));
    }

    proptest! {
        #[test]
        fn the_rate_is_what_it_should_be(
            bits in 1_000u64..1_000_000_000_000, bytes in vec(1u64..65_536, 1..50),
        ) {
            let (spec, mut state) = (link(bits, FOREVER), PaceState::default());
            for bytes in &bytes {
                pass(&spec, spec.pace.byte_ns, &mut state, NOW_NS, 0, one(*bytes), 0);
            }
            let taken_ns = (state.free_ns - NOW_NS) as f64;
            let expected_ns = bytes.iter().sum::<u64>() as f64 * 8e9 / bits as f64;
            // A byte's time is rounded to 2^-14 ns, and a packet's to a ns.
            let rounding = 0.5 / spec.pace.byte_ns as f64;
            let bound_ns = expected_ns * rounding * 1.01 + bytes.len() as f64;
            prop_assert!((taken_ns - expected_ns).abs() <= bound_ns, "{taken_ns} {expected_ns}");
        }

        #[test]
        fn a_train_passes_as_its_packets_would(
            packets in 1u64..60, bytes in 60u64..1515, bits in 1_000_000u64..1_000_000_000,
            ahead_ns in 0u64..1 << 24, queue_ns in 0u64..1 << 26, burst_ns in 0u64..1 << 20,
        ) {
            let mut spec = link(bits, queue_ns);
            spec.pace.burst_ns = burst_ns;
            let begin = PaceState { free_ns: NOW_NS + ahead_ns, ..PaceState::default() };
            let (mut together, mut single) = (begin, begin);
            let byte_ns = spec.pace.byte_ns;
            let train = Train::of_kind(packets, bytes);
            let passage = pass(&spec, byte_ns, &mut together, NOW_NS, 0, train, 0);
            for n in 0..packets {
                let alone = pass(&spec, byte_ns, &mut single, NOW_NS, 0, one(bytes), 0);
                prop_assert_eq!(alone.admitted == 1, n < passage.admitted);
                if alone.admitted == 1 {
                    prop_assert_eq!(alone.passed_ns(NOW_NS, 0), passage.passed_ns(NOW_NS, n));
                }
            }
            prop_assert_eq!(together, single);
        }

        #[test]
        fn order_is_kept(delays in vec(0u64..1 << 30, 2..50), gaps in vec(0u64..1 << 20, 50)) {
            let spec = FaultSpec { flags: flags::KEEP_ORDER, ..FaultSpec::default() };
            let (mut state, mut now_ns, mut latest_ns) = (PaceState::default(), NOW_NS, 0);
            for (delay_ns, gap_ns) in delays.into_iter().zip(gaps) {
                now_ns += gap_ns;
                let passage = pass(&spec, 0, &mut state, now_ns, 0, one(100), delay_ns);
                let departure_ns = passage.passed_ns(now_ns, 0) + passage.delay_ns;
                prop_assert!(departure_ns >= latest_ns && passage.delay_ns >= delay_ns);
                latest_ns = departure_ns;
            }
        }
    }

    /// A recorded link alone.
    #[derive(Debug)]
    struct Recorded(Vec<u32>);

    impl Tables for Recorded {
        fn opportunity_ms(&self, number: u32) -> Option<u32> {
            self.0.get(number as usize).copied()
        }
    }

    impl Recorded {
        fn track(&self) -> Track {
            Track {
                len: self.0.len() as u32,
                period_ns: u64::from(*self.0.last().unwrap()) * NSEC_PER_MSEC,
                ..Track::default()
            }
        }
    }

    prop_compose! {
        fn any_recorded()(mut times_ms in vec(1u32..1000, 1..30)) -> Recorded {
            times_ms.sort_unstable();
            Recorded(times_ms)
        }
    }

    proptest! {
        #[test]
        fn the_next_opportunity_is_the_first_that_is_not_over(
            recorded in any_recorded(), now_ns in NOW_NS..NOW_NS + (1 << 36),
        ) {
            let link = Link { track: &recorded.track(), begin_ns: NOW_NS };
            let next = link.next(now_ns, &recorded);
            prop_assert!(link.instant_ns(next, &recorded) >= now_ns);
            prop_assert!(next == 0 || link.instant_ns(next - 1, &recorded) < now_ns);
        }

        #[test]
        fn an_opportunity_delivers_1500_bytes(
            recorded in any_recorded(), sizes in vec((1u64..5, 1u64..3000), 1..50),
        ) {
            let track = recorded.track();
            let link = Link { track: &track, begin_ns: NOW_NS };
            let spec = FaultSpec {
                pace: Pace { opportunities: track, queue_bytes: u64::MAX, ..Pace::default() },
                ..FaultSpec::default()
            };
            let (mut state, mut sent) = (PaceState::default(), 0);
            for (packets, bytes) in sizes {
                let train = Train::of_kind(packets, bytes);
                let passage = pass(&spec, 0, &mut state, NOW_NS, link.next(NOW_NS, &recorded), train, 0);
                for n in 0..packets {
                    sent += bytes;
                    let number = (sent - 1) / OPPORTUNITY_BYTES;
                    let expected_ns = link.instant_ns(number, &recorded);
                    prop_assert_eq!(link.passed_ns(&passage, n, &recorded), expected_ns);
                }
            }
        }
    }
}
