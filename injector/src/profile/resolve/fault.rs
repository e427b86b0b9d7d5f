//! Faults.

use super::super::conflict::Conflict;
use super::super::files::Files;
use super::super::number::{CellSize, Count, Few, Overhead, SlotPackets};
use super::super::schema::{
    RawCorrupt, RawDelay, RawDistribution, RawDrop, RawDuplicate, RawRate, RawReorder, RawSlot,
};
use super::super::{Corrupt, Delay, Distribution, Drop, Duplicate, Rate, Reorder, Slot};
use super::{Resolved, Scope, chance, loss};
use crate::units::{DurationNs, Probability};

pub(super) fn drop(mut raw: RawDrop, scope: &Scope) -> Resolved<Drop> {
    scope.given_or_recorded(["drop", "probability"], Some(()), |point| {
        point.drop.map(|_| ())
    })?;
    let loss = loss::resolve(&mut raw, &scope.rule.key("drop"))?;
    let ecn = raw.ecn.unwrap_or(false);
    Ok(Drop { loss, ecn })
}

pub(super) fn delay(raw: RawDelay, scope: &Scope, files: &mut Files<'_>) -> Resolved<Delay> {
    let at = scope.rule.key("delay");
    let time = scope.given_or_recorded(["delay", "time"], raw.time, |point| point.delay)?;
    let jitter = scope.given_or_recorded(["delay", "jitter"], raw.jitter, |point| point.jitter)?;
    let distribution = match raw.distribution {
        None => Distribution::default(),
        Some(RawDistribution::Named(distribution)) => distribution,
        Some(RawDistribution::Table(name)) => {
            Distribution::Table(files.table(&name, at.keys(&["distribution", "table"]))?)
        }
    };
    Ok(Delay {
        time: time.ok_or_else(|| Conflict::missing(&at, "time", "`time`"))?,
        jitter: jitter.unwrap_or(DurationNs::ZERO),
        distribution,
        correlation: raw.correlation.unwrap_or(Probability::NEVER),
        keep_order: raw.keep_order.unwrap_or(false),
    })
}

pub(super) fn corrupt(mut raw: RawCorrupt, scope: &Scope) -> Resolved<Corrupt> {
    Ok(Corrupt {
        chance: chance::resolve(raw.take_chance(), &scope.rule.key("corrupt"))?,
        bits: raw.bits.map_or(1, |Few(bits)| bits),
        checksum: raw.checksum.unwrap_or_default(),
        place: raw.r#where.unwrap_or_default(),
    })
}

pub(super) fn duplicate(mut raw: RawDuplicate, scope: &Scope) -> Resolved<Duplicate> {
    Ok(Duplicate {
        chance: chance::resolve(raw.take_chance(), &scope.rule.key("duplicate"))?,
        copies: raw.copies.map_or(1, |Few(copies)| copies),
    })
}

pub(super) fn reorder(mut raw: RawReorder, scope: &Scope) -> Resolved<Reorder> {
    Ok(Reorder {
        chance: chance::resolve(raw.take_chance(), &scope.rule.key("reorder"))?,
        gap: raw.gap.map_or(1, |Count(gap)| gap),
    })
}

pub(super) fn rate(raw: RawRate, scope: &Scope) -> Resolved<Rate> {
    let key = ["rate", "bandwidth"];
    let bandwidth = scope.given_or_recorded(key, raw.bandwidth, |point| point.rate)?;
    let missing = || Conflict::missing(&scope.rule.key("rate"), "bandwidth", "`bandwidth`");
    let plain = Rate::plain(bandwidth.ok_or_else(missing)?);
    Ok(Rate {
        bandwidth: plain.bandwidth,
        burst: raw.burst.unwrap_or(plain.burst),
        queue: raw.queue.unwrap_or(plain.queue),
        overhead: raw.overhead.map_or(plain.overhead, |Overhead(bytes)| bytes),
        cell_size: raw
            .cell_size
            .map_or(plain.cell_size, |CellSize(bytes)| bytes),
        ecn: raw.ecn.unwrap_or(plain.ecn),
    })
}

pub(super) fn slot(raw: RawSlot) -> Slot {
    Slot {
        min: raw.min,
        max: raw.max.unwrap_or(raw.min),
        packets: raw.packets.map(|SlotPackets(packets)| packets),
        bytes: raw.bytes,
    }
}
