//! What is done to a host's device for the time of one measurement.

use injector_tests::{Host, Injector, injector::Path, tool};

use crate::{
    contest::{Contest, Contestant, Measured},
    record::Unit,
};

/// Names of rows, and what each compares. Ratios are to the first in a row.
pub type Rows = [(&'static str, &'static [Condition])];

/// Measures rows, with their conditions in turn on the host's device.
pub fn compare(
    contest: &Contest,
    unit: Unit,
    host: &Host,
    rows: &Rows,
    measure: impl Fn() -> Measured,
) {
    for (name, conditions) in rows {
        let contestants = conditions.iter().map(|condition| {
            Contestant::new(condition.name(), || condition.during(host, &measure))
        });
        contest.row(name, unit, contestants.collect());
    }
}

/// What lies in the way of the packets that leave a host, or of those that arrive.
#[derive(Clone, Copy, Debug)]
pub enum Condition {
    /// Nothing.
    Bare,
    /// No faults, but no super-packets either: what per-packet faults cost without this project.
    SingleSegments,
    /// netem, with these arguments.
    Netem(&'static str),
    /// netem without super-packets: then it too decides wire packets.
    NetemOnSingleSegments(&'static str),
    /// `injector run`, with these arguments.
    Injector(&'static str),
    /// The same, and its metrics are served.
    InjectorWithMetrics(&'static str),
}

impl Condition {
    /// How it is called in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::SingleSegments => "gso_max_segs 1",
            Self::Netem(_) => "netem",
            Self::NetemOnSingleSegments(_) => "netem + gso_max_segs 1",
            Self::Injector(_) => "injector",
            Self::InjectorWithMetrics(_) => "injector, metrics",
        }
    }

    /// Measures while it is on the host's device.
    pub fn during(self, host: &Host, measure: impl FnOnce() -> Measured) -> Measured {
        let mut applied = self.apply(host)?;
        let measured = measure();
        applied.end()?;
        measured
    }

    fn apply(self, host: &Host) -> Result<Applied<'_>, String> {
        let mut applied = Applied {
            host,
            single_segments: false,
            netem: false,
            injector: None,
        };
        if let Self::SingleSegments | Self::NetemOnSingleSegments(_) = self {
            applied.single_segments = true;
            set_gso_max_segs(host, 1)?;
        }
        match self {
            Self::Bare | Self::SingleSegments => {}
            Self::Netem(args) | Self::NetemOnSingleSegments(args) => {
                add_netem(host, args)?;
                applied.netem = true;
            }
            Self::Injector(args) => applied.injector = Some(start_injector(host, args)?),
            Self::InjectorWithMetrics(args) => {
                let args = format!("{args} --metrics 127.0.0.1:0");
                applied.injector = Some(start_injector(host, &args)?);
            }
        }
        Ok(applied)
    }
}

/// What is to be undone.
struct Applied<'a> {
    host: &'a Host,
    single_segments: bool,
    netem: bool,
    injector: Option<Injector>,
}

impl Applied<'_> {
    /// Ends the run, in which every fault must have been done: what passes untouched is fast.
    fn end(&mut self) -> Result<(), String> {
        let Some(injector) = self.injector.take() else {
            return Ok(());
        };
        let end = injector.stop();
        let ended = end.ended.ok_or(end.stderr)?;
        let Path {
            lapsed,
            failed_open,
            lost,
            ..
        } = ended.achieved.path;
        if lapsed + failed_open > 0 {
            return Err(format!("{lapsed} + {failed_open} packets passed untouched"));
        }
        if lost > 0 {
            eprintln!("the private pair lost {lost} packets");
        }
        Ok(())
    }
}

impl Drop for Applied<'_> {
    fn drop(&mut self) {
        if self.netem {
            let request = format!("qdisc del dev {} root", self.host.device);
            warn(self.host.run(|| tool::attempt("tc", &request)));
        }
        if self.single_segments {
            // The kernel's GSO_MAX_SEGS, which a veth starts with.
            warn(set_gso_max_segs(self.host, 65_535));
        }
    }
}

fn warn<T>(result: Result<T, String>) {
    if let Err(error) = result {
        eprintln!("{error}");
    }
}

/// Of new connections: running ones keep theirs.
fn set_gso_max_segs(host: &Host, segs: u32) -> Result<String, String> {
    let request = format!("link set dev {} gso_max_segs {segs}", host.device);
    host.run(|| tool::attempt("ip", &request))
}

/// Its default limit of 1000 packets would drop of its own accord.
fn add_netem(host: &Host, args: &str) -> Result<String, String> {
    let request = format!(
        "qdisc add dev {} root netem limit 100000 {args}",
        host.device
    );
    host.run(|| tool::attempt("tc", &request))
}

/// What goes wrong is told in the first line of what it says.
fn start_injector(host: &Host, args: &str) -> Result<Injector, String> {
    let args: Vec<&str> = args.split_whitespace().collect();
    Injector::try_start(&host.netns, &host.device, "", &args)
        .map_err(|end| end.stderr.lines().next().unwrap_or("it ended").to_owned())
}
