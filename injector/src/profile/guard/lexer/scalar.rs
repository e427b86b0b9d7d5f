//! Where a scalar ends, in each of the four ways to write one.

use super::{Lexer, Token};

impl Lexer<'_> {
    pub(super) fn quoted(&mut self, quote: u8) -> Token {
        self.maybe_key();
        self.indicator(false);
        while let Some(byte) = self.peek(0) {
            let escapes = quote == b'"' && byte == b'\\';
            let doubled = quote == b'\'' && byte == quote && self.peek(1) == Some(quote);
            self.advance();
            if escapes || doubled {
                self.skip_escaped();
            } else if byte == quote {
                break;
            }
        }
        Token::Other
    }

    fn skip_escaped(&mut self) {
        if self.peek(0).is_some() {
            self.advance();
        }
    }

    pub(super) fn plain(&mut self) -> Token {
        self.maybe_key();
        self.key_allowed = false;
        let start = self.at;
        let indent = self.indents.last().map_or(0, |last| last + 1);
        while !self.at_document_marker() && self.peek(0) != Some(b'#') {
            while !self.blank_at(0) && !self.ends_plain() {
                self.advance();
            }
            let ends_here = !self.blank_at(0) || self.peek(0).is_none();
            if ends_here || !self.continues_after_blanks(indent) {
                break;
            }
        }
        if self.at == start {
            // Nothing that can start a token: libyaml ends here, and so must every loop around.
            self.advance();
        }
        Token::Other
    }

    /// Skips blanks and line breaks inside of a plain scalar, unless the scalar ends with them.
    fn continues_after_blanks(&mut self, indent: usize) -> bool {
        let line = self.line_start;
        self.advance_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
        self.key_allowed |= self.line_start != line;
        self.in_flow() || self.column() >= indent
    }

    fn ends_plain(&self) -> bool {
        match self.peek(0) {
            Some(b':') => self.blank_at(1),
            Some(b',' | b'[' | b']' | b'{' | b'}') => self.in_flow(),
            _ => false,
        }
    }

    pub(super) fn block_scalar(&mut self) -> Token {
        let parent = self.indents.last().copied();
        self.key = None;
        self.indicator(true);
        let explicit = self.block_header();
        self.skip_line();
        if self.at_break() {
            self.advance();
        }
        let explicit = explicit.map(|indent| indent + parent.unwrap_or(0));
        let indent = self.block_indent(explicit, parent.map_or(1, |parent| parent + 1));
        while self.column() == indent && self.peek(0).is_some() {
            self.skip_line();
            if self.at_break() {
                self.advance();
            }
            self.block_indent(Some(indent), indent);
        }
        Token::Other
    }

    /// Reads the indicators after `|` or `>` and returns the indentation, if they set it.
    fn block_header(&mut self) -> Option<usize> {
        let mut indent = None;
        while let Some(byte @ (b'+' | b'-' | b'1'..=b'9')) = self.peek(0) {
            if byte.is_ascii_digit() {
                indent = Some(usize::from(byte - b'0'));
            }
            self.advance();
        }
        indent
    }

    /// Skips the indentation and empty lines before a line of a block scalar.
    ///
    /// Returns the indentation of the scalar: as known, or found from the lines, at least `least`.
    fn block_indent(&mut self, known: Option<usize>, least: usize) -> usize {
        let mut widest = 0;
        loop {
            while known.is_none_or(|indent| self.column() < indent) && self.peek(0) == Some(b' ') {
                self.advance();
            }
            widest = widest.max(self.column());
            if !self.at_break() {
                return known.unwrap_or(widest.max(least));
            }
            self.advance();
        }
    }
}
