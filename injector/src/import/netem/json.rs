//! `tc -j qdisc show`: times in seconds, shares as fractions, rates in bytes.

use super::{
    super::{
        document::{Node, Table},
        flaw::{Parsed, Place},
        note::Notes,
        quantity::{count, fraction, integer, number},
    },
    Chance, Delay, Found, Loss, Netem, Rate, Slot,
};
use crate::profile::{Source, issue::Issue};

/// Reads all netems of the list.
pub(super) fn read(source: &Source, notes: &mut Notes) -> Parsed<Vec<Found>> {
    let mut found = Vec::new();
    for node in Node::read(source)?.list()? {
        let place = Place::Field(node.path.clone());
        let mut qdisc = node.table()?;
        let kind = qdisc.required("kind", "the kind of a queueing discipline")?;
        if kind.text()? != "netem" {
            notes.differs(kind, "of queueing disciplines netem alone is understood");
            continue;
        }
        let options = qdisc.required("options", "netem's options")?.table()?;
        found.push(Found {
            device: qdisc.text("dev")?.unwrap_or_default(),
            parent: qdisc.text("parent")?,
            netem: netem(options, notes)?,
            place,
        });
    }
    Ok(found)
}

fn netem(mut options: Table, notes: &mut Notes) -> Parsed<Netem> {
    let netem = Netem {
        limit: options.parsed("limit", count)?,
        delay: options.table("delay")?.map(delay).transpose()?,
        distribution: None,
        loss: loss(&mut options)?,
        ecn: options.text("ecn")?.is_some_and(|ecn| ecn == "true"),
        duplicate: chance(&mut options, "duplicate", "duplicate")?,
        reorder: chance(&mut options, "reorder", "reorder")?,
        corrupt: chance(&mut options, "corrupt", "corrupt")?,
        gap: options.parsed("gap", count)?,
        rate: options.table("rate")?.map(rate).transpose()?,
        slot: match options.table("slot")? {
            Some(table) => Some(slot(table, notes)?),
            None => None,
        },
        seed: options.parsed("seed", count)?,
    };
    options.note_rest("not known of netem", notes);
    if netem.delay.is_some_and(|delay| delay.jitter_ns > 0) {
        notes.differs(
            "jitter",
            "tc does not show whether it has a distribution; it is uniform here",
        );
    }
    Ok(netem)
}

fn seconds(text: &str) -> Result<u64, Issue> {
    number(text).map(|seconds| (seconds * 1e9).round() as u64)
}

fn delay(mut table: Table) -> Parsed<Delay> {
    Ok(Delay {
        time_ns: table.parsed("delay", seconds)?.unwrap_or(0),
        jitter_ns: table.parsed("jitter", seconds)?.unwrap_or(0),
        correlation: table.parsed("correlation", fraction)?.unwrap_or(0.0),
    })
}

fn chance(options: &mut Table, key: &str, share: &str) -> Parsed<Option<Chance>> {
    let Some(mut table) = options.table(key)? else {
        return Ok(None);
    };
    Ok(Some(Chance {
        share: table.parsed(share, fraction)?.unwrap_or(0.0),
        correlation: table.parsed("correlation", fraction)?.unwrap_or(0.0),
    }))
}

fn loss(options: &mut Table) -> Parsed<Option<Loss>> {
    let share =
        |table: &mut Table, key| -> Parsed<f64> { Ok(table.parsed(key, fraction)?.unwrap_or(0.0)) };
    if let Some(random) = chance(options, "loss-random", "loss")? {
        return Ok(Some(Loss::Random(random)));
    }
    if let Some(mut table) = options.table("loss-state")? {
        return Ok(Some(Loss::State {
            p13: share(&mut table, "p13")?,
            p31: share(&mut table, "p31")?,
            p32: share(&mut table, "p32")?,
            p23: share(&mut table, "p23")?,
            p14: share(&mut table, "p14")?,
        }));
    }
    let Some(mut table) = options.table("loss-gemodel")? else {
        return Ok(None);
    };
    Ok(Some(Loss::Gemodel {
        p: share(&mut table, "p")?,
        r: share(&mut table, "r")?,
        one_minus_h: share(&mut table, "1-h")?,
        one_minus_k: share(&mut table, "1-k")?,
    }))
}

fn rate(mut table: Table) -> Parsed<Rate> {
    Ok(Rate {
        bits: table.parsed("rate", count)?.unwrap_or(0).saturating_mul(8),
        packet_overhead: table.parsed("packetoverhead", integer)?.unwrap_or(0),
        cell_size: table.parsed("cellsize", count)?.unwrap_or(0),
        cell_overhead: table.parsed("celloverhead", integer)?.unwrap_or(0),
    })
}

fn slot(mut table: Table, notes: &mut Notes) -> Parsed<Slot> {
    let (min_ns, max_ns) = match table.parsed("distribution", seconds)? {
        None => {
            let min = table.parsed("min-delay", seconds)?.unwrap_or(0);
            (min, table.parsed("max-delay", seconds)?.unwrap_or(min))
        }
        Some(delay) => {
            let jitter = table.parsed("jitter", seconds)?.unwrap_or(0);
            let why = "times of slots are uniform, from delay - jitter to delay + jitter";
            notes.missing("slot distribution", why);
            (delay.saturating_sub(jitter), delay.saturating_add(jitter))
        }
    };
    Ok(Slot {
        min_ns,
        max_ns,
        packets: table.parsed("packets", count)?.unwrap_or(0),
        bytes: table.parsed("bytes", count)?.unwrap_or(0),
    })
}
