//! Devices and namespaces that end, change, or are replaced under a run.

use std::{collections::BTreeSet, path::Path, thread, time::Duration};

use injector_tests::{
    Injector, Lab, Netns,
    clock::{PATIENCE, wait_until},
    injector, kernel,
    residue::{self, Programs, Snapshot},
    tool,
    udp::Flow,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

const SILENCE: &str = "{name: silence, seed: 1, rules: [{direction: both, drop: 100%}]}";
/// Every datagram arrives twice.
const TWICE: &str =
    "{name: twice, seed: 1, rules: [{direction: both, match: {protocol: udp}, duplicate: 100%}]}";

/// The ways of attaching that this kernel has.
fn ways() -> Vec<&'static str> {
    if kernel::has_tcx() {
        vec!["tcx", "clsact"]
    } else {
        vec!["clsact"]
    }
}

/// A namespace that only its name keeps alive, with a device whose other end is `eth0` outside.
struct Named(String);

impl Named {
    fn new(name: &str, outside: &Netns) -> Self {
        let name = format!("test-{name}-{}", std::process::id());
        outside.run(|| {
            tool::ip(&format!("netns add {name}"));
            tool::ip(&format!(
                "link add name eth0 up type veth peer name eth0 netns {name}"
            ));
            // Not both at once: older kernels bring it up first, and give it an address.
            tool::ip(&format!("-n {name} link set dev eth0 addrgenmode none"));
            tool::ip(&format!("-n {name} link set dev eth0 up"));
        });
        Self(name)
    }

    fn start(&self, args: &[&str]) -> std::process::Child {
        let mut command = injector::command();
        command
            .args(["--netns", &self.0, "--json", "run", "-i", "eth0"])
            .args(["--drop", "100%", "--direction", "both"])
            .args(args);
        let child = command.spawn().expect("start injector");
        let is_attached = || {
            let status = injector::command()
                .args(["--netns", &self.0, "--json", "status"])
                .output()
                .expect("run injector");
            String::from_utf8_lossy(&status.stdout).contains("\"via\"")
        };
        assert!(wait_until(PATIENCE, is_attached), "it does not start");
        child
    }

    fn delete(&self) {
        tool::ip(&format!("netns delete {}", self.0));
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        if Path::new("/run/netns").join(&self.0).exists() {
            self.delete();
        }
    }
}

#[test]
fn a_deleted_namespace_ends_the_run_and_really_dies() {
    for way in ways() {
        let outside = Netns::new();
        let named = Named::new(&format!("dies-{way}"), &outside);
        let run = named.start(&["--attach", way]);
        let held = Programs::of_process(Pid::from_raw(run.id() as i32));
        named.delete();
        // With it ends its end of the cable.
        let is_dead = || !outside.run(residue::devices).contains(&"eth0".to_owned());
        assert!(wait_until(PATIENCE, is_dead), "{way}: it lives on");
        let process = run.id();
        let output = run.wait_with_output().expect("wait for injector");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(injector::code(output.status), 5, "{said}");
        assert!(said.contains("`eth0` is gone"), "{said}");
        assert_eq!(residue::records_by(process), Vec::<String>::new());
        held.assert_gone();
    }
}

#[test]
fn a_namespace_that_gets_the_name_of_another_is_left_alone() {
    let [outside, elsewhere] = [Netns::new(), Netns::new()];
    let named = Named::new("twin", &outside);
    let run = named.start(&[]);
    named.delete();
    // The same name, and a device of the same index and name, with a pair of its own run.
    let twin = Named::new("twin", &elsewhere);
    let second = twin.start(&[]);
    let first = run.wait_with_output().expect("wait for injector");
    assert_eq!(injector::code(first.status), 5);
    let devices = tool::ip(&format!("-n {} -o link show", twin.0));
    assert!(devices.contains(": inj"), "its pair is gone: {devices}");
    kill(Pid::from_raw(second.id() as i32), Signal::SIGTERM).expect("signal injector");
    let second = second.wait_with_output().expect("wait for injector");
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(injector::code(second.status), 0, "{said}");
    // The first one's is gone already.
    std::mem::forget(named);
}

#[test]
fn a_namespace_that_lost_its_name_is_cleaned_up_all_the_same() {
    for way in ways() {
        let outside = Netns::new();
        let named = Named::new(&format!("inhabited-{way}"), &outside);
        let inside = Netns::open(&Path::new("/run/netns").join(&named.0));
        let before = Snapshot::of(&inside);
        let mut inhabitant = inside.run(|| {
            let mut command = std::process::Command::new("sleep");
            command.arg("600").spawn().expect("start sleep")
        });
        let run = named.start(&["--attach", way]);
        named.delete();
        thread::sleep(Duration::from_millis(1500));
        kill(Pid::from_raw(run.id() as i32), Signal::SIGTERM).expect("signal injector");
        let output = run.wait_with_output().expect("wait for injector");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        inhabitant.kill().expect("end sleep");
        inhabitant.wait().expect("wait for sleep");
        assert_eq!(injector::code(output.status), 0, "{said}");
        before.assert_same(&inside);
    }
}

#[test]
fn a_device_that_moves_to_another_namespace_is_let_go() {
    for way in ways() {
        let lab = Lab::new();
        let elsewhere = Netns::new();
        let run = Injector::start_with(&lab.a, SILENCE, &["--attach", way]);
        let held = Programs::of_process(run.pid());
        let to = elsewhere.path();
        lab.a
            .run(|| tool::ip(&format!("link set dev eth0 netns {}", to.display())));
        let end = run.wait();
        assert_eq!(end.code(), 5, "{way}: {}", end.stderr);
        assert_eq!(lab.a.run(residue::devices), ["lo"], "{way}");
        assert_eq!(residue::records(&lab.a.netns), Vec::<String>::new());
        held.assert_gone();
        let hooks = elsewhere.run(residue::hooks);
        assert!(!hooks.contains("injector"), "{way}: {hooks}");
        let qdiscs = elsewhere.run(|| tool::tc("qdisc show dev eth0"));
        assert!(!qdiscs.contains("clsact"), "{way}: {qdiscs}");
    }
}

/// Puts another device in the place of host A's, with the same index, a clsact and a filter of
/// somebody else's on one side of it.
fn replace_device(lab: &Lab) {
    let index = lab.a.ifindex();
    lab.a.run(|| {
        tool::ip("link delete dev eth0");
        tool::ip(&format!(
            "link add name other0 address 02:00:00:00:00:77 index {index} type veth peer name other1"
        ));
        tool::ip("link set dev other0 up");
        tool::tc("qdisc add dev other0 clsact");
    });
}

fn add_foreign_filter(lab: &Lab) {
    lab.a.run(|| {
        let add = "filter add dev other0 egress bpf bytecode";
        let args: Vec<&str> = add.split(' ').chain(["1,6 0 0 0"]).collect();
        tool::tc_args(&args);
    });
}

#[test]
fn a_new_device_with_the_same_index_is_left_alone() {
    for way in ways() {
        for is_killed in [false, true] {
            for has_filter in [false, true] {
                let what = format!("{way}, killed: {is_killed}, with a filter: {has_filter}");
                let lab = Lab::new();
                let run = Injector::start_with(&lab.a, SILENCE, &["--attach", way]);
                if is_killed {
                    run.signal(Signal::SIGKILL);
                }
                replace_device(&lab);
                if has_filter {
                    add_foreign_filter(&lab);
                }
                let theirs = || {
                    lab.a.run(|| {
                        tool::tc("qdisc show dev other0")
                            + &tool::tc("filter show dev other0 egress")
                    })
                };
                let before = theirs();
                let end = run.wait();
                if is_killed {
                    let cleared = injector::call(&lab.a.netns, &["clear", "--all"]);
                    assert!(cleared.status.success(), "{what}");
                } else {
                    assert_eq!(end.code(), 5, "{what}: {}", end.stderr);
                }
                assert_eq!(theirs(), before, "{what}");
                let left: BTreeSet<String> = lab.a.run(residue::devices).into_iter().collect();
                let theirs = ["lo", "other0", "other1"].map(String::from);
                assert_eq!(left, BTreeSet::from(theirs), "{what}");
                assert_eq!(residue::records(&lab.a.netns), Vec::<String>::new());
            }
        }
    }
}

#[test]
fn a_killed_run_on_a_device_that_was_renamed_is_cleared() {
    for way in ways() {
        let lab = Lab::new();
        let rename = |from: &str, to: &str| {
            lab.a.run(|| {
                tool::ip(&format!("link set dev {from} down"));
                tool::ip(&format!("link set dev {from} name {to} up"));
            });
        };
        rename("eth0", "lan0");
        let before = Snapshot::of(&lab.a.netns);
        rename("lan0", "eth0");
        Injector::start_with(&lab.a, SILENCE, &["--attach", way]).kill();
        rename("eth0", "lan0");
        let cleared = injector::call(&lab.a.netns, &["clear", "--all"]);
        assert!(cleared.status.success(), "{way}");
        before.assert_same(&lab.a.netns);
    }
}

/// Many devices of one host, each under faults of its own: what ends on some of them is nothing to the others.
#[test]
fn many_targets_do_not_get_in_each_others_way() {
    let count = if kernel::is_guest() { 4 } else { 20 };
    let netns = Netns::new();
    let name = |number: usize| format!("port{number}");
    netns.run(|| {
        let links =
            (0..count).map(|n| format!("link add name port{n} type veth peer name peer{n}\n"));
        tool::ip_batch(&links.collect::<String>());
    });
    let before = Snapshot::of(&netns);
    let mut runs: Vec<_> = thread::scope(|scope| {
        let start = |n| Injector::start_on(&netns, &name(n), SILENCE, &[]);
        let starts: Vec<_> = (0..count).map(|n| scope.spawn(move || start(n))).collect();
        starts
            .into_iter()
            .map(|start| start.join().expect("a run"))
            .collect()
    });
    // Half of them die in the middle, and the others do not notice.
    let rest = runs.split_off(count / 2);
    for run in runs {
        assert_eq!(run.kill().code(), 128 + 9);
    }
    for run in &rest {
        run.counters();
        assert_eq!(run.stderr(), "");
    }
    let status = injector::call(&netns, &["status", "--json"]);
    let status: Value = serde_json::from_slice(&status.stdout).expect("JSON");
    let alive = status["runs"].as_array().expect("runs").iter();
    let alive = alive.filter(|run| run["alive"] == true);
    let alive: BTreeSet<_> = alive
        .filter_map(|run| Some(run["device"].as_str()?.to_owned()))
        .collect();
    assert_eq!(alive, (count / 2..count).map(name).collect());
    let cleared = injector::call(&netns, &["clear", "--all"]);
    assert!(cleared.status.success());
    for run in rest {
        assert_eq!(run.wait().code(), 0);
    }
    before.assert_same(&netns);
}

/// Asserts that faults work, and ends the run.
#[track_caller]
fn works(lab: &Lab, run: Injector, len: usize) {
    let flow = Flow::new(50).len(len);
    for (from, to) in [(&lab.a, &lab.b), (&lab.b, &lab.a)] {
        let report = flow.send(from, to);
        assert_eq!((report.lost().len(), report.damaged()), (0, 0));
        assert_eq!(report.duplicated().len(), 50);
    }
    run.stop().achieved().assert_clean();
}

#[test]
fn a_carrier_that_flaps_changes_nothing() {
    for way in ways() {
        let lab = Lab::new();
        let before = Snapshot::of(&lab.a.netns);
        let run = Injector::start_with(&lab.a, TWICE, &["--attach", way]);
        for _ in 0..5 {
            for state in ["down", "up"] {
                lab.b
                    .run(|| tool::ip(&format!("link set dev eth0 {state}")));
                thread::sleep(Duration::from_millis(30));
            }
        }
        restore(&lab);
        run.counters();
        assert_eq!(run.stderr(), "", "{way}");
        works(&lab, run, 64);
        before.assert_same(&lab.a.netns);
    }
}

/// What host B lost while its device was down, and waits until the cable carries packets.
fn restore(lab: &Lab) {
    let (a, b) = (&lab.a, &lab.b);
    b.run(|| {
        tool::ip(&format!("address replace {}/64 dev eth0 nodad", b.v6));
        for address in [a.v4.to_string(), a.v6.to_string()] {
            tool::ip(&format!(
                "neighbour replace {address} lladdr 02:00:00:00:00:01 dev eth0 nud permanent"
            ));
        }
    });
    let carries = || {
        a.run(|| tool::ip("-o link show dev eth0"))
            .contains("state UP")
    };
    assert!(wait_until(PATIENCE, carries), "no carrier");
}

#[test]
fn the_mtu_may_change() {
    for way in ways() {
        let lab = Lab::new();
        let run = Injector::start_with(&lab.a, TWICE, &["--attach", way]);
        for host in [&lab.a, &lab.b] {
            host.run(|| tool::ip("link set dev eth0 mtu 9000"));
        }
        works(&lab, run, 8900);
        let run = Injector::start_with(&lab.a, TWICE, &["--attach", way]);
        for host in [&lab.a, &lab.b] {
            host.run(|| tool::ip("link set dev eth0 mtu 600"));
        }
        // In fragments now, each of which has a copy.
        let flow = Flow::new(50).len(1400);
        let report = flow.send(&lab.a, &lab.b);
        assert_eq!((report.lost().len(), report.damaged()), (0, 0));
        run.stop().achieved().assert_clean();
    }
}
