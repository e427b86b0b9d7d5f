//! The table: a line for each quantity.

use super::subject::{Outcome, Quantity, Subject, Unit};
use crate::report::{columns, digits};

/// Renders it.
pub fn render(kernel: &str, seed: u64, measured: &[(Subject, Outcome)]) -> String {
    let rows: Vec<_> = measured.iter().flat_map(rows).collect();
    let head = [
        "injector",
        "netem",
        "of it",
        "theory",
        "within",
        "injector's",
        "netem's",
    ];
    let table = columns(head, &rows);
    format!(
        "## Linux {kernel}\n\nSeed {seed}. Within the bounds: injector {}, netem {}.\n\n{table}",
        tally(measured, |outcome| &outcome.injector),
        tally(measured, |outcome| &outcome.netem),
    )
}

fn rows((subject, outcome): &(Subject, Outcome)) -> Vec<[String; 7]> {
    let values = outcome.injector.iter().zip(&outcome.netem);
    let lines = subject.quantities.iter().zip(values).enumerate();
    lines
        .map(|(line, (quantity, (injector, netem)))| {
            let asked = |text: &str| match line {
                0 => format!("`{text}`"),
                _ => String::new(),
            };
            let Quantity { unit, bounds, .. } = quantity;
            [
                asked(&subject.faults),
                asked(&subject.netem),
                quantity.name.into(),
                unit.write(quantity.theory),
                format!(
                    "{}..{}",
                    unit.digits(*bounds.start()),
                    unit.digits(*bounds.end())
                ),
                verdict(quantity, *injector),
                verdict(quantity, *netem),
            ]
        })
        .collect()
}

/// The value; where it is beyond the bounds, bold, and by how much.
fn verdict(quantity: &Quantity, value: Option<f64>) -> String {
    let Some(value) = value else {
        return "**none**".into();
    };
    let text = quantity.unit.write(value);
    if quantity.bounds.contains(&value) {
        text
    } else if quantity.theory == 0.0 {
        format!("**{text}**")
    } else {
        let times = value / quantity.theory;
        match times {
            2.0.. => format!("**{text}**, {times:.0} times"),
            _ => format!("**{text}**, {:+.1} %", 100.0 * (times - 1.0)),
        }
    }
}

fn tally(measured: &[(Subject, Outcome)], whose: fn(&Outcome) -> &Vec<Option<f64>>) -> String {
    let judged = measured.iter().flat_map(|(subject, outcome)| {
        let values = subject.quantities.iter().zip(whose(outcome));
        values.map(|(quantity, value)| value.is_some_and(|value| quantity.bounds.contains(&value)))
    });
    let judged: Vec<bool> = judged.collect();
    let within = judged.iter().filter(|is_within| **is_within).count();
    format!("{within} of {}", judged.len())
}

impl Unit {
    fn digits(self, value: f64) -> String {
        let value = if self == Self::Percent {
            100.0 * value
        } else {
            value
        };
        match self {
            Self::Milliseconds | Self::Mbit if value.abs() >= 10.0 => format!("{value:.2}"),
            _ => digits(value),
        }
    }

    fn write(self, value: f64) -> String {
        let digits = self.digits(value);
        match self {
            Self::One => digits,
            Self::Percent => format!("{digits} %"),
            Self::Milliseconds => format!("{digits} ms"),
            Self::Packets => format!("{digits} packets"),
            Self::Mbit => format!("{digits} Mbit/s"),
        }
    }
}
