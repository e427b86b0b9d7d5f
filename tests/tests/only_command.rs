//! Faults for a run's command alone.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use injector_tests::{
    Host, Injector, Lab, clock::wait_until, directory::Directory, groups, injector,
    residue::Snapshot, tool,
};
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};

const SILENCE: &str = "{name: silence, seed: 1, rules: [{drop: 100%}]}";
const PATIENCE: Duration = Duration::from_secs(20);
/// Three packets, for which nobody waits long.
const PING: &str = "ping -q -c 3 -i 0.2 -W 1 10.77.0.2 >/dev/null";

fn run(host: &Host, script: &str) -> Injector {
    Injector::start_with(host, SILENCE, &["--only-command", "--", "sh", "-c", script])
}

/// Whether all of somebody else's packets are answered.
fn is_spared(host: &Host) -> bool {
    let line = "-q -c 5 -i 0.2 -W 10 10.77.0.2";
    host.run(|| tool::attempt("ping", line))
        .is_ok_and(|said| said.contains(" 5 received"))
}

#[test]
fn from_the_first_on_the_packets_of_a_command_and_of_what_it_starts_are_hit() {
    let lab = Lab::new();
    let before = Snapshot::of(&lab.a.netns);
    let directory = Directory::new("grandchild");
    let done = directory.file("done");
    let done = done.display();
    // Its own, and those of a grandchild, whose parent has ended.
    let script = format!(
        "{PING}; (sh -c '({PING}; touch {done}) &'); until [ -e {done} ]; do sleep 0.1; done"
    );
    let run = run(&lab.a, &script);
    assert!(is_spared(&lab.a), "a packet of another process was hit");
    let group = group_of(&run);
    let end = run.wait();
    let rule = end.achieved().only();
    assert_eq!((rule.matched, rule.dropped), (6, 6));
    assert!(!group.exists(), "the group is left");
    before.assert_same(&lab.a.netns);
}

#[test]
fn a_rule_that_matches_less_still_does() {
    let lab = Lab::new();
    let profile = "{name: x, seed: 1, rules: [{match: {dst: 10.77.0.9}, drop: 100%}]}";
    let ping = [
        "--only-command",
        "--",
        "ping",
        "-c",
        "1",
        "-W",
        "10",
        "10.77.0.2",
    ];
    let output = injector::call_run(&lab.a.netns, &lab.a.device, profile, &ping);
    assert_eq!(output.status.code(), Some(0), "ping's status for an answer");
}

/// The group that a run has made for its command.
fn group_of(run: &Injector) -> PathBuf {
    groups::of(run.pid().as_raw() as u32).join(format!("injector-{}", run.pid()))
}

/// A command that writes its number into a file, and lasts.
struct Lasting {
    file: PathBuf,
    _directory: Directory,
}

impl Lasting {
    fn new(name: &str) -> Self {
        let directory = Directory::new(name);
        Self {
            file: directory.file("pid"),
            _directory: directory,
        }
    }

    fn script(&self) -> String {
        let file = self.file.display();
        format!("sleep 60 </dev/null >/dev/null 2>&1 & echo $! >{file}.new; mv {file}.new {file}")
    }

    fn pid(&self) -> u32 {
        assert!(
            wait_until(PATIENCE, || self.file.exists()),
            "it does not start"
        );
        let text = fs::read_to_string(&self.file).expect("its number");
        text.trim().parse().expect("a number")
    }
}

impl Drop for Lasting {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.pid() as i32), Signal::SIGKILL);
    }
}

#[test]
fn what_outlives_the_command_goes_back_to_the_group_above() {
    let (lab, lasting) = (Lab::new(), Lasting::new("outlives"));
    let run = run(&lab.a, &lasting.script());
    let group = group_of(&run);
    assert_eq!(run.wait().code(), 0);
    assert_eq!(Some(&*groups::of(lasting.pid())), group.parent());
    assert!(!group.exists(), "the group is left");
}

#[test]
fn after_a_kill_clear_deletes_the_group() {
    let (lab, lasting) = (Lab::new(), Lasting::new("killed"));
    let before = Snapshot::of(&lab.a.netns);
    let script = format!("{}; exec sleep 60 >/dev/null 2>&1", lasting.script());
    let run = run(&lab.a, &script);
    let (group, pid) = (group_of(&run), lasting.pid());
    assert_eq!(groups::of(pid), group);
    // What the command makes below goes, too.
    let below = group.join("below");
    fs::create_dir(&below).expect("make a group");
    fs::write(below.join("cgroup.procs"), pid.to_string()).expect("move a process");
    let members = fs::read_to_string(group.join("cgroup.procs")).expect("the group");
    run.kill();
    assert!(group.exists());
    let output = injector::call(&lab.a.netns, &["clear", "-i", "eth0"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("control group"), "{said}");
    assert!(!group.exists(), "the group is left");
    assert_eq!(Some(&*groups::of(pid)), group.parent());
    before.assert_same(&lab.a.netns);
    for member in members.lines() {
        let member = Pid::from_raw(member.parse().expect("a number"));
        // Some may have ended with the run.
        assert!(matches!(
            kill(member, Signal::SIGKILL),
            Ok(()) | Err(Errno::ESRCH)
        ));
    }
}

#[test]
fn it_takes_a_command() {
    let lab = Lab::new();
    let output = injector::call_run(&lab.a.netns, "eth0", SILENCE, &["--only-command"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn where_no_group_can_be_made_that_is_said() {
    let lab = Lab::new();
    let root = groups::root();
    let root = root.display();
    let injector = injector::command();
    for (change, message, hint) in [
        (
            format!("mount -o remount,bind,ro {root}"),
            "cannot give the command a control group",
            "remount,rw",
        ),
        (
            format!("umount -l {root}"),
            "control groups (version 2)",
            "mount -t cgroup2",
        ),
    ] {
        let script = format!(
            "{change} && exec {} --netns {} run -i eth0 --drop 100% --only-command -- true",
            injector.get_program().display(),
            lab.a.netns.path().display()
        );
        let output = Command::new("unshare")
            .args(["-m", "sh", "-c", &script])
            .output()
            .expect("run unshare");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{said}");
        assert!(said.contains(message) && said.contains(hint), "{said}");
    }
}
