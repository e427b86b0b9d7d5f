//! Command lines, as a shell splits them: into words that know where they stood.

use super::flaw::{Flaw, Parsed, Place};
use crate::{
    profile::{issue::Issue, nearest::nearest},
    units::quote,
};

/// One word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    pub text: String,
    pub offset: usize,
}

impl Word {
    /// The word without the directories of a program's path.
    pub(super) fn program(&self) -> &str {
        self.text.rsplit('/').next().unwrap_or_default()
    }

    pub(super) fn flaw(&self, issue: Issue) -> Box<Flaw> {
        Flaw::new(issue, Place::Byte(self.offset))
    }

    /// A word that is none of those that could stand here.
    pub(super) fn unknown(&self, what: &str, known: &[&str]) -> Box<Flaw> {
        let issue = Issue::new(format!("{} is not {what}", quote(&self.text)));
        let issue = issue.expected(format!("one of {}", known.join(", ")));
        self.flaw(match nearest(&self.text, known) {
            Some(word) => issue.hint(format!("did you mean `{word}`?")),
            None => issue,
        })
    }

    /// What the word means.
    pub(super) fn parse<T>(&self, read: impl FnOnce(&str) -> Result<T, Issue>) -> Parsed<T> {
        read(&self.text).map_err(|issue| self.flaw(issue))
    }
}

/// Splits a text into commands, at line ends, `;`, `&` and `|`, and those into words. Comments are left out.
pub(super) fn commands(text: &str) -> Parsed<Vec<Vec<Word>>> {
    let mut commands = vec![Vec::new()];
    let mut chars = text.char_indices().peekable();
    let mut word: Option<Word> = None;
    while let Some((offset, c)) = chars.next() {
        match c {
            '\\' => match chars.next() {
                // A line that goes on in the next one.
                Some((_, '\n')) => end(&mut commands, &mut word),
                Some((_, escaped)) => put(&mut word, offset, escaped),
                None => {}
            },
            '\'' | '"' => {
                begin(&mut word, offset);
                loop {
                    match chars.next() {
                        Some((_, closing)) if closing == c => break,
                        Some((_, '\\')) if c == '"' => {
                            if let Some((_, escaped)) = chars.next() {
                                put(&mut word, offset, escaped);
                            }
                        }
                        Some((_, quoted)) => put(&mut word, offset, quoted),
                        None => return Err(unclosed(c, offset)),
                    }
                }
            }
            '#' if word.is_none() => while chars.next_if(|(_, c)| *c != '\n').is_some() {},
            '\n' | ';' | '&' | '|' => {
                end(&mut commands, &mut word);
                commands.push(Vec::new());
            }
            c if c.is_whitespace() => end(&mut commands, &mut word),
            c => put(&mut word, offset, c),
        }
    }
    end(&mut commands, &mut word);
    commands.retain(|command| !command.is_empty());
    Ok(commands)
}

/// The words of the only command of a text, from the program on: what stands before it, such as `sudo`, is left out.
pub(super) fn only_command(text: &str, program: &str, example: &str) -> Parsed<Vec<Word>> {
    let mut commands = commands(text)?.into_iter();
    let Some(mut command) = commands.next() else {
        let issue = Issue::new("no command").expected(format!("`{example}`"));
        return Err(Flaw::new(issue, Place::Text));
    };
    if let Some(second) = commands.next() {
        let issue = Issue::new("a second command").expected("one: import each by itself");
        return Err(second[0].flaw(issue));
    }
    let at = command.iter().position(|word| word.program() == program);
    let at = at.ok_or_else(|| command[0].unknown(program, &[program]))?;
    Ok(command.split_off(at))
}

fn begin(word: &mut Option<Word>, offset: usize) -> &mut Word {
    word.get_or_insert_with(|| Word {
        text: String::new(),
        offset,
    })
}

fn put(word: &mut Option<Word>, offset: usize, c: char) {
    begin(word, offset).text.push(c);
}

fn end(commands: &mut [Vec<Word>], word: &mut Option<Word>) {
    if let (Some(word), Some(command)) = (word.take(), commands.last_mut()) {
        command.push(word);
    }
}

fn unclosed(quote: char, offset: usize) -> Box<Flaw> {
    let issue = Issue::new(format!("a {quote} that is not closed"));
    let issue = issue.expected(format!("another {quote} behind it"));
    Flaw::new(issue, Place::Byte(offset))
}

/// Shows words again as one text.
pub(super) fn join(words: &[Word]) -> String {
    let texts: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
    texts.join(" ")
}

/// Writes words so that [`commands`] reads them again.
pub(super) fn quoted<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_=+.,:/%@[]".contains(c);
    let quoted = |word: &str| match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    };
    words.map(quoted).collect::<Vec<_>>().join(" ")
}

/// The words of a command that are not read yet.
#[derive(Clone)]
pub(super) struct Cursor<'a> {
    words: &'a [Word],
    /// The one before, where a word that is missing should follow.
    last: &'a Word,
}

impl<'a> Cursor<'a> {
    /// The words behind the first.
    pub(super) fn behind(words: &'a [Word]) -> Self {
        let (last, words) = words.split_first().expect("a command has words");
        Self { words, last }
    }

    pub(super) fn peek(&self) -> Option<&'a Word> {
        self.words.first()
    }

    pub(super) fn next(&mut self) -> Option<&'a Word> {
        let (first, rest) = self.words.split_first()?;
        (self.words, self.last) = (rest, first);
        Some(first)
    }

    pub(super) fn next_if(&mut self, fits: impl FnOnce(&str) -> bool) -> Option<&'a Word> {
        self.peek().filter(|word| fits(&word.text))?;
        self.next()
    }

    /// The next word, which has to be there.
    pub(super) fn required(&mut self, what: &str) -> Parsed<&'a Word> {
        let last = self.last;
        self.next().ok_or_else(|| {
            let issue = Issue::new(format!("nothing behind {}", quote(&last.text)));
            last.flaw(issue.expected(what))
        })
    }

    /// All that is left.
    pub(super) fn rest(&self) -> &'a [Word] {
        self.words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<Vec<String>> {
        let commands = commands(text).unwrap().into_iter();
        let texts = |words: Vec<Word>| words.into_iter().map(|word| word.text).collect();
        commands.map(texts).collect()
    }

    #[test]
    fn words_are_split_as_by_a_shell() {
        assert_eq!(
            texts("tc 'a b' \"c \\\" d\"e \\\n  f # no\n\n; g\\ h && ''"),
            [vec!["tc", "a b", "c \" de", "f"], vec!["g h"], vec![""],]
        );
        assert_eq!(commands("a  bc").unwrap()[0][1].offset, 3);
        assert!(commands("a 'b").is_err());
    }

    #[test]
    fn quoting_is_undone_by_splitting() {
        let words = ["tc", "a b", "it's", "", "100%", "re2:^x"];
        assert_eq!(texts(&quoted(words.into_iter())), [words]);
    }
}
