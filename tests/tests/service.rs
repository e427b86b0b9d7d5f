//! What a service manager hears of a run.

use std::{
    env, io,
    os::unix::net::UnixDatagram,
    process::{Child, Command},
    time::{Duration, Instant},
};

use injector_tests::{Lab, clock::PATIENCE, directory::Directory, injector, udp::Flow};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// A service manager, and the service.
struct Manager {
    socket: UnixDatagram,
    service: Child,
    _directory: Directory,
}

impl Manager {
    #[track_caller]
    fn start(name: &str, mut command: Command) -> Self {
        let directory = Directory::new(name);
        let path = directory.file("socket");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        let service = command.env("NOTIFY_SOCKET", path).spawn();
        Self {
            socket,
            service: service.expect("start injector"),
            _directory: directory,
        }
    }

    /// The next message that comes within `time`.
    fn hear(&self, time: Duration) -> Option<String> {
        let mut buffer = [0; 4096];
        let set = self.socket.set_read_timeout(Some(time));
        set.expect("a timeout");
        match self.socket.recv(&mut buffer) {
            Ok(len) => Some(String::from_utf8_lossy(&buffer[..len]).into_owned()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => panic!("receive a message: {error}"),
        }
    }

    /// Waits for a message with such a line.
    #[track_caller]
    fn wait_for(&self, line: &str) -> String {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            match self.hear(PATIENCE) {
                Some(message) if message.lines().any(|told| told == line) => return message,
                _ => {}
            }
        }
        panic!("{line} does not come");
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.service.id() as i32), signal).expect("signal injector");
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = self.service.kill();
        let _ = self.service.wait();
    }
}

#[test]
fn a_service_manager_hears_when_faults_begin_go_on_and_end() {
    let lab = Lab::new();
    let mut command = injector::command();
    command.arg("--netns").arg(lab.a.netns.path());
    command.args(["-q", "run", "offline", "-i", &lab.a.device]);
    let mut manager = Manager::start("notified", command);

    let ready = manager.wait_for("READY=1");
    assert!(
        ready.contains("STATUS=eth0: faults on: profile offline"),
        "{ready}"
    );
    let flow = Flow::new(20).linger(Duration::from_millis(50));
    assert_eq!(flow.send(&lab.a, &lab.b).arrivals.len(), 0);
    for _ in 0..3 {
        manager.wait_for("WATCHDOG=1");
    }
    manager.signal(Signal::SIGTERM);
    let stopping = manager.wait_for("STOPPING=1");
    assert!(
        stopping.contains("STATUS=faults off: terminated"),
        "{stopping}"
    );
    assert!(manager.service.wait().expect("wait for the run").success());
    flow.send(&lab.a, &lab.b).assert_untouched();
}

#[test]
fn a_run_that_hangs_does_not_say_that_it_lives() {
    let lab = Lab::new();
    let mut command = injector::command();
    command.arg("--netns").arg(lab.a.netns.path());
    command.args(["-q", "run", "offline", "-i", &lab.a.device, "--for", "1h"]);
    let mut manager = Manager::start("hanging", command);
    manager.wait_for("WATCHDOG=1");
    manager.signal(Signal::SIGSTOP);
    // What it said before.
    while manager.hear(Duration::from_millis(100)).is_some() {}
    assert_eq!(manager.hear(Duration::from_millis(2500)), None);
    manager.signal(Signal::SIGCONT);
    manager.wait_for("WATCHDOG=1");
    manager.signal(Signal::SIGTERM);
    assert!(manager.service.wait().expect("wait for the run").success());
}

#[test]
fn a_manager_that_is_gone_does_no_harm() {
    let lab = Lab::new();
    let mut command = injector::command();
    command.env("NOTIFY_SOCKET", env::temp_dir().join("nobody-listens"));
    command.arg("--netns").arg(lab.a.netns.path());
    command.args(["-q", "run", "offline", "-i", &lab.a.device, "--for", "1s"]);
    assert!(command.status().expect("run injector").success());
}
