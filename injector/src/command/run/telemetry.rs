//! Keeping what a run counts, and telling those who watch from elsewhere.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use tokio::{net::TcpListener, runtime::Runtime, sync::watch};

use crate::{
    cli,
    error::{Code, Failure},
    observe::{
        document::Course,
        metrics::{self, Status, textfile::Textfile},
    },
};

/// Where it is kept, and told.
pub(in crate::command) struct Telemetry {
    /// What happens, if somebody wants to have it in the end.
    course: Option<Course>,
    /// Where the metrics are served.
    address: Option<SocketAddr>,
    /// What is served.
    published: watch::Sender<String>,
    textfile: Option<Textfile>,
    /// Whether the file could not be written the last time.
    fails: bool,
}

impl Telemetry {
    /// Listens in the namespace of this process, and creates the file, before anything is touched.
    pub(in crate::command) fn open(
        args: &cli::Metrics,
        runtime: &Runtime,
    ) -> Result<Self, Failure> {
        let (published, receiver) = watch::channel(String::new());
        let mut address = None;
        if let Some(wanted) = args.address {
            let listener = listen(wanted, runtime).map_err(|error| {
                Failure::new(
                    Code::of(&error),
                    format!("cannot serve metrics at {wanted}: {error}"),
                )
                .hint(
                    "nothing was changed; name an address of this machine, and a port that is free",
                )
            })?;
            address = Some(listener.local_addr()?);
            runtime.spawn(metrics::serve::serve(listener, receiver));
        }
        let create = |path: &PathBuf| {
            Textfile::create(path).map_err(|error| {
                let message = format!("cannot write metrics to {}: {error}", path.display());
                Failure::new(Code::of(&error), message)
                    .hint("nothing was changed; name a file in a directory that can be written")
            })
        };
        Ok(Self {
            course: None,
            address,
            published,
            textfile: args.file.as_ref().map(create).transpose()?,
            fails: false,
        })
    }

    /// Keeps what happens, too.
    pub(super) fn recording(self, wanted: bool) -> Self {
        let course = wanted.then(Course::default);
        Self { course, ..self }
    }

    /// What has happened.
    pub(super) fn course(&self) -> Option<&Course> {
        self.course.as_ref()
    }

    /// A phase has begun.
    pub(super) fn phase(&mut self, at: Duration, phase: &str, repetition: u64) {
        if let Some(course) = &mut self.course {
            course.phase(at, phase, repetition);
        }
    }

    /// Where the metrics are served.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// The directory in which files have to be written.
    pub(super) fn directory(&self) -> Option<&Path> {
        self.textfile.as_ref().map(Textfile::directory)
    }

    /// Whether anybody wants to know.
    pub(super) fn is_wanted(&self) -> bool {
        self.course.is_some() || self.address.is_some() || self.textfile.is_some()
    }

    /// Keeps and tells what all interfaces show. Fails where the file cannot be written any more, once until it can
    /// be again.
    pub(super) fn publish(&mut self, at: Duration, all: &[Status<'_>]) -> io::Result<()> {
        if let Some(course) = &mut self.course {
            course.sample(at, all.iter().map(|status| status.totals));
        }
        let text = metrics::encode(all, SystemTime::now());
        let written = match &self.textfile {
            Some(file) => file.write(&metrics::classic(&text)),
            None => Ok(()),
        };
        self.published.send_replace(text);
        let failed_before = std::mem::replace(&mut self.fails, written.is_err());
        if failed_before { Ok(()) } else { written }
    }
}

fn listen(address: SocketAddr, runtime: &Runtime) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let _guard = runtime.enter();
    TcpListener::from_std(listener)
}
