//! The lines of a file that a profile names, and what is wrong with one.

use std::ops::Range;

use super::issue::Issue;
use crate::units::is_digits;

/// What is wrong with a file.
#[derive(Debug)]
pub(super) struct Flaw {
    pub issue: Issue,
    /// The line, from 1, and its bytes; `None` where it is the file as a whole.
    pub place: Option<(usize, Range<usize>)>,
}

impl Flaw {
    pub(super) fn of_file(issue: Issue) -> Box<Self> {
        Box::new(Self { issue, place: None })
    }
}

/// A line that says something, or a cell of one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line<'a> {
    number: usize,
    /// Byte of the whole line at which the text begins.
    offset: usize,
    /// Without blanks around it.
    pub text: &'a str,
}

/// Returns the lines that say something: what is left of a `#`, where that is not blank.
pub(super) fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    let lines = text.lines().enumerate().map(|(index, line)| {
        let said = line.split('#').next().unwrap_or_default();
        Line::trimmed(index + 1, 0, said)
    });
    lines.filter(|line| !line.text.is_empty())
}

impl<'a> Line<'a> {
    fn trimmed(number: usize, offset: usize, text: &'a str) -> Self {
        Self {
            number,
            offset: offset + text.len() - text.trim_start().len(),
            text: text.trim(),
        }
    }

    /// Whether the line is a number and nothing else.
    pub(super) fn is_number(&self) -> bool {
        is_digits(self.text)
    }

    /// Returns what stands between separators of one byte.
    pub(super) fn cells(self, is_separator: fn(char) -> bool) -> impl Iterator<Item = Self> {
        let mut start = self.offset;
        self.text.split(is_separator).map(move |text| {
            let cell = Self::trimmed(self.number, start, text);
            start += text.len() + 1;
            cell
        })
    }

    /// Blames the line, or the cell that it is.
    pub(super) fn flaw(&self, issue: Issue) -> Box<Flaw> {
        let span = self.offset..self.offset + self.text.len();
        Box::new(Flaw {
            issue,
            place: Some((self.number, span)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_knows_its_place() {
        let text = "# nothing\n\n  a, bc ,d # more\r\n";
        let line = lines(text).next().unwrap();
        assert_eq!((line.number, line.offset, line.text), (3, 2, "a, bc ,d"));
        let cells = line
            .cells(|c| c == ',')
            .map(|cell| (cell.offset, cell.text));
        assert_eq!(cells.collect::<Vec<_>>(), [(2, "a"), (5, "bc"), (9, "d")]);
    }
}
