//! Ending runs, and undoing what killed ones left.

use std::{
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::Serialize;

use super::{
    Error, Netns, Result,
    journal::{self, Claim, Journal, Record},
    netlink::Netlink,
    undo::{ALIAS_PREFIX, Undo},
};

/// What was cleared on one device.
#[derive(Clone, Debug, Serialize)]
pub struct Cleared {
    /// The device.
    pub device: String,
    /// The run that was stopped; absent where it was dead already.
    pub stopped_pid: Option<u32>,
    /// What was left to undo.
    pub undone: Vec<String>,
}

/// Clears `device`, or every device of the namespace.
pub fn clear(netns: &Netns, device: Option<&str>) -> Result<Vec<Cleared>> {
    let id = netns.id()?;
    let wanted = |record: &Record| device.is_none_or(|device| record.device == device);
    let mut cleared = Vec::new();
    for (record, alive) in journal::records(id) {
        if wanted(&record) {
            cleared.push(clear_run(netns, &record, alive)?);
        }
    }
    let orphans = netns.run(|| clear_orphans(&Netlink::open()?, device))?;
    cleared.extend(orphans);
    Ok(cleared)
}

fn clear_run(netns: &Netns, record: &Record, alive: bool) -> Result<Cleared> {
    let device = record.device.clone();
    let stopped_pid = alive.then_some(record.pid);
    if alive {
        stop(record)?;
    }
    let undone = netns.run(|| match Journal::claim(record.clone())? {
        Claim::Stale(journal) => journal.undo(&Netlink::open()?),
        // The run cleaned up by itself: our claim wrote the record anew.
        Claim::Free(mut journal) => {
            journal.record.undo.clear();
            journal.undo(&Netlink::open()?)
        }
        Claim::Held(record) => Err(Error::Busy {
            device: record.device,
            pid: record.pid,
            profile: record.profile,
        }),
    })?;
    Ok(Cleared {
        device,
        stopped_pid,
        undone: undone.iter().map(Undo::to_string).collect(),
    })
}

/// Asks a run to end, and waits for as long as it may take to deliver what it holds.
fn stop(record: &Record) -> Result<()> {
    const MARGIN: Duration = Duration::from_secs(5);
    const STEP: Duration = Duration::from_millis(10);
    let pid = Pid::from_raw(record.pid as i32);
    let refused = |errno: nix::Error| Error::refused(format!("stop the run with pid {pid}"), errno);
    match kill(pid, Signal::SIGTERM) {
        Ok(()) => {}
        Err(nix::Error::ESRCH) => return Ok(()),
        Err(errno) => return Err(refused(errno)),
    }
    let end = Instant::now() + Duration::from_nanos(record.delay_max_ns) + MARGIN;
    while Instant::now() < end {
        let alive = journal::records(record.netns)
            .iter()
            .any(|(other, alive)| *alive && other.pid == record.pid);
        if !alive {
            return Ok(());
        }
        thread::sleep(STEP);
    }
    Err(refused(nix::Error::ETIMEDOUT))
}

/// Pairs without a record: its file was lost, with `/run` for instance.
fn clear_orphans(netlink: &Netlink, device: Option<&str>) -> Result<Vec<Cleared>> {
    let mut cleared = Vec::new();
    for link in netlink.links()? {
        let Some(owner) = link
            .alias
            .strip_prefix(ALIAS_PREFIX)
            .and_then(|text| text.strip_prefix("private pair of "))
        else {
            continue;
        };
        let is_near_end = link.name.ends_with('n');
        if !is_near_end || device.is_some_and(|device| device != owner) {
            continue;
        }
        netlink.delete_link(link.index)?;
        cleared.push(Cleared {
            device: owner.to_owned(),
            stopped_pid: None,
            undone: vec![format!("veth pair {}", link.name)],
        });
    }
    Ok(cleared)
}
