//! Mappings that take what they know and refuse everything else, by name.
//!
//! Serde's derived code knows the keys of a struct, and lets a list stand for a struct, takes an
//! unknown or repeated key for an error of the whole mapping.
//! This adapter sits between the parser and the derived code and is stricter about both.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::StrDeserializer;
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::issue::{Issue, Key};
use super::nearest::{list, nearest};
use crate::units::quote;

/// A mapping with known keys.
pub(crate) trait Vocabulary {
    /// What the mapping describes, with its article.
    const WHAT: &'static str;
    /// Keys of other mappings.
    const ELSEWHERE: &'static [Elsewhere] = &[];
}

/// Keys, and the mapping that they belong into.
pub(crate) type Elsewhere = (&'static [&'static str], &'static str);

/// A `T` that is written as a mapping, and in no other way.
pub(crate) struct Table<T>(pub(crate) T);

impl<'de, T: Vocabulary + Deserialize<'de>> Deserialize<'de> for Table<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TableVisitor(PhantomData))
    }
}

struct TableVisitor<T>(PhantomData<T>);

impl<'de, T: Vocabulary + Deserialize<'de>> Visitor<'de> for TableVisitor<T> {
    type Value = Table<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, as `key: value` pairs", T::WHAT)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Table<T>, A::Error> {
        table(map).map(Table)
    }
}

/// Reads a `T` from the pairs of a mapping.
pub(crate) fn table<'de, T, A>(map: A) -> Result<T, A::Error>
where
    T: Vocabulary + Deserialize<'de>,
    A: MapAccess<'de>,
{
    let words = Words {
        what: T::WHAT,
        elsewhere: T::ELSEWHERE,
    };
    T::deserialize(Pairs { map, words })
}

/// The constants of a [`Vocabulary`].
#[derive(Clone, Copy)]
struct Words {
    what: &'static str,
    elsewhere: &'static [Elsewhere],
}

/// Hands a mapping to derived code, and learns the known keys from it.
struct Pairs<A> {
    map: A,
    words: Words,
}

impl<'de, A: MapAccess<'de>> Deserializer<'de> for Pairs<A> {
    type Error = A::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        let keys = Keys {
            words: self.words,
            known,
            seen: Vec::new(),
        };
        visitor.visit_map(CheckedMap {
            map: self.map,
            keys,
        })
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, A::Error> {
        visitor.visit_map(self.map)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

struct CheckedMap<A> {
    map: A,
    keys: Keys,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for CheckedMap<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        self.map.next_key_seed(KeySeed {
            seed,
            keys: &mut self.keys,
        })
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}

/// Checks a key while the parser still stands on it, so that an error gets its position.
struct KeySeed<'keys, K> {
    seed: K,
    keys: &'keys mut Keys,
}

impl<'de, K: DeserializeSeed<'de>> DeserializeSeed<'de> for KeySeed<'_, K> {
    type Value = K::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<K::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de, K: DeserializeSeed<'de>> Visitor<'de> for KeySeed<'_, K> {
    type Value = K::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a key of {}", self.keys.words.what)
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<K::Value, E> {
        self.keys.check(key).map_err(E::custom)?;
        self.seed.deserialize(StrDeserializer::new(key))
    }
}

/// The keys of one mapping: possible and seen.
struct Keys {
    words: Words,
    known: &'static [&'static str],
    seen: Vec<&'static str>,
}

impl Keys {
    fn check(&mut self, key: &str) -> Result<(), Issue> {
        let Some(known) = self.known.iter().find(|known| **known == key) else {
            let issue = self.unknown(key).expected(list(self.known, "or"));
            return Err(issue.key(Key::Unknown(key.to_owned())));
        };
        if self.seen.contains(known) {
            return Err(Issue::new(format!("`{key}` is given twice"))
                .expected("each key once")
                .key(Key::Repeated(key.to_owned())));
        }
        self.seen.push(known);
        Ok(())
    }

    fn unknown(&self, key: &str) -> Issue {
        let Words { what, elsewhere } = self.words;
        let issue = Issue::new(format!("{} is not a key of {what}", quote(key)));
        if key == "<<" {
            return issue.hint("merge keys are not supported: repeat the keys");
        }
        if let Some((_, place)) = elsewhere.iter().find(|(keys, _)| keys.contains(&key)) {
            return issue.hint(format!("`{key}` belongs {place}"));
        }
        match nearest(key, self.known) {
            Some(known) => issue.hint(format!("did you mean `{known}`?")),
            None => issue,
        }
    }
}
