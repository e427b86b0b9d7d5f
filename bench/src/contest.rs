//! Contestants that take turns, A B A B …, so that a machine's moods hit them alike.

use std::{
    fs::File,
    io::Write as _,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use crate::record::{Record, Sample, Skipped, Table, Unit};

/// A value, or why there is none.
pub type Measured = Result<f64, String>;

/// One of those that a row compares.
pub struct Contestant<'a> {
    name: &'static str,
    measure: Box<dyn FnMut() -> Measured + 'a>,
    failed: bool,
}

impl<'a> Contestant<'a> {
    /// One that is measured by calling `measure`, once in each round.
    pub fn new(name: &'static str, measure: impl FnMut() -> Measured + 'a) -> Self {
        Self {
            name,
            measure: Box::new(measure),
            failed: false,
        }
    }

    /// The harness panics where it cannot go on: that is the end of this contestant, not of all.
    fn attempt(&mut self) -> Measured {
        catch_unwind(AssertUnwindSafe(&mut self.measure)).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            Err(text.unwrap_or_else(|| "panicked".into()))
        })
    }
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Turns of every contestant.
    pub rounds: u32,
    /// How long one lasts, where that is a matter of choice.
    pub length: Duration,
}

/// The rows of one table, measured in one place.
pub struct Contest {
    pub place: String,
    pub table: Table,
    pub effort: Effort,
    pub output: File,
}

impl Contest {
    /// Measures a row, and writes what comes out as it comes.
    pub fn row(&self, row: &str, unit: Unit, contestants: Vec<Contestant<'_>>) {
        self.row_of(self.effort.rounds, row, unit, contestants);
    }

    /// Likewise, in a number of rounds of its own.
    pub fn row_of(&self, rounds: u32, row: &str, unit: Unit, mut contestants: Vec<Contestant<'_>>) {
        eprintln!("{}: {}: {row}", self.place, self.table);
        for _ in 0..rounds {
            for contestant in contestants.iter_mut().filter(|one| !one.failed) {
                let record = match contestant.attempt() {
                    Ok(value) => self.sample(row, unit, contestant.name, value),
                    Err(reason) => {
                        contestant.failed = true;
                        self.skipped(row, contestant.name, &reason)
                    }
                };
                self.write(&record);
            }
        }
    }

    /// Writes a record.
    pub fn write(&self, record: &Record) {
        let line = serde_json::to_string(record).expect("a record is JSON");
        writeln!(&self.output, "{line}").expect("write the record");
    }

    fn sample(&self, row: &str, unit: Unit, contestant: &str, value: f64) -> Record {
        Record::Sample(Sample {
            place: self.place.clone(),
            table: self.table,
            row: row.into(),
            unit,
            contestant: contestant.into(),
            value,
        })
    }

    fn skipped(&self, row: &str, contestant: &str, reason: &str) -> Record {
        let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
        eprintln!(
            "{}: {}: {row}: no {contestant}: {reason}",
            self.place, self.table
        );
        Record::Skipped(Skipped {
            place: self.place.clone(),
            table: self.table,
            row: row.into(),
            contestant: contestant.into(),
            reason,
        })
    }
}
