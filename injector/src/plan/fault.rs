//! A rule's faults as the numbers that the kernel side works with.

use injector_common::{
    abi::{self, Chain, ChainState, FaultSpec, Pace, Point, Track, fault, flags, model, place},
    corrupt, fate,
    random::{CERTAIN, Stream},
    track::POINTS_MAX,
};

use super::{Hook, asked::stationary, models::Models, track};
use crate::{
    profile::{
        Chance, Checksum, Corrupt, Delay, Drop, Duplicate, FourStates, Gemodel, Loss, Place,
        QueueLimit, RECORDED_LINES_MAX, Rate, Recording, Reorder, Replay, Rule, Slot,
    },
    units::{DurationNs, Probability},
};

/// What each random stream of a rule decides. The numbers are part of what a seed means: changing
/// one changes the fates under it.
mod purpose {
    pub const DROP: u64 = 0;
    pub const CORRUPT: u64 = 1;
    pub const CORRUPT_BIT: u64 = 2;
    pub const DUPLICATE: u64 = 3;
    pub const DELAY: u64 = 4;
    pub const COPY_DELAY: u64 = 5;
    pub const REORDER: u64 = 6;
    pub const KEEP_DELAY: u64 = 7;
    pub const SLOT: u64 = 8;
    pub const FIRST_STATE: u64 = 9;
}

// What a profile may ask for is what the kernel side does.
const _: () = assert!(Duplicate::COPIES_MAX as u64 == fate::COPIES_MAX);
const _: () = assert!(Corrupt::BITS_MAX as u32 == corrupt::BITS_MAX);
const _: () = assert!(RECORDED_LINES_MAX <= POINTS_MAX as usize);

/// Bytes of a full-sized frame on Ethernet, in which a queue of packets is counted.
const FULL_PACKET_BYTES: u64 = 1514;

/// Bytes of the largest super-packet.
const GSO_BYTES_MAX: u64 = 512 * 1024;
/// Longest time that packets may wait for others, whatever the profile says: twice of it, where packets are
/// marked first, and the longest delay are as much as fq holds any.
const QUEUE_MAX_NS: u64 = 5 * 60 * injector_common::NSEC_PER_SEC;
/// Longest burst: three days of sending without a pause. The kernel side shifts and adds what is given in
/// these units, without looking for an overflow.
const BURST_MAX_NS: u64 = 1 << 48;
/// Longest queue in bytes, likewise.
const QUEUE_MAX_BYTES: u64 = 1 << 60;
/// Most packets between two that are reordered, likewise: more than ever come.
const GAP_MAX: u64 = 1 << 62;
/// How many packets may wait for slots where no rate has a queue; netem's limit.
const SLOT_QUEUE_PACKETS: u64 = 1000;

/// What a rule does throughout.
pub(super) fn steady(rule: &Rule, hook: Hook, stream: Stream, models: &mut Models) -> FaultSpec {
    let mut builder = Builder::new(rule, stream, models);
    if let Some(replay) = &rule.replay {
        builder.replay(replay, rule);
    }
    builder.finish(hook)
}

/// What a rule does while its values move from those of another to its own.
pub(super) fn ramping(
    rule: &Rule,
    from: Option<&Rule>,
    duration: DurationNs,
    hook: Hook,
    stream: Stream,
    models: &mut Models,
) -> FaultSpec {
    let mut builder = Builder::new(&track::both(rule, from), stream, models);
    let start = from.map_or_else(Point::default, track::point);
    let track = track::ramp(builder.models, start, track::point(rule), duration);
    builder.follow(track);
    builder.finish(hook)
}

struct Builder<'a> {
    spec: FaultSpec,
    stream: Stream,
    models: &'a mut Models,
}

impl<'a> Builder<'a> {
    fn new(rule: &Rule, stream: Stream, models: &'a mut Models) -> Self {
        let spec = FaultSpec {
            reorder_gap: 1,
            ..FaultSpec::default()
        };
        let mut builder = Self {
            spec,
            stream,
            models,
        };
        if let Some(drop) = &rule.drop {
            builder.drop(drop);
        }
        if let Some(corrupt) = &rule.corrupt {
            builder.corrupt(corrupt);
        }
        if let Some(duplicate) = &rule.duplicate {
            builder.duplicate(duplicate);
        }
        if let Some(rate) = &rule.rate {
            builder.rate(rate);
        }
        if let Some(slot) = &rule.slot {
            builder.slot(slot);
        }
        if let Some(delay) = &rule.delay {
            builder.delay(delay);
        }
        if let Some(reorder) = &rule.reorder {
            builder.reorder(reorder);
        }
        builder
    }

    fn finish(mut self, hook: Hook) -> FaultSpec {
        self.spec.flags |= way(&self.spec, hook);
        self.spec
    }

    fn replay(&mut self, replay: &Replay, rule: &Rule) {
        match &replay.recording {
            Recording::Opportunities(times_ms) => {
                track::opportunities(self.models, &mut self.spec.pace, times_ms);
            }
            Recording::Conditions(conditions) => {
                let Some(first) = conditions.points.first() else {
                    return;
                };
                // What is recorded alone needs streams, and a queue.
                if first.delay.is_some() && rule.delay.is_none() {
                    self.delay(&Delay::uniform(DurationNs::ZERO, DurationNs::ZERO));
                }
                if let (Some(bandwidth), None) = (first.rate, &rule.rate) {
                    self.rate(&Rate::plain(bandwidth));
                }
                let base = track::point(rule);
                let track = track::conditions(self.models, conditions, replay.repeat, base);
                self.follow(track);
            }
        }
    }

    /// Lets the values follow a track.
    fn follow(&mut self, track: Track) {
        const PURPOSES: [u64; fault::COUNT] = [
            purpose::DROP,
            purpose::CORRUPT,
            purpose::DUPLICATE,
            purpose::REORDER,
        ];
        let extremes = track::extremes(self.models.points_of(&track));
        for ((fault, odds), purpose) in (0..).zip(extremes.odds).zip(PURPOSES) {
            if odds != 0 {
                self.spec.chances[fault] = abi::Chance::independent(odds, self.key(purpose));
            }
        }
        self.spec.delay.time_ns = extremes.time_ns;
        self.spec.delay.jitter_ns = extremes.jitter_ns;
        if extremes.byte_ns != 0 {
            let pace = &mut self.spec.pace;
            pace.byte_ns = extremes.byte_ns;
            if pace.queue_bytes != u64::MAX {
                pace.queue_ns = queue_ns(pace.byte_ns, pace.queue_bytes);
            }
        }
        self.spec.track = track;
    }

    fn key(&self, purpose: u64) -> u64 {
        self.stream.fork(purpose).key()
    }

    fn set(&mut self, flag: u32, is_set: bool) {
        if is_set {
            self.spec.flags |= flag;
        }
    }

    fn drop(&mut self, drop: &Drop) {
        self.spec.chances[fault::DROP] = match &drop.loss {
            Loss::Chance(chance) => self.chance(chance, purpose::DROP),
            Loss::Gemodel(gemodel) => self.markov(gemodel_states(gemodel), purpose::DROP),
            Loss::State(states) => self.markov(four_states(states), purpose::DROP),
        };
        self.set(flags::ECN, drop.ecn);
    }

    fn corrupt(&mut self, corrupt: &Corrupt) {
        self.spec.chances[fault::CORRUPT] = self.chance(&corrupt.chance, purpose::CORRUPT);
        self.spec.corrupt_key = self.key(purpose::CORRUPT_BIT);
        self.spec.corrupt_bits = corrupt.bits.into();
        self.spec.corrupt_place = match corrupt.place {
            Place::Payload => place::PAYLOAD,
            Place::Header => place::HEADER,
            Place::Any => place::ANY,
        };
        self.set(flags::CHECKSUM_VALID, corrupt.checksum == Checksum::Valid);
    }

    fn duplicate(&mut self, duplicate: &Duplicate) {
        self.spec.chances[fault::DUPLICATE] = self.chance(&duplicate.chance, purpose::DUPLICATE);
        self.spec.copies = duplicate.copies.into();
    }

    fn delay(&mut self, delay: &Delay) {
        self.spec.delay = abi::Delay {
            time_ns: delay.time.nanos(),
            jitter_ns: delay.jitter.nanos(),
            key: self.key(purpose::DELAY),
            copy_key: self.key(purpose::COPY_DELAY),
            keep_odds: delay.correlation.odds_q32(),
            keep_key: self.key(purpose::KEEP_DELAY),
            distribution: self.models.distribution(&delay.distribution),
            reserved: 0,
        };
        self.set(flags::MEMORY, delay.correlation != Probability::NEVER);
        self.set(flags::KEEP_ORDER, delay.keep_order);
    }

    fn reorder(&mut self, reorder: &Reorder) {
        self.spec.chances[fault::REORDER] = self.chance(&reorder.chance, purpose::REORDER);
        self.spec.reorder_gap = reorder.gap.min(GAP_MAX);
        self.set(flags::MEMORY, reorder.gap > 1);
    }

    fn rate(&mut self, rate: &Rate) {
        let byte_ns = Pace::byte_ns(rate.bandwidth.bits_per_second());
        let pace = &mut self.spec.pace;
        pace.byte_ns = byte_ns;
        pace.overhead = rate.overhead;
        pace.cell_size = rate.cell_size;
        pace.burst_ns = time_ns(byte_ns, rate.burst.bytes()).min(BURST_MAX_NS);
        pace.queue_bytes = match rate.queue {
            QueueLimit::Time(_) => u64::MAX,
            QueueLimit::Bytes(size) => size.bytes(),
            QueueLimit::Packets(count) => {
                count.saturating_mul(FULL_PACKET_BYTES).min(QUEUE_MAX_BYTES)
            }
        };
        pace.queue_ns = match rate.queue {
            QueueLimit::Time(time) => time.nanos().min(QUEUE_MAX_NS),
            _ => queue_ns(byte_ns, pace.queue_bytes),
        };
        self.set(flags::QUEUE_ECN, rate.ecn);
    }

    fn slot(&mut self, slot: &Slot) {
        let key = self.key(purpose::SLOT);
        let pace = &mut self.spec.pace;
        pace.slot_min_ns = slot.min.nanos();
        pace.slot_span_ns = slot.max.nanos() - slot.min.nanos();
        pace.slot_key = key;
        pace.slot_packets = slot.packets.unwrap_or(u32::MAX);
        pace.slot_bytes = slot.bytes.map_or(u64::MAX, |size| size.bytes());
        if pace.byte_ns == 0 {
            let packets = (pace.slot_bytes / FULL_PACKET_BYTES).clamp(1, pace.slot_packets.into());
            let slots = SLOT_QUEUE_PACKETS.div_ceil(packets);
            pace.queue_ns = (slots * slot.max.nanos()).min(QUEUE_MAX_NS);
        }
    }

    fn chance(&mut self, chance: &Chance, purpose: u64) -> abi::Chance {
        match chance {
            Chance::Random {
                probability,
                correlation: Probability::NEVER,
            } => abi::Chance::independent(probability.odds_q32(), self.key(purpose)),
            Chance::Random {
                probability,
                correlation,
            } => self.markov(correlated(*probability, *correlation), purpose),
            Chance::Every(every) => abi::Chance {
                model: model::EVERY,
                count: *every,
                ..abi::Chance::default()
            },
            Chance::First(count) => self.listed(&[0, *count]),
            Chance::Packets(ranges) => {
                let bounds = ranges
                    .iter()
                    .flat_map(|range| [range.start() - 1, *range.end()]);
                self.listed(&bounds.collect::<Vec<_>>())
            }
        }
    }

    fn listed(&mut self, bounds: &[u64]) -> abi::Chance {
        abi::Chance {
            model: model::LISTED,
            first: self.models.bounds(bounds),
            count: bounds.len() as u64,
            ..abi::Chance::default()
        }
    }

    /// The first packet's state is drawn from the chain's stationary distribution, so that packets
    /// are hit at the same rate from the first one on.
    fn markov(&mut self, states: [State; 4], purpose: u64) -> abi::Chance {
        let first = self.stream.fork(purpose::FIRST_STATE).word(purpose) >> 32;
        let mut chain = Chain {
            states: states.map(State::leaving),
            first: 0,
        };
        chain.first = state_at(stationary(&chain), first as f64 / CERTAIN as f64);
        self.set(flags::MEMORY, true);
        abi::Chance {
            model: model::MARKOV,
            first: self.models.chain(chain),
            key: self.key(purpose),
            ..abi::Chance::default()
        }
    }
}

/// How long so many bytes may wait.
fn queue_ns(byte_ns: u64, bytes: u64) -> u64 {
    time_ns(byte_ns, bytes).min(QUEUE_MAX_NS)
}

fn time_ns(byte_ns: u64, bytes: u64) -> u64 {
    let time_ns = (u128::from(bytes) * u128::from(byte_ns)) >> Pace::BYTE_NS_SHIFT;
    u64::try_from(time_ns).unwrap_or(u64::MAX)
}

/// A state of a Markov chain: its odds of a hit, and of going on to a state whose number differs in bit
/// 0, in bit 1, in both.
#[derive(Clone, Copy, Default)]
struct State {
    hit: u64,
    to: [u64; 3],
}

impl State {
    fn leaving(self) -> ChainState {
        let [one, two, three] = self.to;
        ChainState {
            hit_odds: self.hit,
            leave_odds: [one, one + two, one + two + three],
        }
    }
}

/// The two states of being hit and not being hit, so that the share of hits is `probability` and their
/// autocorrelation at lag 1 is `correlation`: with that odds a packet shares the fate of the one before,
/// else it has its own (Jacobs and Lewis, "Discrete time series generated by mixtures", 1978).
fn correlated(probability: Probability, correlation: Probability) -> [State; 4] {
    let of = |odds: u64| odds_product(odds, CERTAIN - correlation.odds_q32());
    let odds = probability.odds_q32();
    let missed = State {
        hit: 0,
        to: [of(odds), 0, 0],
    };
    let hit = State {
        hit: CERTAIN,
        to: [of(CERTAIN - odds), 0, 0],
    };
    [missed, hit, State::default(), State::default()]
}

fn odds_product(a: u64, b: u64) -> u64 {
    ((u128::from(a) * u128::from(b) + u128::from(CERTAIN / 2)) / u128::from(CERTAIN)) as u64
}

/// State 0 is the good one, state 1 the bad one.
fn gemodel_states(gemodel: &Gemodel) -> [State; 4] {
    let state = |hit: Probability, leave: Probability| State {
        hit: hit.odds_q32(),
        to: [leave.odds_q32(), 0, 0],
    };
    [
        state(gemodel.one_minus_k, gemodel.p),
        state(gemodel.one_minus_h, gemodel.r),
        State::default(),
        State::default(),
    ]
}

/// State n of the model has number n - 1. It goes from 1 to 3 and 4, from 2 to 3, from 3 to 1 and 2,
/// from 4 to 1.
fn four_states(states: &FourStates) -> [State; 4] {
    let state = |hit, to: [u64; 3]| State { hit, to };
    let odds = Probability::odds_q32;
    [
        state(0, [0, odds(states.p13), odds(states.p14)]),
        state(0, [0, 0, odds(states.p23)]),
        state(CERTAIN, [0, odds(states.p31), odds(states.p32)]),
        state(CERTAIN, [0, 0, CERTAIN]),
    ]
}

/// The state at `share` of the distribution.
fn state_at(distribution: [f64; 4], share: f64) -> u64 {
    let mut sum = 0.0;
    let is_beyond = |(_, chance): &(u64, f64)| {
        sum += chance;
        share < sum
    };
    let mut states = (0..).zip(distribution);
    states.find(is_beyond).map_or(0, |(state, _)| state)
}

/// Which way through the datapath serves these faults.
fn way(spec: &FaultSpec, hook: Hook) -> u32 {
    let can = |fault: usize| spec.chances[fault].is_possible();
    let drops_only = can(fault::DROP)
        && ![fault::CORRUPT, fault::DUPLICATE, fault::REORDER]
            .into_iter()
            .any(can)
        && spec.flags & flags::ECN == 0
        && !spec.delays()
        && !spec.paces()
        && !spec.changes();
    if drops_only && hook == Hook::Ingress {
        return flags::SPLIT | flags::XDP;
    }
    let links = spec.pace.byte_ns != 0 || spec.pace.opportunities.len != 0;
    if spec.chances.iter().any(abi::Chance::is_possible) || links {
        return flags::SPLIT;
    }
    if spec.delays() || spec.paces() {
        return 0;
    }
    flags::EXEMPT
}

/// The longest time that a packet can be held, beside what it takes to be sent.
pub(super) fn held_ns(spec: &FaultSpec, models: &Models) -> u64 {
    let pace = &spec.pace;
    let limits = 1 + u64::from(spec.flags & flags::QUEUE_ECN != 0);
    let queue_ns = if spec.paces() {
        limits * pace.queue_ns
    } else {
        0
    };
    // What finds room still waits for its slot.
    let slot_ns = pace.slot_min_ns + pace.slot_span_ns;
    spec.delay.time_ns + models.deviation_max_ns(&spec.delay) + queue_ns + slot_ns
}

/// The longest time that a packet can be held.
pub(super) fn longest_ns(spec: &FaultSpec, models: &Models) -> u64 {
    held_ns(spec, models) + spec.pace.packet_ns(spec.pace.byte_ns, GSO_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs};

    use injector_common::fate::Levels;

    use super::*;
    use crate::{plan::Plan, profile};

    fn plans(text: &str) -> Vec<Plan> {
        Plan::all(&profile::parse("test", text).unwrap(), 1).unwrap()
    }

    /// The values of a plan's first rule, so many ms after it has come into force.
    fn levels(plan: &Plan, after_ms: u64) -> Levels {
        plan.rules[0]
            .spec
            .levels_at(after_ms * 1_000_000, &plan.models)
    }

    const CERTAIN: u64 = injector_common::random::CERTAIN;

    #[test]
    fn a_ramp_goes_from_the_values_before_to_its_own() {
        let plans = plans(
            "
name: ramp
phases:
  - {for: 5s, rules: [{delay: 20ms, drop: 50%, rate: 1mbit}]}
  - {for: 10s, ramp: true, rules: [{delay: {time: 120ms, jitter: 10ms}, rate: 2mbit}]}",
        );
        let ramp = &plans[1];
        let middle = levels(ramp, 5_000);
        assert_eq!((middle.time_ns, middle.jitter_ns), (70_000_000, 5_000_000));
        assert_eq!(middle.odds[fault::DROP], CERTAIN / 4);
        assert_eq!(Pace::bits_per_second(middle.byte_ns), Some(1_500_000));
        assert_eq!(levels(ramp, 0).time_ns, 20_000_000);
        let end = levels(ramp, 60_000);
        assert_eq!((end.time_ns, end.odds[fault::DROP]), (120_000_000, 0));
        // What it drops on its way takes splitting, and some time to be let go.
        assert!(ramp.rules[0].spec.chances[fault::DROP].is_possible());
        assert!(ramp.delay_max_ns() >= 130_000_000);
        assert_eq!(plans[0].rules[0].spec.track, Track::default());
    }

    #[test]
    fn a_rule_without_one_before_ramps_from_nothing() {
        let plans = plans(
            "
name: ramp
phases:
  - {for: 5s, rules: [{direction: both, drop: 100%}]}
  - {for: 10s, ramp: true, rules: [{delay: 100ms}]}",
        );
        assert_eq!(levels(&plans[1], 0).time_ns, 0);
        assert_eq!(levels(&plans[1], 5_000).time_ns, 50_000_000);
        assert_eq!(levels(&plans[1], 5_000).odds[fault::DROP], 0);
    }

    #[test]
    fn a_chain_hits_as_often_as_its_model_says() {
        let share = |drop: &str| {
            let plan = &plans(&format!("name: test\nrules: [{{drop: {drop}}}]"))[0];
            plan.rules[0].asked.drop.unwrap()
        };
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-6, "{a} is not {b}");
        close(share("{probability: 3%, correlation: 90%}"), 0.03);
        // p / (p + r) of the time in the bad state.
        close(share("{model: gemodel, p: 1%, r: 19%}"), 0.05);
        close(
            share("{model: gemodel, p: 10%, r: 30%, one_minus_h: 50%, one_minus_k: 2%}"),
            0.14,
        );
        // Lost alone only: one in 1 + 1/p14.
        close(share("{model: state, p13: 0%, p31: 100%, p14: 25%}"), 0.2);
        close(share("{every: 8}"), 0.125);
    }

    #[test]
    fn correlated_loss_stays_so_beside_a_delay_that_changes() {
        let plans = plans(
            "
name: ramp
phases:
  - {for: 5s, rules: [{delay: 20ms, drop: {probability: 10%, correlation: 50%}}]}
  - {for: 5s, ramp: true, rules: [{delay: 80ms, drop: {probability: 10%, correlation: 50%}}]}",
        );
        let drop = |plan: &Plan| plan.rules[0].spec.chances[fault::DROP].model;
        assert_eq!(
            plans.iter().map(drop).collect::<Vec<_>>(),
            [model::MARKOV; 2]
        );
        assert_eq!(levels(&plans[1], 2_500).time_ns, 50_000_000);
    }

    #[test]
    fn nothing_is_held_for_longer_than_fq_can() {
        let plan = |rule: &str| {
            let text = format!("name: test\nrules: [{rule}]");
            Plan::new(&profile::parse("test.yaml", &text).unwrap(), 1)
        };
        assert!(plan("{delay: {time: 1h, jitter: 10m}}").is_ok());
        let error = plan("{delay: {time: 1h, jitter: 11m}}").unwrap_err();
        assert_eq!(
            error.to_string(),
            "rule `rule-1` may hold a packet for 1h 11m, and fq holds none for more than 1h 10m"
        );
    }

    #[test]
    fn a_queue_is_as_long_as_its_bytes_take() {
        let plan = &plans("name: test\nrules: [{rate: {bandwidth: 8mbit, queue: 100kB}}]")[0];
        let pace = &plan.rules[0].spec.pace;
        assert_eq!((pace.queue_bytes, pace.queue_ns), (100_000, 100_000_000));
        assert!(plan.delay_max_ns() > 100_000_000);
    }

    /// All keys of a rule in both directions and in two phases, with whatever draws by chance.
    #[test]
    fn nothing_that_is_drawn_shares_its_numbers() {
        let rule = "{direction: both, drop: 1%, corrupt: 1%, duplicate: 1%, reorder: 1%,
            delay: {time: 2ms, jitter: 1ms, correlation: 10%}, slot: {min: 1ms, max: 2ms, packets: 1}}";
        let text = format!(
            "name: test\nphases: [{{for: 1s, rules: [{rule}]}}, {{for: 1s, rules: [{rule}]}}]"
        );
        let plans = plans(&text);
        let rules = plans.iter().flat_map(|plan| &plan.rules);
        let keys = rules.flat_map(|rule| {
            let FaultSpec {
                delay,
                pace,
                corrupt_key,
                ..
            } = &rule.spec;
            let chances = rule.spec.chances.iter().map(|chance| chance.key);
            let others = [
                delay.key,
                delay.copy_key,
                delay.keep_key,
                pace.slot_key,
                *corrupt_key,
            ];
            chances.chain(others).collect::<Vec<_>>()
        });
        let keys: Vec<u64> = keys.collect();
        let different: BTreeSet<_> = keys.iter().collect();
        assert_eq!((keys.len(), different.len()), (2 * 2 * 9, 2 * 2 * 9));
    }

    /// The state of a chain's first packet is drawn from the long run, and says nothing about that of
    /// another chain.
    #[test]
    fn chains_begin_as_they_go_on() {
        const SEEDS: u64 = 4000;
        let text = "name: test
rules: [{drop: {model: gemodel, p: 5%, r: 20%}, corrupt: {probability: 20%, correlation: 50%}}]";
        let profile = profile::parse("test", text).unwrap();
        let begins_hit = |seed| {
            let plan = &Plan::all(&profile, seed).unwrap()[0];
            let chances = &plan.rules[0].spec.chances;
            [fault::DROP, fault::CORRUPT]
                .map(|fault| plan.models.chains[chances[fault].first as usize].first == 1)
        };
        let begins: Vec<_> = (0..SEEDS).map(begins_hit).collect();
        let count = |of: fn(&[bool; 2]) -> bool| begins.iter().filter(|hit| of(hit)).count() as f64;
        let assert_share = |count: f64, p: f64| {
            let n = SEEDS as f64;
            let off = (count - n * p) / (n * p * (1.0 - p)).sqrt();
            assert!(off.abs() < 4.0, "{count} of {n}, not {p}");
        };
        assert_share(count(|[drop, _]| *drop), 0.2);
        assert_share(count(|[_, corrupt]| *corrupt), 0.2);
        assert_share(count(|[drop, corrupt]| *drop && *corrupt), 0.04);
    }

    #[test]
    fn a_link_is_as_it_was_asked_for() {
        let pace = |faults: &str| {
            let plan = &plans(&format!("name: test\nrules: [{{{faults}}}]"))[0];
            plan.rules[0].spec.pace
        };
        let link =
            pace("rate: {bandwidth: 8mbit, queue: 50ms, burst: 20kB, overhead: -4, cell_size: 53}");
        assert_eq!(Pace::bits_per_second(link.byte_ns), Some(8_000_000));
        assert_eq!((link.queue_ns, link.queue_bytes), (50_000_000, u64::MAX));
        assert_eq!(link.burst_ns, 20_000_000);
        assert_eq!((link.overhead, link.cell_size), (-4, 53));
        let packets = pace("rate: {bandwidth: 8mbit, queue: 20 packets}");
        assert_eq!(
            (packets.queue_bytes, packets.queue_ns),
            (30_280, 30_280_000)
        );
        let slots = pace("slot: {min: 10ms, max: 30ms, packets: 4}");
        assert_eq!(
            (slots.slot_min_ns, slots.slot_span_ns),
            (10_000_000, 20_000_000)
        );
        // 250 slots for 1000 packets, of 30 ms at the most.
        assert_eq!((slots.slot_packets, slots.queue_ns), (4, 7_500_000_000));
    }

    /// A plan of one rule that replays a recording.
    fn replaying(recording: &str, more: &str) -> Plan {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), recording).unwrap();
        let path = file.path().display();
        let rule = format!("{{delay: {{keep_order: true}}, replay: {{file: {path}{more}}}}}");
        plans(&format!("name: test\nrules: [{rule}]")).remove(0)
    }

    #[test]
    fn recorded_conditions_have_every_column() {
        let table = "time,delay,jitter,drop,rate
0,20ms,2ms,0%,1mbit
1,40ms,4ms,50%,3mbit
2,40ms,4ms,50%,3mbit
";
        let values = |plan: &Plan, after_ms| {
            let levels = levels(plan, after_ms);
            let rate = Pace::bits_per_second(levels.byte_ns).unwrap();
            (
                levels.time_ns,
                levels.jitter_ns,
                levels.odds[fault::DROP],
                rate / 1000,
            )
        };
        let (first, middle, last) = (
            (20_000_000, 2_000_000, 0, 1000),
            (30_000_000, 3_000_000, CERTAIN / 4, 2000),
            (40_000_000, 4_000_000, CERTAIN / 2, 3000),
        );
        let linear = replaying(table, "");
        assert_eq!(
            [0, 500, 1000, 2500].map(|ms| values(&linear, ms)),
            [first, middle, last, last]
        );
        let step = replaying(table, ", interpolation: step, loop: true");
        assert_eq!(
            [0, 999, 1000, 2500].map(|ms| values(&step, ms)),
            [first, first, last, first]
        );
        assert_ne!(step.rules[0].spec.flags & flags::KEEP_ORDER, 0);
    }

    #[test]
    fn a_recorded_link_counts_ip_packets_and_ends_with_its_last_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "3\n10\n").unwrap();
        let rule = format!("{{replay: {}}}", file.path().display());
        let plan = plans(&format!("name: test\nrules: [{rule}]")).remove(0);
        let pace = plan.rules[0].spec.pace;
        let Track { len, period_ns, .. } = pace.opportunities;
        assert_eq!((len, period_ns), (2, 10_000_000));
        assert_eq!((pace.overhead, pace.queue_bytes), (-14, 1_500_000));
    }
}
