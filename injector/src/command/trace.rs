//! `injector trace`

use std::{
    io,
    path::Path,
    time::{Duration, Instant},
};

use injector_common::abi::{
    CAPTURED_END, HEADERS_CAPTURED, Hit, TRACE_ENTRIES_MAX, TRACE_WINDOW_NS, TraceFilter, faults,
    hit,
};

use super::{Outcome, place::Place, print_line, quick, signals::Signals};
use crate::{
    cli::{Fault, Global, Trace},
    datapath::{
        groups::Names,
        journal::{self, Record},
        netns::NetnsId,
        trace::{self, Listener},
    },
    error::{Code, Failure},
    observe::{
        format,
        pcapng::{Capture, Packet},
        trace::Traced,
    },
    plan::{self, Hook},
    profile::Direction,
};

/// How often it is looked whether other rules are in force.
const LOOK: Duration = Duration::from_millis(100);

pub(super) fn trace(args: &Trace, global: &Global) -> Outcome {
    let netns = global.netns().id()?;
    let device = Place::single(args.interface.as_ref(), global)?.device;
    let record = find(netns, &device)?;
    let Some(maps) = record.maps else {
        return Err(no_run(&device));
    };
    let signals = Signals::install()?;
    let mut tracer = Tracer {
        args,
        global,
        netns,
        filter: filter(args)?,
        capture: capture(args, &device)?,
        listener: Listener::open(maps.trace, &record.device)?,
        cgroups: Names::default(),
        record,
        seen: 0,
        is_closed: false,
    };
    let told = tracer.play(&signals);
    let ended = tracer.end();
    told.and(ended)?;
    Ok(if signals.received() {
        signals.exit_code()
    } else {
        0
    })
}

/// The run that has the interface.
fn find(netns: NetnsId, device: &str) -> Result<Record, Failure> {
    let mut runs = journal::records(netns)?.into_iter();
    let run = runs.find(|(record, alive)| *alive && record.device == device);
    run.map_or_else(|| Err(no_run(device)), |(record, _)| Ok(record))
}

fn no_run(device: &str) -> Failure {
    Failure::new(Code::Conflict, format!("no faults are in force on `{device}`"))
        .hint("start some with `injector run` or `injector apply`; `injector status` lists those that are")
}

fn capture(args: &Trace, device: &str) -> Result<Option<Capture>, Failure> {
    let Some(path) = &args.pcap else {
        return Ok(None);
    };
    let capture = Capture::create(path, device);
    capture.map(Some).map_err(|error| {
        unwritten(args, &error).hint("the faults go on; name a file that can be written")
    })
}

/// Everything of the filter that does not depend on which rules are in force.
fn filter(args: &Trace) -> Result<TraceFilter, Failure> {
    let windows = 1_000_000_000 / TRACE_WINDOW_NS;
    let mut filter = TraceFilter {
        odds: args.sample.odds_q32(),
        window_max: args.rate / windows,
        faults: match &args.faults[..] {
            [] => u32::MAX,
            some => some.iter().fold(0, |all, fault| all | bit(*fault)),
        },
        captured_max: if args.pcap.is_some() {
            CAPTURED_END as u32 - 1
        } else {
            HEADERS_CAPTURED
        },
        before: args.pcap.is_some().into(),
        ..TraceFilter::NOTHING
    };
    if let Some(host) = &args.host {
        let ways = [Direction::Egress, Direction::Ingress];
        let entries: Vec<_> = ways
            .into_iter()
            .flat_map(|way| {
                plan::match_entries(
                    &quick::matching(host, way),
                    &mut plan::Predicates::default(),
                )
            })
            .collect();
        let Some(places) = filter.entries.get_mut(..entries.len()) else {
            let message = format!("--host takes more than {TRACE_ENTRIES_MAX} match entries");
            return Err(Failure::new(Code::Usage, message));
        };
        places.copy_from_slice(&entries);
        filter.entries_len = entries.len() as u32;
    }
    Ok(filter)
}

fn bit(fault: Fault) -> u32 {
    match fault {
        Fault::Drop => faults::DROP,
        Fault::Corrupt => faults::CORRUPT,
        Fault::Duplicate => faults::DUPLICATE,
        Fault::Reorder => faults::REORDER,
        Fault::Delay => faults::DELAY,
        Fault::Mark => faults::MARK,
        Fault::Overlimit => faults::OVERLIMIT,
    }
}

struct Tracer<'a> {
    args: &'a Trace,
    global: &'a Global,
    netns: NetnsId,
    /// The run as it was when last looked at.
    record: Record,
    filter: TraceFilter,
    listener: Listener,
    capture: Option<Capture>,
    cgroups: Names,
    seen: u64,
    /// Nobody reads any more, as after `| head`.
    is_closed: bool,
}

impl Tracer<'_> {
    /// Shows packets until that is enough.
    fn play(&mut self, signals: &Signals) -> Result<(), Failure> {
        self.require_rules()?;
        let ends = self
            .args
            .duration
            .and_then(|time| Instant::now().checked_add(time));
        self.listen()?;
        self.announce();
        let mut looked = Instant::now();
        loop {
            let left = ends.map(|ends| ends.saturating_duration_since(Instant::now()));
            if signals.received() || self.is_enough() || left.is_some_and(|left| left.is_zero()) {
                // What was told while nobody looked.
                self.listener.stop()?;
                return self.show();
            }
            self.listener
                .wait(left.map_or(LOOK, |left| left.min(LOOK)))?;
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                if !self.look()? {
                    self.show()?;
                    self.global.say("the run has ended");
                    return Ok(());
                }
            }
            self.show()?;
        }
    }

    /// Looks at the run again; `false` where there is none any more.
    fn look(&mut self) -> Result<bool, Failure> {
        let found = journal::record_of(self.netns, self.record.ifindex)?;
        let Some((record, true)) = found.filter(|(record, _)| record.pid == self.record.pid) else {
            return Ok(false);
        };
        self.record = record;
        self.listen()?;
        Ok(true)
    }

    /// Says what is to be told, as long as these rules are in force.
    fn listen(&mut self) -> Result<(), Failure> {
        let mut filter = self.filter;
        for (slot, rule) in self.record.slots().zip(&self.record.rules) {
            if self.is_wanted(&rule.name) {
                filter.add_slot(slot);
            }
        }
        Ok(self.listener.listen(&filter)?)
    }

    fn is_wanted(&self, rule: &str) -> bool {
        self.args.rules.is_empty() || self.args.rules.iter().any(|name| name == rule)
    }

    /// Refuses rules that there are not; in a profile with phases they may come later.
    fn require_rules(&self) -> Result<(), Failure> {
        let names: Vec<_> = self
            .record
            .rules
            .iter()
            .map(|rule| rule.name.as_str())
            .collect();
        let unknown = self
            .args
            .rules
            .iter()
            .find(|name| !names.contains(&name.as_str()));
        match unknown {
            Some(name) if self.record.phase.is_none() => {
                let message = format!("no rule `{name}` is in force on `{}`", self.record.device);
                let hint = format!("those that are: {}", names.join(", "));
                Err(Failure::new(Code::Usage, message).hint(hint))
            }
            _ => Ok(()),
        }
    }

    fn announce(&self) {
        let Record {
            device, profile, ..
        } = &self.record;
        let into = self
            .args
            .pcap
            .as_deref()
            .map_or_else(String::new, |path| format!(", into {}", name_of(path)));
        self.global.say(format_args!(
            "{device}: packets that profile {profile} hits{into}; Ctrl-C ends this"
        ));
    }

    fn is_enough(&self) -> bool {
        self.is_closed || self.args.count.is_some_and(|count| self.seen >= count)
    }

    /// Shows what was told since.
    fn show(&mut self) -> Result<(), Failure> {
        let since_1970 = trace::since_1970()?;
        while !self.is_enough() {
            let Some((told, bytes)) = self.listener.take() else {
                break;
            };
            self.show_packet(&told, &bytes, since_1970)?;
        }
        match &mut self.capture {
            Some(capture) => capture
                .flush()
                .map_err(|error| unwritten(self.args, &error)),
            None => Ok(()),
        }
    }

    fn show_packet(
        &mut self,
        told: &Hit,
        bytes: &[u8],
        since_1970: Duration,
    ) -> Result<(), Failure> {
        let rule = told.slot.checked_sub(self.record.first_slot);
        let rule = rule.and_then(|place| self.record.rules.get(place as usize));
        // Others have come into force since, or are about to.
        let (name, hook) = rule.map_or(("?", Hook::Egress), |rule| (&rule.name, rule.hook));
        let time = since_1970 + Duration::from_nanos(told.time_ns);
        let cgroup = self.cgroups.path(told.sender.cgroup);
        let traced = Traced::new(told, bytes, time, &self.record.device, (name, hook), cgroup);
        let is_before = told.flags & hit::BEFORE != 0;
        self.seen += u64::from(!is_before);
        let Some(capture) = &mut self.capture else {
            let line = if self.global.json {
                serde_json::to_string(&traced).map_err(io::Error::from)?
            } else {
                traced.to_string()
            };
            self.is_closed = !print_line(&line)?;
            return Ok(());
        };
        let index = traced.packet.map_or_else(String::new, |n| format!(" #{n}"));
        let fate = if is_before {
            "before it was corrupted".to_owned()
        } else {
            traced.fate()
        };
        let sender = traced.sender();
        let added = capture.packet(Packet {
            time,
            direction: hook,
            raw_ip: told.flags & hit::RAW_IP != 0,
            bytes,
            len: told.len,
            comment: format!("injector: {name}{index}: {fate}{sender}"),
        });
        added.map_err(|error| unwritten(self.args, &error))
    }

    /// Says what was not shown.
    fn end(&self) -> Result<(), Failure> {
        let missed = self.listener.missed()?;
        let mut parts = vec![format!("{} packets", format::count(self.seen))];
        if missed.limited != 0 {
            let limited = format::count(missed.limited);
            parts.push(format!(
                "{limited} more were beyond --rate {}",
                self.args.rate
            ));
        }
        if missed.lost != 0 {
            parts.push(format!(
                "{} more came faster than they were taken",
                format::count(missed.lost)
            ));
        }
        self.global.say(parts.join("; "));
        Ok(())
    }
}

fn unwritten(args: &Trace, error: &io::Error) -> Failure {
    let path = args.pcap.as_deref().map(name_of).unwrap_or_default();
    let message = format!("cannot write {path}: {error}");
    Failure::new(Code::of(error), message)
        .hint("the faults go on; the file is good up to its last packet")
}

fn name_of(path: &Path) -> String {
    match path.to_str() {
        Some("-") => "standard output".into(),
        _ => path.display().to_string(),
    }
}
