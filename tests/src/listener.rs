//! `injector trace`, for tests.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Read as _},
    net::IpAddr,
    process::{Child, ChildStderr},
    thread::{self, JoinHandle},
    time::Duration,
};

use nix::sys::signal::{Signal, kill};
use serde::Deserialize;

use crate::{Netns, injector};

/// A line of its JSON stream.
#[derive(Clone, Debug, Deserialize)]
pub struct Line {
    /// The rule.
    pub rule: String,
    /// Its direction.
    pub direction: String,
    /// The packet's index.
    pub packet: Option<u64>,
    /// How many packets it is.
    pub packets: u64,
    /// What happened to it.
    pub faults: Vec<String>,
    /// For how long it was delayed.
    pub delay_ns: Option<u64>,
    /// The first bit that was flipped.
    pub bit: Option<u64>,
    /// Where it came from.
    pub src: Option<IpAddr>,
    /// Where it went.
    pub dst: Option<IpAddr>,
    /// Source port.
    pub src_port: Option<u16>,
    /// Destination port.
    pub dst_port: Option<u16>,
    /// How long it is.
    pub length: u64,
    /// The control group that sent it.
    pub cgroup: Option<String>,
    /// The user who sent it.
    pub uid: Option<u32>,
}

/// A running trace.
pub struct Listener {
    child: Child,
    stderr: BufReader<ChildStderr>,
    /// Reads what it shows, more of which than fits into a pipe.
    stdout: JoinHandle<String>,
}

/// How a trace ended.
pub struct End {
    /// The exit code.
    pub code: i32,
    /// What it showed.
    pub lines: Vec<Line>,
    /// What it said at the end.
    pub said: String,
}

impl Listener {
    /// Starts one, and waits until it listens.
    #[track_caller]
    pub fn start(netns: &Netns, device: &str, args: &[&str]) -> Self {
        let mut command = injector::command();
        command.arg("--netns").arg(netns.path());
        command.args(["trace", "--interface", device]).args(args);
        let mut child = command.spawn().expect("run injector");
        let mut stderr = BufReader::new(child.stderr.take().expect("its standard error"));
        let mut first = String::new();
        stderr.read_line(&mut first).expect("its first line");
        assert!(first.contains("Ctrl-C ends this"), "{first}");
        let mut stdout = child.stdout.take().expect("its standard output");
        let stdout = thread::spawn(move || {
            let mut text = String::new();
            stdout.read_to_string(&mut text).expect("what it shows");
            text
        });
        Self {
            child,
            stderr,
            stdout,
        }
    }

    /// Ends it, when it has had the time to hear everything.
    #[track_caller]
    pub fn end(self) -> End {
        thread::sleep(Duration::from_millis(300));
        self.signal(Signal::SIGTERM);
        self.wait()
    }

    /// Sends it a signal.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
        kill(pid, signal).expect("send a signal");
    }

    /// Waits until it ends.
    #[track_caller]
    pub fn wait(mut self) -> End {
        let mut said = String::new();
        self.stderr.read_to_string(&mut said).expect("its words");
        let text = self.stdout.join().expect("what it shows");
        let status = self.child.wait().expect("wait for it");
        let line = |line| serde_json::from_str(line).expect("a line of JSON");
        End {
            code: injector::code(status),
            lines: text.lines().map(line).collect(),
            said,
        }
    }
}

impl End {
    /// The packets to which `fault` happened.
    pub fn packets(&self, fault: &str) -> BTreeSet<u64> {
        let lines = self
            .lines
            .iter()
            .filter(|line| line.faults.iter().any(|name| name == fault));
        let packets = lines.flat_map(|line| {
            let first = line.packet.expect("an index");
            first..first + line.packets
        });
        packets.collect()
    }
}
