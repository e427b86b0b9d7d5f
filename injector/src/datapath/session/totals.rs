//! What all rules of a run have counted, those that were swapped out included.

use std::collections::BTreeMap;

use injector_common::abi::{PathCounters, RuleCounters};

use super::Session;
use crate::{
    datapath::{Result, counters::Snapshot, journal::RecordedRule},
    plan::Hook,
};

/// Sums over all rules of the same name and direction. They never decrease: each generation's counters start
/// at 0, and are added up here when they are final, before they are cleared.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// By name and direction.
    pub rules: BTreeMap<(String, Hook), RuleCounters>,
    /// Outside the rules.
    pub path: PathCounters,
    /// Wire packets on their way at this moment.
    pub in_flight: u64,
    /// Packets that the pair's fq has dropped; `None` where there is none.
    pub qdisc_drops: Option<u64>,
}

/// What is known of the rules that are not in force any more.
#[derive(Default)]
pub(super) struct Past {
    /// Of those whose counters are final.
    settled: Totals,
    /// Those that were in force before the present ones, whose packets may still be counted.
    former: Vec<RecordedRule>,
}

impl Totals {
    fn add(&mut self, rules: &[RecordedRule], snapshot: &Snapshot) {
        for (rule, counters) in rules.iter().zip(&snapshot.rules) {
            *self
                .rules
                .entry((rule.name.clone(), rule.hook))
                .or_default() += *counters;
        }
    }
}

impl Past {
    /// The counters of the former rules are final.
    pub(super) fn settle(&mut self, former: &Snapshot) {
        self.settled.add(&std::mem::take(&mut self.former), former);
    }

    /// These rules are in force no more.
    pub(super) fn retire(&mut self, rules: Vec<RecordedRule>) {
        self.former = rules;
    }
}

impl Session {
    /// What all rules have counted since the run began.
    ///
    /// # Errors
    ///
    /// Where the kernel refuses to tell.
    pub fn totals(&self) -> Result<Totals> {
        let last = self.last()?;
        let mut totals = self.past.settled.clone();
        totals.add(&self.past.former, &last.former);
        totals.add(self.rules(), &last.in_force);
        totals.path = last.in_force.path;
        totals.in_flight = last.in_force.in_flight + last.former.in_flight;
        totals.qdisc_drops = last.in_force.qdisc_drops;
        Ok(totals)
    }
}
