//! Faults that exclude each other, or themselves.

use super::Contradiction;
use crate::profile::{
    Chance, Checksum, Corrupt, Delay, Distribution, Drop, FourStates, Loss, Place, Point,
    Recording, Rule, Slot,
};
use crate::units::{DurationNs, Probability};

type Checked = Result<(), Contradiction>;

pub(super) fn check(rule: &Rule) -> Checked {
    check_correlations(rule)?;
    given(&rule.drop, check_drop)?;
    given(&rule.delay, |delay| check_shape(rule, delay))?;
    check_jitter(rule)?;
    check_order(rule)?;
    given(&rule.corrupt, check_corrupt)?;
    given(&rule.slot, check_slot)?;
    check_opportunities(rule)
}

fn given<T>(fault: &Option<T>, check: impl FnOnce(&T) -> Checked) -> Checked {
    fault.as_ref().map_or(Ok(()), check)
}

/// What is decided entirely by the packet before it would be the same for ever.
fn check_correlations(rule: &Rule) -> Checked {
    let chance = |chance: &Chance| match chance {
        Chance::Random { correlation, .. } => Some(*correlation),
        _ => None,
    };
    let drop = |drop: &Drop| match &drop.loss {
        Loss::Chance(loss) => chance(loss),
        _ => None,
    };
    let correlations = [
        ("drop", rule.drop.as_ref().and_then(drop)),
        ("delay", rule.delay.as_ref().map(|delay| delay.correlation)),
        (
            "corrupt",
            rule.corrupt
                .as_ref()
                .and_then(|fault| chance(&fault.chance)),
        ),
        (
            "duplicate",
            rule.duplicate
                .as_ref()
                .and_then(|fault| chance(&fault.chance)),
        ),
        (
            "reorder",
            rule.reorder
                .as_ref()
                .and_then(|fault| chance(&fault.chance)),
        ),
    ];
    let is_full = |correlation: &Option<Probability>| *correlation == Some(Probability::ALWAYS);
    match correlations
        .iter()
        .find(|(_, correlation)| is_full(correlation))
    {
        Some((fault, _)) => {
            let message = "what is correlated by 100% never changes";
            Err(Contradiction::new(
                [*fault, "correlation"],
                message,
                "less than 100%",
            ))
        }
        None => Ok(()),
    }
}

fn check_drop(drop: &Drop) -> Checked {
    let Loss::State(FourStates {
        p13, p31, p32, p14, ..
    }) = drop.loss
    else {
        return Ok(());
    };
    check_ways_out(("p14", p14), ("p13", p13))?;
    check_ways_out(("p32", p32), ("p31", p31))
}

/// Checks the probabilities of the two ways out of a state.
fn check_ways_out(one: (&'static str, Probability), other: (&'static str, Probability)) -> Checked {
    let left = Probability::ALWAYS.odds_q32() - other.1.odds_q32();
    if one.1.odds_q32() <= left {
        return Ok(());
    }
    let message = format!(
        "`{}` of {} and `{}` of {} are more than 100% together",
        one.0, one.1, other.0, other.1
    );
    let left = Probability::from_odds_q32(left).unwrap_or(Probability::NEVER);
    let contradiction = Contradiction::new(["drop", one.0], message, format!("at most {left}"));
    Err(contradiction.because_of(["drop", other.0]))
}

/// Without jitter all delays are the same, and there is nothing to say of how they differ.
fn check_shape(rule: &Rule, delay: &Delay) -> Checked {
    let is_recorded = first_recorded(rule).is_some_and(|point| point.jitter.is_some());
    if delay.jitter > DurationNs::ZERO || is_recorded {
        return Ok(());
    }
    let shape = [
        ("distribution", delay.distribution != Distribution::Uniform),
        ("correlation", delay.correlation != Probability::NEVER),
        ("keep_order", delay.keep_order),
    ];
    match shape.into_iter().find(|(_, is_given)| *is_given) {
        Some((key, _)) => {
            let message = format!("`{key}` without `jitter`: all delays are the same");
            Err(Contradiction::new(
                ["delay", key],
                message,
                "`jitter` beside it",
            ))
        }
        None => Ok(()),
    }
}

/// Checks that no delay can be negative. Only where they are spread evenly that is a promise.
fn check_jitter(rule: &Rule) -> Checked {
    let delay = rule.delay.as_ref();
    if delay.is_some_and(|delay| delay.distribution != Distribution::Uniform) {
        return Ok(());
    }
    let none = DurationNs::ZERO;
    let (time, jitter) = delay.map_or((none, none), |delay| (delay.time, delay.jitter));
    let is_steady = first_recorded(rule).is_none_or(|point| point.delay.or(point.jitter).is_none());
    if is_steady && jitter > time {
        let message = format!("the jitter of {jitter} exceeds the delay of {time}");
        let expected = format!("at most {time}");
        let contradiction = Contradiction::new(["delay", "jitter"], message, expected);
        return Err(contradiction.because_of(["delay", "time"]));
    }
    let of = |point: &Point| (point.delay.unwrap_or(time), point.jitter.unwrap_or(jitter));
    let mut points = recorded(rule).iter().filter(|_| !is_steady);
    match points.find(|point| of(point).1 > of(point).0) {
        Some(point) => {
            let (time, jitter) = of(point);
            let exceeds = format!("the jitter of {jitter} exceeds the delay of {time}");
            let message = format!("{} into the recording, {exceeds}", point.time);
            let expected = "no more jitter than delay";
            Err(Contradiction::new(["replay", "file"], message, expected))
        }
        None => Ok(()),
    }
}

/// Returns recorded conditions, if there are any.
fn recorded(rule: &Rule) -> &[Point] {
    match rule.replay.as_ref().map(|replay| &replay.recording) {
        Some(Recording::Conditions(conditions)) => &conditions.points,
        _ => &[],
    }
}

/// Returns the first of them, which has the values that all of them have.
fn first_recorded(rule: &Rule) -> Option<&Point> {
    recorded(rule).first()
}

/// Checks what overtakes, and what must not be overtaken.
fn check_order(rule: &Rule) -> Checked {
    if rule.reorder.is_none() {
        return Ok(());
    }
    let delay = rule.delay.as_ref();
    let is_delayed = delay.is_some_and(|delay| delay.time.max(delay.jitter) > DurationNs::ZERO);
    let is_recorded = first_recorded(rule).is_some_and(|point| point.delay.is_some());
    if !is_delayed && !is_recorded {
        let message = "`reorder` without `delay`: there is nothing to overtake";
        return Err(Contradiction::new(
            ["reorder", "probability"],
            message,
            "`delay` beside it",
        ));
    }
    if delay.is_some_and(|delay| delay.keep_order) {
        let message = "`keep_order` and `reorder` exclude each other";
        let contradiction = Contradiction::new(["delay", "keep_order"], message, "one of them");
        return Err(contradiction.because_of(["reorder", "probability"]));
    }
    Ok(())
}

/// Headers have checksums of their own, which nothing makes fit.
fn check_corrupt(corrupt: &Corrupt) -> Checked {
    if corrupt.checksum == Checksum::Stale || corrupt.place == Place::Payload {
        return Ok(());
    }
    let message = "the checksum can be made to fit only where the payload alone is corrupted";
    let contradiction = Contradiction::new(["corrupt", "where"], message, "`payload`");
    Err(contradiction.because_of(["corrupt", "checksum"]))
}

fn check_slot(slot: &Slot) -> Checked {
    let refuse = |key, message: &str, expected: String| {
        Err(Contradiction::new(["slot", key], message, expected))
    };
    if slot.min == DurationNs::ZERO {
        return refuse(
            "min",
            "slots with no time between them",
            "more than 0ms".to_owned(),
        );
    }
    if slot.max < slot.min {
        let message = format!("`max` of {} is below `min` of {}", slot.max, slot.min);
        return refuse("max", &message, format!("at least {}", slot.min));
    }
    if slot.packets.is_none() && slot.bytes.is_none() {
        let expected = "`packets`, `bytes` or both".to_owned();
        return refuse("packets", "slots without a limit", expected);
    }
    if slot.bytes.is_some_and(|bytes| bytes.bytes() == 0) {
        return refuse(
            "bytes",
            "slots that hold nothing",
            "more than 0B".to_owned(),
        );
    }
    Ok(())
}

/// A Mahimahi trace says by itself when the link is free.
fn check_opportunities(rule: &Rule) -> Checked {
    let recording = rule.replay.as_ref().map(|replay| &replay.recording);
    if !matches!(recording, Some(Recording::Opportunities(_))) {
        return Ok(());
    }
    let keeps_order = rule.delay.as_ref().is_some_and(|delay| delay.keep_order);
    let others = [
        (
            rule.rate.is_some(),
            ["rate", "bandwidth"],
            "no `rate` beside it",
        ),
        (rule.slot.is_some(), ["slot", "min"], "no `slot` beside it"),
        (
            keeps_order,
            ["delay", "keep_order"],
            "no `keep_order` beside it",
        ),
    ];
    let Some((_, field, expected)) = others.into_iter().find(|(is_there, ..)| *is_there) else {
        return Ok(());
    };
    let message = "a Mahimahi trace says by itself when each packet leaves";
    Err(Contradiction::new(field, message, expected).because_of(["replay", "file"]))
}
