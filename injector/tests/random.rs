//! Any valid profile can be worked out, and what comes out is within the bounds of the kernel side.

use std::fs;

use injector::plan::{HELD_MAX_NS, Hook, Models, Needs, Plan, PlanError, PlannedRule};
use injector::profile::{self, RULES_MAX};
use injector::units::DurationNs;
use injector_common::NSEC_PER_SEC;
use injector_common::abi::{Chance, ENTRIES_MAX, Pace, PaceState, fault, model, place};
use injector_common::corrupt::BITS_MAX;
use injector_common::fate::{COPIES_MAX, Fates};
use injector_common::pace::{self, Train};
use injector_common::random::CERTAIN;
use jsonschema::Validator;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// A probability below 100%.
fn share() -> impl Strategy<Value = String> {
    prop_oneof![
        select(vec!["0%", "0.0000001%", "0.5", "99.9999999%"]).prop_map(str::to_owned),
        (0..1_000_000u32).prop_map(|parts| format!("{}.{:04}%", parts / 10_000, parts % 10_000)),
    ]
}

fn probability() -> impl Strategy<Value = String> {
    prop_oneof![9 => share(), 1 => Just("100%".to_owned())]
}

/// A whole number, small or as large as there are.
fn count() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 1..100u64, 1 => 1..=u64::MAX, 1 => Just(1 << 53), 1 => Just(u64::MAX)]
}

/// A duration in ns, of at most an hour.
fn nanos(least: u64) -> impl Strategy<Value = u64> {
    let most = DurationNs::MAX.nanos();
    prop_oneof![4 => least..1_000_000_000, 1 => least..=most, 1 => Just(most)]
}

/// Keys of which a mapping has some.
fn some(key: &'static str, value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    prop::option::of(value)
        .prop_map(move |value| value.map_or(String::new(), |value| format!(", {key}: {value}")))
}

/// The keys that say which packets are hit.
fn chance() -> impl Strategy<Value = String> {
    let range = prop_oneof![
        count().prop_map(|n| n.to_string()),
        (1..1000u64, 0..1000u64).prop_map(|(first, more)| format!("{first}-{}", first + more)),
    ];
    prop_oneof![
        4 => (probability(), some("correlation", share()))
            .prop_map(|(probability, more)| format!("probability: {probability}{more}")),
        1 => count().prop_map(|n| format!("every: {n}")),
        1 => count().prop_map(|n| format!("first: {n}")),
        1 => vec(range, 1..6).prop_map(|ranges| format!("packets: [{}]", ranges.join(", "))),
    ]
}

/// Two shares that are at most 100% together.
fn two_ways() -> impl Strategy<Value = (String, String)> {
    (0..=10_000u32, 0..=10_000u32).prop_map(|(a, b)| {
        let text = |parts: u32| format!("{}.{:02}%", parts / 100, parts % 100);
        (text(a), text(b.min(10_000 - a)))
    })
}

fn drop() -> impl Strategy<Value = String> {
    let gemodel = (
        probability(),
        some("r", probability()),
        some("one_minus_h", probability()),
        some("one_minus_k", probability()),
    );
    let state = (two_ways(), two_ways(), some("p23", probability()));
    let loss = prop_oneof![
        4 => chance(),
        1 => gemodel.prop_map(|(p, r, h, k)| format!("model: gemodel, p: {p}{r}{h}{k}")),
        1 => state.prop_map(|((p13, p14), (p31, p32), p23)| {
            format!("model: state, p13: {p13}, p14: {p14}, p31: {p31}, p32: {p32}{p23}")
        }),
    ];
    (loss, any::<bool>()).prop_map(|(loss, ecn)| format!("drop: {{{loss}, ecn: {ecn}}}"))
}

/// A delay, and whether packets can overtake it.
fn delay() -> impl Strategy<Value = (String, bool)> {
    let shape = (
        select(vec!["uniform", "normal", "pareto", "paretonormal"]),
        some("correlation", share()),
        any::<bool>(),
    );
    (nanos(1), nanos(1), prop::option::of(shape)).prop_map(|(time, jitter, shape)| {
        let Some((distribution, correlation, keep_order)) = shape else {
            return (format!("delay: {time}ns"), true);
        };
        let jitter = if distribution == "uniform" { jitter.min(time) } else { jitter };
        let text = format!(
            "delay: {{time: {time}ns, jitter: {jitter}ns, distribution: {distribution}{correlation}, \
             keep_order: {keep_order}}}"
        );
        (text, !keep_order)
    })
}

fn reordered_delay() -> impl Strategy<Value = String> {
    (delay(), prop::option::of((chance(), count()))).prop_map(|((delay, can), reorder)| {
        match reorder.filter(|_| can) {
            Some((chance, gap)) => format!("{delay}, reorder: {{{chance}, gap: {gap}}}"),
            None => delay,
        }
    })
}

fn corrupt() -> impl Strategy<Value = String> {
    let kind = select(vec![
        "checksum: valid",
        "where: payload",
        "where: header",
        "where: any",
    ]);
    (chance(), 1..=8u8, kind)
        .prop_map(|(chance, bits, kind)| format!("corrupt: {{{chance}, bits: {bits}, {kind}}}"))
}

fn duplicate() -> impl Strategy<Value = String> {
    (chance(), 1..=8u8)
        .prop_map(|(chance, copies)| format!("duplicate: {{{chance}, copies: {copies}}}"))
}

/// A size in bytes, of at most 1000 GB.
fn bytes(least: u64) -> impl Strategy<Value = String> {
    const MOST: u64 = 1_000_000_000_000;
    prop_oneof![4 => least..1_000_000, 1 => least..=MOST, 1 => Just(MOST)]
        .prop_map(|bytes| format!("{bytes}B"))
}

fn rate() -> impl Strategy<Value = String> {
    let bandwidth = prop_oneof![
        4 => 1_000..10_000_000_000u64,
        1 => Just(1_000),
        1 => Just(1_000_000_000_000)
    ];
    let queue = prop_oneof![
        nanos(1).prop_map(|nanos| format!("{nanos}ns")),
        bytes(1),
        count().prop_map(|packets| format!("{packets} packets")),
    ];
    let more = (
        some("queue", queue),
        some("burst", bytes(0)),
        some(
            "overhead",
            (-64..=1500i32).prop_map(|bytes| bytes.to_string()),
        ),
        some(
            "cell_size",
            (2..=9000u32).prop_map(|bytes| bytes.to_string()),
        ),
        any::<bool>(),
    );
    (bandwidth, more).prop_map(|(bandwidth, (queue, burst, overhead, cells, ecn))| {
        format!("rate: {{bandwidth: {bandwidth}bit{queue}{burst}{overhead}{cells}, ecn: {ecn}}}")
    })
}

fn slot() -> impl Strategy<Value = String> {
    let packets = prop_oneof![1..100u32, Just(u32::MAX)];
    (nanos(1), nanos(1), packets, some("bytes", bytes(1))).prop_map(
        |(one, other, packets, bytes)| {
            let (min, max) = (one.min(other), one.max(other));
            format!("slot: {{min: {min}ns, max: {max}ns, packets: {packets}{bytes}}}")
        },
    )
}

fn matching() -> impl Strategy<Value = String> {
    let v4 = (any::<u32>(), 0..=32u32).prop_map(|(address, len)| {
        let mask = u32::MAX.checked_shl(32 - len).unwrap_or(0);
        format!("{}/{len}", std::net::Ipv4Addr::from_bits(address & mask))
    });
    let v6 = (any::<u128>(), 0..=128u32).prop_map(|(address, len)| {
        let mask = u128::MAX.checked_shl(128 - len).unwrap_or(0);
        format!(
            "\"{}/{len}\"",
            std::net::Ipv6Addr::from_bits(address & mask)
        )
    });
    let ports = || {
        let range = any::<(u16, u16)>().prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b)));
        vec(range, 1..4).prop_map(|ranges| format!("[{}]", ranges.join(", ")))
    };
    let list = |nets: Vec<String>| format!("[{}]", nets.join(", "));
    let with_ports = |src: BoxedStrategy<String>, dst: BoxedStrategy<String>| {
        let protocol = select(vec!["tcp", "udp", "sctp"]).prop_map(str::to_owned);
        let keys = (
            some("protocol", protocol),
            src,
            dst,
            some("src_port", ports()),
            some("dst_port", ports()),
        );
        keys.prop_map(|(protocol, src, dst, src_port, dst_port)| {
            format!("{protocol}{src}{dst}{src_port}{dst_port}")
        })
    };
    let nets = |key, net: BoxedStrategy<String>| some(key, vec(net, 1..4).prop_map(list)).boxed();
    let number = (0..=255u8).prop_map(|number| format!(", protocol: {number}"));
    let keys = prop_oneof![
        4 => with_ports(nets("src", v4.clone().boxed()), nets("dst", v4.clone().boxed())),
        4 => with_ports(nets("src", v6.clone().boxed()), nets("dst", v6.boxed())),
        1 => select(vec![", protocol: arp", ", protocol: ip", ", protocol: ipv6", ", protocol: icmp"])
            .prop_map(str::to_owned),
        1 => (number, nets("src", v4.boxed())).prop_map(|(number, src)| number + &src),
    ];
    keys.prop_map(|keys| format!("match: {{{}}}", keys.trim_start_matches(", ")))
}

fn rule() -> impl Strategy<Value = String> {
    let direction = select(vec!["egress", "ingress", "both"]);
    let fault = |fault: BoxedStrategy<String>| prop::option::of(fault);
    let faults = (
        fault(drop().boxed()),
        fault(corrupt().boxed()),
        fault(duplicate().boxed()),
        fault(rate().boxed()),
        fault(slot().boxed()),
        fault(reordered_delay().boxed()),
        fault(matching().boxed()),
    );
    (direction, faults).prop_map(|(direction, (a, b, c, d, e, f, g))| {
        let keys = [a, b, c, d, e, f, g].into_iter().flatten();
        keys.fold(format!("{{direction: {direction}"), |text, key| {
            text + ", " + &key
        }) + "}"
    })
}

/// A rule that can move to another one made like it.
fn moving_rule() -> impl Strategy<Value = String> {
    (probability(), probability(), nanos(1), nanos(1), 1_000..1_000_000_000_000u64).prop_map(
        |(drop, corrupt, time, jitter, bits)| {
            let jitter = jitter.min(time);
            format!(
                "{{drop: {drop}, corrupt: {corrupt}, delay: {{time: {time}ns, jitter: {jitter}ns}}, \
                 rate: {bits}bit}}"
            )
        },
    )
}

fn rules() -> impl Strategy<Value = String> {
    vec(rule(), 1..5).prop_map(|rules| format!("rules: [{}]", rules.join(", ")))
}

fn any_profile() -> impl Strategy<Value = String> {
    let phase =
        (nanos(1), rules()).prop_map(|(nanos, rules)| format!("{{for: {nanos}ns, {rules}}}"));
    let ramp = (nanos(1), moving_rule())
        .prop_map(|(nanos, rule)| format!("{{for: {nanos}ns, ramp: true, rules: [{rule}]}}"));
    let repeat = prop_oneof![
        count().prop_map(|n| n.to_string()),
        Just("forever".to_owned())
    ];
    let phases = |phases: Vec<String>| format!("phases: [{}]", phases.join(", "));
    prop_oneof![
        3 => rules(),
        1 => (vec(phase, 1..4).prop_map(phases), some("repeat", repeat))
            .prop_map(|(phases, repeat)| format!("{phases}{repeat}")),
        1 => (nanos(1), moving_rule(), vec(ramp, 1..4)).prop_map(move |(nanos, first, ramps)| {
            let first = format!("{{for: {nanos}ns, rules: [{first}]}}");
            phases([vec![first], ramps].concat())
        }),
    ]
    .prop_map(|course| format!("{{name: x, {course}}}"))
}

/// Asserts that the kernel side reads within its tables, and does not divide by 0.
fn assert_within_bounds(plan: &Plan) {
    for hook in Hook::ALL {
        assert!(plan.on(hook).count() <= RULES_MAX);
        assert!(plan.on(hook).map(|rule| rule.entries.len()).sum::<usize>() <= ENTRIES_MAX);
        plan.table(hook, 0);
    }
    let needs = Needs::of([plan]);
    assert!(needs.rows <= Needs::ANY.rows && needs.slots <= Needs::ANY.slots);
    for (slot, rule) in (0..).zip(&plan.rules) {
        assert_eq!(rule.slot, slot);
        assert_spec(rule, &plan.models);
        play(rule, &plan.models);
    }
    for chain in &plan.models.chains {
        assert!(chain.first < 4);
        for state in &chain.states {
            assert!(state.hit_odds <= CERTAIN && state.leave_odds.is_sorted());
            assert!(state.leave_odds[2] <= CERTAIN);
        }
    }
}

fn assert_spec(rule: &PlannedRule, models: &Models) {
    let spec = &rule.spec;
    for chance in &spec.chances {
        assert_chance(chance, models);
    }
    assert!(spec.delay.time_ns <= DurationNs::MAX.nanos());
    assert!(spec.delay.jitter_ns <= DurationNs::MAX.nanos());
    assert!(spec.delay.keep_odds < CERTAIN);
    assert!(spec.delay.distribution as usize <= models.distributions.len());
    assert!(spec.corrupt_bits <= BITS_MAX && spec.corrupt_place <= place::ANY);
    assert!(spec.chance(fault::CORRUPT).model == model::NEVER || spec.corrupt_bits > 0);
    assert!(u64::from(spec.copies) <= COPIES_MAX);
    assert!(spec.reorder_gap > 0);
    let pace = &spec.pace;
    assert!(pace.queue_ns <= 5 * 60 * NSEC_PER_SEC);
    // What is shifted loses no bits, and twice the queue is a number.
    assert!(pace.burst_ns <= u64::MAX >> Pace::BYTE_NS_SHIFT);
    assert!(pace.queue_bytes == u64::MAX || pace.queue_bytes <= u64::MAX / 2);
    assert!(pace.slot_bytes == 0 || pace.slot_packets > 0 && pace.slot_min_ns > 0);
    let (first, len) = (spec.track.first as usize, spec.track.len as usize);
    let points = &models.points[first..first + len];
    assert!(points.is_sorted_by_key(|point| point.at_ns));
}

fn assert_chance(chance: &Chance, models: &Models) {
    assert!(chance.odds <= CERTAIN);
    let (first, count) = (chance.first as usize, chance.count as usize);
    match chance.model {
        model::NEVER | model::INDEPENDENT => {}
        model::MARKOV => assert!(first < models.chains.len()),
        model::EVERY => assert!(count > 0),
        model::LISTED => {
            let bounds = &models.bounds[first..first + count];
            assert!(bounds.is_sorted() && count.is_multiple_of(2));
        }
        other => panic!("model {other}"),
    }
}

/// Lets packets pass, as the kernel side does it; here an overflow panics.
fn play(rule: &PlannedRule, models: &Models) {
    let mut fates = Fates::new(&rule.spec, models);
    for n in (0..200).step_by(7) {
        fates.fate(n);
    }
    let (spec, mut state) = (&rule.spec, PaceState::default());
    for n in 0..200u64 {
        // All at once, then one by one, an hour later all at once again.
        let now_ns = (1 << 60) + n / 50 * 3600 * NSEC_PER_SEC + n % 100 / 50 * n * 1_000_000;
        let train = Train::of_kind(1 + n % 64, 60 + n * 300);
        pace::pass(
            spec,
            spec.pace.byte_ns,
            &mut state,
            now_ns,
            n,
            train,
            spec.delay.time_ns,
        );
    }
}

thread_local!(static SCHEMA: Validator = schema());

fn schema() -> Validator {
    let text = fs::read_to_string("../docs/profile.schema.json").unwrap();
    jsonschema::validator_for(&serde_json::from_str(&text).unwrap()).unwrap()
}

/// Asserts that the JSON Schema, by which editors judge, allows the profile, too.
fn assert_valid(schema: &Validator, text: &str) {
    let value = serde_yaml::from_str(text).unwrap();
    if let Err(error) = schema.validate(&value) {
        panic!("{}: {error}\n{text}", error.instance_path());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_valid_profile_is_worked_out_within_bounds(text in any_profile(), seed: u64) {
        let profile = match profile::parse("profile.yaml", &text) {
            Ok(profile) => profile,
            Err(error) => panic!("{error}\n{text}"),
        };
        SCHEMA.with(|schema| assert_valid(schema, &text));
        let plans = match Plan::all(&profile, seed) {
            Err(PlanError::HeldTooLong { longest_ns, .. }) => {
                prop_assert!(longest_ns > HELD_MAX_NS);
                return Ok(());
            }
            plans => plans.expect("few entries"),
        };
        for plan in plans {
            assert_within_bounds(&plan);
        }
    }

    #[test]
    fn without_what_holds_packets_none_is_held_and_the_rest_stays(text in any_profile(), seed: u64) {
        let profile = profile::parse("profile.yaml", &text).expect("valid");
        let (rest, left_out) = profile.clone().without_holding();
        prop_assert_eq!(left_out.is_empty(), rest == profile);
        let plans = Plan::all(&rest, seed).expect("few entries");
        prop_assert!(plans.iter().all(|plan| plan.delay_max_ns() == 0));
        // Where the whole fits, the same packets are hit by what is left.
        let Ok(whole) = Plan::all(&profile, seed) else {
            return Ok(());
        };
        for (rest, whole) in plans.iter().zip(&whole) {
            prop_assert_eq!(rest.rules.len(), whole.rules.len());
            for (rest, whole) in rest.rules.iter().zip(&whole.rules) {
                prop_assert_eq!(&rest.entries, &whole.entries);
                for fault in [fault::CORRUPT, fault::DUPLICATE] {
                    prop_assert_eq!(rest.spec.chances[fault].odds, whole.spec.chances[fault].odds);
                }
            }
        }
    }
}
