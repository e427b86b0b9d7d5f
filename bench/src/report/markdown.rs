//! The report as Markdown, in columns, so that it is read as well on a terminal.

use std::fmt::Write as _;

use clap::ValueEnum as _;

use super::{Report, Row, Summary, Verdict, digits};
use crate::record::{Machine, Skipped, Table, Unit};

/// Renders it.
pub fn render(report: &Report) -> String {
    let mut text = String::new();
    for machine in &report.machines {
        text += &heading(machine, &report.date);
        for table in Table::value_variants() {
            text += &section(report, &machine.place, *table);
        }
    }
    if !report.targets.is_empty() {
        text += "## Targets\n\n";
        let rows: Vec<_> = report.targets.iter().map(verdict).collect();
        text += &columns(["where", "what", "target", "measured", ""], &rows);
    }
    text
}

fn heading(machine: &Machine, date: &str) -> String {
    let Machine {
        place,
        kernel,
        cpu,
        cpus,
        rounds,
        seconds,
    } = machine;
    format!(
        "## {place}\n\nLinux {kernel}, {cpus} CPUs ({cpu}), {date}; \
         {rounds} rounds, each of {seconds} s where that is a choice.\n\n"
    )
}

fn section(report: &Report, place: &str, table: Table) -> String {
    let rows = report.rows.iter();
    let rows: Vec<&Row> = rows
        .filter(|row| row.place == place && row.table == table)
        .collect();
    let skipped = report.skipped.iter();
    let skipped: Vec<&Skipped> = skipped
        .filter(|skipped| skipped.place == place && skipped.table == table)
        .collect();
    let mut text = String::new();
    if !rows.is_empty() || !skipped.is_empty() {
        let _ = write!(text, "### {table}: {}\n\n", table.title());
    }
    if !rows.is_empty() {
        let head = [
            "row",
            "contestant",
            "median",
            "min..max",
            "against the first",
        ];
        let lines: Vec<_> = rows.into_iter().flat_map(results).collect();
        text += &columns(head, &lines);
    }
    text + &left_out(&skipped)
}

fn results(row: &Row) -> Vec<[String; 5]> {
    let first = &row.results[0];
    let lines = row.results.iter().enumerate();
    lines
        .map(|(i, result)| {
            let Summary {
                contestant,
                median,
                min,
                max,
                ..
            } = result;
            let against = if i == 0 {
                String::new()
            } else {
                compare(row.unit, *median, first.median)
            };
            [
                if i == 0 {
                    row.row.clone()
                } else {
                    String::new()
                },
                contestant.clone(),
                format!("{} {}", digits(*median), row.unit),
                format!("{}..{}", digits(*min), digits(*max)),
                against,
            ]
        })
        .collect()
}

/// Rates by their ratio, times by their difference.
fn compare(unit: Unit, value: f64, first: f64) -> String {
    match unit {
        Unit::GbitPerSecond | Unit::MpacketsPerSecond => format!("{:.2} of it", value / first),
        _ => {
            let sign = if value < first { '-' } else { '+' };
            format!("{sign}{} {unit}", digits((value - first).abs()))
        }
    }
}

/// One line for each reason.
fn left_out(skipped: &[&Skipped]) -> String {
    let mut reasons: Vec<(String, Vec<&str>)> = Vec::new();
    for one in skipped {
        let reason = format!("{}: {}", one.contestant, one.reason);
        match reasons.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, rows)) => rows.push(&one.row),
            None => reasons.push((reason, vec![&one.row])),
        }
    }
    let mut text = String::new();
    for (reason, rows) in reasons {
        let _ = writeln!(text, "- Not run: {reason} ({})", rows.join("; "));
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

fn verdict(verdict: &Verdict) -> [String; 5] {
    [
        verdict.place.clone(),
        verdict.what.into(),
        verdict.limit.clone(),
        verdict.value.map_or_else(String::new, digits),
        match verdict.met {
            Some(true) => "met",
            Some(false) => "missed",
            None => "not run",
        }
        .into(),
    ]
}

/// A table, in columns of even width.
pub fn columns<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].len()]).max().unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |cells: [&str; N]| {
        let cells = cells.iter().zip(widths);
        let cells: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let rules = widths.map(|width| "-".repeat(width));
    let mut text = line(head) + &line(rules.each_ref().map(String::as_str));
    for row in rows {
        text += &line(row.each_ref().map(String::as_str));
    }
    text + "\n"
}
