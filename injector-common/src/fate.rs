//! What happens to the n-th packet of a rule.

use crate::{
    abi::FaultSpec,
    random::{LANES, Stream},
};

/// The fate of one wire packet.
///
/// The faults act in this order: drop, then corrupt, then duplicate, then delay. A corrupted
/// packet's copy is corrupted alike; the copy draws its own delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Dropped: nothing else happens to it.
    Drop,
    /// Delivered, perhaps damaged, late or twice.
    Deliver {
        /// A random word that chooses the bit to flip, where one is flipped.
        corrupt: Option<u64>,
        /// The delay of the copy in ns, where one is made.
        duplicate_delay_ns: Option<u64>,
        /// The delay of the packet itself in ns.
        delay_ns: u64,
    },
}

/// The fate of packet `n`, counting from 0, under `spec`.
#[inline(always)]
pub const fn decide(spec: &FaultSpec, n: u64) -> Fate {
    if Stream::new(spec.drop_key).hit(spec.drop_odds, n) {
        return Fate::Drop;
    }
    let corrupt = if Stream::new(spec.corrupt_key).hit(spec.corrupt_odds, n) {
        Some(Stream::new(spec.corrupt_bit_key).word(n))
    } else {
        None
    };
    let duplicate_delay_ns = if Stream::new(spec.duplicate_key).hit(spec.duplicate_odds, n) {
        Some(draw_delay(spec, spec.duplicate_delay_key, n))
    } else {
        None
    };
    Fate::Deliver {
        corrupt,
        duplicate_delay_ns,
        delay_ns: delay_ns(spec, n),
    }
}

/// What the faults that act on single packets do to several together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Touch {
    /// They leave all of them alone.
    None = 0,
    /// They touch some, or would have to be asked one by one.
    Some = 1,
    /// They drop all of them.
    Drop = 2,
}

/// Blocks of [`Stream::hits`] that [`touch`] looks at.
const BLOCKS_MAX: u64 = 4;

/// What [`decide`] will do to the `count` packets from `first` on, the segments of one super-packet:
/// whether it can stay whole.
///
/// Decides 64 packets at a time, and none beyond the fourth block of 64, to which no super-packet
/// of 64 KiB with segments of 536 bytes or more comes: it says [`Touch::Some`] there.
///
/// `hits` is [`Stream::hits`], or calls it: in the kernel by way of a function of its own, which the
/// verifier checks once and not for each fault and block.
#[inline(always)]
pub fn touch(
    spec: &FaultSpec,
    first: u64,
    count: u64,
    hits: impl Fn(Stream, u64, u64) -> u64,
) -> Touch {
    if spec.drops_all() {
        return Touch::Drop;
    }
    let end = first + count;
    let (mut at, mut touched, mut kept, mut blocks) = (first, 0, 0, 0);
    while blocks < BLOCKS_MAX && at < end {
        let block = at / LANES;
        let lanes = lanes_from(at % LANES) & lanes_before(end - block * LANES);
        let drops = hits(Stream::new(spec.drop_key), spec.drop_odds, block) & lanes;
        let others = hits(Stream::new(spec.corrupt_key), spec.corrupt_odds, block)
            | hits(Stream::new(spec.duplicate_key), spec.duplicate_odds, block);
        touched |= drops | others & lanes;
        kept |= lanes & !drops;
        at = (block + 1) * LANES;
        blocks += 1;
    }
    if at < end || touched != 0 && kept != 0 {
        Touch::Some
    } else if touched == 0 {
        Touch::None
    } else {
        Touch::Drop
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

/// The delay of packet `n` in ns, uniform between the shortest and the longest of `spec`.
#[inline(always)]
pub const fn delay_ns(spec: &FaultSpec, n: u64) -> u64 {
    draw_delay(spec, spec.delay_key, n)
}

#[inline(always)]
const fn draw_delay(spec: &FaultSpec, key: u64, n: u64) -> u64 {
    if spec.delay_span_ns == 0 {
        return spec.delay_min_ns;
    }
    spec.delay_min_ns + Stream::new(key).up_to(n, spec.delay_span_ns)
}

/// When a packet departs: after `delay_ns` from now, or from the moment the sender's pacing had
/// planned for it, whichever is later.
///
/// `planned_ns` is the packet's own `tstamp`. fq's clock is CLOCK_MONOTONIC; a stamp further ahead
/// than [`PLAN_HORIZON_NS`] belongs to another clock and is ignored.
#[inline(always)]
pub const fn departure_ns(now_ns: u64, planned_ns: u64, delay_ns: u64) -> u64 {
    let ahead_ns = planned_ns.wrapping_sub(now_ns);
    // A stamp in the past wraps to a huge distance and is ignored by the same comparison.
    let base_ns = if ahead_ns <= PLAN_HORIZON_NS {
        planned_ns
    } else {
        now_ns
    };
    base_ns + delay_ns
}

/// Longest time that a pacing stamp may lie ahead. fq itself drops what is more than 10 s ahead by
/// default (`horizon`), so no sender plans further.
pub const PLAN_HORIZON_NS: u64 = 20 * crate::NSEC_PER_SEC;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::random::CERTAIN;

    prop_compose! {
        fn any_spec()(
            odds in prop::array::uniform3(0..=CERTAIN),
            keys in prop::array::uniform6(any::<u64>()),
            delay_min_ns in 0u64..1 << 42,
            delay_span_ns in 0u64..1 << 42,
        ) -> FaultSpec {
            FaultSpec {
                drop_odds: odds[0],
                corrupt_odds: odds[1],
                duplicate_odds: odds[2],
                drop_key: keys[0],
                corrupt_key: keys[1],
                corrupt_bit_key: keys[2],
                duplicate_key: keys[3],
                delay_key: keys[4],
                duplicate_delay_key: keys[5],
                delay_min_ns,
                delay_span_ns,
                ..FaultSpec::default()
            }
        }
    }

    /// Odds at which some super-packets are touched and some are not.
    fn rare_spec() -> impl Strategy<Value = FaultSpec> {
        let odds = || prop_oneof![3 => Just(0), 3 => 1..CERTAIN / 50, 1 => 1..=CERTAIN, 1 => Just(CERTAIN)];
        (any_spec(), [odds(), odds(), odds()]).prop_map(|(spec, odds)| FaultSpec {
            drop_odds: odds[0],
            corrupt_odds: odds[1],
            duplicate_odds: odds[2],
            ..spec
        })
    }

    proptest! {
        #[test]
        fn a_fate_is_the_same_each_time(spec in any_spec(), n: u64) {
            prop_assert_eq!(decide(&spec, n), decide(&spec, n));
        }

        #[test]
        fn delays_stay_within_their_bounds(spec in any_spec(), n: u64) {
            let bounds = spec.delay_min_ns..=spec.delay_min_ns + spec.delay_span_ns;
            prop_assert!(bounds.contains(&delay_ns(&spec, n)));
            if let Fate::Deliver { duplicate_delay_ns: Some(delay_ns), .. } = decide(&spec, n) {
                prop_assert!(bounds.contains(&delay_ns));
            }
        }

        #[test]
        fn a_rule_without_faults_delivers_at_once(keys: [u64; 3], n: u64) {
            let spec = FaultSpec {
                drop_key: keys[0],
                corrupt_key: keys[1],
                duplicate_key: keys[2],
                ..FaultSpec::default()
            };
            let untouched = Fate::Deliver { corrupt: None, duplicate_delay_ns: None, delay_ns: 0 };
            prop_assert_eq!(decide(&spec, n), untouched);
        }

        #[test]
        fn certain_loss_drops_everything(spec in any_spec(), n: u64) {
            let spec = FaultSpec { drop_odds: CERTAIN, ..spec };
            prop_assert_eq!(decide(&spec, n), Fate::Drop);
        }

        #[test]
        fn a_fault_does_not_change_the_chances_of_another(spec in any_spec(), n: u64) {
            let without_drop = FaultSpec { drop_odds: 0, ..spec };
            if decide(&spec, n) != Fate::Drop {
                prop_assert_eq!(decide(&spec, n), decide(&without_drop, n));
            }
        }

        #[test]
        fn what_is_foreseen_of_several_packets_is_what_is_decided_of_each(
            spec in rare_spec(), first in 0u64..1 << 40, count in 1u64..=192,
        ) {
            let mut fates = (first..first + count).map(|n| decide(&spec, n));
            let is_untouched = |fate: &Fate| {
                matches!(fate, Fate::Deliver { corrupt: None, duplicate_delay_ns: None, .. })
            };
            let expected = if fates.clone().all(|fate| is_untouched(&fate)) {
                Touch::None
            } else if fates.all(|fate| fate == Fate::Drop) {
                Touch::Drop
            } else {
                Touch::Some
            };
            prop_assert_eq!(touch(&spec, first, count, Stream::hits), expected);
        }

        #[test]
        fn what_cannot_be_foreseen_is_split(spec in rare_spec(), first in 0u64..1 << 40) {
            let expected = if spec.drop_odds == CERTAIN { Touch::Drop } else { Touch::Some };
            prop_assert_eq!(touch(&spec, first, LANES * BLOCKS_MAX + 1, Stream::hits), expected);
        }

        #[test]
        fn nothing_departs_before_its_delay_or_its_plan(
            now in 1u64 << 40..1 << 50, ahead in 0..=PLAN_HORIZON_NS, delay in 0u64..1 << 42,
        ) {
            prop_assert_eq!(departure_ns(now, now + ahead, delay), now + ahead + delay);
            prop_assert_eq!(departure_ns(now, now - ahead.max(1), delay), now + delay);
            prop_assert_eq!(departure_ns(now, 0, delay), now + delay);
            prop_assert_eq!(departure_ns(now, now + PLAN_HORIZON_NS + 1, delay), now + delay);
        }
    }
}
