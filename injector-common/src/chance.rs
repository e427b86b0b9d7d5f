//! Which packets a fault hits, 64 at a time.
//!
//! Packets that are hit independently of each other need no state: any block of 64 can be had
//! directly. In a Markov chain a block depends on the state in which the one before it ended, and
//! nothing else.

use crate::{
    abi::{Chain, ChainState, Chance, Distribution, Point, model},
    random::{CERTAIN, LANES, Stream},
    track::partition,
};

/// What fault specifications refer to by number; nothing where there is none.
pub trait Tables {
    /// A Markov chain.
    #[inline(always)]
    fn chain(&self, _: u32) -> Option<&Chain> {
        None
    }
    /// A bound of listed packets.
    #[inline(always)]
    fn bound(&self, _: u32) -> Option<u64> {
        None
    }
    /// A table of deviations.
    #[inline(always)]
    fn distribution(&self, _: u32) -> Option<&Distribution> {
        None
    }
    /// Values at a point in time.
    #[inline(always)]
    fn point(&self, _: u32) -> Option<&Point> {
        None
    }
    /// When a recorded link could deliver packets, in ms.
    #[inline(always)]
    fn opportunity_ms(&self, _: u32) -> Option<u32> {
        None
    }
    /// The same number, of which the eBPF verifier is to know nothing any more.
    #[inline(always)]
    fn forget(&self, number: u64) -> u64 {
        number
    }
}

/// What a fault does to a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hits {
    /// The packets that it hits: bit i is packet i.
    pub packets: u64,
    /// The state of the next block's first packet.
    pub state: u64,
}

impl Chance {
    /// The chance of packets that are independent of each other.
    pub const fn independent(odds: u64, key: u64) -> Self {
        Self {
            model: if odds == 0 {
                model::NEVER
            } else {
                model::INDEPENDENT
            },
            first: 0,
            count: 0,
            odds,
            key,
        }
    }

    /// Whether any packet can be hit.
    #[inline(always)]
    pub const fn is_possible(&self) -> bool {
        self.model != model::NEVER
    }

    /// Whether every packet is hit.
    #[inline(always)]
    pub const fn is_certain(&self) -> bool {
        self.model == model::INDEPENDENT && self.odds >= CERTAIN
    }

    /// Whether what happens to a packet depends on the packets before it.
    #[inline(always)]
    pub const fn remembers(&self) -> bool {
        self.model == model::MARKOV
    }

    /// Which of the packets of `block` are hit. `odds` are those of independent packets, `state` is
    /// that of the chain's first one.
    #[inline(always)]
    pub fn hits(&self, odds: u64, block: u64, state: u64, tables: &impl Tables) -> Hits {
        let packets = match self.model {
            model::INDEPENDENT => Stream::new(self.key).hits(odds, block),
            model::MARKOV => {
                return match tables.chain(self.first) {
                    Some(chain) => chain.hits(Stream::new(self.key), block, state, tables),
                    None => Hits::default(),
                };
            }
            model::EVERY => every(self.count, block),
            model::LISTED => listed(self.first, self.count as u32, block, tables),
            _ => 0,
        };
        Hits { packets, state }
    }
}

impl Chain {
    /// See [`Chance::hits`]. Packet n takes the n-th word of the stream: half of it for the hit, half
    /// for the next state.
    #[inline(always)]
    fn hits(&self, stream: Stream, block: u64, state: u64, tables: &impl Tables) -> Hits {
        let mut at = if block == 0 { self.first } else { state };
        let (mut packets, mut lane) = (0, 0);
        while lane < LANES {
            let word = stream.word(block * LANES + lane);
            at = tables.forget(at) & 3;
            let here = &self.states[at as usize];
            packets = tables.forget(packets | below(word & 0xffff_ffff, here.hit_odds) << lane);
            at ^= here.leave(word >> 32);
            lane += 1;
        }
        Hits {
            packets,
            state: at & 3,
        }
    }
}

impl ChainState {
    /// In which bits the next state's number differs from this one's.
    #[inline(always)]
    const fn leave(&self, random: u64) -> u64 {
        let [one, two, three] = self.leave_odds;
        // All three where it is below the first, and so on.
        let count = below(random, one) + below(random, two) + below(random, three);
        count.wrapping_neg() & 3
    }
}

/// 1 where the random number, of 32 bits, is below the odds. Without a branch, of which the verifier
/// would follow both ways, for each packet.
#[inline(always)]
const fn below(random: u64, odds: u64) -> u64 {
    random.wrapping_sub(odds) >> 63
}

/// Which packets of a block are an `n`-th one, counting from 1.
#[inline(always)]
const fn every(n: u64, block: u64) -> u64 {
    if n == 0 {
        return 0;
    }
    let first = n - 1 - (block * LANES) % n;
    let mut hits = if first < LANES { 1 << first } else { 0 };
    let (mut stride, mut doublings) = (n, 0);
    while doublings < 6 && stride < LANES {
        hits |= hits << stride;
        stride *= 2;
        doublings += 1;
    }
    hits
}

/// Which packets of a block lie between an odd bound and the next.
#[inline(always)]
fn listed(first: u32, len: u32, block: u64, tables: &impl Tables) -> u64 {
    // Where rules list none, the verifier is to end here.
    if tables.bound(first).is_none() {
        return 0;
    }
    let begin = block * LANES;
    // The bounds that are not above the block's first packet.
    let is_past = |place| {
        tables
            .bound(first + place)
            .is_some_and(|bound| bound <= begin)
    };
    let mut low = partition(len, is_past);
    let mut hits = u64::from(low & 1).wrapping_neg();
    let mut lane = 0;
    while lane < LANES && low < len {
        match tables.bound(first + low) {
            Some(bound) if bound - begin < LANES => hits ^= u64::MAX << (bound - begin),
            _ => break,
        }
        low += 1;
        lane += 1;
    }
    hits
}

/// Which of `hits`, packets from `begin` on, remain if at least `gap - 1` others must lie between two,
/// and none may be before `from`.
#[inline(always)]
pub fn keep_apart(hits: u64, begin: u64, gap: u64, from: u64, tables: &impl Tables) -> u64 {
    let (mut kept, mut lane, mut earliest) = (0, 0, from);
    while lane < LANES {
        let n = begin + lane;
        // Else the compiler branches by it, and the verifier goes both ways.
        let hit = tables.forget((hits >> lane) & !below(n, earliest) & 1);
        kept = tables.forget(kept | hit << lane);
        // The packet after the gap where this one is hit.
        earliest = tables.forget(earliest ^ ((earliest ^ (n + gap)) & hit.wrapping_neg()));
        lane += 1;
    }
    kept
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::{vec, vec::Vec};

    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// One chain, and bounds.
    struct Few {
        chain: Chain,
        bounds: Vec<u64>,
    }

    impl Tables for Few {
        fn chain(&self, number: u32) -> Option<&Chain> {
            (number == 0).then_some(&self.chain)
        }

        fn bound(&self, number: u32) -> Option<u64> {
            self.bounds.get(number as usize).copied()
        }
    }

    fn no_tables() -> Few {
        Few {
            chain: Chain::default(),
            bounds: vec![],
        }
    }

    /// The hits of the first blocks, packet by packet.
    fn hits(chance: &Chance, tables: &Few, blocks: u64) -> Vec<bool> {
        let mut state = 0;
        let each = (0..blocks).flat_map(|block| {
            let hits = chance.hits(chance.odds, block, state, tables);
            state = hits.state;
            (0..LANES).map(move |lane| (hits.packets >> lane) & 1 != 0)
        });
        each.collect()
    }

    fn any_odds() -> impl Strategy<Value = u64> {
        prop_oneof![Just(0), Just(CERTAIN), 0..=CERTAIN]
    }

    prop_compose! {
        fn any_state()(hit_odds in any_odds(), mut odds in [any_odds(), any_odds(), any_odds()])
            -> ChainState
        {
            odds.sort_unstable();
            ChainState { hit_odds, leave_odds: odds }
        }
    }

    proptest! {
        #[test]
        fn a_chain_goes_from_state_to_state(
            states in [any_state(), any_state(), any_state(), any_state()],
            first in 0u64..4,
            key: u64,
        ) {
            let tables = Few { chain: Chain { states, first }, bounds: vec![] };
            let chance = Chance { model: model::MARKOV, key, ..Chance::default() };
            // Step by step, with comparisons in place of bits.
            let (mut state, mut expected) = (first, Vec::new());
            for n in 0..4 * LANES {
                let (low, high) = {
                    let word = Stream::new(key).word(n);
                    (word & u64::from(u32::MAX), word >> 32)
                };
                let here = states[state as usize];
                expected.push(low < here.hit_odds);
                state ^= match here.leave_odds.iter().position(|odds| high < *odds) {
                    Some(place) => place as u64 + 1,
                    None => 0,
                };
            }
            prop_assert_eq!(hits(&chance, &tables, 4), expected);
        }

        #[test]
        fn every_nth_packet_is_hit(count in prop_oneof![1u64..200, any::<u64>()]) {
            let chance = Chance { model: model::EVERY, count, ..Chance::default() };
            let expected = (1..=4 * LANES).map(|n| count != 0 && n.is_multiple_of(count));
            prop_assert_eq!(hits(&chance, &no_tables(), 4), expected.collect::<Vec<_>>());
        }

        #[test]
        fn listed_packets_are_hit(mut bounds in vec(0u64..300, 0..40)) {
            bounds.sort_unstable();
            bounds.dedup();
            let chance = Chance {
                model: model::LISTED,
                count: bounds.len() as u64,
                ..Chance::default()
            };
            let lies_inside = |n| bounds.iter().filter(|bound| **bound <= n).count() % 2 == 1;
            let expected: Vec<_> = (0..5 * LANES).map(lies_inside).collect();
            let tables = Few { bounds: bounds.clone(), ..no_tables() };
            prop_assert_eq!(hits(&chance, &tables, 5), expected);
        }

        #[test]
        fn hits_are_kept_apart(hits: u64, begin in 0u64..1 << 40, gap in 1u64..100, ahead in 0u64..70) {
            let kept = keep_apart(hits, begin, gap, begin + ahead, &no_tables());
            let (mut expected, mut from) = (0, begin + ahead);
            for lane in 0..LANES {
                if (hits >> lane) & 1 == 1 && begin + lane >= from {
                    expected |= 1 << lane;
                    from = begin + lane + gap;
                }
            }
            prop_assert_eq!(kept, expected);
        }
    }
}
