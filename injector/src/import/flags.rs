//! Flags as Go's libraries read them: one dash or two, the value behind `=` or in the next word.

use super::{
    flaw::Parsed,
    words::{Cursor, Word},
};

/// A flag: its names, and whether it has a value.
pub(super) type Flag = (&'static [&'static str], bool);

/// The flags that were given, by their first names, and where they were.
#[derive(Debug, Default)]
pub(super) struct Given(Vec<(&'static str, Word)>);

impl Given {
    /// Reads flags up to the first word that is none.
    pub(super) fn read(cursor: &mut Cursor<'_>, known: &[Flag]) -> Parsed<Self> {
        let mut given = Vec::new();
        while let Some(word) = cursor.next_if(|word| word.len() > 1 && word.starts_with('-')) {
            if word.text == "--" {
                break;
            }
            let flag = word.text.trim_start_matches('-');
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (flag, None),
            };
            let Some((names, has_value)) = known.iter().find(|(names, _)| names.contains(&name))
            else {
                let all: Vec<&str> = known
                    .iter()
                    .flat_map(|(names, _)| names.iter().copied())
                    .collect();
                return Err(word.unknown("a flag here", &all));
            };
            let value = match (value, has_value) {
                (Some(value), _) => Word {
                    text: value.to_owned(),
                    offset: word.offset + (word.text.len() - value.len()),
                },
                (None, true) => cursor
                    .required(&format!("the value of {}", word.text))?
                    .clone(),
                (None, false) => Word {
                    text: "true".to_owned(),
                    offset: word.offset,
                },
            };
            given.push((names[0], value));
        }
        Ok(Self(given))
    }

    /// The last value of a flag.
    pub(super) fn get(&self, name: &str) -> Option<&Word> {
        let given = self.0.iter().rfind(|(known, _)| *known == name);
        given.map(|(_, value)| value)
    }

    /// All values of a flag.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Word> {
        self.0
            .iter()
            .filter(move |(known, _)| *known == name)
            .map(|(_, value)| value)
    }
}

/// The parts of a list with commas, each as a word of its own.
pub(super) fn parts(word: &Word) -> impl Iterator<Item = Word> {
    let start = word.text.as_ptr() as usize;
    let part = move |part: &str| Word {
        text: part.to_owned(),
        offset: word.offset + (part.as_ptr() as usize - start),
    };
    word.text
        .split(',')
        .filter(|part| !part.is_empty())
        .map(part)
}
