//! Faults that are ready everywhere, or nowhere.

use tokio::runtime::Runtime;

use super::{
    ends::Ends,
    prepare::Prepared,
    stage::{Entrance, Entry, Stage},
};
use crate::{command::together::RolledBack, error::Failure};

/// Gets the faults ready on all stages, on each its own. Where one fails, those before it are undone, the last
/// first.
pub(in crate::command) fn enter(
    stages: &[Stage<'_>],
    prepared: Vec<Prepared>,
    ends: &mut Ends,
    runtime: &Runtime,
    mut waits: impl FnMut(&Prepared) -> Result<(), Failure>,
) -> Result<Entry, Failure> {
    let mut ready: Vec<Entrance> = Vec::new();
    let mut prepared = prepared.into_iter();
    for stage in stages {
        // Many take their time.
        if !ready.is_empty()
            && let Some(ending) = runtime.block_on(ends.past())?
        {
            let played = ready.iter().map(|entrance| entrance.prepared.clone());
            let all = played.chain(prepared).collect();
            roll_back(ready, stages);
            return Ok(Entry::Ended(ending, all));
        }
        let Some(next) = prepared.next() else {
            break;
        };
        match stage.enter(next, ends, runtime, &mut waits) {
            Ok(Ok(entrance)) => ready.push(entrance),
            Ok(Err((ending, next))) => return Ok(Entry::Ended(ending, vec![next])),
            Err(failure) if stages.len() == 1 => return Err(failure),
            Err(failure) => {
                let rolled_back = RolledBack {
                    untried: prepared.len(),
                    ..roll_back(ready, stages)
                };
                return Err(rolled_back.failure(stage.place(), failure));
            }
        }
    }
    Ok(Entry::Ready(ready))
}

/// Undoes what was ready, the last first.
fn roll_back(ready: Vec<Entrance>, stages: &[Stage<'_>]) -> RolledBack {
    let mut rolled_back = RolledBack::default();
    for (entrance, stage) in ready.into_iter().zip(stages).rev() {
        let place = stage.place();
        match entrance.session.stop(|_| true) {
            Ok(_) => rolled_back.undone.push(place.to_string()),
            Err(error) => rolled_back.kept.push(format!("{place}: {error}")),
        }
    }
    rolled_back
}
