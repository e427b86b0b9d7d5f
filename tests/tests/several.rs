//! Faults on several interfaces together.

use std::{
    collections::BTreeSet,
    fs, io,
    os::{
        fd::{AsFd as _, AsRawFd as _},
        unix::process::CommandExt as _,
    },
    process::{Output, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use injector_tests::{
    Family, Injector, Netns,
    clock::{PATIENCE, wait_until},
    directory::Directory,
    injector,
    residue::{Programs, Snapshot, devices, records},
    star::Star,
    tool,
};
use nix::{
    libc,
    sys::resource::{Resource, setrlimit},
};
use serde_json::Value;

const SILENCE: &str = "{name: silence, seed: 1, rules: [{name: all, drop: 100%}]}";

/// Which of the hosts hear the last one, by 20 datagrams each: none of them, all of them.
fn heard(star: &Star) -> Vec<bool> {
    let last = star.hosts.len() - 1;
    let hears = |host| match star.deliver(Family::V4, last, host, 20) {
        0 => false,
        20 => true,
        some => panic!("host {host} hears {some} of 20"),
    };
    (0..last).map(hears).collect()
}

fn json(output: &Output) -> Value {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Devices that are nobody's, as many as wanted.
fn idle(count: usize) -> Netns {
    let netns = Netns::new();
    let add = |n| format!("link add name idle{n} type veth peer name far{n}\n");
    netns.run(|| tool::ip_batch(&(0..count).map(add).collect::<String>()));
    netns
}

#[test]
fn a_run_is_in_force_on_all_of_them_and_on_no_other() {
    let star = Star::new(4);
    let before = Snapshot::of(&star.switch);
    // Another way to name the second one; it counts once.
    let args = [
        "-i",
        "port1",
        "-i",
        "port[01]",
        "--expect",
        "all.matched>=40",
    ];
    let injector = Injector::start_on(&star.switch, "port0", SILENCE, &args);
    assert_eq!(heard(&star), [false, false, true]);
    let end = injector.stop();
    let achieved = end.achieved();
    let at: Vec<_> = achieved.rules.iter().map(|rule| &rule.at).collect();
    assert_eq!(at, [&Some("port0".to_owned()), &Some("port1".to_owned())]);
    for rule in &achieved.rules {
        assert!(
            rule.dropped >= 20 && rule.dropped == rule.matched,
            "{rule:?}"
        );
    }
    assert_eq!(heard(&star), [true; 3]);
    before.assert_same(&star.switch);
}

#[test]
fn patterns_mean_what_is_there_but_the_loopback_device_and_private_pairs() {
    let star = Star::new(3);
    let seed = ["--seed", "1", "--drop", "100%"];
    let first = Injector::start_on(&star.switch, "port0", "", &seed);
    // Its pair is there now.
    let output = injector::call(
        &star.switch,
        &["--json", "run", "-i", "*", "--dry-run", "--drop", "1%"],
    );
    let plans = json(&output);
    let devices = plans["plans"].as_array().expect("plans").iter();
    let devices: Vec<_> = devices.map(|plan| plan["device"].clone()).collect();
    assert_eq!(devices, ["br0", "port0", "port1", "port2"]);
    drop(first);
    let output = injector::call(&star.switch, &["run", "-i", "wlan*", "--drop", "1%"]);
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
    assert!(stderr(&output).contains("matches `wlan*`"));
}

/// One of many belongs to somebody else, or goes while those before it are got ready.
#[test]
fn where_one_of_many_fails_none_stays() {
    for (count, bad, goes) in [(20, 14, false), (40, 30, true)] {
        let netns = idle(count);
        let mut run = injector::command();
        run.arg("--netns").arg(netns.path()).arg("run");
        run.args((0..count).flat_map(|n| ["-i".to_owned(), format!("idle{n}")]));
        run.args(["--drop", "100%"]);
        let bad_one = format!("idle{bad}");
        let holder = (!goes).then(|| Injector::start_on(&netns, &bad_one, SILENCE, &[]));
        let before = (!goes).then(|| Snapshot::of(&netns));
        let run = run.stderr(Stdio::piped()).spawn().expect("start it");
        if goes {
            let is_under_way = || !records(&netns).is_empty();
            assert!(wait_until(PATIENCE, is_under_way));
            netns.run(|| tool::ip(&format!("link delete {bad_one}")));
        }
        let output = run.wait_with_output().expect("wait for it");
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(6), "{said}");
        assert!(said.contains(&format!("error: {bad_one}: ")), "{said}");
        let undone = undone(&said);
        assert!(undone.is_sorted_by(|a, b| a > b), "{said}");
        assert!((0..bad).all(|n| undone.contains(&n)), "{said}");
        // Others may have been under way.
        let untried = count - 1 - undone.len();
        assert!(untried == 0 || said.contains(&format!("not tried: {untried} more")));
        match before {
            Some(before) => before.assert_same(&netns),
            // The loopback device and the pairs, of which one has gone.
            None => assert_eq!(netns.run(devices).len(), 2 * count - 1),
        }
        drop(holder);
        assert_eq!(records(&netns), Vec::<String>::new());
    }
}

/// The numbers of the interfaces that are said to have been rolled back, in this order.
fn undone(said: &str) -> Vec<usize> {
    let list = said.split("rolled back: ").nth(1).expect("a list");
    let end = list.find([';', '\n']).unwrap_or(list.len());
    let numbers = list[..end]
        .split(", ")
        .map(|name| name.strip_prefix("idle")?.parse().ok());
    numbers.collect::<Option<_>>().expect("names of interfaces")
}

/// Bytes of the maps that the programs of a namespace's runs use: of all of them, and of those for super-packets that
/// are split.
fn map_bytes(netns: &Netns) -> (u64, u64) {
    let programs = Programs::of(netns);
    let maps: BTreeSet<u32> = aya::programs::loaded_programs()
        .flatten()
        .filter(|program| programs.programs().contains(&program.id()))
        .flat_map(|program| program.map_ids().ok().flatten().unwrap_or_default())
        .collect();
    let (mut all, mut splits) = (0, 0);
    for map in aya::maps::loaded_maps().flatten() {
        if !maps.contains(&map.id()) {
            continue;
        }
        let fd = map.fd().expect("the map");
        let info = format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd());
        let info = fs::read_to_string(info).expect("what it takes");
        let bytes =
            (info.lines()).find_map(|line| line.strip_prefix("memlock:")?.trim().parse().ok());
        let bytes: u64 = bytes.expect("bytes");
        all += bytes;
        if map.name_as_str() == Some("SPLITS") {
            splits += bytes;
        }
    }
    (all, splits)
}

/// Those of super-packets that are split are there once, and not for each interface.
#[test]
fn the_maps_of_many_take_less_than_64_kib_each() {
    const COUNT: u64 = 33;
    let netns = idle(COUNT as usize);
    let run = Injector::start_on(&netns, "idle*", "", &["--seed", "1", "--drop", "1%"]);
    for _ in 1..COUNT {
        run.in_force();
    }
    let (all, splits) = map_bytes(&netns);
    run.stop();
    eprintln!("{} bytes each, and {splits} once", (all - splits) / COUNT);
    // 64 KiB on two.
    let processors = aya::util::nr_cpus().expect("processors") as u64;
    assert!((all - splits) / COUNT < (56 << 10) + processors * (4 << 10));
    assert_eq!(splits, splits_of_one());
}

/// The bytes for splitting super-packets, where one interface splits.
fn splits_of_one() -> u64 {
    let netns = idle(1);
    let run = Injector::start_on(&netns, "idle0", "", &["--seed", "1", "--drop", "1%"]);
    let (_, splits) = map_bytes(&netns);
    run.stop();
    assert!(splits > 0);
    splits
}

#[test]
fn more_than_open_files_allow_is_refused_before_anything_is_touched() {
    let netns = idle(3);
    let before = Snapshot::of(&netns);
    let mut command = injector::command();
    command.arg("--netns").arg(netns.path());
    command.args(["run", "-i", "idle*", "--drop", "100%", "--for", "1s"]);
    let prepare = || {
        setrlimit(Resource::RLIMIT_NOFILE, 100, 100)?;
        // The limit cannot be raised without.
        const CAP_SYS_RESOURCE: libc::c_ulong = 24;
        // SAFETY: no pointers are passed.
        match unsafe { libc::prctl(libc::PR_CAPBSET_DROP, CAP_SYS_RESOURCE, 0, 0, 0) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    // SAFETY: only system calls are made between fork and exec.
    let output = unsafe { command.pre_exec(prepare) };
    let output = output.output().expect("run it");
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("3 interfaces need"), "{said}");
    assert!(said.contains("ulimit -Hn"), "{said}");
    before.assert_same(&netns);
}

#[test]
fn phases_change_everywhere_together() {
    let star = Star::new(3);
    let profile = "{name: x, seed: 1, phases: [\
        {name: silent, for: 1s, rules: [{drop: 100%}]}, {name: open, for: 60s, rules: []}]}";
    let injector = Injector::start_on(&star.switch, "port0", profile, &["-i", "port1"]);
    // One line for each interface, and one for each phase.
    injector.in_force();
    assert_eq!(injector.phase().phase, "silent");
    assert_eq!(heard(&star), [false, false]);
    assert_eq!(injector.phase().phase, "open");
    assert_eq!(heard(&star), [true, true]);
    let end = injector.stop();
    let silent = end.achieved().rules.iter();
    let silent: Vec<_> = silent
        .map(|rule| (rule.at.as_deref(), rule.dropped > 0))
        .collect();
    assert_eq!(silent, [(Some("port0"), true), (Some("port1"), true)]);
}

#[test]
fn the_run_ends_with_any_of_them() {
    let star = Star::new(3);
    let injector = Injector::start_on(&star.switch, "port0", SILENCE, &["-i", "port1"]);
    star.switch.run(|| tool::ip("link delete port1"));
    let end = injector.wait();
    assert_eq!(end.code(), 5, "{}", end.stderr);
    assert!(
        end.stderr.contains("interface `port1` is gone"),
        "{}",
        end.stderr
    );
    assert_eq!(star.deliver(Family::V4, 2, 0, 20), 20);
}

#[test]
fn a_run_that_is_killed_lets_go_of_all() {
    let star = Star::new(3);
    let before = Snapshot::of(&star.switch);
    let injector = Injector::start_on(&star.switch, "port0", SILENCE, &["-i", "port1"]);
    injector.kill();
    let is_open = || (0..2).all(|host| star.deliver(Family::V4, 2, host, 20) == 20);
    assert!(wait_until(PATIENCE, is_open));
    let output = injector::call(&star.switch, &["clear", "-i", "port*"]);
    assert!(output.status.success(), "{}", stderr(&output));
    before.assert_same(&star.switch);
}

#[test]
fn in_the_background_each_is_held_by_itself_and_all_begin_or_none() {
    let star = Star::new(3);
    let before = Snapshot::of(&star.switch);
    let apply = |more: &[&str]| {
        let arguments = [&["--json", "apply", "--drop", "100%"], more].concat();
        injector::call(&star.switch, &arguments)
    };
    let applied = json(&apply(&["-i", "port0", "-i", "port1"]));
    let pids: Vec<_> = (applied["applied"].as_array().expect("applied").iter())
        .map(|one| one["pid"].as_u64().expect("a process"))
        .collect();
    assert!(pids.len() == 2 && pids[0] != pids[1], "{pids:?}");
    assert_eq!(heard(&star), [false, false]);
    let cleared = json(&injector::call(
        &star.switch,
        &["--json", "clear", "-i", "port0", "-i", "port1"],
    ));
    assert_eq!(cleared["cleared"].as_array().map(Vec::len), Some(2));
    before.assert_same(&star.switch);

    // Somebody else's run takes no orders.
    let holder = Injector::start_on(&star.switch, "port1", SILENCE, &[]);
    let output = apply(&["-i", "port0", "-i", "port1"]);
    assert_eq!(output.status.code(), Some(6), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("rolled back: port0"),
        "{}",
        stderr(&output)
    );
    assert_eq!(heard(&star), [true, false]);
    holder.stop();
    before.assert_same(&star.switch);
}

#[test]
fn metrics_tell_the_interfaces_apart() {
    let star = Star::new(3);
    let directory = Directory::new("several-metrics");
    let file = directory.file("faults.prom");
    let path = file.to_str().expect("UTF-8");
    let args = ["-i", "port1", "--metrics-file", path];
    let injector = Injector::start_on(&star.switch, "port0", SILENCE, &args);
    assert_eq!(heard(&star), [false, false]);
    // Which are written after the counters are told.
    injector.counters();
    injector.counters();
    let text = fs::read_to_string(file).expect("the metrics");
    injector.stop();
    for device in ["port0", "port1"] {
        let dropped = format!("rule=\"all\",dev=\"{device}\",dir=\"egress\",verdict=\"dropped\"");
        let line = text.lines().find(|line| line.contains(&dropped));
        let count = line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        assert!(count >= Some(20), "{device}: {text}");
        assert!(text.contains(&format!("injector_profile_info{{dev=\"{device}\"")));
    }
    assert_eq!(
        text.matches("# TYPE injector_profile_info gauge").count(),
        1
    );
}

#[test]
fn no_packet_meets_faults_that_cannot_be_in_force_everywhere() {
    let star = Star::new(3);
    let holder = Injector::start_on(&star.switch, "port1", SILENCE, &[]);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let mut arrived = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                arrived.push(star.deliver(Family::V4, 2, 0, 20));
            }
            arrived
        });
        // The second takes its time, before the third fails.
        let args = ["run", "-i", "port0", "-i", "port2", "-i", "port1"];
        let faults = ["--drop", "100%"];
        let output = injector::call(&star.switch, &[&args[..], &faults].concat());
        is_over.store(true, Ordering::Relaxed);
        assert_eq!(output.status.code(), Some(6), "{}", stderr(&output));
        let arrived = sender.join().expect("the sender");
        assert!(
            !arrived.is_empty() && arrived.iter().all(|&count| count == 20),
            "{arrived:?}"
        );
    });
    holder.stop();
}

#[test]
fn a_saved_profile_is_swapped_in_everywhere() {
    let star = Star::new(3);
    let directory = Directory::new("several-watch");
    let file = directory.file("profile.yaml");
    fs::write(&file, SILENCE).expect("write the profile");
    let path = file.to_str().expect("UTF-8");
    let args = [path, "-i", "port1", "--watch"];
    let injector = Injector::start_on(&star.switch, "port0", "", &args);
    injector.in_force();
    assert_eq!(heard(&star), [false, false]);
    let open = "{name: open, rules: [{name: all, match: {dst: 192.0.2.1}, drop: 100%}]}";
    fs::write(&file, open).expect("write the profile");
    let former = injector.reloaded().former;
    assert!(
        former.rules.iter().all(|rule| rule.dropped >= 20),
        "{former:?}"
    );
    assert_eq!(heard(&star), [true, true]);
    injector.stop();
}
