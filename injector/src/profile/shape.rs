//! The shapes that values of a profile take: short or long, one or many, a name, a text.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::issue::Issue;
use super::strict::{Table, Vocabulary, table};
use crate::units::quote;
use crate::units::scalar::{Scalar, Shape, deserialize_shape};

/// Most rules in a profile.
pub const RULES_MAX: usize = 1024;
/// Most addresses, or ports, in one list of a rule.
pub const LIST_MAX: usize = 256;
/// Longest name of a profile or rule, in characters.
pub const NAME_CHARS_MAX: usize = 63;

/// A fault that has a short form.
pub(super) trait Fault: Vocabulary {
    /// The one value of the short form.
    type Short: Scalar;
    /// Both forms, by example.
    const EXPECTED: &'static str;

    /// Returns what the short form means.
    fn from_short(short: Self::Short) -> Self;
}

/// A fault in its short form or as a mapping.
pub(super) struct ShortOr<T>(pub(super) T);

impl<'de, T: Fault + Deserialize<'de>> Shape<'de> for ShortOr<T> {
    type Scalar = T::Short;
    const EXPECTED: &'static str = T::EXPECTED;

    fn from_scalar(short: T::Short) -> Self {
        Self(T::from_short(short))
    }

    fn from_map<A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        table(map).map(Self)
    }
}

impl<'de, T: Fault + Deserialize<'de>> Deserialize<'de> for ShortOr<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_shape(deserializer)
    }
}

/// A value, or a list of 1 to [`LIST_MAX`] of them; empty only where the key is absent.
pub(super) struct OneOrMany<T>(pub(super) Vec<T>);

impl<T> Default for OneOrMany<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Scalar + Deserialize<'de>> Shape<'de> for OneOrMany<T> {
    type Scalar = T;
    const EXPECTED: &'static str = T::EXPECTED;

    fn from_scalar(one: T) -> Self {
        Self(vec![one])
    }

    fn from_seq<A: SeqAccess<'de>>(seq: A) -> Result<Self, A::Error> {
        let empty = Issue::new("the list is empty, so nothing can match")
            .expected("at least one entry")
            .hint("leave the key out to match any");
        bounded(seq, LIST_MAX, "entries", empty).map(Self)
    }
}

impl<'de, T: Scalar + Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_shape(deserializer)
    }
}

/// Collects 1 to `max` elements, and looks at no more than one beyond.
fn bounded<'de, T, A>(mut seq: A, max: usize, what: &str, empty: Issue) -> Result<Vec<T>, A::Error>
where
    T: Deserialize<'de>,
    A: SeqAccess<'de>,
{
    let mut elements = Vec::new();
    while let Some(element) = seq.next_element()? {
        if elements.len() == max {
            let issue = Issue::new(format!("more than {max} {what}"));
            return Err(de::Error::custom(
                issue.expected(format!("at most {max} {what}")),
            ));
        }
        elements.push(element);
    }
    if elements.is_empty() {
        Err(de::Error::custom(empty))
    } else {
        Ok(elements)
    }
}

/// The rules of a profile: 1 to [`RULES_MAX`].
pub(super) struct Rules<T>(pub(super) Vec<T>);

impl<'de, T: Vocabulary + Deserialize<'de>> Deserialize<'de> for Rules<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RulesVisitor<T>(std::marker::PhantomData<T>);

        impl<'de, T: Vocabulary + Deserialize<'de>> Visitor<'de> for RulesVisitor<T> {
            type Value = Rules<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of rules")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Rules<T>, A::Error> {
                let empty = Issue::new("a profile without rules").expected("at least one rule");
                let rules = bounded(seq, RULES_MAX, "rules", empty)?;
                Ok(Rules(rules.into_iter().map(|Table(rule)| rule).collect()))
            }
        }

        deserializer.deserialize_any(RulesVisitor(std::marker::PhantomData))
    }
}

/// A name: 1 to [`NAME_CHARS_MAX`] letters, digits, dots, underscores and hyphens.
pub(super) struct Name(pub(super) String);

/// A text without control characters other than line breaks and tabs.
pub(super) struct Text(pub(super) String);

/// A seed: any whole number of 64 bits.
pub(super) struct Seed(pub(super) u64);

const NAME_EXPECTED: &str = "a name of 1 to 63 letters, digits, dots, underscores and hyphens";

impl Name {
    fn checked(text: &str) -> Result<Self, Issue> {
        if is_name(text) {
            return Ok(Self(text.to_owned()));
        }
        let issue = Issue::new(format!("{} is not a name", quote(text))).expected(NAME_EXPECTED);
        let respelled = text.replace(|c: char| !is_name_char(c), "-");
        if is_name(&respelled) {
            Err(issue.hint(format!("write {respelled}")))
        } else {
            Err(issue)
        }
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= NAME_CHARS_MAX && text.chars().all(is_name_char)
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

impl Text {
    fn checked(text: &str) -> Result<Self, Issue> {
        // A terminal obeys control characters, and this text is printed there.
        if text
            .chars()
            .any(|c| c.is_control() && !matches!(c, '\n' | '\t'))
        {
            return Err(Issue::new("the text has control characters").expected("printable text"));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Reads a type from text only; what YAML took for a number or boolean needs quotes.
macro_rules! from_text {
    ($type:ident, $expected:expr) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct TextVisitor;

                impl Visitor<'_> for TextVisitor {
                    type Value = $type;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expected)
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$type, E> {
                        $type::checked(text).map_err(E::custom)
                    }
                }

                deserializer.deserialize_any(TextVisitor)
            }
        }
    };
}

from_text!(Name, NAME_EXPECTED);
from_text!(Text, "a text");

impl<'de> Deserialize<'de> for Seed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SeedVisitor;

        impl Visitor<'_> for SeedVisitor {
            type Value = Seed;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a whole number from 0 to {}", u64::MAX)
            }

            fn visit_u64<E: de::Error>(self, seed: u64) -> Result<Seed, E> {
                Ok(Seed(seed))
            }
        }

        deserializer.deserialize_any(SeedVisitor)
    }
}
