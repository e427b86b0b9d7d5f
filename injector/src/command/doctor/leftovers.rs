//! What killed runs left, and runs that live.

use super::Check;
use crate::datapath::{
    Netns, Result,
    journal::{self, Record},
    netlink::Netlink,
    pair::Names,
    undo::ALIAS_PREFIX,
};

const NAME: &str = "leftovers";

pub(super) fn checks(netns: &Netns) -> Vec<Check> {
    match look(netns) {
        Ok(checks) => checks,
        Err(error) => vec![Check::note(NAME, format!("not looked for: {error}"))],
    }
}

fn look(netns: &Netns) -> Result<Vec<Check>> {
    let records = journal::records(netns.id()?)?;
    let links = netns.run(|| Netlink::open()?.links())?;
    let pairs: Vec<_> = links
        .into_iter()
        .filter(|link| link.alias.starts_with(ALIAS_PREFIX) && link.name.ends_with('n'))
        .map(|link| (Names::device(&link.name), link.name))
        .collect();
    Ok(found(&records, &pairs))
}

fn found(records: &[(Record, bool)], pairs: &[(Option<u32>, String)]) -> Vec<Check> {
    let mut checks: Vec<_> = records.iter().map(run).collect();
    let is_owned = |owner| {
        records
            .iter()
            .any(|(record, _)| Some(record.ifindex) == owner)
    };
    checks.extend(
        pairs
            .iter()
            .filter(|(owner, _)| !is_owned(*owner))
            .map(|(_, name)| {
                let detail = format!("the veth pair {name} belongs to no run");
                Check::note(NAME, detail).remedy("`injector clear --all`")
            }),
    );
    if !checks.iter().any(|check| check.check == NAME) {
        checks.push(Check::ok(NAME, "none"));
    }
    checks
}

/// A run that lives, or what a killed one left.
fn run((record, alive): &(Record, bool)) -> Check {
    let Record {
        device,
        profile,
        pid,
        ..
    } = record;
    let clear = format!("`injector clear -i {device}`");
    if *alive {
        let detail = format!("{device} is under profile {profile}, by pid {pid}");
        Check::note("run", detail).remedy(format!("{clear} ends it"))
    } else {
        Check::note(NAME, format!("a killed run left its traces on {device}")).remedy(clear)
    }
}
