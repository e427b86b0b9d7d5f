//! The words of a profile that stand for one of a few choices.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use super::nearest::nearest;
use super::{
    Checksum, Direction, Distribution, Ecn, Fragment, Fragments, Interpolation, Place, Protocol,
};
use crate::units::scalar::{self, Scalar};
use crate::units::{Reason, UnitError};

/// A choice that is written as a word.
pub(super) trait Keyword: Clone + PartialEq + 'static {
    /// What the word names, with its article.
    const WHAT: &'static str;
    /// All choices, for an error.
    const CHOICES: &'static str;
    /// The words and their meanings.
    const WORDS: &'static [(&'static str, Self)];
}

/// A model of loss in which a packet's fate depends on those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Model {
    Gemodel,
    State,
}

impl Keyword for Direction {
    const WHAT: &'static str = "a direction";
    const CHOICES: &'static str = "`egress`, `ingress` or `both`";
    const WORDS: &'static [(&'static str, Self)] = &[
        ("egress", Self::Egress),
        ("ingress", Self::Ingress),
        ("both", Self::Both),
    ];
}

impl Keyword for Protocol {
    const WHAT: &'static str = "a protocol";
    const CHOICES: &'static str = "`tcp`, `udp`, `icmp`, `icmpv6`, `sctp`, `ip`, `ipv6`, `arp`, \
                                    or a number from 0 to 255";
    const WORDS: &'static [(&'static str, Self)] = &[
        ("tcp", Self::TCP),
        ("udp", Self::UDP),
        ("icmp", Self::Icmp),
        ("icmpv6", Self::ICMPV6),
        ("sctp", Self::SCTP),
        ("ip", Self::Ip),
        ("ipv6", Self::Ipv6),
        ("arp", Self::Arp),
    ];
}

impl Keyword for Checksum {
    const WHAT: &'static str = "a checksum";
    const CHOICES: &'static str = "`stale` or `valid`";
    const WORDS: &'static [(&'static str, Self)] =
        &[("stale", Self::Stale), ("valid", Self::Valid)];
}

impl Keyword for Distribution {
    const WHAT: &'static str = "a distribution";
    const CHOICES: &'static str = "`uniform`, `normal`, `pareto` or `paretonormal`";
    const WORDS: &'static [(&'static str, Self)] = &[
        ("uniform", Self::Uniform),
        ("normal", Self::Normal),
        ("pareto", Self::Pareto),
        ("paretonormal", Self::ParetoNormal),
    ];
}

impl Keyword for Model {
    const WHAT: &'static str = "a model of loss";
    const CHOICES: &'static str = "`gemodel` or `state`";
    const WORDS: &'static [(&'static str, Self)] =
        &[("gemodel", Self::Gemodel), ("state", Self::State)];
}

impl Keyword for Place {
    const WHAT: &'static str = "a part of a packet";
    const CHOICES: &'static str = "`payload`, `header` or `any`";
    const WORDS: &'static [(&'static str, Self)] = &[
        ("payload", Self::Payload),
        ("header", Self::Header),
        ("any", Self::Any),
    ];
}

impl Keyword for Ecn {
    const WHAT: &'static str = "a congestion notification";
    const CHOICES: &'static str = "`not-ect`, `ect0`, `ect1` or `ce`";
    const WORDS: &'static [(&'static str, Self)] = &[
        ("not-ect", Self::NotEct),
        ("ect0", Self::Ect0),
        ("ect1", Self::Ect1),
        ("ce", Self::Ce),
    ];
}

impl Keyword for Fragment {
    const WHAT: &'static str = "a kind of fragment";
    const CHOICES: &'static str = "`frag`, `nofrag`, `firstfrag` or `laterfrag`";
    const WORDS: &'static [(&'static str, Self)] = &[
        ("frag", Self::Any),
        ("nofrag", Self::No),
        ("firstfrag", Self::First),
        ("laterfrag", Self::Later),
    ];
}

impl Keyword for Fragments {
    const WHAT: &'static str = "a way to take fragments";
    const CHOICES: &'static str = "`separate` or `follow`";
    const WORDS: &'static [(&'static str, Self)] =
        &[("separate", Self::Separate), ("follow", Self::Follow)];
}

impl Keyword for Interpolation {
    const WHAT: &'static str = "an interpolation";
    const CHOICES: &'static str = "`linear` or `step`";
    const WORDS: &'static [(&'static str, Self)] =
        &[("linear", Self::Linear), ("step", Self::Step)];
}

pub(super) fn words<T: Keyword>() -> Vec<&'static str> {
    T::WORDS.iter().map(|(word, _)| *word).collect()
}

fn lookup<T: Keyword>(text: &str) -> Result<T, UnitError> {
    if let Some((_, value)) = T::WORDS.iter().find(|(word, _)| *word == text) {
        return Ok(value.clone());
    }
    let error = UnitError::new(text, Reason::Malformed(T::WHAT), T::CHOICES);
    Err(match nearest(text, &words::<T>()) {
        Some(word) => error.hint(format!("did you mean `{word}`?")),
        None => error,
    })
}

fn word_of<T: Keyword>(value: &T) -> Option<&'static str> {
    T::WORDS
        .iter()
        .find(|(_, candidate)| candidate == value)
        .map(|(word, _)| *word)
}

impl Distribution {
    /// Its name; a table has none.
    pub(crate) fn word(&self) -> Option<&'static str> {
        word_of(self)
    }
}

impl FromStr for Protocol {
    type Err = UnitError;

    /// Parses a name, or the number of an IP protocol.
    fn from_str(text: &str) -> Result<Self, UnitError> {
        if text.is_empty() || !text.chars().all(|c| c.is_ascii_digit()) {
            return lookup(text);
        }
        let too_large = |_| UnitError::new(text, Reason::TooLarge("255"), Self::CHOICES);
        text.parse().map(Self::Transport).map_err(too_large)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (word_of(self), self) {
            (None, Self::Transport(number)) => f.pad(&number.to_string()),
            (word, _) => f.pad(word.unwrap_or_default()),
        }
    }
}

/// Looks a type up by its words alone, both ways.
macro_rules! words_only {
    ($($keyword:ident),*) => {$(
        impl FromStr for $keyword {
            type Err = UnitError;

            fn from_str(text: &str) -> Result<Self, UnitError> {
                lookup(text)
            }
        }

        impl fmt::Display for $keyword {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(word_of(self).unwrap_or_default())
            }
        }

        #[cfg(test)]
        scalar::schema_of!($keyword as stringify!($keyword), { "enum": words::<Self>() });
    )*};
}

words_only!(
    Direction,
    Checksum,
    Ecn,
    Fragment,
    Fragments,
    Model,
    Place,
    Interpolation
);

impl FromStr for Distribution {
    type Err = UnitError;

    /// Parses a name; a table needs a file.
    fn from_str(text: &str) -> Result<Self, UnitError> {
        lookup(text)
    }
}

/// Reads a type from a profile as from a flag.
macro_rules! deserialize_as_text {
    ($($keyword:ty),*) => {$(
        impl Scalar for $keyword {
            const EXPECTED: &'static str = Self::CHOICES;
        }

        impl<'de> Deserialize<'de> for $keyword {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                scalar::deserialize(deserializer)
            }
        }
    )*};
}

deserialize_as_text!(
    Direction,
    Protocol,
    Checksum,
    Ecn,
    Fragment,
    Fragments,
    Model,
    Place,
    Interpolation
);

#[cfg(test)]
scalar::schema_of!(Protocol as "Protocol", {
    "anyOf": [
        { "enum": words::<Self>() },
        { "type": ["integer", "string"], "minimum": 0, "maximum": 255, "pattern": "^[0-9]+$" },
    ],
});

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip<T: Keyword + FromStr<Err = UnitError> + fmt::Display + fmt::Debug>() {
        for (word, value) in T::WORDS {
            assert_eq!(word.parse::<T>().as_ref(), Ok(value));
            assert_eq!(value.to_string(), *word);
            assert!(T::CHOICES.contains(&format!("`{word}`")));
        }
    }

    #[test]
    fn every_word_parses_displays_and_is_offered() {
        round_trip::<Direction>();
        round_trip::<Protocol>();
        round_trip::<Checksum>();
        round_trip::<Model>();
        round_trip::<Place>();
        round_trip::<Ecn>();
        round_trip::<Fragment>();
        round_trip::<Fragments>();
        round_trip::<Interpolation>();
    }

    #[test]
    fn every_distribution_with_a_name_parses_and_is_offered() {
        for (word, distribution) in Distribution::WORDS {
            assert_eq!(word.parse().as_ref(), Ok(distribution));
            assert!(Distribution::CHOICES.contains(&format!("`{word}`")));
        }
    }

    #[test]
    fn a_protocol_may_be_a_number() {
        assert_eq!("6".parse(), Ok(Protocol::TCP));
        assert_eq!("47".parse(), Ok(Protocol::Transport(47)));
        assert_eq!(Protocol::Transport(47).to_string(), "47");
        assert!(
            "256"
                .parse::<Protocol>()
                .unwrap_err()
                .to_string()
                .contains("limit of 255")
        );
    }

    #[test]
    fn a_slip_gets_the_word_that_was_meant() {
        let refusal = "engress".parse::<Direction>().unwrap_err().to_string();
        assert_eq!(
            refusal,
            "`engress` is not a direction: did you mean `egress`?"
        );
        let refusal = "TCP".parse::<Protocol>().unwrap_err().to_string();
        assert_eq!(refusal, "`TCP` is not a protocol: did you mean `tcp`?");
    }
}
