//! One deserializer for every quantity: whatever scalar YAML made of the text, parse the text.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{self, Deserializer, MapAccess, SeqAccess, Unexpected, Visitor};

use super::UnitError;

/// A quantity that is written as one word or number.
pub(crate) trait Scalar: FromStr<Err = UnitError> {
    /// What a correct text looks like, with its article.
    const EXPECTED: &'static str;
}

/// Says in JSON Schema what the deserializer of a type takes: all of that, and as little more as a pattern
/// can tell.
#[cfg(test)]
macro_rules! schema_of {
    ($type:ident as $name:expr, { $($schema:tt)* }) => {
        $crate::units::scalar::schema_of!(
            $type as $name, <$type as $crate::units::scalar::Scalar>::EXPECTED, { $($schema)* }
        );
    };
    ($type:ident as $name:expr, $expected:expr, { $($schema:tt)* }) => {
        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let mut schema = schemars::json_schema!({ $($schema)* });
                schema.insert("description".into(), $expected.into());
                schema
            }
        }
    };
}

#[cfg(test)]
pub(crate) use schema_of;

/// A value that is written as a scalar, or in a longer form.
pub(crate) trait Shape<'de>: Sized {
    /// The scalar form.
    type Scalar: Scalar;
    /// All forms, by example.
    const EXPECTED: &'static str;

    /// Returns what the scalar form means.
    fn from_scalar(scalar: Self::Scalar) -> Self;

    /// Reads the form that is a mapping, if there is one.
    fn from_map<A: MapAccess<'de>>(_map: A) -> Result<Self, A::Error> {
        Err(de::Error::invalid_type(Unexpected::Map, &Self::EXPECTED))
    }

    /// Reads the form that is a list, if there is one.
    fn from_seq<A: SeqAccess<'de>>(_seq: A) -> Result<Self, A::Error> {
        Err(de::Error::invalid_type(Unexpected::Seq, &Self::EXPECTED))
    }
}

/// A value that has only its scalar form.
struct Plain<T>(T);

impl<T: Scalar> Shape<'_> for Plain<T> {
    type Scalar = T;
    const EXPECTED: &'static str = T::EXPECTED;

    fn from_scalar(scalar: T) -> Self {
        Self(scalar)
    }
}

/// Reads a quantity from a scalar of any YAML type.
///
/// YAML resolves `0.05` and `5432` to numbers before anybody asked; going back to their text
/// keeps a single notation and a single set of refusals for files and flags.
pub(crate) fn deserialize<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Scalar,
{
    deserialize_shape(deserializer).map(|Plain(value)| value)
}

/// Reads a value in whichever of its forms it is written.
pub(crate) fn deserialize_shape<'de, D, S>(deserializer: D) -> Result<S, D::Error>
where
    D: Deserializer<'de>,
    S: Shape<'de>,
{
    deserializer.deserialize_any(ShapeVisitor(PhantomData))
}

struct ShapeVisitor<S>(PhantomData<S>);

fn parse<'de, S: Shape<'de>, E: de::Error>(text: &str) -> Result<S, E> {
    text.parse()
        .map(S::from_scalar)
        .map_err(|error| E::custom(format_args!("{error:#}")))
}

impl<'de, S: Shape<'de>> Visitor<'de> for ShapeVisitor<S> {
    type Value = S;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(S::EXPECTED)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<S, E> {
        parse(text)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<S, E> {
        parse(&number.to_string())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<S, E> {
        parse(&number.to_string())
    }

    fn visit_u128<E: de::Error>(self, number: u128) -> Result<S, E> {
        parse(&number.to_string())
    }

    fn visit_i128<E: de::Error>(self, number: i128) -> Result<S, E> {
        parse(&number.to_string())
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<S, E> {
        parse(&float_text(number))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<S, A::Error> {
        S::from_map(map)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<S, A::Error> {
        S::from_seq(seq)
    }
}

/// Writes a float so that `1.0` stays distinct from the integer `1`, and NaN as YAML spells it.
fn float_text(number: f64) -> String {
    if number.is_nan() {
        ".nan".to_owned()
    } else if number == f64::INFINITY {
        ".inf".to_owned()
    } else if number == f64::NEG_INFINITY {
        "-.inf".to_owned()
    } else {
        format!("{number:?}")
    }
}
