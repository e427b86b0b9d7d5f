//! Any options of netem become a profile that has the values asked.

use proptest::{option, prelude::*};

use super::*;
use crate::{
    profile::{
        Chance, Checksum, Corrupt, Delay, Distribution, Drop, Duplicate, FourStates, Gemodel, Loss,
        Place, QueueLimit, Rate, Reorder, Rule, Slot,
    },
    units::{Bandwidth, DurationNs, Probability, Size},
};

/// Words for `tc`, and what a rule has of them.
type Said<T> = (String, T);

fn milliseconds(most: u64) -> impl Strategy<Value = Said<DurationNs>> {
    (0..=most * 1000, prop_oneof!["ms", "msecs", "us", "s"]).prop_map(|(us, unit)| {
        let text = match unit.as_str() {
            "us" => format!("{us}us"),
            "s" => format!("{}s", us as f64 / 1e6),
            unit => format!("{}{unit}", us as f64 / 1e3),
        };
        (text, DurationNs::from_nanos(us * 1000).unwrap())
    })
}

/// In steps of a thousandth of a percent.
fn percent(most: u32) -> impl Strategy<Value = Said<Probability>> {
    (1..=most * 1000, prop_oneof!["%", ""]).prop_map(|(thousandths, sign)| {
        let text = format!("{}", f64::from(thousandths) / 1000.0);
        (format!("{text}{sign}"), format!("{text}%").parse().unwrap())
    })
}

fn chance() -> impl Strategy<Value = Said<Chance>> {
    (percent(100), option::of(percent(99))).prop_map(|((text, probability), correlation)| {
        let (more, correlation) = match correlation {
            Some((more, correlation)) => (format!(" {more}"), correlation),
            None => (String::new(), Probability::NEVER),
        };
        let chance = Chance::Random {
            probability,
            correlation,
        };
        (text + &more, chance)
    })
}

fn loss() -> impl Strategy<Value = Said<Loss>> {
    let random = (prop_oneof!["", "random "], chance());
    let gemodel = prop::array::uniform4(percent(100));
    let state = (
        percent(50),
        percent(50),
        percent(50),
        percent(100),
        percent(50),
    );
    prop_oneof![
        random.prop_map(|(word, (text, chance))| (word + &text, Loss::Chance(chance))),
        gemodel.prop_map(|[p, r, h, k]| {
            let text = format!("gemodel {} {} {} {}", p.0, r.0, h.0, k.0);
            let (p, r, one_minus_h, one_minus_k) = (p.1, r.1, h.1, k.1);
            let model = Gemodel {
                p,
                r,
                one_minus_h,
                one_minus_k,
            };
            (text, Loss::Gemodel(model))
        }),
        state.prop_map(|(p13, p31, p32, p23, p14)| {
            let text = format!("state {} {} {} {} {}", p13.0, p31.0, p32.0, p23.0, p14.0);
            let (p13, p31, p32, p23, p14) = (p13.1, p31.1, p32.1, p23.1, p14.1);
            (
                text,
                Loss::State(FourStates {
                    p13,
                    p31,
                    p32,
                    p23,
                    p14,
                }),
            )
        }),
    ]
}

fn delay() -> impl Strategy<Value = Said<Delay>> {
    let shapes = prop_oneof![
        Just(Distribution::Uniform),
        Just(Distribution::Normal),
        Just(Distribution::Pareto),
        Just(Distribution::ParetoNormal)
    ];
    (
        milliseconds(1000),
        milliseconds(100),
        option::of(percent(99)),
        shapes,
    )
        .prop_map(
            |((time, at_least), (jitter, spread), correlation, distribution)| {
                // More jitter than delay is refused of what is uniform.
                let time_ns = at_least.nanos().max(spread.nanos()).max(1);
                let time = if time_ns == at_least.nanos() {
                    time
                } else {
                    format!("{time_ns}ns")
                };
                let mut text = format!("delay {time} {jitter}");
                if let Some((correlation, _)) = &correlation {
                    text += &format!(" {correlation}");
                }
                let has_jitter = spread > DurationNs::ZERO;
                if has_jitter && distribution != Distribution::Uniform {
                    text += &format!(" distribution {}", distribution.word().unwrap());
                }
                let time = DurationNs::from_nanos(time_ns).unwrap();
                let correlation =
                    correlation.map_or(Probability::NEVER, |(_, correlation)| correlation);
                let delay = match has_jitter {
                    true => Delay {
                        distribution,
                        correlation,
                        ..Delay::uniform(time, spread)
                    },
                    false => Delay::uniform(time, spread),
                };
                (text, delay)
            },
        )
}

fn rate() -> impl Strategy<Value = Said<Rate>> {
    (
        125..10_000_000u64,
        -64..=1500i32,
        option::of(2..=9000u32),
        1..5000u64,
    )
        .prop_map(|(bytes, overhead, cell_size, limit)| {
            let cell = cell_size.map_or(String::new(), |size| size.to_string());
            let text = format!("rate {bytes}bps {overhead} {cell} limit {limit}");
            let rate = Rate {
                overhead,
                cell_size: cell_size.unwrap_or(0),
                queue: QueueLimit::Packets(limit),
                ..Rate::plain(Bandwidth::from_bits_per_second(8 * bytes).unwrap())
            };
            (text, rate)
        })
}

fn slot() -> impl Strategy<Value = Said<Slot>> {
    (1..1000u64, 0..1000u64, 1..100u32, option::of(1..100_000u64)).prop_map(
        |(min, more, packets, bytes)| {
            let nanos = |us: u64| DurationNs::from_nanos(us * 1000).unwrap();
            let max = min + more;
            let mut text = format!("slot {min}us {max}us packets {packets}");
            if let Some(bytes) = bytes {
                text += &format!(" bytes {bytes}");
            }
            let slot = Slot {
                min: nanos(min),
                max: nanos(max),
                packets: Some(packets),
                bytes: bytes.map(Size::from_bytes),
            };
            (text, slot)
        },
    )
}

/// What is said, and its meaning where it is said.
fn split<T>(said: Option<Said<T>>, word: &str, words: &mut Vec<String>) -> Option<T> {
    let (text, meaning) = said?;
    words.push(format!("{word}{text}"));
    Some(meaning)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn all_options_become_the_values_asked(
        loss in option::of(loss()),
        ecn: bool,
        corrupt in option::of(chance()),
        duplicate in option::of(chance()),
        delay in option::of(delay()),
        reorder in option::of((chance(), 1..20u64)),
        rate in option::of(rate()),
        slot in option::of(slot()),
        seed in option::of(any::<u64>()),
        turn in 0..8usize,
    ) {
        let mut words = Vec::new();
        let loss = split(loss, "loss ", &mut words);
        if ecn && loss.is_some() {
            words.push("ecn".to_owned());
        }
        let corrupt = split(corrupt, "corrupt ", &mut words);
        let duplicate = split(duplicate, "duplicate ", &mut words);
        let delay = split(delay, "", &mut words);
        let rate = split(rate, "", &mut words);
        let slot = split(slot, "", &mut words);
        let reorder = reorder.filter(|_| delay.is_some()).map(|((text, chance), gap)| {
            words.push(format!("reorder {text} gap {gap}"));
            Reorder { chance, gap }
        });
        if let Some(seed) = seed {
            words.push(format!("seed {seed}"));
        }
        // In any order.
        if !words.is_empty() {
            let turn = turn % words.len();
            words.rotate_left(turn);
        }
        let jitters = delay.as_ref().is_some_and(|delay| delay.jitter > DurationNs::ZERO);
        let keep_order = jitters && rate.is_some() && reorder.is_none();
        let expected = Rule {
            drop: loss.map(|loss| Drop { loss, ecn }),
            corrupt: corrupt.map(|chance| Corrupt {
                chance,
                place: Place::Any,
                ..Corrupt::independent(Probability::NEVER, Checksum::Stale)
            }),
            duplicate: duplicate.map(|chance| Duplicate { chance, copies: 1 }),
            delay: delay.map(|delay| Delay { keep_order, ..delay }),
            reorder,
            rate,
            slot,
            ..Rule::exempting("netem".into(), profile::Direction::Egress, profile::Match::default())
        };
        let text = format!("tc qdisc replace dev eth0 root netem {}", words.join(" "));
        let imported = imported(&text, None).unwrap();
        let missing: Vec<_> = imported.notes.iter().filter(|note| note.kind == Kind::NoEquivalent).collect();
        prop_assert!(missing.is_empty(), "{text}: {missing:?}");
        let profile = profile_of(&imported);
        prop_assert_eq!(profile.seed, seed);
        prop_assert_eq!(profile.rules().next().unwrap(), &[expected], "{}", text);
    }

    /// What is wrong is refused, and never worse.
    #[test]
    fn no_text_makes_it_panic(
        tool in 0..7usize,
        text in "(tc qdisc add dev e netem|pumba netem -d 1s|comcast|qdisc netem 1: dev e|a: )?( ?[a-z0-9.%:{}\\[\\]\"' =-]{0,12}){0,6}",
    ) {
        let source = Source::of_text("text", Path::new(""), text);
        let tool = Tool::value_variants().get(tool).copied();
        let _ = import(&source, &Wish { tool, ..Wish::default() });
    }
}
