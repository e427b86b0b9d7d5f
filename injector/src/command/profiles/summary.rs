//! A profile in a line: what it does to packets of either direction.

use serde::Serialize;

use crate::{
    profile::{Chance, Direction, Loss, Match, Profile, Rule},
    units::{Bandwidth, DurationNs, Probability},
};

/// What happens to packets of one direction that no condition singles out; over all phases.
#[derive(Default, Serialize)]
pub(super) struct Way {
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_bits_per_second: Option<Span<u64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay_ns: Option<Span<u64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jitter_ns: Option<Span<u64>>,
    /// Share of packets.
    #[serde(skip_serializing_if = "Option::is_none")]
    loss: Option<Span<f64>>,
}

/// The least and the most; of rates and delays, of the phases that have any.
#[derive(Clone, Copy, PartialEq, Serialize)]
struct Span<T> {
    min: T,
    max: T,
}

impl<T: Copy + PartialOrd> Span<T> {
    fn of(values: impl Iterator<Item = T>) -> Option<Self> {
        values.fold(None, |span: Option<Self>, value| {
            let Self { min, max } = span.unwrap_or(Self {
                min: value,
                max: value,
            });
            Some(Self {
                min: if value < min { value } else { min },
                max: if value > max { value } else { max },
            })
        })
    }

    fn text(&self, text: impl Fn(T) -> String) -> String {
        if self.min == self.max {
            return text(self.min);
        }
        format!("{}-{}", text(self.min), text(self.max))
    }
}

impl Way {
    pub(super) fn of(profile: &Profile, direction: Direction) -> Self {
        let rules = profile.rules();
        let phases: Vec<Option<&Rule>> = rules
            .map(|rules| rules.iter().find(|rule| applies(rule, direction)))
            .collect();
        let rules = || phases.iter().copied().flatten();
        let delays = || rules().filter_map(|rule| rule.delay.as_ref());
        let jitters = delays().map(|delay| delay.jitter.nanos());
        let rates = rules().filter_map(|rule| rule.rate.as_ref());
        let loss = Span::of(phases.iter().map(|rule| rule.map_or(0.0, loss)));
        Self {
            rate_bits_per_second: Span::of(rates.map(|rate| rate.bandwidth.bits_per_second())),
            delay_ns: Span::of(delays().map(|delay| delay.time.nanos())),
            jitter_ns: Span::of(jitters.filter(|jitter| *jitter > 0)),
            loss: loss.filter(|loss| loss.max > 0.0),
        }
    }

    pub(super) fn rate(&self) -> Option<String> {
        let text = |bits| {
            Bandwidth::from_bits_per_second(bits).map_or_else(String::new, |rate| rate.to_string())
        };
        Some(self.rate_bits_per_second?.text(text))
    }

    pub(super) fn delay(&self) -> Option<String> {
        let text = |nanos| {
            DurationNs::from_nanos(nanos)
                .unwrap_or_default()
                .to_string()
        };
        let jitter = self
            .jitter_ns
            .map(|jitter| format!(" ±{}", jitter.text(text)));
        Some(self.delay_ns?.text(text) + &jitter.unwrap_or_default())
    }

    pub(super) fn loss(&self) -> Option<String> {
        let text = |share: f64| {
            let percent = format!("{:.1}", share * 100.0);
            format!("{}%", percent.trim_end_matches(".0"))
        };
        Some(self.loss?.text(text))
    }
}

fn applies(rule: &Rule, direction: Direction) -> bool {
    let is_here = rule.direction == direction || rule.direction == Direction::Both;
    is_here && rule.matching == Match::default()
}

/// The share of packets that are lost in the long run.
fn loss(rule: &Rule) -> f64 {
    let share = |probability: Probability| {
        probability.odds_q32() as f64 / Probability::ALWAYS.odds_q32() as f64
    };
    match rule.drop.as_ref().map(|drop| &drop.loss) {
        Some(Loss::Chance(Chance::Random { probability, .. })) => share(*probability),
        Some(Loss::Gemodel(model)) => {
            // Of a Markov chain with two states.
            let bad = share(model.p) / (share(model.p) + share(model.r));
            bad * share(model.one_minus_h) + (1.0 - bad) * share(model.one_minus_k)
        }
        // No built-in profile loses packets in any other way.
        Some(_) | None => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile;

    fn way(rules: &str) -> Way {
        let profile = profile::parse("test", &format!("name: x\n{rules}")).unwrap();
        Way::of(&profile, Direction::Ingress)
    }

    #[test]
    fn a_direction_is_that_of_the_first_rule_for_all_its_packets() {
        let way = way(
            "rules: [{delay: 9ms}, {direction: ingress, match: {dst_port: 1}, drop: 9%}, \
             {direction: both, drop: {model: gemodel, p: 1%, r: 4%, one_minus_h: 50%}, \
             delay: {time: 40ms, jitter: 5ms}, rate: 1.5mbit}]",
        );
        assert_eq!(way.delay().as_deref(), Some("40ms ±5ms"));
        assert_eq!(way.loss().as_deref(), Some("10%"));
        assert_eq!(way.rate().as_deref(), Some("1.5mbit"));
    }

    #[test]
    fn phases_span_from_the_least_to_the_most() {
        let way = way(
            "phases: [{for: 1s, rules: [{direction: ingress, drop: 5%, delay: 20ms}]}, \
             {for: 1s, rules: []}, {for: 1s, rules: [{direction: both, drop: 0.5%}]}]",
        );
        assert_eq!(way.loss().as_deref(), Some("0%-5%"));
        assert_eq!(way.delay().as_deref(), Some("20ms"));
        assert_eq!(way.rate(), None);
    }
}
