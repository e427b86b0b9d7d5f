//! Machines that give little: memory, file systems, processors.

use std::{
    fs, io,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use injector_tests::{
    Injector, Lab,
    directory::Directory,
    injector::{self, code},
    kernel,
    predict::Oracle,
    residue::Snapshot,
    udp::Flow,
};
use nix::{
    libc,
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::resource::{Resource, setrlimit},
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
fn memory_groups() -> Option<(PathBuf, &'static str)> {
    [("memory", "memory.limit_in_bytes"), ("", "memory.max")]
        .map(|(place, limit)| {
            (
                Path::new("/sys/fs/cgroup").join(place).join("limits-test"),
                limit,
            )
        })
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

/// Enough for the process, and less than the maps for any profile take.
#[test]
fn a_limit_of_the_control_group_is_named() {
    const LIMIT: &str = "12M";
    let Some((group, limit)) = memory_groups() else {
        eprintln!("left out, without the memory controller");
        return;
    };
    fs::write(group.join(limit), LIMIT).expect("limit the group");
    let lab = Lab::new();
    let before = Snapshot::of(&lab.a.netns);
    let directory = Directory::new("limits");
    let profile = directory.file("silence.yaml");
    fs::write(&profile, "{name: silence, rules: [{drop: 100%}]}").expect("write a profile");
    let shell = format!(
        "echo $$ >{}; exec \"$@\"",
        group.join("cgroup.procs").display()
    );
    let injector = injector::command();
    let output = Command::new("sh")
        .args(["-c", &shell, "sh"])
        .arg(injector.get_program())
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
