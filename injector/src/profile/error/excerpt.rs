//! The place of an error in the text: as line and column, and as what to underline.

use std::ops::Range;

/// Moves a place behind the last character back to it: there is nothing to underline at the end.
pub(super) fn visible(text: &str, offset: usize) -> usize {
    let end = text.trim_end().len();
    if offset < end {
        offset
    } else {
        text[..end]
            .char_indices()
            .next_back()
            .map_or(0, |(at, _)| at)
    }
}

/// Returns the line and the column of a byte, both from 1, the column in characters.
pub(super) fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = &text[..offset];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}

/// Returns the bytes of the token at `offset`, as far as its line goes.
pub(super) fn token(text: &str, offset: usize) -> Range<usize> {
    let rest = text[offset..].lines().next().unwrap_or_default();
    let first = rest.chars().next().map_or(0, char::len_utf8);
    let line_start = text[..offset].rfind('\n').map_or(0, |newline| newline + 1);
    let in_flow = text[line_start..offset].contains(['[', '{']);
    let length = match rest.chars().next() {
        Some(quote @ ('"' | '\'')) => rest[1..].find(quote).map_or(rest.len(), |end| end + 2),
        Some('[' | '{') => bracket_length(rest),
        _ => plain_length(rest, in_flow),
    };
    offset..offset + length.max(first)
}

fn bracket_length(rest: &str) -> usize {
    let mut open = 0;
    for (at, c) in rest.char_indices() {
        match c {
            '[' | '{' => open += 1,
            ']' | '}' => open -= 1,
            _ => {}
        }
        if open == 0 {
            return at + 1;
        }
    }
    rest.trim_end().len()
}

fn plain_length(rest: &str, in_flow: bool) -> usize {
    let delimiters: &[&str] = if in_flow {
        &[",", "]", "}", ": ", " #"]
    } else {
        &[": ", " #"]
    };
    let end = delimiters
        .iter()
        .filter_map(|delimiter| rest.find(delimiter))
        .min();
    let token = &rest[..end.unwrap_or(rest.len())];
    token.trim_end().trim_end_matches([':', ',']).len()
}
