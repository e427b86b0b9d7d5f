//! `tc qdisc add … netem …`, and the lines of `tc qdisc show`, whose options have names for all that is a
//! position in the command.

use super::{
    super::{
        flaw::{Parsed, Place},
        note::Notes,
        quantity::{count, integer, percent, rate_bits, size, time_ns},
        words::{self, Cursor, Word, join},
    },
    Chance, Delay, Found, Loss, Netem, Rate, Slot,
};
use crate::{profile::issue::Issue, units::quote};

/// netem's options, in the order in which `tc` tries them: any beginning of one stands for the first that
/// begins so.
const OPTIONS: [&str; 14] = [
    "limit",
    "latency",
    "delay",
    "loss",
    "drop",
    "seed",
    "ecn",
    "reorder",
    "corrupt",
    "gap",
    "duplicate",
    "distribution",
    "rate",
    "slot",
];

/// Queueing disciplines that neither lose nor delay by themselves.
const HARMLESS: [&str; 13] = [
    "noqueue",
    "pfifo_fast",
    "pfifo",
    "bfifo",
    "fq",
    "fq_codel",
    "mq",
    "mqprio",
    "multiq",
    "prio",
    "sfq",
    "clsact",
    "ingress",
];

/// Whether a text looks like what `tc qdisc show` prints.
pub(in crate::import) fn show_begins(text: &str) -> bool {
    text.trim_start().starts_with("qdisc ")
}

/// Reads all netems of a text.
pub(super) fn read(text: &str, notes: &mut Notes) -> Parsed<Vec<Found>> {
    let shown = show_begins(text);
    let mut found = Vec::new();
    for command in words::commands(text)? {
        let read = match shown {
            true => shown_line(&command, notes)?,
            false => command_line(&command, notes)?,
        };
        found.extend(read);
    }
    Ok(found)
}

/// A line of `tc qdisc show`. Those with statistics, of `-s`, begin otherwise.
fn shown_line(words: &[Word], notes: &mut Notes) -> Parsed<Option<Found>> {
    if words[0].text != "qdisc" {
        return Ok(None);
    }
    let mut cursor = Cursor::behind(words);
    let kind = cursor.required("the kind of a queueing discipline")?;
    cursor.required("its handle")?;
    qdisc(kind, &mut cursor, words, notes)
}

fn command_line(words: &[Word], notes: &mut Notes) -> Parsed<Option<Found>> {
    let Some(at) = words.iter().position(|word| word.program() == "tc") else {
        let issue = Issue::new(format!("{} is not a command of tc", quote(&words[0].text)));
        return Err(words[0].flaw(issue.expected("`tc qdisc add dev DEV root netem …`")));
    };
    let before = words[..at].iter().filter(|word| word.program() != "sudo");
    let before: Vec<Word> = before.cloned().collect();
    if !before.is_empty() {
        let why = "say where with `--netns NAME` or `--netns pid:N`";
        notes.differs(join(&before), why);
    }
    let mut cursor = Cursor::behind(&words[at..]);
    while let Some(option) = cursor.next_if(|word| word.starts_with('-')) {
        if option.text.starts_with("-n") {
            let namespace = cursor.required("the name of a namespace")?;
            let why = format!("say `--netns {}`", namespace.text);
            notes.differs(format!("{} {}", option.text, namespace.text), why);
        }
    }
    let object = cursor.required("`qdisc`")?;
    if !"qdisc".starts_with(&object.text) {
        let why = "classes and filters say which packets are meant; the rule is about all";
        notes.missing(join(&words[at..]), why);
        return Ok(None);
    }
    let verb = cursor.required("`add` or `replace`")?;
    let is = |full: &str| full.starts_with(&verb.text);
    if is("delete") {
        notes.differs(
            join(&words[at..]),
            "it only clears the way, and is left out",
        );
        return Ok(None);
    }
    if !(is("add") || is("change") || is("replace") || is("link")) {
        return Err(verb.unknown("what makes a netem", &["add", "change", "replace"]));
    }
    let mut position = Position::default();
    loop {
        let word = cursor.required("the kind of a queueing discipline, such as netem")?;
        if !position.read(word, &mut cursor)? {
            return kind(word, position, &mut cursor, &words[at..], notes);
        }
    }
}

/// Where a queueing discipline stands.
#[derive(Default)]
struct Position {
    device: String,
    parent: Option<String>,
}

impl Position {
    /// Reads a word and what belongs to it; or says that it is not about that.
    fn read(&mut self, word: &Word, cursor: &mut Cursor<'_>) -> Parsed<bool> {
        match word.text.as_str() {
            "root" | "offloaded" | "deleted" | "added" | "replaced" => {}
            "dev" => self.device = cursor.required("the name of a device")?.text.clone(),
            "parent" => self.parent = Some(cursor.required("a class such as 1:1")?.text.clone()),
            "handle" | "refcnt" | "ingress_block" | "egress_block" => {
                cursor.required("a number")?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// The rest of a shown line: where it stands, then the options.
fn qdisc(
    of: &Word,
    cursor: &mut Cursor<'_>,
    words: &[Word],
    notes: &mut Notes,
) -> Parsed<Option<Found>> {
    let mut position = Position::default();
    while let Some(word) = cursor.peek() {
        let mut behind = cursor.clone();
        behind.next();
        if !position.read(word, &mut behind)? {
            break;
        }
        *cursor = behind;
    }
    let found = kind(of, position, cursor, words, notes)?;
    if let Some(found) = &found {
        let has_jitter = found.netem.delay.is_some_and(|delay| delay.jitter_ns > 0);
        if has_jitter {
            notes.differs(
                "jitter",
                "tc does not show whether it has a distribution; it is uniform here",
            );
        }
    }
    Ok(found)
}

fn kind(
    of: &Word,
    position: Position,
    cursor: &mut Cursor<'_>,
    words: &[Word],
    notes: &mut Notes,
) -> Parsed<Option<Found>> {
    if of.text != "netem" {
        match HARMLESS.contains(&of.text.as_str()) {
            true => notes.differs(
                format!("qdisc {}", of.text),
                "it has no faults, and is left out",
            ),
            false => notes.missing(
                join(words),
                "of queueing disciplines netem alone is understood",
            ),
        }
        return Ok(None);
    }
    Ok(Some(Found {
        device: position.device,
        parent: position.parent,
        netem: options(cursor, notes)?,
        place: Place::Byte(of.offset),
    }))
}

/// Reads netem's options, to the end.
fn options(cursor: &mut Cursor<'_>, notes: &mut Notes) -> Parsed<Netem> {
    let mut netem = Netem::default();
    while let Some(word) = cursor.next() {
        let option = OPTIONS.iter().find(|option| option.starts_with(&word.text));
        let Some(option) = option else {
            return Err(word.unknown("an option of netem", &OPTIONS));
        };
        netem.option(option, word, cursor, notes)?;
    }
    netem.check(notes);
    Ok(netem)
}

impl Netem {
    fn option(
        &mut self,
        option: &str,
        word: &Word,
        cursor: &mut Cursor<'_>,
        notes: &mut Notes,
    ) -> Parsed<()> {
        match option {
            "limit" => self.limit = Some(cursor.required("a number of packets")?.parse(size)?),
            "latency" | "delay" => self.delay = Some(delay(cursor, notes)?),
            "loss" | "drop" if self.loss.is_some() => {
                let issue = Issue::new("a second loss").expected("one, as tc has it");
                return Err(word.flaw(issue));
            }
            "loss" | "drop" => self.loss = Some(loss(cursor)?),
            "seed" => self.seed = Some(cursor.required("a number")?.parse(count)?),
            "ecn" => self.ecn = true,
            "reorder" => self.reorder = Some(chance(cursor)?),
            "corrupt" => self.corrupt = Some(chance(cursor)?),
            "duplicate" => self.duplicate = Some(chance(cursor)?),
            "gap" => self.gap = Some(cursor.required("a number of packets")?.parse(count)?),
            "distribution" => {
                let name = cursor.required("the name of a distribution, such as normal")?;
                self.distribution = Some(name.text.clone());
            }
            "rate" => self.rate = Some(rate(cursor, notes)?),
            _ => self.slot = Some(slot(cursor, notes)?),
        }
        Ok(())
    }

    /// What `tc` refuses, and what nobody could have meant.
    fn check(&mut self, notes: &mut Notes) {
        if self.gap.is_some_and(|gap| gap > 0) && self.reorder.is_none() {
            notes.missing("gap", "tc refuses it without `reorder`");
        }
        if self.ecn && self.loss.is_none() {
            notes.missing("ecn", "tc refuses it without `loss`");
        }
        if self.distribution.is_some() && self.delay.is_none_or(|delay| delay.jitter_ns == 0) {
            notes.missing("distribution", "tc refuses it without delay and jitter");
            self.distribution = None;
        }
    }
}

fn begins_with_digit(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
}

fn is_signed_number(text: &str) -> bool {
    begins_with_digit(text.strip_prefix('-').unwrap_or(text))
}

fn delay(cursor: &mut Cursor<'_>, notes: &mut Notes) -> Parsed<Delay> {
    let time = cursor.required("a time such as 100ms")?;
    let jitter = cursor.next_if(begins_with_digit);
    let correlation = jitter.and_then(|_| cursor.next_if(begins_with_digit));
    for word in [Some(time), jitter].into_iter().flatten() {
        if word.text.chars().all(|c| c.is_ascii_digit()) && word.text != "0" {
            notes.differs(
                format!("delay {}", word.text),
                "nanoseconds, as tc takes it since 2017; us before",
            );
        }
    }
    Ok(Delay {
        time_ns: time.parse(time_ns)?,
        jitter_ns: jitter.map_or(Ok(0), |word| word.parse(time_ns))?,
        correlation: correlation.map_or(Ok(0.0), |word| word.parse(percent))?,
    })
}

fn chance(cursor: &mut Cursor<'_>) -> Parsed<Chance> {
    Ok(Chance {
        share: cursor.required("a percentage such as 1%")?.parse(percent)?,
        correlation: optional(cursor, "")?.unwrap_or(0.0),
    })
}

/// A percentage that may be absent; `tc qdisc show` puts a name before some.
fn optional(cursor: &mut Cursor<'_>, name: &str) -> Parsed<Option<f64>> {
    cursor.next_if(|word| !name.is_empty() && word == name);
    let word = cursor.next_if(begins_with_digit);
    word.map(|word| word.parse(percent)).transpose()
}

fn loss(cursor: &mut Cursor<'_>) -> Parsed<Loss> {
    let models = ["random", "state", "gemodel"];
    let model = cursor.required("a percentage, `random`, `state` or `gemodel`")?;
    let first = |cursor: &mut Cursor<'_>, name| {
        cursor.next_if(|word| word == name);
        cursor.required("a percentage such as 1%")?.parse(percent)
    };
    match model.text.as_str() {
        text if begins_with_digit(text) => Ok(Loss::Random(Chance {
            share: model.parse(percent)?,
            correlation: optional(cursor, "")?.unwrap_or(0.0),
        })),
        "random" => chance(cursor).map(Loss::Random),
        "state" => {
            let p13 = first(cursor, "p13")?;
            Ok(Loss::State {
                p13,
                p31: optional(cursor, "p31")?.unwrap_or(1.0 - p13),
                p32: optional(cursor, "p32")?.unwrap_or(0.0),
                p23: optional(cursor, "p23")?.unwrap_or(1.0),
                p14: optional(cursor, "p14")?.unwrap_or(0.0),
            })
        }
        "gemodel" => {
            let p = first(cursor, "p")?;
            Ok(Loss::Gemodel {
                p,
                r: optional(cursor, "r")?.unwrap_or(1.0 - p),
                one_minus_h: optional(cursor, "1-h")?.unwrap_or(1.0),
                one_minus_k: optional(cursor, "1-k")?.unwrap_or(0.0),
            })
        }
        _ => Err(model.unknown("a kind of loss", &models)),
    }
}

fn rate(cursor: &mut Cursor<'_>, notes: &mut Notes) -> Parsed<Rate> {
    let bandwidth = cursor.required("a rate such as 1mbit")?;
    let mut extra = |name: &str| -> Parsed<i64> {
        cursor.next_if(|word| word == name);
        let word = cursor.next_if(is_signed_number);
        word.map_or(Ok(0), |word| word.parse(integer))
    };
    let rate = Rate {
        bits: 0,
        packet_overhead: extra("packetoverhead")?,
        cell_size: u64::try_from(extra("cellsize")?).unwrap_or(0),
        cell_overhead: extra("celloverhead")?,
    };
    if bandwidth.text.contains('%') {
        notes.missing(
            format!("rate {}", bandwidth.text),
            "a share of the device's speed; write the bandwidth",
        );
        return Ok(rate);
    }
    Ok(Rate {
        bits: bandwidth.parse(rate_bits)?,
        ..rate
    })
}

fn slot(cursor: &mut Cursor<'_>, notes: &mut Notes) -> Parsed<Slot> {
    let first = cursor.required("a time, or `distribution`")?;
    let (min_ns, max_ns) = match first.text.as_str() {
        "distribution" => drawn_slot(cursor, notes)?,
        _ => {
            let min = first.parse(time_ns)?;
            let max = cursor.next_if(begins_with_digit);
            let max_ns = max.map_or(Ok(min), |word| word.parse(time_ns))?;
            if let Some(max) = max.filter(|_| max_ns < min) {
                let issue = Issue::new(format!("{} is below the shortest time", quote(&max.text)));
                return Err(max.flaw(issue.expected(format!("at least {}", first.text))));
            }
            (min, max_ns)
        }
    };
    let mut of = |name: &str| -> Parsed<u64> {
        let is_named = cursor.next_if(|word| !word.is_empty() && name.starts_with(word));
        is_named.map_or(Ok(0), |_| cursor.required("a number")?.parse(size))
    };
    Ok(Slot {
        min_ns,
        max_ns,
        packets: of("packets")?,
        bytes: of("bytes")?,
    })
}

/// Times that are drawn from a table, of which `tc qdisc show` leaves out the name.
fn drawn_slot(cursor: &mut Cursor<'_>, notes: &mut Notes) -> Parsed<(u64, u64)> {
    let name = cursor.next_if(|word| !begins_with_digit(word));
    let name = name.map_or("", |word| word.text.as_str());
    let delay = cursor.required("a time such as 10ms")?.parse(time_ns)?;
    let jitter = cursor.required("a jitter such as 1ms")?.parse(time_ns)?;
    let why = "times of slots are uniform, from delay - jitter to delay + jitter";
    notes.missing(format!("slot distribution {name}").trim_end(), why);
    Ok((delay.saturating_sub(jitter), delay.saturating_add(jitter)))
}
