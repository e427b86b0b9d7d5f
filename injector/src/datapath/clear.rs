//! Ending runs, and undoing what killed ones left.

mod process;

use std::{
    thread,
    time::{Duration, Instant},
};

use serde::Serialize;

use self::process::Process;
use super::{
    Error, Netns, Result,
    journal::{self, Claim, Journal, Record, Undone},
    namespaces::Namespaces,
    netlink::Netlink,
    undo::{ALIAS_PREFIX, Undo},
};

/// What was cleared on one device.
#[derive(Clone, Debug, Serialize)]
pub struct Cleared {
    /// The device.
    pub device: String,
    /// Its namespace, by inode number.
    pub netns: u64,
    /// The run that was ended; absent where it was dead already.
    pub stopped_pid: Option<u32>,
    /// What was left to undo.
    pub undone: Vec<String>,
    /// What was not touched, with the reason.
    pub kept: Vec<String>,
}

/// What was cleared on a machine.
#[derive(Debug, Default)]
pub struct ClearedAll {
    /// On each device.
    pub cleared: Vec<Cleared>,
    /// Which runs were not, and why.
    pub failures: Vec<String>,
}

/// Clears `device`, or every device of the namespace.
pub fn clear(netns: &Netns, device: Option<&str>) -> Result<Vec<Cleared>> {
    let id = netns.id()?;
    // It may have been renamed since.
    let ifindex = match device {
        Some(device) => netns.run(|| Ok(Netlink::open()?.find_link(device)?.map(|l| l.index)))?,
        None => None,
    };
    let wanted = |record: &Record| {
        device.is_none_or(|device| record.device == device) || ifindex == Some(record.ifindex)
    };
    let mut cleared = Vec::new();
    for (record, alive) in journal::records(id)? {
        if wanted(&record) {
            cleared.push(clear_run(netns, &record, alive)?);
        }
    }
    cleared.extend(clear_orphans(netns, device)?);
    Ok(cleared)
}

/// Clears every device of every namespace, as far as they can be reached.
pub fn clear_all(netns: &Netns) -> Result<ClearedAll> {
    let mut all = ClearedAll::default();
    for path in journal::files()? {
        match journal::read(&path).and_then(|found| clear_found(found.as_ref())) {
            Ok(cleared) => all.cleared.extend(cleared),
            Err(error) => all.failures.push(format!("{}: {error}", path.display())),
        }
    }
    all.cleared.extend(clear_orphans(netns, None)?);
    Ok(all)
}

fn clear_found(run: Option<&(Record, bool)>) -> Result<Option<Cleared>> {
    let Some((record, alive)) = run else {
        return Ok(None);
    };
    if let Some(found) = Namespaces::of_this_machine().find(&record.netns) {
        return clear_run(&found.netns, record, *alive).map(Some);
    }
    if *alive {
        stop(record)?;
    }
    forget(record)?;
    Ok(Some(Cleared::new(record, *alive, &Undone::default())))
}

/// Ends the run that has the device, if there is one, and waits for it.
pub fn stop_holder(netns: &Netns, device: &str) -> Result<()> {
    let holders = journal::records(netns.id()?)?.into_iter();
    for (record, alive) in holders {
        if alive && record.device == device {
            stop(&record)?;
        }
    }
    Ok(())
}

/// Deletes the records of killed runs whose namespaces are no more.
pub fn reap() -> Result<()> {
    let found = journal::files()?;
    let found = found.iter().filter_map(|path| journal::read(path).ok()?);
    let stale: Vec<_> = found.filter(|(_, alive)| !alive).collect();
    if stale.is_empty() || !Namespaces::are_complete() {
        return Ok(());
    }
    let namespaces = Namespaces::of_this_machine();
    let dead = stale
        .iter()
        .filter(|(record, _)| namespaces.find(&record.netns).is_none());
    dead.into_iter().try_for_each(|(record, _)| forget(record))
}

fn forget(record: &Record) -> Result<()> {
    match Journal::claim(record.clone())? {
        Claim::Stale(journal) | Claim::Free(journal) => journal.forget(),
        // Its number has come to another namespace meanwhile.
        Claim::Held(_) => Ok(()),
    }
}

fn clear_run(netns: &Netns, record: &Record, alive: bool) -> Result<Cleared> {
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
        Claim::Held(record) => Err(record.busy()),
    })?;
    Ok(Cleared::new(record, alive, &undone))
}

impl Cleared {
    fn new(record: &Record, alive: bool, undone: &Undone) -> Self {
        let kept = |(undo, why): &(Undo, String)| format!("{undo}: {why}");
        Self {
            device: record.device.clone(),
            netns: record.netns.inode,
            stopped_pid: alive.then_some(record.pid),
            undone: undone.undone.iter().map(Undo::to_string).collect(),
            kept: undone.kept.iter().map(kept).collect(),
        }
    }
}

/// Asks a run to end, and waits for as long as it may take to deliver what it holds. One that does not
/// listen is killed.
fn stop(record: &Record) -> Result<()> {
    /// What ending takes on a busy machine.
    const MARGIN: Duration = Duration::from_secs(5);
    let pid = record.pid;
    let refused = |error| Error::refused(format!("end the run with pid {pid}"), error);
    let is_alive = || -> Result<bool> {
        let found = journal::record_of(record.netns, record.place())?;
        Ok(found.is_some_and(|(found, alive)| alive && found.pid == pid))
    };
    let Some(process) = Process::open(pid).map_err(refused)? else {
        return Ok(());
    };
    // Now that we have a hold of it, its number cannot come to another process any more.
    if !is_alive()? {
        return Ok(());
    }
    process.terminate().map_err(refused)?;
    if wait_while(is_alive, Duration::from_nanos(record.delay_max_ns) + MARGIN)? {
        return Ok(());
    }
    process.kill().map_err(refused)?;
    if wait_while(is_alive, MARGIN)? {
        return Ok(());
    }
    Err(refused(nix::Error::ETIMEDOUT.into()))
}

/// Waits until `condition` no longer holds; `false` where it still does after `limit`.
fn wait_while(condition: impl Fn() -> Result<bool>, limit: Duration) -> Result<bool> {
    const STEP: Duration = Duration::from_millis(10);
    let end = Instant::now() + limit;
    while condition()? {
        if Instant::now() > end {
            return Ok(false);
        }
        thread::sleep(STEP);
    }
    Ok(true)
}

/// Pairs without a record: its file was lost, with `/run` for instance.
fn clear_orphans(netns: &Netns, device: Option<&str>) -> Result<Vec<Cleared>> {
    let inode = netns.id()?.inode;
    netns.run(|| {
        let netlink = Netlink::open()?;
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
                netns: inode,
                stopped_pid: None,
                undone: vec![format!("veth pair {}", link.name)],
                kept: Vec::new(),
            });
        }
        Ok(cleared)
    })
}
