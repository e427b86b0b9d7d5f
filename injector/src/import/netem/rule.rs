//! What a netem does, as a rule.

use super::{
    super::{
        draft::DraftRule,
        note::Notes,
        quantity::{bandwidth, chance, duration, probability},
    },
    Chance, Delay, Loss, Netem, Rate, Slot, table,
};
use crate::{
    profile::{self, Corrupt, Distribution, Drop, Duplicate, Place, QueueLimit, Reorder, Rule},
    units::{DurationNs, Probability, Size},
};

/// How many packets a netem holds where it is not told.
const LIMIT: u64 = 1000;
const SHAPES: [(&str, Distribution); 4] = [
    ("uniform", Distribution::Uniform),
    ("normal", Distribution::Normal),
    ("pareto", Distribution::Pareto),
    ("paretonormal", Distribution::ParetoNormal),
];

impl Netem {
    /// Adds the faults to a rule without any.
    pub(in crate::import) fn rule(&self, mut rule: Rule, notes: &mut Notes) -> DraftRule {
        let (delay, table) = self.delay(notes);
        rule.drop = self.drop(notes);
        rule.corrupt = of(self.corrupt, "corrupt", notes).map(|chance| Corrupt {
            chance,
            place: Place::Any,
            ..Corrupt::independent(Probability::NEVER, profile::Checksum::Stale)
        });
        if rule.corrupt.is_some() {
            notes.differs(
                "corrupt",
                "netem may flip a bit of the Ethernet header, too",
            );
        }
        rule.duplicate = of(self.duplicate, "duplicate", notes).map(|chance| Duplicate {
            chance,
            ..Duplicate::independent(Probability::NEVER)
        });
        rule.reorder = self.reorder(delay.is_some(), notes);
        rule.rate = self.rate.and_then(|rate| self.bottleneck(rate, notes));
        rule.slot = self.slot.and_then(|slot| medium(slot, notes));
        // netem sends in the order of departure where it has a rate.
        let jitters = |delay: &profile::Delay| delay.jitter > DurationNs::ZERO;
        let keep_order = rule.rate.is_some() && rule.reorder.is_none();
        rule.delay = delay.map(|delay| profile::Delay {
            keep_order: keep_order && jitters(&delay),
            ..delay
        });
        self.note_limit(&rule, notes);
        note_together(&rule, notes);
        if self.seed.is_some() {
            notes.differs(
                "seed",
                "the same number, but other random numbers than netem's",
            );
        }
        DraftRule {
            rule,
            table,
            replay: None,
        }
    }

    fn drop(&self, notes: &mut Notes) -> Option<Drop> {
        let loss = match self.loss? {
            Loss::Random(loss) => profile::Loss::Chance(of(Some(loss), "loss", notes)?),
            Loss::Gemodel {
                p,
                r,
                one_minus_h,
                one_minus_k,
            } => profile::Loss::Gemodel(profile::Gemodel {
                p: chance(p),
                r: chance(r),
                one_minus_h: chance(one_minus_h),
                one_minus_k: chance(one_minus_k),
            }),
            Loss::State {
                p13,
                p31,
                p32,
                p23,
                p14,
            } => profile::Loss::State(profile::FourStates {
                p13: beside(("p13", p13), ("p14", p14), notes),
                p31: beside(("p31", p31), ("p32", p32), notes),
                p32: chance(p32),
                p23: chance(p23),
                p14: chance(p14),
            }),
        };
        Some(Drop {
            loss,
            ecn: self.ecn,
        })
    }

    fn delay(&self, notes: &mut Notes) -> (Option<profile::Delay>, Option<std::path::PathBuf>) {
        let Some(Delay {
            time_ns,
            jitter_ns,
            correlation,
        }) = self.delay
        else {
            return (None, None);
        };
        let time = duration("delay", time_ns, notes);
        let mut jitter = duration("jitter", jitter_ns, notes);
        let (distribution, table) = self.distribution(notes);
        let is_uniform = distribution == Distribution::Uniform && table.is_none();
        if is_uniform && jitter > time {
            let what = format!("delay {time} {jitter}");
            notes.missing(
                what,
                "delays below 0, which netem takes for 0; the jitter is cut to the delay",
            );
            jitter = time;
        }
        if time.max(jitter) == DurationNs::ZERO {
            return (None, None);
        }
        let has_jitter = jitter > DurationNs::ZERO;
        if !has_jitter && correlation > 0.0 {
            let what = format!("delay {time}, correlation {}", chance(correlation));
            notes.differs(what, "without jitter it says nothing, and is left out");
        }
        let delay = profile::Delay {
            distribution: if has_jitter {
                distribution
            } else {
                Distribution::Uniform
            },
            correlation: match has_jitter {
                true => below_certain(correlation, "delay", notes),
                false => Probability::NEVER,
            },
            ..profile::Delay::uniform(time, jitter)
        };
        if delay.correlation > Probability::NEVER {
            notes.differs(
                "correlation of the delay",
                "netem's has none (docs/models.md)",
            );
        }
        (Some(delay), table.filter(|_| has_jitter))
    }

    fn distribution(&self, notes: &mut Notes) -> (Distribution, Option<std::path::PathBuf>) {
        let Some(name) = &self.distribution else {
            return (Distribution::Uniform, None);
        };
        if let Some((_, shape)) = SHAPES.iter().find(|(known, _)| known == name) {
            return (shape.clone(), None);
        }
        let file = table::find(name);
        if file.is_none() {
            let why = format!(
                "there is no {name}.dist in {}; delays are uniform",
                table::places()
            );
            notes.missing(format!("distribution {name}"), why);
        }
        (Distribution::Uniform, file)
    }

    fn reorder(&self, is_delayed: bool, notes: &mut Notes) -> Option<Reorder> {
        let chance = of(self.reorder, "reorder", notes)?;
        if !is_delayed {
            notes.missing("reorder", "nothing is delayed that could be overtaken");
            return None;
        }
        Some(Reorder {
            chance,
            gap: self.gap.unwrap_or(1).max(1),
        })
    }

    fn bottleneck(&self, rate: Rate, notes: &mut Notes) -> Option<profile::Rate> {
        let Rate {
            bits,
            packet_overhead,
            ..
        } = rate;
        if bits == 0 {
            notes.differs("rate 0", "none");
            return None;
        }
        let (bits, cell_size) = cells(rate, notes);
        let plain = profile::Rate::plain(bandwidth("rate", bits, notes)?);
        let overhead = i32::try_from(packet_overhead).ok();
        let overhead = overhead.filter(|bytes| (-64..=1500).contains(bytes));
        if overhead.is_none() {
            let what = format!("packetoverhead {packet_overhead}");
            notes.missing(what, "it can be -64 to 1500 bytes, and is left out");
        }
        Some(profile::Rate {
            overhead: overhead.unwrap_or(0),
            cell_size,
            queue: self
                .limit
                .filter(|limit| *limit > 0)
                .map_or(plain.queue, QueueLimit::Packets),
            ..plain
        })
    }

    /// netem's limit is about all that it holds, not only about what waits for its turn.
    fn note_limit(&self, rule: &Rule, notes: &mut Notes) {
        let Some(limit) = self.limit else { return };
        let what = format!("limit {limit}");
        match (&rule.rate, limit) {
            (_, 0) => notes.missing(what, "netem drops every packet then"),
            (Some(_), _) if rule.delay.is_some() => {
                notes.differs(
                    what,
                    "netem counts what is delayed, too; `queue` only what waits for its turn",
                );
            }
            (Some(_), _) => {}
            (None, LIMIT) => notes.differs(
                what,
                "netem's default; here nothing limits how many packets are held",
            ),
            (None, _) => notes.missing(
                what,
                "nothing limits how many packets are held without a rate",
            ),
        }
    }
}

/// Where it delays and has a rate, netem does one before the other.
fn note_together(rule: &Rule, notes: &mut Notes) {
    if rule.rate.is_some() && rule.reorder.is_some() {
        notes.differs(
            "reorder, rate",
            "netem lets a packet overtake at the bottleneck, too",
        );
    }
    let jitters = |delay: &profile::Delay| delay.jitter > DurationNs::ZERO;
    if rule.rate.is_some() && rule.delay.as_ref().is_some_and(jitters) {
        notes.differs(
            "delay, rate",
            "netem delays before the bottleneck, not behind it",
        );
    }
}

/// Which packets a fault hits; none where none is.
fn of(asked: Option<Chance>, what: &str, notes: &mut Notes) -> Option<profile::Chance> {
    let Chance { share, correlation } = asked?;
    let probability = probability(share)?;
    let correlation = below_certain(correlation, what, notes);
    if correlation > Probability::NEVER {
        let why = "netem's changes the share, or nothing; here the share is kept (docs/models.md)";
        notes.differs(format!("{what} {probability} {correlation}"), why);
    }
    Some(profile::Chance::Random {
        probability,
        correlation,
    })
}

fn below_certain(correlation: f64, what: &str, notes: &mut Notes) -> Probability {
    let correlation = chance(correlation);
    if correlation < Probability::ALWAYS {
        return correlation;
    }
    notes.missing(
        format!("{what}, correlation 100%"),
        "what never changes; the correlation is left out",
    );
    Probability::NEVER
}

/// One of two ways out of a state, which the other is tried before.
fn beside(one: (&str, f64), other: (&str, f64), notes: &mut Notes) -> Probability {
    let left = Probability::ALWAYS.odds_q32() - chance(other.1).odds_q32();
    let asked = chance(one.1).odds_q32();
    // Of two roundings.
    if asked > left + 2 {
        let what = format!("loss state, {} {}", one.0, chance(one.1));
        notes.missing(
            what,
            format!("more than 100% with {}; cut to the rest", other.0),
        );
    }
    Probability::from_odds_q32(asked.min(left)).expect("at most certain")
}

/// The bandwidth in which whole cells take as long as those with their overhead do, and the size of a cell.
fn cells(rate: Rate, notes: &mut Notes) -> (u64, u32) {
    let Rate {
        bits,
        cell_size,
        cell_overhead,
        ..
    } = rate;
    let usable = u32::try_from(cell_size).ok();
    let usable = usable.filter(|size| (2..=9000).contains(size));
    let Some(size) = usable else {
        match (cell_size, cell_overhead) {
            (0, 0) | (1, 0) => {}
            (0, overhead) => notes.differs(
                format!("celloverhead {overhead}"),
                "without cells it is nothing",
            ),
            _ => notes.missing(
                format!("cellsize {cell_size}"),
                "cells have 2 to 9000 bytes; there are none here",
            ),
        }
        return (bits, 0);
    };
    let gross = i128::from(size) + i128::from(cell_overhead);
    if cell_overhead == 0 {
        return (bits, size);
    }
    if gross <= 0 {
        let what = format!("celloverhead {cell_overhead}");
        notes.missing(what, "it leaves nothing of a cell, and is left out");
        return (bits, size);
    }
    let what = format!("rate of {bits}bit, celloverhead {cell_overhead}");
    let why = format!(
        "the bandwidth is {size}/{gross} of it, in which the cells without overhead take as long"
    );
    notes.differs(what, why);
    let net = i128::from(bits) * i128::from(size) / gross;
    (u64::try_from(net).unwrap_or(u64::MAX), size)
}

fn medium(slot: Slot, notes: &mut Notes) -> Option<profile::Slot> {
    let Slot {
        min_ns,
        max_ns,
        packets,
        bytes,
    } = slot;
    if packets == 0 && bytes == 0 {
        notes.differs(
            "slot",
            "without packets or bytes a slot never ends, and it is left out",
        );
        return None;
    }
    let [min, max] = [min_ns, max_ns].map(|nanos| duration("slot", nanos, notes));
    if max == DurationNs::ZERO {
        notes.differs("slot 0", "no time between slots: it is left out");
        return None;
    }
    let one = DurationNs::from_nanos(1).expect("less than an hour");
    Some(profile::Slot {
        min: min.max(one),
        max,
        packets: u32::try_from(packets).ok().filter(|packets| *packets > 0),
        bytes: Some(Size::from_bytes(bytes)).filter(|bytes| *bytes > Size::ZERO),
    })
}
