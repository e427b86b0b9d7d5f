//! Where a field stands in the text.
//!
//! The parser tells positions only of errors. So the text is parsed once more, by a visitor that
//! walks along the path, skips everything beside it, and fails on arrival.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{FieldPath, Step, byte_offset};

/// Finds the value at `path`, or else the innermost value around it that exists.
///
/// Returns the byte it starts at, and how many steps of the path led there.
pub(crate) fn locate(text: &str, path: &FieldPath) -> Option<(usize, usize)> {
    (0..=path.0.len())
        .rev()
        .find_map(|steps| Some((offset_of(text, &path.0[..steps])?, steps)))
}

fn offset_of(text: &str, path: &[Step]) -> Option<usize> {
    let arrival = Walk(path)
        .deserialize(serde_yaml::Deserializer::from_str(text))
        .err()?;
    // An error of the parser itself, on the way, says nothing about the field.
    arrival.to_string().contains(ARRIVED).then_some(())?;
    Some(byte_offset(text, &arrival.location()?))
}

/// The error of a walk that found its goal.
const ARRIVED: &str = "\u{1}arrived\u{1}";

/// The rest of the way.
struct Walk<'a>(&'a [Step]);

impl Walk<'_> {
    fn end<E: de::Error>(&self) -> Result<(), E> {
        if self.0.is_empty() {
            Err(E::custom(ARRIVED))
        } else {
            Ok(())
        }
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.end()?;
        while let Some(key) = map.next_key::<String>()? {
            match self.0.split_first() {
                Some((Step::Key(step), rest)) if *step == key => map.next_value_seed(Walk(rest))?,
                _ => map.next_value::<IgnoredAny>().map(|_| ())?,
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        self.end()?;
        let Some((Step::Index(wanted), rest)) = self.0.split_first() else {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(());
        };
        for _ in 0..*wanted {
            seq.next_element::<IgnoredAny>()?;
        }
        seq.next_element_seed(Walk(rest))?;
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<(), E> {
        self.end()
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<(), E> {
        self.end()
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<(), E> {
        self.end()
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<(), E> {
        self.end()
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<(), E> {
        self.end()
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        self.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "name: x\nrules:\n  - drop: 1%\n  - {delay: 5ms, match: {dst: [é, b]}}\n";

    fn at(path: &str) -> &'static str {
        let (offset, _) = locate(TEXT, &FieldPath::parse(path)).unwrap();
        &TEXT[offset..]
    }

    #[test]
    fn block_and_flow_values_are_found() {
        assert!(at("name").starts_with("x\n"));
        assert!(at("rules[0]").starts_with("drop: 1%"));
        assert!(at("rules[0].drop").starts_with("1%"));
        assert!(at("rules[1].delay").starts_with("5ms"));
        assert!(at("rules[1].match.dst[1]").starts_with("b]"));
    }

    #[test]
    fn what_is_missing_is_found_as_far_as_it_goes() {
        let (offset, steps) = locate(TEXT, &FieldPath::parse("rules[1].delay.jitter")).unwrap();
        assert!(TEXT[offset..].starts_with("5ms"));
        assert_eq!(steps, 3);
        assert!(at("rules[7]").starts_with("- drop"));
    }
}
