//! A draft as the text of a profile. Nobody else writes one.

use std::{fmt::Write as _, path::Path};

use clap::ValueEnum as _;
use ipnet::IpNet;
use serde_yaml::Value;

use super::{
    Tool,
    draft::{Draft, DraftRule, distinct},
};
use crate::{
    profile::{
        Chance, Checksum, Corrupt, Delay, Direction, Distribution, Drop, Duplicate, Loss, Match,
        Place, QueueLimit, Rate, Reorder, Slot,
    },
    units::{HostName, Network, Probability, Size},
};

/// A value in one line.
enum Yaml {
    /// A text or a number, as it is.
    Plain(String),
    List(Vec<Self>),
    Table(Vec<(&'static str, Self)>),
}

/// Writes a profile that will be in `directory`.
pub(super) fn profile(draft: &Draft, tool: Tool, directory: &Path) -> String {
    let mut text = header(draft, tool);
    line(&mut text, "name", &word(&draft.name));
    if let Some(seed) = draft.seed {
        line(&mut text, "seed", &plain(seed));
    }
    if let [phase] = draft.phases.as_slice()
        && phase.duration.is_none()
    {
        text.push_str("rules:\n");
        rules(&mut text, &phase.rules, directory, "  ");
        return text;
    }
    if draft.repeats {
        line(&mut text, "repeat", &plain("forever"));
    }
    text.push_str("phases:\n");
    let names = distinct(draft.phases.iter().map(|phase| phase.name.clone()));
    for (phase, name) in draft.phases.iter().zip(names) {
        line(&mut text, "  - name", &word(&name));
        line(
            &mut text,
            "    for",
            &plain(phase.duration.unwrap_or(crate::units::DurationNs::MAX)),
        );
        match phase.rules.is_empty() {
            true => text.push_str("    rules: []\n"),
            false => {
                text.push_str("    rules:\n");
                rules(&mut text, &phase.rules, directory, "      ");
            }
        }
    }
    text
}

/// Where it is from, and the notes, as comments.
fn header(draft: &Draft, tool: Tool) -> String {
    let value = tool.to_possible_value();
    let tool = value.as_ref().map_or("", |value| value.get_name());
    let mut text = format!("# Made by `injector import --from {tool}`.\n");
    if draft.notes.iter().next().is_some() {
        text.push_str("#\n");
    }
    for note in draft.notes.iter() {
        let _ = writeln!(text, "# {note}");
    }
    text
}

fn rules(text: &mut String, rules: &[DraftRule], directory: &Path, indent: &str) {
    let names = distinct(rules.iter().map(|rule| rule.rule.name.clone()));
    for (rule, name) in rules.iter().zip(names) {
        line(text, &format!("{indent}- name"), &word(&name));
        for (key, value) in keys(rule, directory) {
            line(text, &format!("{indent}  {key}"), &value);
        }
    }
}

fn line(text: &mut String, key: &str, value: &Yaml) {
    let _ = writeln!(text, "{key}: {value}");
}

/// The keys of a rule, but for its name, in the order in which the faults act.
fn keys(
    DraftRule {
        rule,
        table,
        replay,
    }: &DraftRule,
    directory: &Path,
) -> Vec<(&'static str, Yaml)> {
    let direction = (rule.direction != Direction::Egress).then(|| plain(rule.direction));
    let of_file = |file: &Path| word(&relative(file, directory));
    let given = [
        ("direction", direction),
        ("match", matching(&rule.matching)),
        ("drop", rule.drop.as_ref().map(drop)),
        ("corrupt", rule.corrupt.as_ref().map(corrupt)),
        ("duplicate", rule.duplicate.as_ref().map(duplicate)),
        ("rate", rule.rate.as_ref().map(rate)),
        ("slot", rule.slot.as_ref().map(slot)),
        (
            "delay",
            rule.delay
                .as_ref()
                .map(|delay| self::delay(delay, table.as_deref().map(of_file))),
        ),
        ("reorder", rule.reorder.as_ref().map(reorder)),
        ("replay", replay.as_deref().map(of_file)),
    ];
    given
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
        .collect()
}

/// A file as it is found from a directory: by its own path where it is in another one.
fn relative(file: &Path, directory: &Path) -> String {
    let whole = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let directory = match directory.as_os_str().is_empty() {
        true => Path::new("."),
        false => directory,
    };
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| whole(path));
    let (file, directory) = (real(file), real(directory));
    file.strip_prefix(&directory)
        .unwrap_or(&file)
        .display()
        .to_string()
}

fn matching(matching: &Match) -> Option<Yaml> {
    let hosts = |nets: &[IpNet], names: &[HostName]| {
        let net = |net: &IpNet| match net.to_string().parse::<Network>() {
            Ok(network) => word(&network.to_string()),
            Err(_) => word(&net.to_string()),
        };
        let names = names.iter().map(|name| word(name.as_str()));
        one_or_many(nets.iter().map(net).chain(names).collect())
    };
    let ports = |ports: &[crate::units::PortRange]| one_or_many(ports.iter().map(plain).collect());
    let given = [
        ("protocol", matching.protocol.map(plain)),
        ("src", hosts(&matching.src, &matching.src_names)),
        ("dst", hosts(&matching.dst, &matching.dst_names)),
        ("src_port", ports(&matching.src_port)),
        ("dst_port", ports(&matching.dst_port)),
    ];
    let keys: Vec<_> = given
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
        .collect();
    (!keys.is_empty()).then_some(Yaml::Table(keys))
}

fn one_or_many(mut values: Vec<Yaml>) -> Option<Yaml> {
    match values.len() {
        0 => None,
        1 => values.pop(),
        _ => Some(Yaml::List(values)),
    }
}

fn drop(Drop { loss, ecn }: &Drop) -> Yaml {
    let mut keys = match loss {
        Loss::Chance(chance) => self::chance(chance),
        Loss::Gemodel(model) => vec![
            ("model", plain("gemodel")),
            ("p", plain(model.p)),
            ("r", plain(model.r)),
            ("one_minus_h", plain(model.one_minus_h)),
            ("one_minus_k", plain(model.one_minus_k)),
        ],
        Loss::State(model) => vec![
            ("model", plain("state")),
            ("p13", plain(model.p13)),
            ("p31", plain(model.p31)),
            ("p32", plain(model.p32)),
            ("p23", plain(model.p23)),
            ("p14", plain(model.p14)),
        ],
    };
    if *ecn {
        keys.push(("ecn", plain(true)));
    }
    short(keys)
}

fn corrupt(fault: &Corrupt) -> Yaml {
    let mut keys = chance(&fault.chance);
    if fault.bits != 1 {
        keys.push(("bits", plain(fault.bits)));
    }
    if fault.checksum != Checksum::default() {
        keys.push(("checksum", plain(fault.checksum)));
    }
    if fault.place != Place::default() {
        keys.push(("where", plain(fault.place)));
    }
    short(keys)
}

fn duplicate(fault: &Duplicate) -> Yaml {
    let mut keys = chance(&fault.chance);
    if fault.copies != 1 {
        keys.push(("copies", plain(fault.copies)));
    }
    short(keys)
}

fn reorder(fault: &Reorder) -> Yaml {
    let mut keys = chance(&fault.chance);
    if fault.gap != 1 {
        keys.push(("gap", plain(fault.gap)));
    }
    short(keys)
}

fn chance(chance: &Chance) -> Vec<(&'static str, Yaml)> {
    match chance {
        Chance::Random {
            probability,
            correlation,
        } => {
            let correlation =
                Some(correlation).filter(|correlation| **correlation != Probability::NEVER);
            let correlation = correlation.map(|correlation| ("correlation", plain(correlation)));
            [("probability", plain(probability))]
                .into_iter()
                .chain(correlation)
                .collect()
        }
        Chance::Every(count) => vec![("every", plain(count))],
        Chance::First(count) => vec![("first", plain(count))],
        Chance::Packets(ranges) => {
            let range = |range: &std::ops::RangeInclusive<u64>| {
                plain(format!("{}-{}", range.start(), range.end()))
            };
            vec![("packets", Yaml::List(ranges.iter().map(range).collect()))]
        }
    }
}

fn delay(fault: &Delay, table: Option<Yaml>) -> Yaml {
    let mut keys = vec![("time", plain(fault.time))];
    if fault.jitter.nanos() > 0 {
        keys.push(("jitter", plain(fault.jitter)));
    }
    match (table, &fault.distribution) {
        (Some(file), _) => keys.push(("distribution", Yaml::Table(vec![("table", file)]))),
        (None, Distribution::Uniform) => {}
        (None, shape) => keys.extend(shape.word().map(|word| ("distribution", plain(word)))),
    }
    if fault.correlation != Probability::NEVER {
        keys.push(("correlation", plain(fault.correlation)));
    }
    if fault.keep_order {
        keys.push(("keep_order", plain(true)));
    }
    short(keys)
}

fn rate(fault: &Rate) -> Yaml {
    let mut keys = vec![("bandwidth", plain(fault.bandwidth))];
    if fault.queue != QueueLimit::default() {
        keys.push(("queue", plain(fault.queue)));
    }
    if fault.burst != Size::ZERO {
        keys.push(("burst", plain(fault.burst)));
    }
    if fault.overhead != 0 {
        keys.push(("overhead", plain(fault.overhead)));
    }
    if fault.cell_size != 0 {
        keys.push(("cell_size", plain(fault.cell_size)));
    }
    if fault.ecn {
        keys.push(("ecn", plain(true)));
    }
    short(keys)
}

fn slot(fault: &Slot) -> Yaml {
    let mut keys = vec![("min", plain(fault.min)), ("max", plain(fault.max))];
    keys.extend(fault.packets.map(|packets| ("packets", plain(packets))));
    keys.extend(fault.bytes.map(|bytes| ("bytes", plain(bytes))));
    Yaml::Table(keys)
}

/// The short form, where the first key is the only one, and has one.
fn short(mut keys: Vec<(&'static str, Yaml)>) -> Yaml {
    match keys.as_slice() {
        [("probability" | "time" | "bandwidth", _)] => keys.remove(0).1,
        _ => Yaml::Table(keys),
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "most are small, and many are made for it"
)]
fn plain(value: impl ToString) -> Yaml {
    Yaml::Plain(value.to_string())
}

/// A text; in quotes where YAML would take it for something else.
fn word(text: &str) -> Yaml {
    let list = format!("[{text}]");
    let read: Option<Vec<Value>> = serde_yaml::from_str(&list).ok();
    match read.as_deref() {
        Some([Value::String(read)]) if read == text => Yaml::Plain(text.to_owned()),
        // In double quotes, whose escapes YAML has from JSON.
        _ => plain(serde_json::Value::from(text)),
    }
}

impl std::fmt::Display for Yaml {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Plain(text) => f.write_str(text),
            Self::List(values) => {
                let values: Vec<String> = values.iter().map(ToString::to_string).collect();
                write!(f, "[{}]", values.join(", "))
            }
            Self::Table(keys) => {
                let keys: Vec<String> = keys
                    .iter()
                    .map(|(key, value)| format!("{key}: {value}"))
                    .collect();
                write!(f, "{{{}}}", keys.join(", "))
            }
        }
    }
}
