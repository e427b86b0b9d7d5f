//! Loss, of which there are three kinds with keys of their own.

use super::super::conflict::Conflict;
use super::super::issue::Issue;
use super::super::keyword::Model;
use super::super::nearest::list;
use super::super::schema::RawDrop;
use super::super::yaml::FieldPath;
use super::super::{FourStates, Gemodel, Loss};
use super::{Resolved, chance};
use crate::units::Probability;

/// Resolves the keys of the `drop` at `at` that say which packets are lost.
pub(super) fn resolve(raw: &mut RawDrop, at: &FieldPath) -> Resolved<Loss> {
    check_keys(raw, at)?;
    Ok(match raw.model {
        None => Loss::Chance(chance::resolve(raw.take_chance(), at)?),
        Some(Model::Gemodel) => Loss::Gemodel(gemodel(raw, at)?),
        Some(Model::State) => Loss::State(four_states(raw, at)?),
    })
}

/// Fills in netem's defaults.
fn gemodel(raw: &RawDrop, at: &FieldPath) -> Resolved<Gemodel> {
    let p = given(raw.p, "p", at)?;
    Ok(Gemodel {
        p,
        r: raw.r.unwrap_or(complement(p)),
        one_minus_h: raw.one_minus_h.unwrap_or(Probability::ALWAYS),
        one_minus_k: raw.one_minus_k.unwrap_or(Probability::NEVER),
    })
}

/// Fills in netem's defaults.
fn four_states(raw: &RawDrop, at: &FieldPath) -> Resolved<FourStates> {
    let p13 = given(raw.p13, "p13", at)?;
    Ok(FourStates {
        p13,
        p31: raw.p31.unwrap_or(complement(p13)),
        p32: raw.p32.unwrap_or(Probability::NEVER),
        p23: raw.p23.unwrap_or(Probability::ALWAYS),
        p14: raw.p14.unwrap_or(Probability::NEVER),
    })
}

fn given(value: Option<Probability>, key: &str, at: &FieldPath) -> Resolved<Probability> {
    value.ok_or_else(|| Conflict::missing(at, key, &format!("`{key}`")))
}

fn complement(probability: Probability) -> Probability {
    let odds = Probability::ALWAYS.odds_q32() - probability.odds_q32();
    Probability::from_odds_q32(odds).unwrap_or(Probability::NEVER)
}

/// Refuses keys that belong to another model than the one that is named, or to any where none is.
fn check_keys(raw: &RawDrop, at: &FieldPath) -> Resolved<()> {
    let keys = keys(raw);
    let stray = |(of, _, is_given): &&(_, _, bool)| *is_given && *of != raw.model;
    let Some((of, key, _)) = keys.iter().find(stray) else {
        return Ok(());
    };
    let Some(model) = raw.model else {
        let model = of.map_or_else(String::new, |model| model.to_string());
        let issue = Issue::new(format!("`{key}` without `model: {model}`"));
        let expected = format!("`model: {model}` beside it");
        return Err(Conflict::new(issue.expected(expected), at.key(key)));
    };
    let of_model = keys.iter().filter(|(of, ..)| *of == Some(model));
    let of_model: Vec<_> = of_model.map(|(_, key, _)| *key).collect();
    let issue = Issue::new(format!("`{key}` does not go with `model: {model}`"));
    let conflict = Conflict::new(issue.expected(list(&of_model, "or")), at.key(key));
    Err(conflict.because_of(at.key("model")))
}

/// The keys of `drop`, with the model that each belongs to, and whether it is given.
fn keys(raw: &RawDrop) -> [(Option<Model>, &'static str, bool); 14] {
    use Model::{Gemodel, State};
    [
        (None, "probability", raw.probability.is_some()),
        (None, "correlation", raw.correlation.is_some()),
        (None, "every", raw.every.is_some()),
        (None, "first", raw.first.is_some()),
        (None, "packets", raw.packets.is_some()),
        (Some(Gemodel), "p", raw.p.is_some()),
        (Some(Gemodel), "r", raw.r.is_some()),
        (Some(Gemodel), "one_minus_h", raw.one_minus_h.is_some()),
        (Some(Gemodel), "one_minus_k", raw.one_minus_k.is_some()),
        (Some(State), "p13", raw.p13.is_some()),
        (Some(State), "p31", raw.p31.is_some()),
        (Some(State), "p32", raw.p32.is_some()),
        (Some(State), "p23", raw.p23.is_some()),
        (Some(State), "p14", raw.p14.is_some()),
    ]
}
