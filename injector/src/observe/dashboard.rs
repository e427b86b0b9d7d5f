//! Runs on a screen: what is on it, and what keys do. Where it is drawn is another matter.

mod rows;
mod text;

use std::time::SystemTime;

use ratatui::{
    Frame,
    layout::Rect,
    style::{Modifier, Style},
    text::{Line, Text},
};

use self::rows::{Item, Palette, Place};
use super::{report, watched::Watched};

/// A key that means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// To the one above, or a line up.
    Up,
    /// To the one below, or a line down.
    Down,
    /// A screen up.
    PageUp,
    /// A screen down.
    PageDown,
    /// The histograms of what is chosen, or back.
    Histograms,
    /// Stop looking, or go on.
    Pause,
    /// What keys do, or back.
    Help,
    /// Back to the rules.
    Back,
    /// Leave.
    Quit,
    /// Leave, as by Ctrl-C elsewhere.
    Interrupt,
}

/// What is on the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum View {
    Rules,
    Histograms,
    Help,
}

/// What somebody looks at, and how.
#[derive(Debug)]
pub struct Dashboard {
    palette: Palette,
    /// Whether runs of several namespaces are shown.
    all: bool,
    view: View,
    /// The run or the rule that is chosen; the first rule until there is one.
    chosen: Option<Place>,
    /// The first line that is shown.
    top: usize,
    /// How many lines there were room for.
    page: usize,
    is_paused: bool,
    end: Option<Key>,
}

const KEYS: &str = " q quit   ↑↓ choose   h histograms   p pause   ? help";

const HELP: &str = "  q               quit
  up, k           choose the rule or run above
  down, j         choose the one below
  page up, down   a screen up, down
  h               histograms of what is chosen, and back
  p, space        pause, and go on
  ?               this, and back
  escape          back

  MATCHED/S and so on are over the last 5 seconds, in packets on the wire;
  bits count link-layer headers, too. A hit is a packet that was dropped,
  marked, corrupted, duplicated or reordered. The curves have a column for
  each look, the latest at the right, and a scale of their own each.

  98 (0.980% ± 0.21%, asked 1.00%): 98 packets were hit, and with 95 %
  confidence the chance behind that is within 0.21 percentage points of
  0.98 %. Without the ±, packets are not hit each by itself, or always.";

impl Dashboard {
    /// Of this namespace's runs, or those of `all`; in colour or without.
    pub fn new(all: bool, color: bool) -> Self {
        Self {
            palette: Palette::new(color),
            all,
            view: View::Rules,
            chosen: None,
            top: 0,
            page: 0,
            is_paused: false,
            end: None,
        }
    }

    /// Whether what is shown is to stay.
    pub fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// The key that ended it.
    pub fn end(&self) -> Option<Key> {
        self.end
    }

    /// Does what a key means.
    pub fn press(&mut self, key: Key, watched: &[Watched]) {
        match key {
            Key::Quit | Key::Interrupt => self.end = Some(key),
            Key::Pause => self.is_paused = !self.is_paused,
            Key::Histograms => self.toggle(View::Histograms),
            Key::Help => self.toggle(View::Help),
            Key::Back => self.show(View::Rules),
            Key::Up => self.go(watched, -1),
            Key::Down => self.go(watched, 1),
            Key::PageUp => self.go(watched, -(self.page as isize)),
            Key::PageDown => self.go(watched, self.page as isize),
        }
    }

    fn toggle(&mut self, view: View) {
        self.show(if self.view == view { View::Rules } else { view });
    }

    fn show(&mut self, view: View) {
        (self.view, self.top) = (view, 0);
    }

    /// Among the rules so many lines further, and at least to the next; elsewhere scrolls.
    fn go(&mut self, watched: &[Watched], lines: isize) {
        if self.view != View::Rules {
            self.top = self.top.saturating_add_signed(lines);
            return;
        }
        let places = rows::places(watched);
        let Some(at) = self.chosen_of(&places) else {
            return;
        };
        // A rule has about two lines.
        let further = if lines.abs() == 1 { lines } else { lines / 2 };
        let to = at.saturating_add_signed(further).min(places.len() - 1);
        self.chosen = Some(places[to].clone());
    }

    /// Which of these is chosen; the first rule where that is gone.
    fn chosen_of(&self, places: &[Place]) -> Option<usize> {
        let chosen = self.chosen.as_ref();
        let found = places.iter().position(|place| Some(place) == chosen);
        let first = || places.iter().position(|place| place.rule.is_some());
        found.or_else(first).or((!places.is_empty()).then_some(0))
    }

    /// Draws all of it.
    pub fn draw(&mut self, frame: &mut Frame<'_>, watched: &[Watched], now: SystemTime) {
        let area = frame.area();
        let row = |y: u16| Rect::new(0, y, area.width, 1).intersection(area);
        frame.render_widget(self.title(watched, area.width.into()), row(0));
        let mut lines = match self.view {
            View::Rules if watched.is_empty() => waiting(),
            View::Rules => {
                let columns = rows::Columns::new(watched, area.width.into());
                frame.render_widget(columns.header(), row(1));
                let body = area.height.saturating_sub(3).into();
                self.rules(watched, &columns, body, now)
            }
            View::Histograms => Text::raw(self.histograms(watched)).lines,
            View::Help => Text::raw(HELP).lines,
        };
        let body = Rect::new(0, 2, area.width, area.height.saturating_sub(3)).intersection(area);
        self.page = body.height.into();
        self.top = self.top.min(lines.len().saturating_sub(self.page));
        lines.drain(..self.top);
        frame.render_widget(Text::from(lines), body);
        if area.height > 2 {
            frame.render_widget(Line::raw(KEYS), row(area.height - 1));
        }
    }

    fn title(&self, watched: &[Watched], width: usize) -> Line<'static> {
        let left = " injector watch";
        let runs = match watched.len() {
            0 => "no run".to_owned(),
            1 => "1 run".to_owned(),
            runs => format!("{runs} runs"),
        };
        let right = if self.is_paused {
            format!("PAUSED   {runs} ")
        } else {
            runs + " "
        };
        let room = width.saturating_sub(left.len());
        Line::styled(
            format!("{left}{right:>room$}"),
            Style::new().add_modifier(Modifier::REVERSED),
        )
    }

    /// All runs and rules, scrolled so that the chosen one is seen in `height` lines.
    fn rules(
        &mut self,
        watched: &[Watched],
        columns: &rows::Columns,
        height: usize,
        now: SystemTime,
    ) -> Vec<Line<'static>> {
        let places = rows::places(watched);
        let chosen = self.chosen_of(&places);
        self.chosen = chosen.map(|at| places[at].clone());
        let items = rows::items(watched, columns, &self.palette, self.all, now);
        let mut lines = Vec::new();
        for (index, Item(mut of_item)) in items.into_iter().enumerate() {
            if Some(index) == chosen {
                let (begin, end) = (lines.len(), lines.len() + of_item.len());
                self.top = self.top.max(end.saturating_sub(height)).min(begin);
                if let Some(first) = of_item.first_mut() {
                    rows::mark(first);
                }
            }
            lines.append(&mut of_item);
        }
        lines
    }

    /// Of the rule that is chosen, or of all those of the run that is.
    fn histograms(&self, watched: &[Watched]) -> String {
        let rules = watched.iter().flat_map(|Watched { run, .. }| {
            let rules = run.rules().iter();
            rules.map(|rule| (Place::of_rule(run, rule), rule))
        });
        let chosen =
            rules.filter(|(place, _)| self.chosen.as_ref().is_some_and(|chosen| chosen.has(place)));
        let text: String = chosen
            .map(|(_, rule)| report::histograms_of(rule))
            .collect();
        if text.is_empty() {
            return "  nothing has been counted yet".into();
        }
        text
    }
}

fn waiting() -> Vec<Line<'static>> {
    vec![
        Line::raw("  no run; waiting for one"),
        Line::raw("  `injector run` and `injector apply` start one"),
    ]
}

#[cfg(test)]
mod tests;
