//! The shapes that values of a profile take: short or long, one or many.

use std::collections::HashSet;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::issue::Issue;
use super::strict::{Table, Vocabulary, table};
use super::text::Name;
use super::{Ecn, Expectation, Fragment, IcmpType};
use crate::units::scalar::{Scalar, Shape, deserialize_shape};
use crate::units::{
    Address, CgroupPath, ContainerName, Field, Flows, Interface, Mac, Mark, Network, PacketRange,
    Pid, PortRange, ProcessName, Span, TcpFlags, UserName,
};

/// Most rules in a profile, those of all its phases together.
pub const RULES_MAX: usize = 1024;
/// Most phases in a profile.
pub const PHASES_MAX: usize = 1024;
/// Most addresses, or ports, in one list of a rule, and most expectations.
pub const LIST_MAX: usize = 256;

/// A fault that has a short form.
pub(crate) trait Fault: Vocabulary {
    /// The one value of the short form.
    type Short: Scalar;
    /// Both forms, by example.
    const EXPECTED: &'static str;

    /// Returns what the short form means.
    fn from_short(short: Self::Short) -> Self;
}

/// A fault in its short form or as a mapping.
pub(crate) struct ShortOr<T>(pub(crate) T);

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

/// A value of which there may be several.
pub(crate) trait Entry: Scalar {
    /// What is wrong with an empty list.
    const NONE: &'static str = "the list is empty, so nothing can match";
    /// What to write in place of an empty list.
    const RATHER_THAN_NONE: &'static str;
}

/// What to write in place of an empty list of conditions.
const ANY: &str = "leave the key out to match any";

impl<F: Field> Entry for Span<F> {
    const RATHER_THAN_NONE: &'static str = ANY;
}

/// Declares what conditions there may be several of.
macro_rules! conditions {
    ($($type:ty),* $(,)?) => {$(
        impl Entry for $type {
            const RATHER_THAN_NONE: &'static str = ANY;
        }
    )*};
}

conditions!(
    Address,
    PortRange,
    ProcessName,
    Pid,
    CgroupPath,
    ContainerName,
    UserName,
    Mark,
    Mac,
    Flows,
    TcpFlags,
    Ecn,
    Fragment,
    IcmpType,
);

impl Entry for Network {
    const RATHER_THAN_NONE: &'static str = "leave the key out";
}

impl Entry for Interface {
    const NONE: &'static str = "the list is empty, so there is no interface";
    const RATHER_THAN_NONE: &'static str = "leave the key out";
}

impl Entry for Expectation {
    const NONE: &'static str = "the list is empty, so nothing is expected";
    const RATHER_THAN_NONE: &'static str = "leave the key out";
}

impl Entry for PacketRange {
    const RATHER_THAN_NONE: &'static str = "leave the fault out";
}

/// A value, or a list of 1 to [`LIST_MAX`] of them; empty only where the key is absent.
pub(crate) struct OneOrMany<T>(pub(crate) Vec<T>);

impl<T> Default for OneOrMany<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Entry + Deserialize<'de>> Shape<'de> for OneOrMany<T> {
    type Scalar = T;
    const EXPECTED: &'static str = T::EXPECTED;

    fn from_scalar(one: T) -> Self {
        Self(vec![one])
    }

    fn from_seq<A: SeqAccess<'de>>(seq: A) -> Result<Self, A::Error> {
        let empty = Issue::new(T::NONE)
            .expected("at least one entry")
            .hint(T::RATHER_THAN_NONE);
        let mut entries = Vec::new();
        bounded(seq, LIST_MAX, "entries", Some(empty), |entry| {
            entries.push(entry);
            Ok(())
        })?;
        Ok(Self(entries))
    }
}

impl<'de, T: Entry + Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_shape(deserializer)
    }
}

/// Mappings of which one is to fit: 1 to [`LIST_MAX`]; none only where the key is absent.
pub(crate) struct Alternatives<T>(pub(crate) Vec<T>);

impl<T> Default for Alternatives<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Vocabulary + Deserialize<'de>> Deserialize<'de> for Alternatives<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let empty = Issue::new("the list is empty, so nothing can match")
            .expected("at least one entry")
            .hint(ANY);
        let bounds = Bounds {
            expected: format!("a list of alternatives, each {}", T::WHAT),
            max: LIST_MAX,
            what: "entries",
            empty: Some(empty),
        };
        let mut all = Vec::new();
        bounds.read(deserializer, |Table(one)| {
            all.push(one);
            Ok(())
        })?;
        Ok(Self(all))
    }
}

/// A list of 1 to `MAX` elements.
pub(crate) struct List<T, const MAX: usize>(pub(crate) Vec<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for List<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bounds = Bounds {
            expected: "a list".into(),
            max: MAX,
            what: "entries",
            empty: Some(Issue::new("the list is empty").expected("at least one entry")),
        };
        let mut elements = Vec::new();
        bounds.read(deserializer, |element| {
            elements.push(element);
            Ok(())
        })?;
        Ok(Self(elements))
    }
}

/// What a list may be.
struct Bounds {
    expected: String,
    max: usize,
    /// What it is a list of.
    what: &'static str,
    /// What is wrong with none at all, where that is wrong.
    empty: Option<Issue>,
}

impl Bounds {
    /// Reads it as [`bounded`] does.
    fn read<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        self,
        deserializer: D,
        take: impl FnMut(T) -> Result<(), Issue>,
    ) -> Result<(), D::Error> {
        struct ListVisitor<T, F>(Bounds, F, PhantomData<T>);

        impl<'de, T, F> Visitor<'de> for ListVisitor<T, F>
        where
            T: Deserialize<'de>,
            F: FnMut(T) -> Result<(), Issue>,
        {
            type Value = ();

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0.expected)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<(), A::Error> {
                let Self(bounds, take, _) = self;
                bounded(seq, bounds.max, bounds.what, bounds.empty, take)
            }
        }

        deserializer.deserialize_any(ListVisitor(self, take, PhantomData))
    }
}

/// Hands at most `max` elements to `take`, and looks at no more than one beyond. None at all is
/// `empty`, where that is an issue.
pub(crate) fn bounded<'de, T, A>(
    mut seq: A,
    max: usize,
    what: &str,
    empty: Option<Issue>,
    mut take: impl FnMut(T) -> Result<(), Issue>,
) -> Result<(), A::Error>
where
    T: Deserialize<'de>,
    A: SeqAccess<'de>,
{
    let mut count = 0;
    while let Some(element) = seq.next_element()? {
        count += 1;
        at_most(max, what, count)
            .and_then(|()| take(element))
            .map_err(de::Error::custom)?;
    }
    match empty {
        Some(empty) if count == 0 => Err(de::Error::custom(empty)),
        _ => Ok(()),
    }
}

fn at_most(max: usize, what: &str, count: usize) -> Result<(), Issue> {
    if count <= max {
        return Ok(());
    }
    let issue = Issue::new(format!("more than {max} {what}"));
    Err(issue.expected(format!("at most {max} {what}")))
}

/// Mappings by names of which no two are the same: 1 to `MAX`, in the order in which they were written.
pub(crate) struct ByName<T, const MAX: usize>(pub(crate) Vec<(String, T)>);

impl<'de, T, const MAX: usize> Deserialize<'de> for ByName<T, MAX>
where
    T: Vocabulary + Deserialize<'de>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ByNameVisitor<T, const MAX: usize>(PhantomData<T>);

        impl<'de, T, const MAX: usize> Visitor<'de> for ByNameVisitor<T, MAX>
        where
            T: Vocabulary + Deserialize<'de>,
        {
            type Value = ByName<T, MAX>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{} for each name, as `name: {{…}}`", T::WHAT)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ByName<T, MAX>, A::Error> {
                let mut all: Vec<(String, T)> = Vec::new();
                let mut seen = HashSet::new();
                while let Some(Name(name)) = map.next_key()? {
                    if !seen.insert(name.clone()) {
                        let issue = Issue::new(format!("`{name}` is there twice"));
                        return Err(de::Error::custom(issue.expected("different names")));
                    }
                    at_most(MAX, "entries", seen.len()).map_err(de::Error::custom)?;
                    let Table(value) = map.next_value()?;
                    all.push((name, value));
                }
                if all.is_empty() {
                    let issue = Issue::new("the mapping is empty").expected("at least one name");
                    return Err(de::Error::custom(issue));
                }
                Ok(ByName(all))
            }
        }

        deserializer.deserialize_any(ByNameVisitor(PhantomData))
    }
}

/// A list of rules: `MIN`, which is 0 or 1, to [`RULES_MAX`].
pub(crate) struct Rules<T, const MIN: usize>(pub(crate) Vec<T>);

impl<'de, T, const MIN: usize> Deserialize<'de> for Rules<T, MIN>
where
    T: Vocabulary + Deserialize<'de>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let empty = Issue::new("a profile without rules").expected("at least one rule");
        let bounds = Bounds {
            expected: "a list of rules".into(),
            max: RULES_MAX,
            what: "rules",
            empty: (MIN > 0).then_some(empty),
        };
        let mut rules = Vec::new();
        bounds.read(deserializer, |Table(rule)| {
            rules.push(rule);
            Ok(())
        })?;
        Ok(Self(rules))
    }
}

/// Something with rules of its own.
pub(crate) trait HasRules {
    /// Returns how many.
    fn rules(&self) -> usize;
}

/// The phases of a profile: 1 to [`PHASES_MAX`], with at most [`RULES_MAX`] rules together.
pub(crate) struct Phases<T>(pub(crate) Vec<T>);

impl<'de, T: Vocabulary + HasRules + Deserialize<'de>> Deserialize<'de> for Phases<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bounds = Bounds {
            expected: "a list of phases".into(),
            max: PHASES_MAX,
            what: "phases",
            empty: Some(Issue::new("a profile without phases").expected("at least one phase")),
        };
        let (mut phases, mut rules) = (Vec::new(), 0);
        bounds.read(deserializer, |Table(phase): Table<T>| {
            rules += phase.rules();
            phases.push(phase);
            // At once: aliases could make of a short text more than fits in memory.
            at_most(RULES_MAX, "rules", rules)
        })?;
        Ok(Self(phases))
    }
}
