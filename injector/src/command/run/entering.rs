//! Faults that are ready everywhere, or nowhere.

use std::{
    iter,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
};

use tokio::runtime::Runtime;

use super::{
    ending::Ending,
    ends::Ends,
    prepare::Prepared,
    stage::{Entrance, Entry, Stage},
};
use crate::{
    command::{guard::Guard, together::RolledBack},
    datapath::Session,
    error::Failure,
};

/// Gets the faults ready on all stages, on each its own. Where one fails, all others are undone, the last first.
pub(in crate::command) fn enter(
    stages: &[Stage<'_>],
    mut prepared: Vec<Prepared>,
    ends: &mut Ends,
    runtime: &Runtime,
    mut waits: impl FnMut(&Prepared) -> Result<(), Failure>,
) -> Result<Entry, Failure> {
    if let [stage] = stages
        && let Some(prepared) = prepared.pop()
    {
        return match stage.enter(prepared, ends, runtime, &mut waits)? {
            Ok(entrance) => Ok(Entry::Ready(vec![entrance])),
            Err((ending, prepared)) => Ok(Entry::Ended(ending, vec![prepared])),
        };
    }
    let pairs = || stages.iter().zip(&prepared);
    pairs().try_for_each(|(stage, prepared)| stage.say(prepared))?;
    let Attempts { tried, ending } = try_all(stages, &prepared, || {
        // Many take their time.
        runtime.block_on(ends.past())
    })?;
    let untried = tried.iter().filter(|attempt| attempt.is_none()).count();
    let (mut ready, mut failed) = (Vec::new(), None);
    for ((stage, prepared), attempt) in pairs().zip(tried) {
        match attempt {
            Some(Ok((session, guard))) => ready.push((
                stage,
                Entrance {
                    session,
                    prepared: prepared.clone(),
                    guard,
                },
            )),
            Some(Err(failure)) if failed.is_none() => failed = Some((stage, failure)),
            _ => {}
        }
    }
    if let Some((stage, failure)) = failed {
        let rolled_back = RolledBack {
            untried,
            ..roll_back(ready)
        };
        return Err(rolled_back.failure(stage.place(), failure));
    }
    if let Some(ending) = ending {
        roll_back(ready);
        return Ok(Entry::Ended(ending, prepared));
    }
    let entrances = ready.into_iter().map(|(_, entrance)| entrance);
    Ok(Entry::Ready(entrances.collect()))
}

type Attempt = Result<(Session, Guard), Failure>;

/// What came of getting ready.
struct Attempts {
    /// On each stage; nothing where it was not tried.
    tried: Vec<Option<Attempt>>,
    /// How the run ended, where it did before.
    ending: Option<Ending>,
}

/// Gets the faults ready on as many stages at a time as there are processors, because it is the kernel's verifier that
/// takes the time. Begins with no other once one has failed, or `past` says that the run has ended.
fn try_all(
    stages: &[Stage<'_>],
    prepared: &[Prepared],
    mut past: impl FnMut() -> Result<Option<Ending>, Failure>,
) -> Result<Attempts, Failure> {
    let mut tried: Vec<_> = iter::repeat_with(|| None).take(stages.len()).collect();
    let next = Mutex::new(stages.iter().zip(prepared).enumerate());
    let is_over = AtomicBool::new(false);
    let (sender, attempts) = mpsc::channel();
    let work = |sender: mpsc::Sender<_>| {
        let take = || next.lock().unwrap_or_else(PoisonError::into_inner).next();
        while !is_over.load(Ordering::Relaxed)
            && let Some((place, (stage, prepared))) = take()
        {
            let attempt = stage.begin(prepared);
            if attempt.is_err() {
                is_over.store(true, Ordering::Relaxed);
            }
            // Whoever waits for it has not gone.
            let _ = sender.send((place, attempt));
        }
    };
    let ended = thread::scope(|scope| {
        for _ in 0..at_a_time() {
            let sender = sender.clone();
            scope.spawn(|| work(sender));
        }
        drop(sender);
        let mut ended = Ok(None);
        for (place, attempt) in attempts {
            tried[place] = Some(attempt);
            if let Ok(None) = ended {
                ended = past();
                let goes_on = matches!(ended, Ok(None));
                is_over.fetch_or(!goes_on, Ordering::Relaxed);
            }
        }
        ended
    });
    Ok(Attempts {
        tried,
        ending: ended?,
    })
}

/// How many interfaces are got ready at a time, at most.
pub(super) fn at_a_time() -> usize {
    /// The kernel does the rest one after the other.
    const MAX: usize = 16;
    thread::available_parallelism().map_or(1, |count| count.get().min(MAX))
}

/// Undoes what was ready, the last first.
fn roll_back(ready: Vec<(&Stage<'_>, Entrance)>) -> RolledBack {
    let mut rolled_back = RolledBack::default();
    for (stage, entrance) in ready.into_iter().rev() {
        let place = stage.place();
        match entrance.session.stop(|_| true) {
            Ok(_) => rolled_back.undone.push(place.to_string()),
            Err(error) => rolled_back.kept.push(format!("{place}: {error}")),
        }
    }
    rolled_back
}
