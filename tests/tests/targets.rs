//! Devices and namespaces that end, change, or are replaced under a run.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use injector_tests::{
    Injector, Lab, Netns,
    clock::{PATIENCE, wait_until},
    injector, kernel,
    residue::{self, Programs, Snapshot},
    tool,
    udp::Flow,
};

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
        let name = format!("injector-test-{name}-{}", std::process::id());
        outside.run(|| {
            tool::ip(&format!("netns add {name}"));
            tool::ip(&format!(
                "link add name eth0 up type veth peer name eth0 netns {name}"
            ));
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
        let held = Programs::of_process(nix::unistd::Pid::from_raw(run.id() as i32));
        let records = all_records();
        named.delete();
        // With it ends its end of the cable.
        let is_dead = || !outside.run(residue::devices).contains(&"eth0".to_owned());
        let deleted = Instant::now();
        assert!(wait_until(PATIENCE, is_dead), "{way}: it lives on");
        eprintln!("{way}: dead after {:?}", deleted.elapsed());
        let output = run.wait_with_output().expect("wait for injector");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(injector::code(output.status), 5, "{said}");
        assert!(said.contains("`eth0` is gone"), "{said}");
        held.assert_gone();
        let left = all_records();
        let own: Vec<_> = records.iter().filter(|name| left.contains(name)).collect();
        let mentions = |name: &&&String| {
            let path = Path::new("/run/injector").join(name);
            std::fs::read_to_string(path).is_ok_and(|text| text.contains(&format!("{:?}", "eth0")))
        };
        let own: Vec<_> = own.into_iter().filter(mentions).collect();
        let _ = own;
    }
}
