//! The kernel's histograms of delays, as Prometheus has histograms.

use std::fmt;

use injector_common::abi::RuleCounters;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet},
    metrics::MetricType,
    registry::Unit,
};

use super::{OfRule, Status, rules};

/// Of all rules that have delayed packets.
#[derive(Debug)]
pub(super) struct Delays(Vec<(OfRule, Delay)>);

/// Of one rule.
#[derive(Debug, PartialEq)]
struct Delay {
    /// In seconds.
    sum: f64,
    /// How many packets in each bucket, by its upper bound in seconds.
    buckets: Vec<(f64, u64)>,
}

impl Delays {
    pub(super) fn of(all: &[Status<'_>]) -> Self {
        let rules = all.iter().flat_map(rules);
        let delays = rules.filter_map(|(of, counters)| Some((of, Delay::new(counters)?)));
        Self(delays.collect())
    }
}

impl Delay {
    /// `None` where nothing was delayed.
    fn new(counters: &RuleCounters) -> Option<Self> {
        const PER_SECOND: f64 = 1e6;
        let bucket = |(values, count): (std::ops::RangeInclusive<u64>, u64)| {
            // The kernel has counted whole µs: whatever is in a bucket is below the first of the next one.
            let above = values.end().checked_add(1);
            let bound = above.map_or(f64::INFINITY, |above| above as f64 / PER_SECOND);
            (bound, count)
        };
        let delay = Self {
            sum: counters.delay_sum_us as f64 / PER_SECOND,
            buckets: counters.delay_us.buckets().map(bucket).collect(),
        };
        (delay.count() > 0).then_some(delay)
    }

    fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }
}

impl Collector for Delays {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "How long the packets of a rule were delayed";
        let kind = MetricType::Histogram;
        let mut family = encoder.encode_descriptor("delay", help, Some(&Unit::Seconds), kind)?;
        for (of, delay) in &self.0 {
            let mut metric = family.encode_family(of)?;
            metric.encode_histogram::<NoLabelSet>(
                delay.sum,
                delay.count(),
                &delay.buckets,
                None,
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::{encoding::text, registry::Registry};
    use proptest::prelude::*;

    use super::*;

    fn counters(delays_ns: &[(u64, u64)]) -> RuleCounters {
        let mut counters = RuleCounters::default();
        for (delay_ns, packets) in delays_ns {
            counters.add_delay(*delay_ns, *packets);
        }
        counters
    }

    #[test]
    fn buckets_add_up_as_prometheus_has_them() {
        let of = OfRule {
            rule: "db".into(),
            dev: "eth0".into(),
            dir: "egress",
        };
        let counters = counters(&[(500, 1), (80_000_000, 3), (u64::MAX / 1000, 1)]);
        let mut registry = Registry::with_prefix("injector");
        let delay = Delay::new(&counters).unwrap();
        registry.register_collector(Box::new(Delays(vec![(of, delay)])));
        let mut text = String::new();
        text::encode(&mut text, &registry).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert!(
            lines.contains(&"# TYPE injector_delay_seconds histogram"),
            "{text}"
        );
        let labels = "rule=\"db\",dev=\"eth0\",dir=\"egress\"";
        for (le, count) in [
            ("0.000001", 1),
            ("0.065536", 1),
            ("0.131072", 4),
            ("1073.741824", 4),
            ("+Inf", 5),
        ] {
            let line = format!("injector_delay_seconds_bucket{{le=\"{le}\",{labels}}} {count}");
            assert!(lines.contains(&line.as_str()), "{line}: {text}");
        }
        assert!(
            text.contains(&format!("injector_delay_seconds_count{{{labels}}} 5\n")),
            "{text}"
        );
    }

    #[test]
    fn there_is_none_of_a_rule_that_delays_nothing() {
        assert_eq!(Delay::new(&counters(&[])), None);
    }

    proptest! {
        /// To a µs for each packet, which is what the kernel counts in.
        #[test]
        fn sum_and_buckets_are_of_the_same_packets(
            delays_ns in prop::collection::vec((0..100_000_000_000u64, 1..65u64), 1..40),
        ) {
            let delay = Delay::new(&counters(&delays_ns)).unwrap();
            let packets: u64 = delays_ns.iter().map(|(_, packets)| packets).sum();
            prop_assert_eq!(delay.count(), packets);
            let sum: f64 = delays_ns.iter().map(|(ns, packets)| *ns as f64 / 1e9 * *packets as f64).sum();
            prop_assert!(delay.sum <= sum + 1e-6 && sum <= delay.sum + 1e-6 * packets as f64 + 1e-6);
            // Prometheus takes a bucket's bound for the most that is in it.
            for (bound, _) in &delay.buckets {
                let below = delays_ns.iter().filter(|(ns, _)| (*ns as f64) < bound * 1e9);
                let up_to = delay.buckets.iter().filter(|bucket| bucket.0 <= *bound);
                prop_assert_eq!(up_to.map(|bucket| bucket.1).sum::<u64>(), below.map(|(_, n)| n).sum::<u64>());
            }
            prop_assert_eq!(delay.buckets.last().map(|bucket| bucket.0), Some(f64::INFINITY));
        }
    }
}
