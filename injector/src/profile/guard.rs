//! What the YAML parser is never shown.
//!
//! A profile may come from a stranger, by way of a pull request. The parser is correct but not
//! frugal: its time grows with the square of the nesting depth, and it ignores tags it does not
//! know. One linear scan in front of it keeps every refusal cheap and named.

mod lexer;

use self::lexer::{Lexer, Token};
use super::issue::Issue;

/// Largest profile, in bytes: 256 KiB.
pub const SIZE_MAX: usize = 256 * 1024;
/// Deepest nesting of lists and mappings. A profile needs five levels.
const DEPTH_MAX: usize = 64;
/// Most anchors and aliases, together.
const ALIASES_MAX: usize = 1000;

/// An issue, and the byte it was found at.
pub(super) type Refusal = (Issue, Option<usize>);

/// Returns `text` without a byte order mark.
pub(super) fn without_bom(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// Checks everything that can be checked without understanding the YAML.
pub(super) fn check(text: &str) -> Result<(), Refusal> {
    if text.len() > SIZE_MAX {
        return Err((too_large(), None));
    }
    check_characters(text)?;
    check_structure(text)
}

/// The issue of a profile that exceeds [`SIZE_MAX`].
pub(super) fn too_large() -> Issue {
    Issue::new("the text is too large").expected("at most 256 KiB")
}

/// Refuses what no editor shows: the parser would stop there without saying where.
fn check_characters(text: &str) -> Result<(), Refusal> {
    let hidden = text.char_indices().find(|(_, c)| is_hidden(*c));
    let Some((offset, c)) = hidden else {
        return Ok(());
    };
    let issue = match c {
        '\0' => Issue::new("a NUL byte"),
        '\u{feff}' => Issue::new("a byte order mark in the middle of the text"),
        _ => Issue::new(format!("the invisible character U+{:04X}", u32::from(c))),
    };
    Err((
        issue
            .expected("printable text")
            .hint("remove the character"),
        Some(offset),
    ))
}

/// Control characters; line breaks that only YAML knows; and what is no character at all.
fn is_hidden(c: char) -> bool {
    let is_allowed_control = matches!(c, '\t' | '\n' | '\r');
    let is_odd_break = matches!(c, '\u{2028}' | '\u{2029}');
    let is_not_text = matches!(c, '\u{feff}' | '\u{fffe}' | '\u{ffff}');
    c.is_control() && !is_allowed_control || is_odd_break || is_not_text
}

fn check_structure(text: &str) -> Result<(), Refusal> {
    let mut lexer = Lexer::new(text);
    let mut census = Census::default();
    while let Some((token, offset)) = lexer.next() {
        let refuse = |issue| Err((issue, Some(offset)));
        if let Err(issue) = census.count(token) {
            return refuse(issue);
        }
        if lexer.depth() > DEPTH_MAX {
            let issue = Issue::new("the nesting is too deep");
            return refuse(issue.expected(format!("at most {DEPTH_MAX} levels")));
        }
    }
    if census.has_content {
        return Ok(());
    }
    Err((
        Issue::new("the text is empty").expected("at least a `name`"),
        None,
    ))
}

/// What has been seen so far.
#[derive(Default)]
struct Census {
    has_content: bool,
    has_start: bool,
    has_end: bool,
    aliases: usize,
}

impl Census {
    fn count(&mut self, token: Token) -> Result<(), Issue> {
        let is_second = self.has_end || self.has_content || self.has_start;
        match token {
            Token::DocumentStart if is_second => return Err(second_document()),
            Token::DocumentStart => self.has_start = true,
            Token::DocumentEnd => self.has_end = true,
            Token::Tag => return Err(tag()),
            _ if self.has_end => return Err(second_document()),
            Token::Alias | Token::Anchor => self.aliases += 1,
            Token::Other => {}
        }
        self.has_content |= matches!(token, Token::Other | Token::Alias | Token::Anchor);
        if self.aliases > ALIASES_MAX {
            let issue = Issue::new("too many anchors and aliases");
            return Err(issue.expected(format!("at most {ALIASES_MAX}")));
        }
        Ok(())
    }
}

fn second_document() -> Issue {
    Issue::new("a second YAML document").expected("one document per file")
}

fn tag() -> Issue {
    Issue::new("YAML tags are not supported")
        .expected("a plain value")
        .hint("remove the tag, or put a text that starts with `!` in quotes")
}

/// Returns how deep the guard believes `text` to nest.
#[cfg(test)]
pub(super) fn deepest(text: &str) -> usize {
    let mut lexer = Lexer::new(text);
    let mut deepest = 0;
    while lexer.next().is_some() {
        deepest = deepest.max(lexer.depth());
    }
    deepest
}
