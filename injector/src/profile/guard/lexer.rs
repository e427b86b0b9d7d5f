//! Enough of a YAML lexer to see what nests, and where anchors, aliases, tags and documents are.
//!
//! It follows the scanner of libyaml, which the real parser uses, branch by branch: a bracket in a
//! quoted text must not count, and one that only looks quoted must. Where libyaml would report an
//! error the two may part ways, because libyaml stops there.

mod scalar;

/// A token, as far as the guard tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Anchor,
    Alias,
    Tag,
    DocumentStart,
    DocumentEnd,
    /// A scalar or an indicator.
    Other,
}

/// Splits a text into tokens and keeps track of the nesting.
pub(super) struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    line_start: usize,
    /// Open brackets and braces.
    flow_level: usize,
    /// Columns of the open block lists and mappings; ever larger.
    indents: Vec<usize>,
    /// Whether a key may start here without a `?`.
    key_allowed: bool,
    /// Column of what turns out to be a key, should a colon follow on this line.
    key: Option<usize>,
}

impl<'a> Lexer<'a> {
    /// Starts at the beginning of `text`, past any byte order mark.
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            text: text.as_bytes(),
            at: 0,
            line_start: 0,
            flow_level: 0,
            indents: Vec::new(),
            key_allowed: true,
            key: None,
        }
    }

    /// Returns how many lists and mappings are open.
    pub(super) fn depth(&self) -> usize {
        self.flow_level + self.indents.len()
    }

    /// Returns the next token and the byte it starts at.
    pub(super) fn next(&mut self) -> Option<(Token, usize)> {
        self.skip_to_token();
        if self.flow_level == 0 {
            let column = self.column();
            self.indents.retain(|indent| *indent <= column);
        }
        let start = self.at;
        let token = match self.peek(0)? {
            b'%' if self.column() == 0 => self.directive(),
            b'-' | b'.' if self.at_document_marker() => self.document_marker(),
            b'[' | b'{' => self.open(),
            b']' | b'}' => self.close(),
            b',' => self.indicator(true),
            b'-' if self.blank_at(1) => self.block_entry(),
            b'?' if self.in_flow() || self.blank_at(1) => self.explicit_key(),
            b':' if self.in_flow() || self.blank_at(1) => self.value(),
            b'&' => self.anchor(Token::Anchor),
            b'*' => self.anchor(Token::Alias),
            b'!' => self.anchor(Token::Tag),
            b'|' | b'>' if !self.in_flow() => self.block_scalar(),
            quote @ (b'\'' | b'"') => self.quoted(quote),
            _ => self.plain(),
        };
        Some((token, start))
    }

    fn in_flow(&self) -> bool {
        self.flow_level > 0
    }

    fn column(&self) -> usize {
        self.at - self.line_start
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.text.get(self.at + ahead).copied()
    }

    /// Whether the byte is a space, a tab, a line break or the end.
    fn blank_at(&self, ahead: usize) -> bool {
        matches!(self.peek(ahead), None | Some(b' ' | b'\t' | b'\n' | b'\r'))
    }

    fn at_break(&self) -> bool {
        matches!(self.peek(0), Some(b'\n' | b'\r'))
    }

    fn at_document_marker(&self) -> bool {
        let rest = &self.text[self.at..];
        let is_marker = rest.starts_with(b"---") || rest.starts_with(b"...");
        self.column() == 0 && is_marker && self.blank_at(3)
    }

    /// Steps over one byte; over a line break, into the next line.
    fn advance(&mut self) {
        let is_break = self.at_break();
        self.at += 1;
        if is_break {
            self.line_start = self.at;
            // A key and its colon share a line.
            self.key = None;
        }
    }

    fn advance_while(&mut self, condition: impl Fn(u8) -> bool) {
        while self.peek(0).is_some_and(&condition) {
            self.advance();
        }
    }

    fn skip_line(&mut self) {
        self.advance_while(|byte| !matches!(byte, b'\n' | b'\r'));
    }

    fn skip_to_token(&mut self) {
        loop {
            match self.peek(0) {
                Some(b' ' | b'\t') => self.advance(),
                Some(b'#') => self.skip_line(),
                Some(b'\n' | b'\r') => {
                    self.advance();
                    self.key_allowed |= !self.in_flow();
                }
                _ => return,
            }
        }
    }

    /// Remembers what starts here as a possible key.
    fn maybe_key(&mut self) {
        if !self.in_flow() && self.key_allowed {
            self.key = Some(self.column());
        }
    }

    /// Opens a block list or mapping at `column`, unless it is open already.
    fn indent(&mut self, column: usize) {
        if !self.in_flow() && self.indents.last().is_none_or(|last| *last < column) {
            self.indents.push(column);
        }
    }

    /// Steps over a one-byte indicator.
    fn indicator(&mut self, key_allowed: bool) -> Token {
        self.advance();
        self.key_allowed = key_allowed;
        Token::Other
    }

    fn directive(&mut self) -> Token {
        self.skip_line();
        Token::Other
    }

    fn document_marker(&mut self) -> Token {
        let is_start = self.peek(0) == Some(b'-');
        self.indents.clear();
        self.at += 3;
        self.key = None;
        self.key_allowed = false;
        if is_start {
            Token::DocumentStart
        } else {
            Token::DocumentEnd
        }
    }

    fn open(&mut self) -> Token {
        self.maybe_key();
        self.flow_level += 1;
        self.indicator(true)
    }

    fn close(&mut self) -> Token {
        self.flow_level = self.flow_level.saturating_sub(1);
        self.indicator(false)
    }

    fn block_entry(&mut self) -> Token {
        self.indent(self.column());
        self.key = self.key.filter(|_| self.in_flow());
        self.indicator(true)
    }

    fn explicit_key(&mut self) -> Token {
        self.indent(self.column());
        self.key = self.key.filter(|_| self.in_flow());
        self.indicator(!self.in_flow())
    }

    fn value(&mut self) -> Token {
        if self.in_flow() {
            return self.indicator(false);
        }
        let implicit_key = self.key.take();
        self.indent(implicit_key.unwrap_or(self.column()));
        self.indicator(implicit_key.is_none())
    }

    fn anchor(&mut self, token: Token) -> Token {
        self.maybe_key();
        self.indicator(false);
        self.advance_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
        token
    }
}
