//! Names, texts and seeds.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, Visitor};

use super::issue::Issue;
use crate::units::quote;
#[cfg(test)]
use crate::units::scalar::schema_of;

/// Longest name of a profile or rule, in characters.
pub const NAME_CHARS_MAX: usize = 63;

/// A name: 1 to [`NAME_CHARS_MAX`] letters, digits, dots, underscores and hyphens.
pub(crate) struct Name(pub(crate) String);

/// A text without control characters other than line breaks and tabs.
pub(crate) struct Text(pub(crate) String);

/// A seed: any whole number of 64 bits.
pub(crate) struct Seed(pub(crate) u64);

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

#[cfg(test)]
schema_of!(Name as "Name", NAME_EXPECTED, {
    "type": "string",
    "pattern": format!("^[A-Za-z0-9._-]{{1,{NAME_CHARS_MAX}}}$"),
});
#[cfg(test)]
schema_of!(Text as "Text", "a text", {
    "type": "string",
    "pattern": r"^[^\u0000-\u0008\u000b-\u001f\u007f-\u009f]*$",
});
#[cfg(test)]
schema_of!(Seed as "Seed", format!("a whole number from 0 to {}", u64::MAX), {
    "type": "integer",
    "minimum": 0,
    "maximum": u64::MAX,
});
