//! The processes of a stage: it is their init, and so the one that every end is told.

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{self, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    libc,
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};

use super::{
    event::Said,
    host::{Host, RUN},
};
use crate::{
    command::run::status_code,
    error::{Code, Failure},
    scenario::Ended,
};

/// How often the stage looks whether something has come true: a process, a port or an output, of which
/// only the first would tell by itself.
pub(super) const GLANCE: Duration = Duration::from_millis(5);
/// How long what is asked to end may take before it is killed.
pub(super) const GRACE: Duration = Duration::from_secs(5);
/// How many of the last lines show what went wrong.
const LAST_LINES: usize = 20;

/// A process, and the session that it leads.
#[derive(Debug)]
pub(super) struct Process {
    pid: Pid,
    started: Instant,
    end: Option<(u8, Instant)>,
    stdout: PathBuf,
    stderr: PathBuf,
}

/// A process's place in [`Processes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(usize);

/// All that were started.
#[derive(Debug, Default)]
pub(super) struct Processes(Vec<Process>);

impl Processes {
    /// Starts a program on the host. What it says goes to files, which hold it up by no means.
    pub(super) fn start(
        &mut self,
        host: &Host,
        arguments: &[impl AsRef<OsStr>],
        directory: &Path,
        stdin: Option<&str>,
    ) -> Result<Place, Failure> {
        let place = Place(self.0.len());
        let path = |stream: &str| Path::new(RUN).join(format!("{}.{stream}", place.0));
        let (stdout, stderr) = (path("stdout"), path("stderr"));
        let (program, arguments) = arguments.split_first().expect("at least a program");
        let mut command = process::Command::new(program);
        command
            .args(arguments)
            .env_remove("SSH_CONNECTION")
            .stdin(match stdin {
                Some(text) => written(&path("stdin"), text)?.into(),
                None => Stdio::null(),
            })
            .stdout(appended(&stdout)?)
            .stderr(appended(&stderr)?);
        host.enter(&mut command, directory)?;
        let started = Instant::now();
        let child = command.spawn().map_err(|error| {
            let program = program.as_ref().display();
            Failure::new(Code::Usage, format!("cannot run `{program}`: {error}"))
        })?;
        let pid = Pid::from_raw(child.id() as i32);
        self.0.push(Process {
            pid,
            started,
            end: None,
            stdout,
            stderr,
        });
        Ok(place)
    }

    /// Takes note of those that have ended, also of orphans.
    fn reap(&mut self) {
        loop {
            let mut status = 0;
            // SAFETY: the pointer is to an integer that outlives the call.
            let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
            if pid <= 0 {
                return;
            }
            let status = ExitStatus::from_raw(status);
            let ours = self
                .0
                .iter_mut()
                .find(|process| process.pid.as_raw() == pid);
            if let Some(process) = ours {
                process
                    .end
                    .get_or_insert((status_code(status), Instant::now()));
            }
        }
    }

    /// Waits until `is_true`, or until the deadline; says whether it came true.
    pub(super) fn wait_until(
        &mut self,
        deadline: Instant,
        mut is_true: impl FnMut(&mut Self) -> bool,
    ) -> bool {
        loop {
            self.reap();
            if is_true(self) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            thread::sleep(left.min(GLANCE));
        }
    }

    /// Waits for the end of a process, and says whether it came.
    pub(super) fn wait_for(&mut self, place: Place, deadline: Instant) -> bool {
        self.wait_until(deadline, |processes| processes.has_ended(place))
    }

    pub(super) fn has_ended(&self, place: Place) -> bool {
        self.0[place.0].end.is_some()
    }

    /// How it ended.
    pub(super) fn status(&self, place: Place) -> Option<u8> {
        self.0[place.0].end.map(|(status, _)| status)
    }

    /// What became of it, once it has ended.
    pub(super) fn ended(&self, place: Place) -> Option<Ended> {
        let process = &self.0[place.0];
        let (status, end) = process.end?;
        Some(Ended {
            status,
            elapsed: end - process.started,
            stdout: read(&process.stdout),
            stderr: read(&process.stderr),
        })
    }

    /// Its output until now: what it said on standard output, and on standard error.
    pub(super) fn output(&self, place: Place) -> (String, String) {
        let process = &self.0[place.0];
        (read(&process.stdout), read(&process.stderr))
    }

    /// The last lines of both; `by` comes before the names of the streams.
    pub(super) fn last_lines(&self, place: Place, by: &str) -> Vec<Said> {
        let (stdout, stderr) = self.output(place);
        let streams = [("stdout", stdout), ("stderr", stderr)];
        let said = streams
            .into_iter()
            .filter(|(_, text)| !text.trim().is_empty());
        said.map(|(stream, text)| Said {
            by: format!("{by}{stream}"),
            text: last_lines(&text),
        })
        .collect()
    }

    /// Asks the process with all that it started to end, and kills what does not. Says whether nothing had
    /// to be killed.
    pub(super) fn stop(&mut self, place: Place, grace: Duration) -> bool {
        let group = self.0[place.0].pid;
        let is_over = |_: &mut Self| killpg(group, None) == Err(Errno::ESRCH);
        let _ = killpg(group, Signal::SIGTERM);
        let stopped = self.wait_until(Instant::now() + grace, is_over);
        if !stopped {
            self.kill(place);
        }
        stopped
    }

    /// Asks the process, and nobody else, to end; says whether it did.
    pub(super) fn terminate(&mut self, place: Place, grace: Duration) -> bool {
        let _ = kill(self.0[place.0].pid, Signal::SIGTERM);
        self.wait_for(place, Instant::now() + grace)
    }

    /// Kills the process with all that it started.
    pub(super) fn kill(&mut self, place: Place) {
        let _ = killpg(self.0[place.0].pid, Signal::SIGKILL);
        self.wait_for(place, Instant::now() + GRACE);
    }
}

fn written(path: &Path, text: &str) -> io::Result<File> {
    fs::write(path, text)?;
    File::open(path)
}

fn appended(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// Reads what was said; what is no text is shown as well as it can be.
fn read(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
}
