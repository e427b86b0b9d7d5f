//! Mahimahi: pairs of packet-delivery traces, and its command lines.
//!
//! The form of a trace is mm-link(1) and `src/frontend/link_queue.cc` of github.com/ravinet/mahimahi: a line
//! for each opportunity to deliver 1504 bytes, 1500 of IP and 4 of the tun device, with its time in ms. Which
//! one is whose is in docs/models.md. mm-delay and mm-loss are `src/frontend/delayshell.cc` and `loss.cc`.

use std::path::Path;

use super::{
    draft::{self, Draft, DraftRule},
    flaw::Parsed,
    note::Notes,
    quantity::{self, fraction, milliseconds},
    words::{self, Cursor, Word, join},
};
use crate::{
    profile::{Delay, Direction, Drop, Match, Rule},
    units::DurationNs,
};

/// A trace of what is sent, and one of what is received.
pub(super) fn pair(up: &Path, down: &Path) -> Draft {
    let link = Link {
        traces: [Some(up.into()), Some(down.into())],
        ..Link::default()
    };
    link.draft(Notes::default())
}

/// Reads `mm-delay 40 mm-loss uplink 0.01 mm-link UP DOWN`.
pub(super) fn read(text: &str) -> Parsed<Draft> {
    let mut notes = Notes::default();
    let mut link = Link::default();
    for command in words::commands(text)? {
        link.command(&command, &mut notes)?;
    }
    Ok(link.draft(notes))
}

/// What becomes of shells within shells: of what is sent, and of what is received.
#[derive(Default)]
struct Link {
    traces: [Option<std::path::PathBuf>; 2],
    loss: [f64; 2],
    delay: Option<DurationNs>,
}

impl Link {
    fn command(&mut self, command: &[Word], notes: &mut Notes) -> Parsed<()> {
        let mut words = command;
        while let Some(first) = words.first() {
            let mut cursor = Cursor::behind(words);
            match first.program() {
                "mm-delay" => {
                    let word = cursor.required("a delay in milliseconds")?;
                    let delay = quantity::duration("mm-delay", word.parse(milliseconds)?, notes);
                    let before = self.delay.map_or(0, DurationNs::nanos);
                    self.delay = Some(quantity::duration(
                        "mm-delay",
                        before + delay.nanos(),
                        notes,
                    ));
                }
                "mm-loss" => {
                    let word = cursor.required("`uplink` or `downlink`")?;
                    let ways = ["uplink", "downlink"];
                    let way = ways.iter().position(|way| word.text == *way);
                    let way = way.ok_or_else(|| word.unknown("a way", &ways))?;
                    let share = cursor.required("a probability")?.parse(fraction)?;
                    self.loss[way] = 1.0 - (1.0 - self.loss[way]) * (1.0 - share);
                }
                "mm-link" => {
                    self.options(&mut cursor, notes);
                    let up = cursor.required("the trace of the uplink")?;
                    let down = cursor.required("the trace of the downlink")?;
                    self.traces = [up, down].map(|word| Some(word.text.clone().into()));
                    self.options(&mut cursor, notes);
                }
                "--" | "sudo" => {}
                _ if words.len() < command.len() => {
                    notes.differs(
                        join(words),
                        "what runs there: give it to `injector run`, behind `--`",
                    );
                    return Ok(());
                }
                _ => {
                    return Err(
                        first.unknown("a command of Mahimahi", &["mm-link", "mm-delay", "mm-loss"])
                    );
                }
            }
            words = cursor.rest();
        }
        Ok(())
    }

    fn options(&self, cursor: &mut Cursor<'_>, notes: &mut Notes) {
        while let Some(option) = cursor.next_if(|word| word.starts_with("--") && word != "--") {
            let is_seen = option.text.contains("-log") || option.text.contains("--meter");
            match is_seen {
                true => notes.differs(
                    &option.text,
                    "it only shows what happens; see `injector run --report`",
                ),
                false => notes.missing(
                    &option.text,
                    "a trace always begins anew, and 1000 packets may wait",
                ),
            }
        }
    }

    fn draft(self, mut notes: Notes) -> Draft {
        if self.traces.iter().any(Option::is_some) {
            notes.differs(
                "mm-link",
                "1000 packets may wait, in Mahimahi any number; 4 bytes less count for each packet",
            );
        }
        let ways = ["uplink", "downlink"]
            .into_iter()
            .zip([Direction::Egress, Direction::Ingress]);
        let rules = ways.zip(self.traces).zip(self.loss);
        let rule = |(((name, direction), replay), share)| DraftRule {
            rule: Rule {
                drop: quantity::probability(share).map(Drop::independent),
                delay: self
                    .delay
                    .filter(|time| *time > DurationNs::ZERO)
                    .map(|time| Delay::uniform(time, DurationNs::ZERO)),
                ..draft::rule(name, direction, Match::default())
            },
            table: None,
            replay,
        };
        Draft::steady("mahimahi", rules.map(rule).collect(), notes)
    }
}
