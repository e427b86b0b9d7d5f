//! Runs and rules, in lines.

use std::time::SystemTime;

use ratatui::{
    style::{Color, Modifier, Style},
    text::{Line, Span},
};

use super::text::{bar, curve, fit, flow, width};
use crate::{
    observe::{
        format::{count, per_second, rate},
        overview::{Run, State},
        rates::{History, Rates},
        report::{self, AchievedRule},
        watched::Watched,
    },
    plan::Hook,
};

/// What may be chosen: a run, or a rule of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    run: (u64, String, u32),
    pub(super) rule: Option<(String, Hook)>,
}

/// The lines of a place.
pub(super) struct Item(pub(super) Vec<Line<'static>>);

/// What tells things apart, beside words.
#[derive(Clone, Copy, Debug)]
pub(super) struct Palette {
    trouble: Style,
    matched: Style,
    hit: Style,
}

/// How wide columns are.
pub(super) struct Columns {
    all: usize,
    name: usize,
    curve: usize,
}

/// The mark of what is chosen, or its place.
const MARK: usize = 2;
const DIRECTION: usize = 9;
const PACKETS: usize = 9;
const BITS: usize = 10;
const HITS: usize = 8;
/// A shorter curve tells nothing.
const CURVE_MIN: usize = 4;

impl Palette {
    pub(super) fn new(color: bool) -> Self {
        let style = |with_color: Color| match color {
            true => Style::new().fg(with_color),
            false => Style::new(),
        };
        Self {
            trouble: style(Color::Red).add_modifier(Modifier::BOLD),
            matched: style(Color::Cyan),
            hit: style(Color::Yellow),
        }
    }
}

impl Place {
    fn of_run(run: &Run) -> Self {
        Self {
            run: (run.netns, run.device.clone(), run.pid),
            rule: None,
        }
    }

    pub(super) fn of_rule(run: &Run, rule: &AchievedRule) -> Self {
        Self {
            rule: Some((rule.rule.clone(), rule.direction)),
            ..Self::of_run(run)
        }
    }

    /// Whether it is this, or the run that has it.
    pub(super) fn has(&self, other: &Self) -> bool {
        self.run == other.run && (self.rule.is_none() || self.rule == other.rule)
    }
}

/// All that may be chosen, in the order of their [`items`].
pub(super) fn places(watched: &[Watched]) -> Vec<Place> {
    let of_run = |Watched { run, .. }: &Watched| {
        let rules = run.rules().iter().map(|rule| Place::of_rule(run, rule));
        [Place::of_run(run)]
            .into_iter()
            .chain(rules)
            .collect::<Vec<_>>()
    };
    watched.iter().flat_map(of_run).collect()
}

/// The lines of all that may be chosen.
pub(super) fn items(
    watched: &[Watched],
    columns: &Columns,
    palette: &Palette,
    all: bool,
    now: SystemTime,
) -> Vec<Item> {
    let mut items = Vec::new();
    for Watched { run, histories } in watched {
        items.push(Item(of_run(run, columns, palette, all, now)));
        for (rule, history) in run.rules().iter().zip(histories) {
            items.push(Item(of_rule(rule, history, columns, palette)));
        }
    }
    items
}

/// Marks the first line of what is chosen.
pub(super) fn mark(line: &mut Line<'static>) {
    if let Some(first) = line.spans.first_mut() {
        *first = Span::styled("▶ ", Modifier::BOLD);
    }
}

fn indented(text: String, style: Style) -> Line<'static> {
    Line::from(vec![Span::raw(" ".repeat(MARK)), Span::styled(text, style)])
}

fn of_run(
    run: &Run,
    columns: &Columns,
    palette: &Palette,
    all: bool,
    now: SystemTime,
) -> Vec<Line<'static>> {
    let room = columns.all.saturating_sub(MARK);
    let netns = if all {
        format!("netns {}, ", run.netns)
    } else {
        String::new()
    };
    let is_well = matches!(run.state, State::Running | State::Waiting | State::Starting);
    let heading = match is_well {
        true => Style::new().add_modifier(Modifier::BOLD),
        false => palette.trouble,
    };
    let plain = |line| indented(line, Style::new());
    let mut lines = vec![indented(fit(&(netns + &run.heading()), room), heading)];
    let progress = run.progress(now).map(|share| {
        const BAR: usize = 20;
        format!("{} {:.0}%", bar(share, BAR), share * 100.0)
    });
    let times = [run.times()].into_iter().chain(progress);
    lines.extend(flow(times, room).into_iter().map(plain));
    let troubles = flow(run.troubles(), room).into_iter();
    lines.extend(troubles.map(|line| indented(line, palette.trouble)));
    lines.extend(flow(run.remarks(), room).into_iter().map(plain));
    let outside = run
        .achieved
        .iter()
        .flat_map(|all| report::outside(&all.path));
    lines.extend(flow(outside, room).into_iter().map(plain));
    lines
}

fn of_rule(
    rule: &AchievedRule,
    history: &History,
    columns: &Columns,
    palette: &Palette,
) -> Vec<Line<'static>> {
    let curves = |of: fn(Rates) -> f64| curve(history.recent(columns.curve).map(of), columns.curve);
    let numbers = columns.cells(&match history.rates() {
        Some(rates) => [
            rule.rule.clone(),
            rule.direction.to_string(),
            per_second(rates.packets_per_s),
            rate(rates.bits_per_s as u64),
            per_second(rates.hits_per_s),
        ],
        None => [&rule.rule, rule.direction.as_str(), "-", "-", "-"].map(str::to_owned),
    });
    let line = Line::from(vec![
        Span::raw(" ".repeat(MARK)),
        Span::raw(numbers),
        Span::styled(curves(|rates| rates.packets_per_s), palette.matched),
        Span::raw(" "),
        Span::styled(curves(|rates| rates.hits_per_s), palette.hit),
    ]);
    let matched = format!("matched {}", count(rule.matched));
    let asked = rule
        .asked
        .rate_bps
        .map(|bits| format!("rate asked {}", rate(bits)));
    let told = [matched]
        .into_iter()
        .chain(report::words(rule))
        .chain(asked);
    let room = columns.all.saturating_sub(2 * MARK);
    let told = flow(told, room).into_iter();
    let told = told.map(|line| indented(format!("{}{line}", " ".repeat(MARK)), Style::new()));
    [line].into_iter().chain(told).collect()
}

impl Columns {
    pub(super) fn new(watched: &[Watched], all: usize) -> Self {
        const NAME_MIN: usize = 4;
        const NAME_MAX: usize = 14;
        let rules = watched.iter().flat_map(|watched| watched.run.rules());
        let names = rules.map(|rule| width(&rule.rule));
        let name = names.max().unwrap_or(0).clamp(NAME_MIN, NAME_MAX);
        // Each is followed by a blank, but for the last.
        let others = MARK + name + DIRECTION + PACKETS + BITS + HITS + 6;
        let room = all.saturating_sub(others) / 2;
        Self {
            all,
            name,
            curve: if room < CURVE_MIN { 0 } else { room },
        }
    }

    pub(super) fn header(&self) -> Line<'static> {
        let names = ["RULE", "DIRECTION", "MATCHED/S", "BIT/S", "HITS/S"].map(str::to_owned);
        let curves = ["MATCHED", "HITS"].map(|name| fit(name, self.curve));
        let text = format!(
            "{}{}{}",
            " ".repeat(MARK),
            self.cells(&names),
            curves.join(" ")
        );
        Line::styled(text, Modifier::BOLD)
    }

    fn cells(&self, [name, direction, packets, bits, hits]: &[String; 5]) -> String {
        let name = fit(name, self.name);
        format!("{name} {direction:DIRECTION$} {packets:>PACKETS$} {bits:>BITS$} {hits:>HITS$} ")
    }
}
