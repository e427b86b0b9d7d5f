//! The shapes that values of a scenario take.

use std::str::FromStr;

use regex_lite::Regex;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess};

use super::{Pattern, Status};
use crate::{
    profile::{
        issue::Issue,
        shape::{Entry, LIST_MAX, OneOrMany, bounded},
        strict::{Vocabulary, table},
    },
    units::{
        Reason, UnitError,
        scalar::{self, Scalar, Shape, deserialize_shape},
        whole_number,
    },
};

/// Declares values that are read from any scalar.
macro_rules! scalars {
    ($($(#[$doc:meta])* $name:ident($type:ty): $expected:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone)]
        pub(super) struct $name(pub $type);

        impl Scalar for $name {
            const EXPECTED: &'static str = $expected;
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                scalar::deserialize(deserializer)
            }
        }
    )*};
}

scalars! {
    /// A word of a command, or a text that is looked for.
    Word(String): "a text that is not empty";
    /// A port.
    Port(u16): "a port from 1 to 65535";
    /// The largest packet of a link, in bytes. IPv6 needs 1280.
    Mtu(u32): "a number of bytes from 1280 to 65535";
    /// An exit status, or a kind of it.
    RawStatus(Status): "an exit status from 0 to 255, `failure` or `any`";
    /// A regular expression.
    RawRegex(Regex): "a regular expression";
}

impl FromStr for Word {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        // Neither a command line nor a terminal has room for it.
        if text.is_empty() || text.contains(|c: char| c.is_control() && !matches!(c, '\n' | '\t')) {
            let reason = Reason::Malformed("a text that can be used");
            return Err(UnitError::new(text, reason, Self::EXPECTED));
        }
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for Port {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let port = whole_number(text, &(1..=65535), ["1", "65535"], Self::EXPECTED)?;
        Ok(Self(port as u16))
    }
}

impl FromStr for Mtu {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let mtu = whole_number(text, &(1280..=65535), ["1280", "65535"], Self::EXPECTED)?;
        Ok(Self(mtu as u32))
    }
}

impl FromStr for RawStatus {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        Ok(Self(match text {
            "any" => Status::Any,
            "failure" => Status::Failure,
            number => {
                let status = whole_number(number, &(0..=255), ["0", "255"], Self::EXPECTED)?;
                Status::OneOf(vec![status as u8])
            }
        }))
    }
}

impl FromStr for RawRegex {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        // Output has lines: their ends are meant.
        let regex = Regex::new(&format!("(?m){text}"));
        let malformed = Reason::Malformed("a regular expression");
        regex.map(Self).map_err(|error| {
            UnitError::new(text, malformed, Self::EXPECTED).hint(error.to_string())
        })
    }
}

impl Entry for Word {
    const RATHER_THAN_NONE: &'static str = "leave the key out";
}

impl Entry for RawStatus {
    const RATHER_THAN_NONE: &'static str = "write `any`";
}

/// A command: a line for the shell, or a program and its arguments.
pub(super) struct RawCommand {
    pub arguments: Vec<String>,
    pub text: String,
}

impl<'de> Shape<'de> for RawCommand {
    type Scalar = Word;
    const EXPECTED: &'static str = "a command line, or a list: the program and its arguments";

    fn from_scalar(Word(line): Word) -> Self {
        Self {
            arguments: ["/bin/sh", "-c", &line].map(str::to_owned).to_vec(),
            text: line,
        }
    }

    fn from_seq<A: SeqAccess<'de>>(seq: A) -> Result<Self, A::Error> {
        let empty = Issue::new("the command is empty").expected("at least the program");
        let mut arguments = Vec::new();
        bounded(seq, LIST_MAX, "words", Some(empty), |Argument(word)| {
            arguments.push(word);
            Ok(())
        })?;
        let text = arguments.join(" ");
        Ok(Self { arguments, text })
    }
}

impl<'de> Deserialize<'de> for RawCommand {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_shape(deserializer)
    }
}

/// An argument, which may be empty.
struct Argument(String);

impl Scalar for Argument {
    const EXPECTED: &'static str = "a word, or a number";
}

impl FromStr for Argument {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        match text {
            "" => Ok(Self(String::new())),
            text => text.parse().map(|Word(word)| Self(word)),
        }
    }
}

impl<'de> Deserialize<'de> for Argument {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        scalar::deserialize(deserializer)
    }
}

/// `stdout: PONG`, or `stdout: {matches: …}`.
pub(super) struct RawPattern(pub Pattern);

/// The long form of a pattern.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct LongPattern {
    contains: Option<Word>,
    lacks: Option<Word>,
    matches: Option<RawRegex>,
}

impl Vocabulary for LongPattern {
    const WHAT: &'static str = "a pattern";
}

impl<'de> Shape<'de> for RawPattern {
    type Scalar = Word;
    const EXPECTED: &'static str =
        "a text that it contains, or `{matches: REGEX}`, or `{lacks: TEXT}`";

    fn from_scalar(Word(text): Word) -> Self {
        Self(Pattern::Contains(text))
    }

    fn from_map<A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        let long: LongPattern = table(map)?;
        let one = match (long.contains, long.lacks, long.matches) {
            (Some(Word(text)), None, None) => Pattern::Contains(text),
            (None, Some(Word(text)), None) => Pattern::Lacks(text),
            (None, None, Some(RawRegex(regex))) => Pattern::Matches(regex),
            _ => {
                let issue = Issue::new("not one pattern");
                let issue = issue.expected("one of `contains`, `lacks` and `matches`");
                return Err(de::Error::custom(issue));
            }
        };
        Ok(Self(one))
    }
}

impl<'de> Deserialize<'de> for RawPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_shape(deserializer)
    }
}

/// A pattern, or a list of patterns that are all met.
#[derive(Default)]
pub(super) struct Patterns(pub Vec<Pattern>);

impl<'de> Shape<'de> for Patterns {
    type Scalar = Word;
    const EXPECTED: &'static str = RawPattern::EXPECTED;

    fn from_scalar(text: Word) -> Self {
        Self(vec![RawPattern::from_scalar(text).0])
    }

    fn from_map<A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        RawPattern::from_map(map).map(|RawPattern(one)| Self(vec![one]))
    }

    fn from_seq<A: SeqAccess<'de>>(seq: A) -> Result<Self, A::Error> {
        let empty = Issue::new("the list is empty").expected("at least one pattern");
        let mut patterns = Vec::new();
        bounded(seq, LIST_MAX, "patterns", Some(empty), |RawPattern(one)| {
            patterns.push(one);
            Ok(())
        })?;
        Ok(Self(patterns))
    }
}

impl<'de> Deserialize<'de> for Patterns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_shape(deserializer)
    }
}

/// Several statuses are one that is any of them.
pub(super) fn status(OneOrMany(statuses): OneOrMany<RawStatus>) -> Status {
    let mut numbers = Vec::new();
    for RawStatus(status) in statuses {
        match status {
            Status::OneOf(these) => numbers.extend(these),
            kind => return kind,
        }
    }
    match numbers.is_empty() {
        true => Status::default(),
        false => Status::OneOf(numbers),
    }
}
