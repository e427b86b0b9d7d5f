//! What the samples of all machines amount to.

mod markdown;
mod plot;
mod target;

use std::{
    fs,
    path::{Path, PathBuf},
};

use injector_tests::tool;
use serde::Serialize;

use crate::record::{Machine, Record, Skipped, Table, Unit};

pub use self::{markdown::columns, target::Verdict};

#[derive(clap::Args)]
pub struct Args {
    /// Also write a JSON document
    #[arg(long)]
    json: Option<PathBuf>,
    /// Also write a plot
    #[arg(long)]
    svg: Option<PathBuf>,
    /// What `measure` has written
    #[arg(required = true)]
    records: Vec<PathBuf>,
}

/// Reads what was measured, prints Markdown, and writes the files asked for.
pub fn run(args: &Args) -> Result<(), String> {
    let mut records = Vec::new();
    for path in &args.records {
        records.extend(read(path)?);
    }
    let report = Report::new(records);
    print!("{}", markdown::render(&report));
    if let Some(path) = &args.json {
        let json = serde_json::to_string_pretty(&report).map_err(|error| error.to_string())?;
        write(path, &(json + "\n"))?;
    }
    if let Some(path) = &args.svg {
        write(path, &plot::render(&report)?)?;
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<Record>, String> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let text = fs::read_to_string(path).map_err(|error| failed(&error))?;
    let records = text.lines().map(serde_json::from_str);
    records
        .collect::<Result<_, _>>()
        .map_err(|error| failed(&error))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

/// All of it, as the JSON document has it.
#[derive(Serialize)]
pub struct Report {
    /// Of this document's format.
    version: u32,
    date: String,
    machines: Vec<Machine>,
    rows: Vec<Row>,
    skipped: Vec<Skipped>,
    targets: Vec<Verdict>,
}

/// Contestants that are to be compared.
#[derive(Serialize)]
struct Row {
    place: String,
    table: Table,
    row: String,
    unit: Unit,
    results: Vec<Summary>,
}

/// The samples of one contestant.
#[derive(Serialize)]
struct Summary {
    contestant: String,
    median: f64,
    min: f64,
    max: f64,
    samples: Vec<f64>,
}

impl Report {
    fn new(records: Vec<Record>) -> Self {
        let mut report = Self {
            version: 1,
            date: tool::run("date", "-u +%F").trim().into(),
            machines: Vec::new(),
            rows: Vec::new(),
            skipped: Vec::new(),
            targets: Vec::new(),
        };
        for record in records {
            report.add(record);
        }
        for row in &mut report.rows {
            row.results.iter_mut().for_each(Summary::summarise);
        }
        report.targets = target::judge(&report);
        report
    }

    fn add(&mut self, record: Record) {
        match record {
            Record::Machine(machine) => self.machines.push(machine),
            Record::Skipped(skipped) => self.skipped.push(skipped),
            Record::Sample(sample) => {
                let row = match self.position(&sample.place, sample.table, &sample.row) {
                    Some(index) => &mut self.rows[index],
                    None => {
                        self.rows.push(Row {
                            place: sample.place,
                            table: sample.table,
                            row: sample.row,
                            unit: sample.unit,
                            results: Vec::new(),
                        });
                        self.rows.last_mut().expect("the row just added")
                    }
                };
                row.add(sample.contestant, sample.value);
            }
        }
    }

    fn position(&self, place: &str, table: Table, row: &str) -> Option<usize> {
        self.rows
            .iter()
            .position(|known| known.is(place, table, row))
    }

    fn row(&self, place: &str, table: Table, row: &str) -> Option<&Row> {
        Some(&self.rows[self.position(place, table, row)?])
    }

    fn tried(&self, place: &str, table: Table, row: &str) -> bool {
        let is = |skipped: &Skipped| {
            skipped.place == place && skipped.table == table && skipped.row == row
        };
        self.row(place, table, row).is_some() || self.skipped.iter().any(is)
    }
}

impl Row {
    fn is(&self, place: &str, table: Table, row: &str) -> bool {
        self.place == place && self.table == table && self.row == row
    }

    fn median(&self, contestant: &str) -> Option<f64> {
        let mut results = self.results.iter();
        let result = results.find(|result| result.contestant == contestant)?;
        Some(result.median)
    }

    fn add(&mut self, contestant: String, value: f64) {
        let known = self
            .results
            .iter_mut()
            .find(|result| result.contestant == contestant);
        match known {
            Some(result) => result.samples.push(value),
            None => self.results.push(Summary {
                contestant,
                median: 0.0,
                min: 0.0,
                max: 0.0,
                samples: vec![value],
            }),
        }
    }
}

impl Summary {
    fn summarise(&mut self) {
        let mut sorted = self.samples.clone();
        sorted.sort_by(f64::total_cmp);
        let (low, high) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        self.median = f64::midpoint(low, high);
        self.min = sorted[0];
        self.max = sorted[sorted.len() - 1];
    }
}

/// Three digits, wherever the point is.
pub fn digits(value: f64) -> String {
    if value == 0.0 {
        return "0".into();
    }
    let magnitude = value.abs().log10().floor() as i32;
    format!("{value:.*}", (2 - magnitude).clamp(0, 6) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        let mut summary = Summary {
            contestant: "bare".into(),
            median: 0.0,
            min: 0.0,
            max: 0.0,
            samples: vec![4.0, 1.0, 100.0, 2.0],
        };
        summary.summarise();
        assert_eq!(
            (summary.median, summary.min, summary.max),
            (3.0, 1.0, 100.0)
        );
    }

    #[test]
    fn three_digits_are_kept() {
        let texts = [1771.5, 16.04, 0.98, 0.005_12, 0.0].map(digits);
        assert_eq!(texts, ["1772", "16.0", "0.980", "0.00512", "0"]);
    }
}
