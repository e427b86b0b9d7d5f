//! Which packets a fault hits.

use super::super::Chance;
use super::super::conflict::Conflict;
use super::super::issue::Issue;
use super::super::number::Count;
use super::super::schema::RawChance;
use super::super::shape::OneOrMany;
use super::super::yaml::FieldPath;
use super::Resolved;
use crate::units::{PacketRange, Probability};

/// Resolves the keys of the fault at `at` of which there is exactly one.
pub(super) fn resolve(raw: RawChance, at: &FieldPath) -> Resolved<Chance> {
    check_keys(&raw, at)?;
    let correlation = raw.correlation.unwrap_or(Probability::NEVER);
    Ok(match raw {
        RawChance {
            probability: Some(probability),
            ..
        } => Chance::Random {
            probability,
            correlation,
        },
        RawChance {
            every: Some(Count(count)),
            ..
        } => Chance::Every(count),
        RawChance {
            first: Some(Count(count)),
            ..
        } => Chance::First(count),
        RawChance {
            packets: Some(OneOrMany(ranges)),
            ..
        } => Chance::Packets(PacketRange::union(ranges)),
        _ => {
            let expected = "`probability`, `every`, `first` or `packets`";
            return Err(Conflict::missing(at, "probability", expected));
        }
    })
}

fn check_keys(raw: &RawChance, at: &FieldPath) -> Resolved<()> {
    let keys = [
        ("probability", raw.probability.is_some()),
        ("every", raw.every.is_some()),
        ("first", raw.first.is_some()),
        ("packets", raw.packets.is_some()),
    ];
    let mut given = keys
        .iter()
        .filter(|(_, is_given)| *is_given)
        .map(|(key, _)| *key);
    match (given.next(), given.next()) {
        (Some(one), Some(other)) => {
            let issue = Issue::new(format!("`{one}` and `{other}` exclude each other"));
            let conflict = Conflict::new(issue.expected("one of them"), at.key(other));
            Err(conflict.because_of(at.key(one)))
        }
        (Some(one), None) if raw.correlation.is_some() && raw.probability.is_none() => {
            let issue = Issue::new(format!(
                "`correlation` beside `{one}`, which leaves nothing to chance"
            ));
            let issue = issue.expected("`probability` in its place");
            Err(Conflict::new(issue, at.key("correlation")).because_of(at.key(one)))
        }
        _ => Ok(()),
    }
}
