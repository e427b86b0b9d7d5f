//! Text of a bounded width.

use ratatui::text::Span;

/// How many columns a text takes.
pub(super) fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// The text in as many columns: cut, or filled up with blanks.
pub(super) fn fit(text: &str, columns: usize) -> String {
    let mut fitted = text.to_owned();
    if width(text) > columns {
        while width(&fitted) >= columns.max(1) {
            fitted.pop();
        }
        if columns > 0 {
            fitted.push('…');
        }
    }
    let blanks = columns.saturating_sub(width(&fitted));
    fitted + &" ".repeat(blanks)
}

/// Parts one after the other, in lines of at most so many columns; what does not fit in one is cut.
pub(super) fn flow(parts: impl IntoIterator<Item = String>, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for part in parts {
        let part = if width(&part) > columns {
            fit(&part, columns)
        } else {
            part
        };
        match lines.last_mut() {
            Some(line) if width(line) + 2 + width(&part) <= columns => {
                line.push_str("; ");
                line.push_str(&part);
            }
            _ => lines.push(part),
        }
    }
    lines
}

/// A curve of so many columns, the latest value at the right; the highest is a full block, and whatever is
/// not 0 is seen.
pub(super) fn curve(values: impl ExactSizeIterator<Item = f64>, columns: usize) -> String {
    const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let values: Vec<_> = values.collect();
    let values = &values[values.len().saturating_sub(columns)..];
    let most = values.iter().copied().fold(0.0, f64::max);
    let level = |value: &f64| {
        let share = value / most;
        match (share * LEVELS.len() as f64).ceil() as usize {
            _ if *value <= 0.0 => ' ',
            level => LEVELS[level.clamp(1, LEVELS.len()) - 1],
        }
    };
    let curve: String = values.iter().map(level).collect();
    format!("{curve:>columns$}")
}

/// A bar of so many columns, of which a share from 0 to 1 is full.
pub(super) fn bar(share: f64, columns: usize) -> String {
    let full = ((share.clamp(0.0, 1.0) * columns as f64) as usize).min(columns);
    "━".repeat(full) + &"─".repeat(columns - full)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn curves_show_whatever_is_not_0() {
        let of = |values: &[f64], columns| curve(values.iter().copied(), columns);
        assert_eq!(of(&[], 3), "   ");
        assert_eq!(of(&[0.0, 0.0], 3), "   ");
        assert_eq!(of(&[0.0, 1.0, 500.0, 1000.0], 6), "   ▁▄█");
        assert_eq!(of(&[9.0, 1.0, 2.0], 2), "▄█");
        assert_eq!(of(&[1.0], 0), "");
    }

    #[test]
    fn bars_are_full_at_the_end_only() {
        assert_eq!(bar(0.0, 4), "────");
        assert_eq!(bar(0.99, 4), "━━━─");
        assert_eq!(bar(1.0, 4), "━━━━");
    }

    #[test]
    fn wide_characters_are_cut_by_columns() {
        assert_eq!(fit("路由器", 5), "路由…");
        assert_eq!(fit("路由器", 4), "路… ");
        assert_eq!(fit("db", 4), "db  ");
        assert_eq!(fit("db", 0), "");
    }

    proptest! {
        #[test]
        fn nothing_is_wider_than_its_place(
            texts in prop::collection::vec("\\PC{0,30}", 0..8),
            values in prop::collection::vec(0.0..1e12f64, 0..40),
            columns in 0..60usize,
        ) {
            for text in &texts {
                prop_assert_eq!(width(&fit(text, columns)), columns);
            }
            for line in flow(texts, columns) {
                prop_assert!(width(&line) <= columns, "{:?}", line);
            }
            let curve = curve(values.iter().copied(), columns);
            prop_assert_eq!(width(&curve), columns);
            let shown = &values[values.len().saturating_sub(columns)..];
            prop_assert_eq!(curve.contains('█'), shown.iter().any(|value| *value > 0.0));
        }
    }
}
