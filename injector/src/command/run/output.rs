//! Files that tell in the end what a run was like.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

use nix::sys::utsname;

use super::play::Remains;
use crate::{
    cli::Judge,
    error::{Code, Failure},
    observe::{
        document::{self, Document},
        junit::{self, Case, Suite},
        verdict::{self, Verdict},
    },
};

/// All that were asked for.
pub(super) struct Outputs {
    junit: Option<Output>,
    report: Option<(Format, Output)>,
}

/// How the whole report is written.
#[derive(Clone, Copy)]
enum Format {
    Html,
    Json,
}

/// What they tell.
pub(super) struct Results<'a> {
    pub remains: &'a Remains,
    pub elapsed: Duration,
    pub reason: &'a str,
    pub verdicts: &'a [Verdict],
}

/// A file, opened while files can be: a run gives that up.
struct Output {
    path: PathBuf,
    file: File,
}

impl Outputs {
    /// Creates them, empty: results of an earlier run are not to be taken for those of one that fails.
    pub(super) fn create(args: &Judge) -> Result<Self, Failure> {
        let create = |path: &Option<PathBuf>| path.as_deref().map(Output::create).transpose();
        let format = args.report.as_deref().map(Format::of).transpose()?;
        Ok(Self {
            junit: create(&args.junit)?,
            report: format.zip(create(&args.report)?),
        })
    }

    pub(super) fn write(self, results: &Results<'_>) -> Result<(), Failure> {
        if let Some(file) = self.junit {
            file.write(&junit::xml(&[suite(results)])?)?;
        }
        let (Some((format, file)), Some(document)) = (self.report, document(results)) else {
            return Ok(());
        };
        match format {
            Format::Html => file.write(&document::html(&document)),
            Format::Json => {
                let text = serde_json::to_string_pretty(&document).map_err(io::Error::from)?;
                file.write(&(text + "\n"))
            }
        }
    }
}

impl Format {
    fn of(path: &Path) -> Result<Self, Failure> {
        match path.extension().and_then(OsStr::to_str) {
            Some("html") => Ok(Self::Html),
            Some("json") => Ok(Self::Json),
            _ => {
                let message = format!("`--report {}`: in which format?", path.display());
                Err(Failure::new(Code::Usage, message)
                    .hint("end the name with .html, for people, or with .json, for programs"))
            }
        }
    }
}

impl Output {
    fn create(path: &Path) -> Result<Self, Failure> {
        let file = File::create(path).map_err(|error| {
            let message = format!("cannot create {}: {error}", path.display());
            Failure::new(Code::of(&error), message)
                .hint("nothing was changed; name a file that can be written")
        })?;
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }

    fn write(mut self, text: &str) -> Result<(), Failure> {
        self.file.write_all(text.as_bytes()).map_err(|error| {
            let message = format!("cannot write {}: {error}", self.path.display());
            Failure::new(Code::Unexpected, message)
        })
    }
}

/// A test case for each expectation, of the length of the run.
fn suite(results: &Results<'_>) -> Suite {
    let case = |verdict: &Verdict| Case {
        name: verdict.expectation.clone(),
        time: results.elapsed,
        failure: (!verdict.passed)
            .then(|| format!("achieved: {}", verdict::shown(verdict.achieved))),
    };
    Suite {
        name: results.remains.prepared[0].first().profile.clone(),
        time: results.elapsed,
        cases: results.verdicts.iter().map(case).collect(),
    }
}

/// All that is known, where it was to be kept.
fn document<'a>(results: &Results<'a>) -> Option<Document<'a>> {
    let remains = results.remains;
    let records = &remains.records;
    let record = records.first()?;
    let devices: Vec<_> = records.iter().map(|record| &*record.device).collect();
    let mut attached = Vec::new();
    for place in records.iter().flat_map(|record| &record.attached) {
        if !attached.contains(place) {
            attached.push(*place);
        }
    }
    let kernel = utsname::uname().ok()?;
    let words = [kernel.sysname(), kernel.release(), kernel.machine()];
    let started = UNIX_EPOCH + Duration::from_secs(record.started);
    Some(Document {
        schema: document::SCHEMA,
        profile: &record.profile,
        sha256: remains.prepared[0].sha256.as_deref(),
        seed: record.seed,
        device: devices.join(", "),
        attached,
        protected: &record.protected,
        version: env!("CARGO_PKG_VERSION"),
        kernel: words.map(OsStr::to_string_lossy).join(" "),
        started: humantime::format_rfc3339_seconds(started).to_string(),
        elapsed_ms: results.elapsed.as_millis() as u64,
        reason: results.reason,
        achieved: &remains.achieved,
        expectations: results.verdicts,
        course: remains.telemetry.course()?,
    })
}
