//! What is asked of both, and how it is judged.

use std::{
    ops::RangeInclusive,
    panic::{AssertUnwindSafe, catch_unwind},
};

use injector_tests::{Injector, Lab, tool};

/// How many packets are sent.
#[derive(Clone, Copy)]
pub struct Effort {
    pub quick: bool,
}

impl Effort {
    /// So many, or a tenth of them.
    pub fn of(self, count: u64) -> u64 {
        if self.quick { count / 10 } else { count }
    }
}

/// What a quantity is counted in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Nothing.
    One,
    Percent,
    Milliseconds,
    Packets,
    Mbit,
}

/// Something that is counted at the receiver.
pub struct Quantity {
    pub name: &'static str,
    pub unit: Unit,
    /// What it is in the long run, if all is as asked.
    pub theory: f64,
    /// What it then keeps within, given how much is sent.
    pub bounds: RangeInclusive<f64>,
}

/// A value for each quantity; none where it does not exist, as the length of bursts where nothing is lost.
pub type Values = Vec<Option<f64>>;

/// The same faults, asked of both.
pub struct Subject {
    /// As a profile has them.
    pub faults: String,
    /// As netem's arguments.
    pub netem: String,
    pub quantities: Vec<Quantity>,
    /// Sends packets from host A to host B, and judges what is received.
    pub send: Box<dyn Fn(&Lab) -> Values>,
}

/// What came of it.
pub struct Outcome {
    pub injector: Values,
    pub netem: Values,
}

impl Subject {
    /// Measures both.
    pub fn measure(&self, seed: u64) -> Outcome {
        Outcome {
            injector: self.attempt(|lab| self.by_injector(lab, seed)),
            netem: self.attempt(|lab| self.by_netem(lab)),
        }
    }

    /// The harness panics where it cannot go on, and says why.
    fn attempt(&self, values: impl Fn(&Lab) -> Values) -> Values {
        let attempt = catch_unwind(AssertUnwindSafe(|| values(&Lab::new())));
        attempt.unwrap_or_else(|_| vec![None; self.quantities.len()])
    }

    fn by_injector(&self, lab: &Lab, seed: u64) -> Values {
        let profile = format!(
            "{{name: compare, seed: {seed}, rules: [{{{}}}]}}",
            self.faults
        );
        let injector = Injector::start(&lab.a, &profile);
        let values = (self.send)(lab);
        injector.stop().achieved().assert_clean();
        values
    }

    fn by_netem(&self, lab: &Lab) -> Values {
        // Of two limits tc takes the last.
        let request = format!(
            "qdisc add dev {} root netem limit 100000 {}",
            lab.a.device, self.netem
        );
        lab.a.run(|| tool::tc(&request));
        (self.send)(lab)
    }
}
