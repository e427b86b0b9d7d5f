//! Values that change over time, as points that the kernel side looks up.

use injector_common::{
    abi::{self, Pace, Point, Track, fault},
    fate::Levels,
    pace::OPPORTUNITY_BYTES,
};

use super::models::Models;
use crate::{
    profile::{Chance, Conditions, Interpolation, Loss, Rule},
    units::{DurationNs, Probability},
};

/// The values of a rule that can move on a straight line, at the beginning of a track.
pub(super) fn point(rule: &Rule) -> Point {
    let loss = rule.drop.as_ref().map(|drop| &drop.loss);
    let loss = loss.and_then(|loss| match loss {
        Loss::Chance(chance) => Some(chance),
        _ => None,
    });
    let mut odds = [0; fault::COUNT];
    odds[fault::DROP] = independent_odds(loss);
    odds[fault::CORRUPT] = independent_odds(rule.corrupt.as_ref().map(|corrupt| &corrupt.chance));
    odds[fault::DUPLICATE] =
        independent_odds(rule.duplicate.as_ref().map(|duplicate| &duplicate.chance));
    odds[fault::REORDER] = independent_odds(rule.reorder.as_ref().map(|reorder| &reorder.chance));
    let delay = rule.delay.as_ref();
    let rate = rule.rate.as_ref();
    Point {
        at_ns: 0,
        odds,
        time_ns: delay.map_or(0, |delay| delay.time.nanos()),
        jitter_ns: delay.map_or(0, |delay| delay.jitter.nanos()),
        rate_bps: rate.map_or(0, |rate| rate.bandwidth.bits_per_second()),
    }
}

fn independent_odds(chance: Option<&Chance>) -> u64 {
    chance
        .and_then(Chance::independent_probability)
        .map_or(0, Probability::odds_q32)
}

/// The rule whose values move from those of one to those of another: it has the faults of both.
pub(super) fn both(rule: &Rule, from: Option<&Rule>) -> Rule {
    let mut both = rule.clone();
    let Some(from) = from else {
        return both;
    };
    // Where only one of two delays has jitter, it alone says how it is spread.
    let jitters = |rule: &Rule| {
        rule.delay
            .as_ref()
            .is_some_and(|d| d.jitter != DurationNs::ZERO)
    };
    if both.delay.is_none() || !jitters(rule) && jitters(from) {
        both.delay.clone_from(&from.delay);
    }
    both.drop = both.drop.or_else(|| from.drop.clone());
    both.corrupt = both.corrupt.or_else(|| from.corrupt.clone());
    both.duplicate = both.duplicate.or_else(|| from.duplicate.clone());
    both.reorder = both.reorder.or_else(|| from.reorder.clone());
    both
}

/// The straight line from one point to another.
pub(super) fn ramp(models: &mut Models, from: Point, to: Point, duration: DurationNs) -> Track {
    let to = Point {
        at_ns: duration.nanos(),
        ..to
    };
    Track {
        linear: 1,
        ..track(models, &[from, to])
    }
}

/// Recorded conditions; what they do not give is as in `base`.
pub(super) fn conditions(
    models: &mut Models,
    conditions: &Conditions,
    repeat: bool,
    base: Point,
) -> Track {
    let points = conditions.points.iter().map(|point| {
        let mut values = base;
        values.at_ns = point.time.nanos();
        if let Some(delay) = point.delay {
            values.time_ns = delay.nanos();
        }
        if let Some(jitter) = point.jitter {
            values.jitter_ns = jitter.nanos();
        }
        if let Some(drop) = point.drop {
            values.odds[fault::DROP] = drop.odds_q32();
        }
        if let Some(rate) = point.rate {
            values.rate_bps = rate.bits_per_second();
        }
        values
    });
    let points: Vec<_> = points.collect();
    let end_ns = points.last().map_or(0, |point| point.at_ns);
    Track {
        linear: u32::from(conditions.interpolation == Interpolation::Linear),
        period_ns: if repeat { end_ns } else { 0 },
        ..track(models, &points)
    }
}

fn track(models: &mut Models, points: &[Point]) -> Track {
    Track {
        first: models.points(points),
        len: points.len() as u32,
        begin: abi::BEGIN,
        ..Track::default()
    }
}

/// A recorded link, and how much may wait for it.
pub(super) fn opportunities(models: &mut Models, pace: &mut Pace, times_ms: &[u32]) {
    const NSEC_PER_MSEC: u64 = 1_000_000;
    /// As with other links, netem's limit.
    const QUEUE_PACKETS: u64 = 1000;
    /// A recorded opportunity is that of an IP packet.
    const ETHERNET_HEADER_LEN: i32 = 14;
    let period_ns = times_ms.last().copied().map_or(0, u64::from) * NSEC_PER_MSEC;
    pace.opportunities = Track {
        first: models.opportunities(times_ms),
        len: times_ms.len() as u32,
        period_ns,
        begin: abi::BEGIN,
        linear: 0,
    };
    pace.overhead = -ETHERNET_HEADER_LEN;
    pace.queue_bytes = QUEUE_PACKETS * OPPORTUNITY_BYTES;
    let turns = QUEUE_PACKETS / times_ms.len().max(1) as u64 + 2;
    pace.queue_ns = turns.saturating_mul(period_ns);
}

/// The largest of the values, and the lowest rate.
pub(super) fn extremes(points: &[Point]) -> Levels {
    let largest = |value: fn(&Point) -> u64| points.iter().map(value).max().unwrap_or(0);
    let slowest = points.iter().map(|point| point.rate_bps).min().unwrap_or(0);
    Levels {
        odds: [
            largest(|point| point.odds[0]),
            largest(|point| point.odds[1]),
            largest(|point| point.odds[2]),
            largest(|point| point.odds[3]),
        ],
        time_ns: largest(|point| point.time_ns),
        jitter_ns: largest(|point| point.jitter_ns),
        byte_ns: if slowest == 0 {
            0
        } else {
            Pace::byte_ns(slowest)
        },
    }
}
