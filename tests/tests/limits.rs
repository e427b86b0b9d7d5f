//! Machines that give little: memory, file systems, processors.

use std::{
    fs, io,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use injector_tests::{
    Injector, Lab,
    background::{FREE, SILENT, arrive, json, status, stderr},
    clock::{PATIENCE, wait_until},
    directory::Directory,
    injector::{self, code},
    kernel,
    predict::Oracle,
    residue::{Programs, Snapshot},
    udp::Flow,
};
use nix::{
    libc,
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::resource::{Resource, setrlimit},
    unistd::Pid,
};

/// A run that everything happens in: it starts, it sends one echo, which is lost, and ends.
fn run_in(lab: &Lab, prepare: fn() -> io::Result<()>) -> Output {
    let mut command = injector::command();
    command
        .arg("--netns")
        .arg(lab.a.netns.path())
        .args(["run", "-i", "eth0", "--drop", "100%", "--"])
        .args(["ping", "-c", "1", "-W", "1", "10.77.0.2"]);
    prepared(&mut command, prepare)
        .output()
        .expect("run injector")
}

fn prepared(command: &mut Command, prepare: fn() -> io::Result<()>) -> &mut Command {
    // SAFETY: only system calls are made between fork and exec.
    unsafe { command.pre_exec(prepare) }
}

#[track_caller]
fn assert_lost(output: &Output) {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(code(output.status), 1, "ping's status for silence: {said}");
}

/// Neither kernel types (BTF) nor a file system for pins.
#[test]
fn neither_btf_nor_bpffs_is_needed() {
    fn hide() -> io::Result<()> {
        const NONE: Option<&str> = None;
        unshare(CloneFlags::CLONE_NEWNS)?;
        mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)?;
        for hidden in ["/sys/kernel", "/sys/fs"] {
            mount(Some("tmpfs"), hidden, Some("tmpfs"), MsFlags::empty(), NONE)?;
        }
        Ok(())
    }
    let lab = Lab::new();
    let before = Snapshot::of(&lab.a.netns);
    assert_lost(&run_in(&lab, hide));
    before.assert_same(&lab.a.netns);
}

fn allow_little_locked_memory() -> io::Result<()> {
    const LITTLE: u64 = 64 << 10;
    Ok(setrlimit(Resource::RLIMIT_MEMLOCK, LITTLE, LITTLE)?)
}

fn allow_no_more_locked_memory() -> io::Result<()> {
    const CAP_SYS_RESOURCE: libc::c_ulong = 24;
    allow_little_locked_memory()?;
    // SAFETY: no pointers are passed.
    if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, CAP_SYS_RESOURCE, 0, 0, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[test]
fn a_low_limit_of_locked_memory_is_raised() {
    let lab = Lab::new();
    assert_lost(&run_in(&lab, allow_little_locked_memory));
}

/// Before Linux 5.11 maps counted as locked memory.
#[test]
fn a_limit_of_locked_memory_that_cannot_be_raised_is_named() {
    let lab = Lab::new();
    let before = Snapshot::of(&lab.a.netns);
    let output = run_in(&lab, allow_no_more_locked_memory);
    before.assert_same(&lab.a.netns);
    if kernel::version() >= (5, 11) {
        return assert_lost(&output);
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(code(output.status), 4, "{said}");
    assert!(said.contains("ulimit -l unlimited"), "{said}");
}

/// Where the control groups of version 1 or 2 are that limit memory.
fn memory_group(name: &str) -> Option<(PathBuf, &'static str)> {
    [("memory", "memory.limit_in_bytes"), ("", "memory.max")]
        .map(|(place, limit)| (Path::new("/sys/fs/cgroup").join(place).join(name), limit))
        .into_iter()
        .find(|(group, limit)| {
            // A kernel without the controller makes the directory, but not the file.
            let is_there = fs::create_dir(group).is_ok() && group.join(limit).exists();
            if !is_there {
                let _ = fs::remove_dir(group);
            }
            is_there
        })
}

/// A command of injector's in the group.
fn in_group(group: &Path) -> Command {
    let shell = format!(
        "echo $$ >{}; exec \"$@\"",
        group.join("cgroup.procs").display()
    );
    let mut command = Command::new("sh");
    command
        .args(["-c", &shell, "sh"])
        .arg(injector::command().get_program())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Enough for the process, and less than the maps for any profile take.
#[test]
fn a_limit_of_the_control_group_is_named() {
    const LIMIT: &str = "12M";
    let Some((group, limit)) = memory_group("limits-test") else {
        eprintln!("left out, without the memory controller");
        return;
    };
    fs::write(group.join(limit), LIMIT).expect("limit the group");
    let lab = Lab::new();
    let before = Snapshot::of(&lab.a.netns);
    let directory = Directory::new("limits");
    let profile = directory.file("silence.yaml");
    fs::write(&profile, "{name: silence, rules: [{drop: 100%}]}").expect("write a profile");
    let output = in_group(&group)
        .arg("--netns")
        .arg(lab.a.netns.path())
        .args(["run", "-i", "eth0", "--watch", "--for", "1s"])
        .arg(profile)
        .output()
        .expect("run injector");
    fs::remove_dir(&group).expect("remove the group");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(code(output.status), 4, "{said}");
    assert!(said.contains("MemoryMax"), "{said}");
    before.assert_same(&lab.a.netns);
}

/// Has something else in the group take all its memory, so that the kernel kills the process.
fn starve(group: &Path, process: Pid) {
    fs::write(format!("/proc/{process}/oom_score_adj"), "1000").expect("make it the first to go");
    let shell = format!(
        "echo $$ >{}; head -c 200M /dev/zero | tail",
        group.join("cgroup.procs").display()
    );
    let glutton = Command::new("sh").args(["-c", &shell]).output();
    glutton.expect("take all the memory");
}

/// The process, in the foreground or in the background, is killed by the kernel for want of memory.
#[test]
fn for_want_of_memory_it_leaves_no_more_than_a_kill_does() {
    /// Longer than the lease, by what an emulated processor may stand still.
    const LAPSE: Duration = Duration::from_secs(12);
    let Some((group, limit)) = memory_group("limits-want-test") else {
        eprintln!("left out, without the memory controller");
        return;
    };
    fs::write(group.join(limit), "96M").expect("limit the group");
    for verb in ["run", "apply"] {
        let lab = Lab::new();
        let before = Snapshot::of(&lab.a.netns);
        let mut command = in_group(&group);
        command.arg("--netns").arg(lab.a.netns.path());
        command.args(["--json", verb, "-i", "eth0"]);
        command.args(["--seed", "1", "--drop", "100%", "--direction", "both"]);
        let (run, process) = if verb == "run" {
            let run = Injector::launch(&lab.a.netns, command, "").expect("it starts");
            let process = run.pid();
            (Some(run), process)
        } else {
            let applied = json(&command.output().expect("apply"));
            let pid = applied["pid"].as_i64().expect("a process");
            (None, Pid::from_raw(pid as i32))
        };
        assert_eq!(arrive(&lab), SILENT, "{verb}");
        let held = Programs::of(&lab.a.netns);
        starve(&group, process);
        match run {
            Some(run) => assert_eq!(run.wait().code(), 128 + 9),
            None => assert!(wait_until(PATIENCE, || status(&lab)["alive"] == false)),
        }
        assert!(wait_until(LAPSE, || arrive(&lab) == FREE), "{verb}");
        let cleared = injector::call(&lab.a.netns, &["clear", "--all"]);
        assert!(cleared.status.success(), "{verb}: {}", stderr(&cleared));
        before.assert_same(&lab.a.netns);
        held.assert_gone();
        assert_eq!(arrive(&lab), FREE, "{verb}");
    }
    // What was killed last may take a moment.
    assert!(wait_until(PATIENCE, || fs::remove_dir(&group).is_ok()));
}

/// Only where the processors are our own.
#[test]
fn a_processor_may_go_and_come() {
    const ONLINE: &str = "/sys/devices/system/cpu/cpu1/online";
    const COUNT: u64 = 400;
    if !kernel::is_guest() {
        return;
    }
    let profile = "{name: half, seed: 1, rules: [{match: {protocol: udp}, drop: 50%}]}";
    let lab = Lab::new();
    let run = Injector::start(&lab.a, profile);
    let flow = Flow::new(COUNT).linger(Duration::from_millis(200));
    let mut lost = Vec::new();
    for (round, online) in ["0", "1", "0", "1"].into_iter().enumerate() {
        fs::write(ONLINE, online).expect("take a processor away, or give it back");
        let report = flow.send(&lab.a, &lab.b);
        let first = round as u64 * COUNT;
        lost.extend(report.lost().into_iter().map(|number| first + number));
        let matched = run.counters().only().matched;
        assert_eq!(matched, first + COUNT, "round {round}");
    }
    assert!(Oracle::new(profile).dropped(4 * COUNT).into_iter().eq(lost));
    run.stop().achieved().assert_clean();
}
