//! Who put which faults into force, when, and why they ended: a line of JSON for each start, change and
//! end.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::{fs::OpenOptionsExt as _, net::UnixDatagram},
    path::Path,
    time::SystemTime,
};

use nix::unistd::getuid;
use serde::Serialize;

use crate::datapath::{control, journal::Record, netns::NetnsId};

/// Where systemd's journal takes datagrams
/// (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL>).
const JOURNAL: &str = "/run/systemd/journal/socket";

/// Notes what happens in somebody's name.
pub struct Audit {
    sink: Sink,
    /// In whose name.
    who: Who,
}

enum Sink {
    File(File),
    Journal(UnixDatagram),
    /// There is no journal on this machine.
    None,
}

/// Somebody, by a process.
#[derive(Clone, Debug, Serialize)]
pub struct Who {
    uid: u32,
    /// The user that has logged in, who may have become another since; absent where nobody has.
    loginuid: Option<u32>,
    pid: u32,
    command: Vec<String>,
}

impl Who {
    /// This process.
    pub fn this_process() -> Self {
        Self::of(std::process::id(), getuid().as_raw())
    }

    /// Another process.
    pub fn of(pid: u32, uid: u32) -> Self {
        /// What the kernel says where nobody has logged in.
        const NOBODY: u32 = u32::MAX;
        /// Ample for any command line of ours, and short enough for a datagram.
        const BYTES_MAX: usize = 4096;
        let read = |file: &str| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let loginuid = String::from_utf8_lossy(&read("loginuid")).trim().parse();
        let mut command = read("cmdline");
        command.truncate(BYTES_MAX);
        let command = String::from_utf8_lossy(&command);
        let arguments = command.trim_end_matches('\0').split('\0');
        Self {
            uid,
            loginuid: loginuid.ok().filter(|uid| *uid != NOBODY),
            pid,
            command: arguments.map(str::to_owned).collect(),
        }
    }
}

/// What happens to faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    /// They come into force.
    Start,
    /// Others come into force in their place.
    Swap,
    /// They end.
    Stop,
}

/// Which faults.
#[derive(Clone, Copy, Debug)]
pub struct What<'a> {
    /// The run.
    pub record: &'a Record,
    /// The hash of the profile's text.
    pub sha256: Option<&'a str>,
    /// Why they end.
    pub reason: Option<&'a str>,
}

#[derive(Serialize)]
struct Line<'a> {
    schema: &'static str,
    event: Moment,
    time: String,
    boot_ns: u64,
    #[serde(flatten)]
    who: &'a Who,
    holder_pid: u32,
    profile: &'a str,
    sha256: Option<&'a str>,
    seed: u64,
    device: &'a str,
    ifindex: u32,
    netns: NetnsId,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

impl Audit {
    /// Notes in a file, or in the journal of this machine, if it has one.
    ///
    /// # Errors
    ///
    /// Where the file cannot be opened for appending.
    pub fn open(file: Option<&Path>, who: Who) -> io::Result<Self> {
        let sink = match file {
            Some(path) => Sink::File(append_to(path)?),
            None => journal().map_or(Sink::None, Sink::Journal),
        };
        Ok(Self { sink, who })
    }

    /// Notes in the same place, in the name of somebody else.
    ///
    /// # Errors
    ///
    /// Where there are no descriptors left.
    pub fn in_the_name_of(&self, who: Who) -> io::Result<Self> {
        let sink = match &self.sink {
            Sink::File(file) => Sink::File(file.try_clone()?),
            Sink::Journal(socket) => Sink::Journal(socket.try_clone()?),
            Sink::None => Sink::None,
        };
        Ok(Self { sink, who })
    }

    /// Notes what happens.
    ///
    /// # Errors
    ///
    /// Where the line cannot be written.
    pub fn write(&mut self, event: Moment, what: &What<'_>) -> io::Result<()> {
        let record = what.record;
        let boot = control::boot_time().map_err(io::Error::other)?;
        let line = serde_json::to_string(&Line {
            schema: "injector.audit/v1",
            event,
            time: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            boot_ns: boot.as_nanos() as u64,
            who: &self.who,
            holder_pid: record.pid,
            profile: &record.profile,
            sha256: what.sha256,
            seed: record.seed,
            device: &record.device,
            ifindex: record.ifindex,
            netns: record.netns,
            reason: what.reason,
        })?;
        match &mut self.sink {
            // At once, so that lines of several runs do not mix.
            Sink::File(file) => file.write_all(format!("{line}\n").as_bytes()),
            Sink::Journal(socket) => {
                let text = format!(
                    "MESSAGE={line}\nPRIORITY=5\nSYSLOG_IDENTIFIER=injector\n\
                     INJECTOR_DEVICE={}\nINJECTOR_PROFILE={}\n",
                    record.device, record.profile
                );
                socket.send_to(text.as_bytes(), JOURNAL).map(|_| ())
            }
            Sink::None => Ok(()),
        }
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
}

fn journal() -> Option<UnixDatagram> {
    if !Path::new(JOURNAL).exists() {
        return None;
    }
    let socket = UnixDatagram::unbound().ok()?;
    // Nobody waits for a journal that hangs.
    socket.set_nonblocking(true).ok()?;
    Some(socket)
}
