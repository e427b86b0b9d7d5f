//! The binary, at work.

use std::{
    env,
    fs::{self, Permissions},
    io::{BufRead as _, BufReader, Write as _},
    net::{IpAddr, SocketAddr},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{
        Arc, Mutex,
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use caps::{CapSet, Capability, CapsHashSet};
use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};
use serde::Deserialize;

use crate::{Host, Netns, clock::PATIENCE, directory::Directory, tool};

/// A running `injector run`. Dropping it kills it, and clears what that leaves.
#[derive(Debug)]
pub struct Injector {
    child: Child,
    netns: PathBuf,
    events: Receiver<Event>,
    stderr: Stderr,
    started: Started,
}

/// The events of the JSON stream.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event {
    Waiting(Waiting),
    Started(Started),
    Phase(Phase),
    Counters(Achieved),
    Reloaded(Reloaded),
    Renamed(Renamed),
    Unnamed(Unnamed),
    Evicted(Evicted),
    Ended(Ended),
}

/// There is no device, and the run waits for one.
#[derive(Clone, Debug, Deserialize)]
pub struct Waiting {
    /// What was achieved on the device before.
    pub former: Option<Achieved>,
}

/// The faults are in force.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Started {
    /// The seed in use.
    pub seed: u64,
    /// The device's index.
    pub ifindex: u32,
    /// Where the programs are attached.
    pub attached: Vec<Attached>,
    /// What no rule touches.
    pub protected: Vec<String>,
    /// What the profile asks for, and this kernel cannot do.
    pub left_out: Vec<String>,
    /// Where metrics are served.
    pub metrics: Option<SocketAddr>,
    /// What is otherwise than was asked, in words.
    pub notes: Vec<String>,
}

/// A hook, and how a program is attached to it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Attached {
    /// `egress` or `ingress`.
    pub hook: String,
    /// `tcx`, `clsact`, `xdp_native` or `xdp_generic`.
    pub via: String,
}

/// Other rules have come into force.
#[derive(Clone, Debug, Deserialize)]
pub struct Reloaded {
    /// The profile's name.
    pub profile: String,
    /// What the former rules had achieved.
    pub former: Achieved,
}

/// A name of the profile's stands for other addresses.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Renamed {
    /// The name.
    pub name: String,
    /// All of them.
    pub addresses: Vec<IpAddr>,
}

/// A name of the profile's cannot be looked up any more.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Unnamed {
    /// The name.
    pub name: String,
    /// Why.
    pub error: String,
}

/// Others have taken parts of the run away.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Evicted {
    /// All that are missing.
    pub parts: Vec<String>,
}

/// A phase has come into force.
#[derive(Clone, Debug, Deserialize)]
pub struct Phase {
    /// Its name.
    pub phase: String,
    /// The repetition, counting from 1.
    pub repetition: u64,
    /// How long after its time, in µs.
    pub late_us: u64,
}

/// The last event.
#[derive(Clone, Debug, Deserialize)]
pub struct Ended {
    /// Why.
    pub reason: String,
    /// The phases that began since they were last asked for.
    #[serde(skip)]
    pub phases: Vec<Phase>,
    /// The final counters.
    #[serde(flatten)]
    pub achieved: Achieved,
    /// What was expected.
    pub expectations: Vec<Verdict>,
}

/// What has become of an expectation.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Verdict {
    /// What was expected.
    pub expectation: String,
    /// What was counted.
    pub achieved: Option<f64>,
    /// Whether it is as expected.
    pub passed: bool,
}

/// What the rules achieved.
#[derive(Clone, Debug, Deserialize)]
pub struct Achieved {
    /// Per rule and direction.
    pub rules: Vec<Rule>,
    /// Outside the rules.
    pub path: Path,
}

/// What one rule did, in wire packets.
#[derive(Clone, Debug, Deserialize)]
pub struct Rule {
    /// Its interface, in a run on several.
    pub at: Option<String>,
    /// Its phase, in the final counters of a profile with phases.
    pub phase: Option<String>,
    /// Its name.
    pub rule: String,
    /// Its direction.
    pub direction: String,
    /// Packets whose fate was decided.
    pub matched: u64,
    /// Packets dropped.
    pub dropped: u64,
    /// Packets with a flipped bit.
    pub corrupted: u64,
    /// Copies made.
    pub duplicated: u64,
    /// Packets that were not delayed, to overtake others.
    pub reordered: u64,
    /// Packets given a delay.
    pub delayed: u64,
    /// Packets marked "congestion experienced", and not dropped.
    pub marked: u64,
    /// Packets dropped because the rate's queue was full.
    pub overlimit: u64,
    /// How long the packets were.
    #[serde(default)]
    pub size: Histogram,
    /// For how long they were delayed.
    #[serde(default)]
    pub delay_us: Histogram,
    /// How far those that were hit lay apart.
    #[serde(default)]
    pub gap: Histogram,
}

/// How often values lay in ranges that double.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct Histogram(Vec<Bucket>);

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
struct Bucket {
    min: u64,
    #[serde(default)]
    max: Option<u64>,
    count: u64,
}

impl Histogram {
    /// The ranges that have values: from, to, how many.
    pub fn counts(&self) -> Vec<(u64, u64, u64)> {
        let buckets = self.0.iter().filter(|bucket| bucket.count != 0);
        let counts =
            buckets.map(|bucket| (bucket.min, bucket.max.unwrap_or(u64::MAX), bucket.count));
        counts.collect()
    }
}

/// What happened outside the rules.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Path {
    /// Passed: no rule matched.
    pub unmatched: u64,
    /// Passed: protected from every rule.
    pub protected: u64,
    /// Passed: headers that could not be read.
    pub unparseable: u64,
    /// Passed: the lease had run out.
    pub lapsed: u64,
    /// Lifted, and a stamp of another clock taken off.
    pub unstamped: u64,
    /// Passed: the private pair could not take them.
    pub failed_open: u64,
    /// Lost by the private pair.
    pub lost: u64,
    /// Packets that fq dropped, where there is fq.
    pub qdisc_drops: Option<u64>,
}

impl Achieved {
    /// The named rule, in its only direction.
    #[track_caller]
    pub fn rule(&self, name: &str) -> &Rule {
        self.rules
            .iter()
            .find(|rule| rule.rule == name)
            .expect("a rule of that name")
    }

    /// The only rule.
    #[track_caller]
    pub fn only(&self) -> &Rule {
        let [rule] = &self.rules[..] else {
            panic!("not one rule: {:?}", self.rules)
        };
        rule
    }

    /// Asserts that no packet suffered what no rule asked for.
    #[track_caller]
    pub fn assert_clean(&self) {
        let Path {
            lapsed,
            failed_open,
            lost,
            ..
        } = self.path;
        assert_eq!(
            (lapsed, failed_open, lost),
            (0, 0, 0),
            "lapsed, failed open, lost"
        );
    }
}

/// How a run ended.
#[derive(Debug)]
pub struct End {
    /// The exit status.
    pub status: ExitStatus,
    /// The last event, absent where the run was killed or failed.
    pub ended: Option<Box<Ended>>,
    /// Standard error.
    pub stderr: String,
}

impl End {
    /// The exit code; 128 plus the number of the signal that killed it.
    pub fn code(&self) -> i32 {
        code(self.status)
    }

    /// The final counters of a run that ended well.
    #[track_caller]
    pub fn achieved(&self) -> &Achieved {
        &self.ended().achieved
    }

    /// The phases that began since they were last asked for, in a run that ended well.
    #[track_caller]
    pub fn phases(&self) -> &[Phase] {
        &self.ended().phases
    }

    #[track_caller]
    fn ended(&self) -> &Ended {
        assert!(self.status.success(), "{}: {}", self.status, self.stderr);
        self.ended.as_ref().expect("the event `ended`")
    }
}

/// Exit code; 128 plus the signal.
pub fn code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .expect("an end")
}

/// The binary, as a command: `injector ARGS…` with its output caught.
pub fn command() -> Command {
    let path = env::var_os("INJECTOR_BIN").map_or_else(beside_the_tests, PathBuf::from);
    let mut command = Command::new(path);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A copy of the binary that everybody can run: where it is built may be closed to others.
pub fn public_copy(directory: &Directory) -> PathBuf {
    let copy = directory.file("injector");
    tool::copy(command().get_program(), &copy);
    fs::set_permissions(&copy, Permissions::from_mode(0o755)).expect("let everybody run it");
    copy
}

/// Where `cargo build` leaves it, from a test in `target/debug/deps`.
fn beside_the_tests() -> PathBuf {
    let test = env::current_exe().expect("the path of this test");
    let directory = test
        .parent()
        .and_then(|deps| deps.parent())
        .expect("two directories up");
    let binary = directory.join("injector");
    assert!(
        binary.exists(),
        "build it first, or set INJECTOR_BIN: {}",
        binary.display()
    );
    binary
}

/// Runs `injector ARGS…` inside `netns` to its end.
#[track_caller]
pub fn call(netns: &Netns, args: &[&str]) -> Output {
    command()
        .arg("--netns")
        .arg(netns.path())
        .args(args)
        .output()
        .expect("run injector")
}

/// Runs `injector run ARGS…` with `profile` on standard input, inside `netns`, to its end, which
/// must be soon.
#[track_caller]
pub fn call_run(netns: &Netns, device: &str, profile: &str, args: &[&str]) -> Output {
    finish("run", netns, device, profile, args)
}

/// Runs `injector apply ARGS…` likewise: returns when the faults are in force, or cannot be.
#[track_caller]
pub fn call_apply(netns: &Netns, device: &str, profile: &str, args: &[&str]) -> Output {
    finish("apply", netns, device, profile, args)
}

#[track_caller]
fn finish(verb: &str, netns: &Netns, device: &str, profile: &str, args: &[&str]) -> Output {
    let child = spawn(verb_on(verb, netns, device, profile, args), profile);
    child.wait_with_output().expect("wait for injector")
}

/// Runs `injector ARGS…` to its end, started inside `netns` with no other capabilities than these.
#[track_caller]
pub fn call_inside(netns: &Netns, capabilities: &[Capability], args: &[&str]) -> Output {
    let call = || command().args(args).output().expect("run injector");
    inside(netns, capabilities, call)
}

/// Runs `work` inside `netns`, on a thread whose children have no other capabilities than these.
fn inside<T: Send>(netns: &Netns, kept: &[Capability], work: impl FnOnce() -> T + Send) -> T {
    netns.run(|| {
        for capability in caps::read(None, CapSet::Bounding).expect("the bounding set") {
            if !kept.contains(&capability) {
                caps::drop(None, CapSet::Bounding, capability).expect("drop a capability");
            }
        }
        // What is root's has what is bounding, and what it inherits.
        caps::set(None, CapSet::Inheritable, &CapsHashSet::new()).expect("inherit nothing");
        work()
    })
}

/// `injector run ARGS…` inside `netns`; with a profile, that is to come on standard input.
pub fn run(netns: &Netns, device: &str, profile: &str, args: &[&str]) -> Command {
    verb_on("run", netns, device, profile, args)
}

fn verb_on(verb: &str, netns: &Netns, device: &str, profile: &str, args: &[&str]) -> Command {
    let mut command = command();
    command.arg("--netns").arg(netns.path());
    complete(command, verb, device, profile, args)
}

fn complete(
    mut command: Command,
    verb: &str,
    device: &str,
    profile: &str,
    args: &[&str],
) -> Command {
    command.args(["--json", verb, "-i", device]);
    if !profile.is_empty() {
        command.arg("-");
    }
    command.args(args).stdin(Stdio::piped());
    command
}

fn spawn(mut command: Command, profile: &str) -> Child {
    let mut child = command.spawn().expect("start injector");
    if let Some(mut stdin) = child.stdin.take() {
        // It may have failed already.
        let _ = stdin.write_all(profile.as_bytes());
    }
    child
}

/// Faults in the background. Dropping it clears them.
#[derive(Debug)]
pub struct Background {
    netns: PathBuf,
    /// The process that holds them.
    pub pid: Pid,
    /// Whether others were in force before.
    pub swapped: bool,
    /// The seed in use.
    pub seed: u64,
}

impl Background {
    /// Applies a profile on the host's device, with more arguments.
    #[track_caller]
    pub fn apply(host: &Host, profile: &str, args: &[&str]) -> Self {
        #[derive(Deserialize)]
        struct Applied {
            pid: i32,
            /// Absent where it waits for the device.
            #[serde(default)]
            swapped: bool,
            seed: u64,
        }
        let output = call_apply(&host.netns, &host.device, profile, args);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{}: {stderr}", output.status);
        let applied: Applied = serde_json::from_slice(&output.stdout).expect("JSON from apply");
        Self {
            netns: host.netns.path(),
            pid: Pid::from_raw(applied.pid),
            swapped: applied.swapped,
            seed: applied.seed,
        }
    }

    /// Sends the process that holds the faults a signal.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        signal::kill(self.pid, signal).expect("signal the holder");
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        clear_all(&self.netns);
    }
}

/// Clears a namespace.
fn clear_all(netns: &std::path::Path) {
    let mut command = command();
    command.arg("--netns").arg(netns).args(["clear", "--all"]);
    // What is there to clear is looked at elsewhere.
    let _ = command.output();
}

impl Injector {
    /// Starts it on the host's device with a profile, and waits until the faults are in force, or it waits
    /// for the device.
    #[track_caller]
    pub fn start(host: &Host, profile: &str) -> Self {
        Self::start_with(host, profile, &[])
    }

    /// Likewise, with more arguments. Without a profile these name the faults.
    #[track_caller]
    pub fn start_with(host: &Host, profile: &str, args: &[&str]) -> Self {
        Self::start_on(&host.netns, &host.device, profile, args)
    }

    /// Starts it on any device.
    #[track_caller]
    pub fn start_on(netns: &Netns, device: &str, profile: &str, args: &[&str]) -> Self {
        match Self::try_start(netns, device, profile, args) {
            Ok(injector) => injector,
            Err(end) => panic!("injector: {}: {}", end.status, end.stderr),
        }
    }

    /// Starts it, or says how it ended before the faults were in force.
    pub fn try_start(
        netns: &Netns,
        device: &str,
        profile: &str,
        args: &[&str],
    ) -> Result<Self, End> {
        Self::launch(netns, run(netns, device, profile, args), profile)
    }

    /// Starts it inside `netns`, which it needs not enter then, with no other capabilities than these.
    pub fn start_inside(
        netns: &Netns,
        capabilities: &[Capability],
        device: &str,
        profile: &str,
        args: &[&str],
    ) -> Result<Self, End> {
        let command = complete(command(), "run", device, profile, args);
        Self::of(
            inside(netns, capabilities, || spawn(command, profile)),
            netns,
        )
    }

    /// Starts what [`run`] gave, or says how it ended before the faults were in force.
    pub fn launch(netns: &Netns, command: Command, profile: &str) -> Result<Self, End> {
        Self::of(spawn(command, profile), netns)
    }

    fn of(mut child: Child, netns: &Netns) -> Result<Self, End> {
        let events = read_events(&mut child);
        let stderr = Stderr::read(&mut child);
        // The verifier has a lot to do, on an emulated CPU beside other tests' runs.
        let started = match events.recv_timeout(3 * PATIENCE) {
            Ok(Event::Started(started)) => started,
            Ok(Event::Waiting(_)) => Started::default(),
            Ok(event) => panic!("the first event is {event:?}"),
            Err(RecvTimeoutError::Timeout) => panic!("injector does not start"),
            Err(RecvTimeoutError::Disconnected) => {
                let status = child.wait().expect("wait for injector");
                let stderr = stderr.whole();
                return Err(End {
                    status,
                    ended: None,
                    stderr,
                });
            }
        };
        Ok(Self {
            child,
            netns: netns.path(),
            events,
            stderr,
            started,
        })
    }

    /// What it said at the start.
    pub fn started(&self) -> &Started {
        &self.started
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    /// Counters that are newer than this call.
    #[track_caller]
    pub fn counters(&self) -> Achieved {
        while self.events.try_recv().is_ok() {}
        match self.events.recv_timeout(PATIENCE) {
            Ok(Event::Counters(achieved)) => achieved,
            other => panic!("no counters come, but {other:?}"),
        }
    }

    /// Waits until the run waits for a device.
    #[track_caller]
    pub fn waiting(&self) -> Waiting {
        match self.next_but_counters() {
            Ok(Event::Waiting(waiting)) => waiting,
            other => panic!("does not wait, but {other:?}: {}", self.stderr()),
        }
    }

    /// Waits until the faults are in force on a device that has been waited for.
    #[track_caller]
    pub fn in_force(&self) -> Started {
        match self.next_but_counters() {
            Ok(Event::Started(started)) => started,
            other => panic!("not started, but {other:?}: {}", self.stderr()),
        }
    }

    /// Waits until other rules have come into force.
    #[track_caller]
    pub fn reloaded(&self) -> Reloaded {
        match self.next_but_counters() {
            Ok(Event::Reloaded(reloaded)) => reloaded,
            other => panic!("not reloaded, but {other:?}: {}", self.stderr()),
        }
    }

    /// Waits until a name stands for other addresses.
    #[track_caller]
    pub fn renamed(&self) -> Renamed {
        match self.next_but_counters() {
            Ok(Event::Renamed(renamed)) => renamed,
            other => panic!("not renamed, but {other:?}: {}", self.stderr()),
        }
    }

    /// Waits until a name cannot be looked up any more.
    #[track_caller]
    pub fn unnamed(&self) -> Unnamed {
        match self.next_but_counters() {
            Ok(Event::Unnamed(unnamed)) => unnamed,
            other => panic!("not unnamed, but {other:?}: {}", self.stderr()),
        }
    }

    /// Waits until the run has noticed that others took parts of it away.
    #[track_caller]
    pub fn evicted(&self) -> Evicted {
        match self.next_but_counters() {
            Ok(Event::Evicted(evicted)) => evicted,
            other => panic!("not evicted, but {other:?}: {}", self.stderr()),
        }
    }

    /// Waits until the next phase has come into force; the first one does at the start.
    #[track_caller]
    pub fn phase(&self) -> Phase {
        match self.next_but_counters() {
            Ok(Event::Phase(phase)) => phase,
            other => panic!("no phase comes, but {other:?}: {}", self.stderr()),
        }
    }

    fn next_but_counters(&self) -> Result<Event, RecvTimeoutError> {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(Event::Counters(_)) => {}
                other => return other,
            }
        }
    }

    /// What it has said on standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.so_far()
    }

    /// Ends the run by SIGTERM.
    #[track_caller]
    pub fn stop(self) -> End {
        self.signal(Signal::SIGTERM);
        self.wait()
    }

    /// Ends the run by SIGINT, as Ctrl-C does.
    #[track_caller]
    pub fn interrupt(self) -> End {
        self.signal(Signal::SIGINT);
        self.wait()
    }

    /// Kills the process, and leaves what it leaves.
    #[track_caller]
    pub fn kill(self) -> End {
        self.signal(Signal::SIGKILL);
        self.wait()
    }

    /// Sends the process a signal.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        signal::kill(self.pid(), signal).expect("signal injector");
    }

    /// Waits for the end.
    #[track_caller]
    pub fn wait(mut self) -> End {
        let end = Instant::now() + 2 * PATIENCE;
        let status = loop {
            match self.child.try_wait().expect("wait for injector") {
                Some(status) => break status,
                None if Instant::now() > end => panic!("injector does not end"),
                None => thread::sleep(Duration::from_millis(2)),
            }
        };
        let stderr = std::mem::take(&mut self.stderr).whole();
        let (mut phases, mut ended) = (Vec::new(), None);
        for event in self.events.iter() {
            match event {
                Event::Phase(phase) => phases.push(phase),
                Event::Ended(end) => ended = Some(end),
                _ => {}
            }
        }
        let ended = ended.map(|ended| Box::new(Ended { phases, ..ended }));
        End {
            status,
            ended,
            stderr,
        }
    }
}

impl Drop for Injector {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
            clear_all(&self.netns);
        }
    }
}

fn read_events(child: &mut Child) -> Receiver<Event> {
    let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
    let (sender, events) = mpsc::channel();
    thread::spawn(move || {
        for line in stdout.lines().map_while(Result::ok) {
            // Whatever a command under fault prints is no event.
            if let Ok(event) = serde_json::from_str(&line) {
                let _ = sender.send(event);
            }
        }
    });
    events
}

/// Standard error, as far as it has come.
#[derive(Debug, Default)]
struct Stderr {
    text: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Stderr {
    fn read(child: &mut Child) -> Self {
        let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        let text = Arc::new(Mutex::new(String::new()));
        let so_far = Arc::clone(&text);
        let reader = thread::spawn(move || {
            for line in stderr.split(b'\n').map_while(Result::ok) {
                let mut text = so_far.lock().expect("the text");
                text.push_str(&String::from_utf8_lossy(&line));
                text.push('\n');
            }
        });
        Self {
            text,
            reader: Some(reader),
        }
    }

    fn so_far(&self) -> String {
        self.text.lock().expect("the text").clone()
    }

    /// All of it, once the process has ended.
    fn whole(self) -> String {
        let so_far = Arc::clone(&self.text);
        if let Some(reader) = self.reader {
            reader.join().expect("the reader of standard error");
        }
        let text = so_far.lock().expect("the text");
        text.clone()
    }
}
