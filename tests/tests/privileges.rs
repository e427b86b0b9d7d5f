//! What a run may do, what it gives up, and what its command keeps.

use std::{
    collections::BTreeMap,
    ffi::CString,
    fs,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::Path,
    process::{Command, Output},
    thread,
    time::Duration,
};

use injector_tests::{
    Capability::{
        self, CAP_BPF, CAP_DAC_READ_SEARCH, CAP_KILL, CAP_NET_ADMIN, CAP_PERFMON, CAP_SYS_ADMIN,
        CAP_SYS_PTRACE,
    },
    Injector, Lab, Netns,
    clock::{PATIENCE, wait_until},
    directory::Directory,
    injector, kernel,
    residue::Snapshot,
    udp::Flow,
};
use nix::libc;

const SILENCE: &str = "{name: silence, seed: 1, rules: [{direction: both, drop: 100%}]}";
const NOBODY: u32 = 65534;

/// What a run needs to start.
fn needed() -> Vec<Capability> {
    let mut needed = vec![CAP_NET_ADMIN, CAP_BPF, CAP_PERFMON];
    // Its maps count as locked memory, the limit of which it raises.
    if kernel::version() < (5, 11) {
        needed.push(Capability::CAP_SYS_RESOURCE);
    }
    needed
}

/// Those, and one that saves time: without it the kernel's own types are parsed, which takes an emulated
/// CPU some seconds.
fn ample() -> Vec<Capability> {
    [needed(), vec![Capability::CAP_SYS_CHROOT]].concat()
}

/// What `/proc` says of a process or a thread, by line; `None` when it has ended, which a thread may at any moment.
fn status(path: &str) -> Option<BTreeMap<String, String>> {
    let text = fs::read_to_string(path).ok()?;
    let lines = text.lines().filter_map(|line| line.split_once(":\t"));
    let status = lines.map(|(key, value)| (key.to_owned(), value.to_owned()));
    Some(status.collect())
}

fn mask(capabilities: &[Capability]) -> u64 {
    capabilities.iter().map(Capability::bitmask).sum()
}

/// Waits until the process has confined itself, and asserts that the main thread has these capabilities
/// left, and no thread has others.
#[track_caller]
fn assert_confined(injector: &Injector, kept: &[Capability]) {
    let process = format!("/proc/{}", injector.pid());
    let set = |status: &BTreeMap<String, String>, name: &str| {
        u64::from_str_radix(&status[name], 16).expect("a set of capabilities")
    };
    let main = || status(&format!("{process}/status")).expect("a status");
    assert!(
        wait_until(PATIENCE, || main()["NoNewPrivs"] == "1"
            && set(&main(), "CapPrm") == mask(kept)),
        "{:x?}, not {:x}",
        main(),
        mask(kept)
    );
    for task in fs::read_dir(format!("{process}/task")).expect("the threads") {
        let path = task.expect("a thread").path().join("status");
        let Some(status) = status(path.to_str().expect("a path")) else {
            continue;
        };
        for name in ["CapPrm", "CapEff", "CapInh", "CapAmb"] {
            assert_eq!(set(&status, name) & !mask(kept), 0, "{name}: {status:?}");
        }
    }
}

#[test]
fn a_run_needs_three_capabilities_and_goes_on_with_two() {
    let lab = Lab::new();
    let before = Snapshot::of(&lab.a.netns);
    let started = Injector::start_inside(&lab.a.netns, &needed(), &lab.a.device, SILENCE, &[]);
    let injector = started.expect("a run");
    assert_confined(&injector, &[CAP_NET_ADMIN, CAP_BPF]);
    // Longer than it could without renewing its lease.
    thread::sleep(Duration::from_secs(6));
    let flow = Flow::new(20).linger(Duration::from_millis(50));
    assert_eq!(flow.send(&lab.a, &lab.b).arrivals.len(), 0);
    assert_eq!(injector.stop().achieved().path.lapsed, 0);
    before.assert_same(&lab.a.netns);
}

#[test]
fn what_is_missing_is_named() {
    let netns = Netns::new();
    for missing in [CAP_NET_ADMIN, CAP_BPF, CAP_PERFMON] {
        let kept: Vec<_> = needed()
            .into_iter()
            .filter(|kept| *kept != missing)
            .collect();
        let end = Injector::start_inside(&netns, &kept, "lo", SILENCE, &[]);
        let end = end.expect_err("a refusal");
        assert_eq!(end.code(), 4, "{}", end.stderr);
        let said = format!("not permitted: {missing} missing");
        assert!(end.stderr.contains(&said), "{}", end.stderr);
        let doctor = injector::call_inside(&netns, &kept, &["doctor"]);
        assert_eq!(injector::code(doctor.status), 4);
        let report = String::from_utf8_lossy(&doctor.stdout).into_owned();
        let mut lines = report
            .lines()
            .skip_while(|line| !line.contains(&missing.to_string()));
        assert!(
            lines.next().is_some_and(|line| line.starts_with("missing")),
            "{report}"
        );
        assert!(
            lines.next().is_some_and(|line| line.contains('→')),
            "{report}"
        );
    }
}

#[test]
fn settings_are_restored_with_what_is_left() {
    let netns = Netns::new();
    let before = Snapshot::of(&netns);
    let run = Injector::start_inside(&netns, &ample(), "lo", SILENCE, &[]).expect("a run");
    assert!(!before.differences(&Snapshot::of(&netns)).is_empty());
    assert_confined(&run, &[CAP_NET_ADMIN, CAP_BPF]);
    run.stop().achieved();
    before.assert_same(&netns);
}

#[test]
fn a_namespace_is_entered_with_what_is_left() {
    let lab = Lab::new();
    let run = Injector::start(&lab.a, SILENCE);
    let kept = [
        CAP_NET_ADMIN,
        CAP_BPF,
        CAP_SYS_ADMIN,
        CAP_SYS_PTRACE,
        CAP_DAC_READ_SEARCH,
    ];
    assert_confined(&run, &kept);
    run.counters();
    run.stop().achieved();
}

#[test]
fn another_users_profile_is_watched_with_what_is_left() {
    let lab = Lab::new();
    let home = Directory::new("watched");
    let profile = home.file("profile.yaml");
    let save = |percent: u32| {
        let text = format!("{{name: v{percent}, seed: 1, rules: [{{drop: {percent}%}}]}}");
        fs::write(&profile, text).expect("write the profile");
    };
    save(100);
    let directory = profile.parent().expect("a directory");
    for path in [directory, &profile] {
        chown(path, Some(NOBODY), None).expect("give it away");
    }
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).expect("close the directory");
    fs::set_permissions(&profile, fs::Permissions::from_mode(0o600)).expect("close the profile");
    let mut all = ample();
    all.extend([CAP_DAC_READ_SEARCH, CAP_SYS_ADMIN]);
    let args = [profile.to_str().expect("a path"), "--watch"];
    let run = Injector::start_inside(&lab.a.netns, &all, &lab.a.device, "", &args);
    let run = run.expect("a run");
    assert_confined(&run, &[CAP_NET_ADMIN, CAP_BPF, CAP_DAC_READ_SEARCH]);
    save(0);
    assert_eq!(run.reloaded().profile, "v0");
    Flow::new(20).send(&lab.a, &lab.b).assert_untouched();
    run.stop().achieved();
}

#[test]
fn a_command_has_its_users_privileges() {
    let netns = Netns::new();
    let mild = "{name: mild, seed: 1, rules: [{drop: 0.0000001%}]}";
    let args = ["--", "cat", "/proc/self/status"];
    let output = injector::call_run(&netns, "lo", mild, &args);
    let text = String::from_utf8_lossy(&output.stdout);
    let ours = status("/proc/thread-self/status").expect("a status");
    for name in [
        "CapInh",
        "CapPrm",
        "CapEff",
        "CapBnd",
        "CapAmb",
        "NoNewPrivs",
        "Seccomp",
    ] {
        let line = format!("{name}:\t{}", ours[name]);
        assert!(text.lines().any(|told| told == line), "not {line}: {text}");
    }
}

#[test]
fn a_command_that_became_another_users_is_ended() {
    let netns = Netns::new();
    // Busybox has it too, as Debian has start-stop-daemon.
    let script =
        format!("exec start-stop-daemon --start --chuid {NOBODY} --exec /bin/sleep -- 600");
    let mut all = ample();
    all.extend([CAP_KILL, Capability::CAP_SETUID, Capability::CAP_SETGID]);
    let args = ["--", "sh", "-c", &script];
    let run = Injector::start_inside(&netns, &all, "lo", SILENCE, &args).expect("a run");
    assert_confined(&run, &[CAP_NET_ADMIN, CAP_BPF, CAP_KILL]);
    let children = format!("/proc/{0}/task/{0}/children", run.pid());
    let became = || {
        let children = fs::read_to_string(&children).expect("the children");
        let child = children.trim();
        let status = status(&format!("/proc/{child}/status"));
        status.is_some_and(|status| status["Uid"].starts_with("65534"))
    };
    assert!(wait_until(PATIENCE, became), "the command is still root's");
    assert_eq!(run.stop().code(), 128 + 15);
}

#[track_caller]
fn as_nobody(program: &Path, args: &[&str]) -> Output {
    Command::new(program)
        .args(args)
        .uid(NOBODY)
        .gid(NOBODY)
        .current_dir("/")
        .output()
        .expect("run as nobody")
}

#[test]
fn what_only_reads_needs_no_privileges() {
    let directory = Directory::new("nobody");
    let binary = injector::public_copy(&directory);
    let calls: [&[&str]; 6] = [
        &["check", "lossy"],
        &["plan", "lossy", "-i", "lo"],
        &["run", "lossy", "-i", "lo", "--dry-run"],
        &["predict", "lossy", "--packets", "10"],
        &["profiles"],
        &["profiles", "show", "lossy"],
    ];
    for call in calls {
        let output = as_nobody(&binary, call);
        assert!(output.status.success(), "{call:?}: {output:?}");
        assert!(!output.stdout.is_empty(), "{call:?}");
    }
}

fn set_uid(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o4755)).expect("make it setuid");
}

/// `cap_net_admin=ep`, as linux/capability.h lays it out (VFS_CAP_REVISION_2).
fn lend_net_admin(path: &Path) {
    let path = CString::new(path.as_os_str().as_bytes()).expect("a path");
    let words = [0x0200_0001u32, 1 << 12, 0, 0, 0];
    let value: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let name = c"security.capability";
    // SAFETY: the pointers are to two texts and as many bytes as are told.
    let code = unsafe {
        libc::setxattr(
            path.as_ptr(),
            name.as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            0,
        )
    };
    assert_eq!(
        code,
        0,
        "set file capabilities: {}",
        std::io::Error::last_os_error()
    );
}

#[test]
fn a_file_that_lends_privileges_is_refused() {
    type Lend = fn(&Path);
    let ways: [(&str, Lend); 2] = [("setuid", set_uid), ("capable", lend_net_admin)];
    for (name, lend) in ways {
        let directory = Directory::new(name);
        let binary = injector::public_copy(&directory);
        assert!(as_nobody(&binary, &["profiles"]).status.success());
        lend(&binary);
        let output = as_nobody(&binary, &["profiles"]);
        assert_eq!(injector::code(output.status), 4, "{name}: {output:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("lends privileges"), "{name}: {said}");
        assert!(output.stdout.is_empty(), "{name}");
    }
}
