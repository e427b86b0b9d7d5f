//! Names of hosts in a profile, answered by a real resolver: only natively, guests have none.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use injector_tests::{
    Family, Injector, Lab,
    clock::{PATIENCE, wait_until},
    directory::Directory,
    injector, kernel,
    udp::Flow,
};
use nix::{sys::signal::Signal, unistd::Pid};

const NAME: &str = "db.names.test";

/// Host A with a resolver of its own, which knows one name.
struct Resolver {
    lab: Lab,
    directory: Directory,
    dnsmasq: Child,
}

impl Resolver {
    fn new(name: &str, addresses: &[IpAddr]) -> Self {
        let (lab, directory) = (Lab::new(), Directory::new(name));
        fs::write(directory.file("resolv.conf"), "nameserver 127.0.0.1\n").expect("write");
        let hosts = directory.file("hosts");
        write_hosts(&hosts, addresses);
        let mut command = Command::new("dnsmasq");
        command
            .args([
                "-k",
                "-C",
                "/dev/null",
                "-u",
                "root",
                "-R",
                "-h",
                "-z",
                "-a",
                "127.0.0.1",
                "-x",
            ])
            .arg(directory.file("pid"))
            .arg("-H")
            .arg(hosts)
            .stderr(Stdio::null());
        let start = || {
            command
                .spawn()
                .expect("start dnsmasq, of the package dnsmasq-base")
        };
        let dnsmasq = lab.a.run(start);
        Self {
            lab,
            directory,
            dnsmasq,
        }
    }

    /// The name stands for these from now on.
    fn answer(&self, addresses: &[IpAddr]) {
        write_hosts(&self.directory.file("hosts"), addresses);
        self.signal(Signal::SIGHUP);
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.dnsmasq.id() as i32);
        nix::sys::signal::kill(pid, signal).expect("signal dnsmasq");
    }

    /// `injector ARGS…`, for which the resolver is the system's.
    fn command(&self, args: &[&str]) -> Command {
        const SCRIPT: &str = "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"";
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-c", SCRIPT])
            .arg(self.directory.file("resolv.conf"))
            .arg(injector::command().get_program())
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn call(&self, args: &[&str]) -> Output {
        let call = || self.command(args).output().expect("run injector");
        self.lab.a.run(call)
    }

    /// A profile that drops what is for the name.
    fn profile(&self) -> PathBuf {
        let path = self.directory.file("profile.yaml");
        let text = format!(
            "{{name: names, seed: 1, rules: [{{name: db, match: {{protocol: udp, dst: {NAME}}}, drop: 100%}}]}}"
        );
        fs::write(&path, text).expect("write");
        path
    }

    fn arrives(&self, family: Family) -> bool {
        let report = Flow::new(5).family(family).send(&self.lab.a, &self.lab.b);
        match report.lost().len() {
            0 => true,
            5 => false,
            lost => panic!("{lost} of 5 are lost"),
        }
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        let _ = self.dnsmasq.kill();
        let _ = self.dnsmasq.wait();
    }
}

fn write_hosts(path: &Path, addresses: &[IpAddr]) {
    let lines: String = addresses
        .iter()
        .map(|address| format!("{address} {NAME}\n"))
        .collect();
    fs::write(path, lines).expect("write");
}

/// All addresses count; when they change, the rules do; and when nobody knows them any more, they stay.
#[test]
fn rules_follow_a_name() {
    if kernel::is_guest() {
        return;
    }
    let lab = Lab::new();
    let (v4, v6) = (lab.b.address(Family::V4), lab.b.address(Family::V6));
    let mut resolver = Resolver::new("names-follow", &[v4, v6]);
    let profile = resolver.profile();
    let profile = profile.to_str().expect("UTF-8");
    let plan = || resolver.call(&["plan", profile, "-i", &resolver.lab.a.device]);
    // It has to start, too.
    let is_known = || plan().status.success();
    assert!(wait_until(PATIENCE, is_known), "{:?}", plan());
    let plan = String::from_utf8_lossy(&plan().stdout).into_owned();
    assert!(plan.contains(&format!("{NAME}: {v4}, {v6}\n")), "{plan}");

    let device = resolver.lab.a.device.clone();
    let command = resolver.command(&["--json", "run", profile, "-i", &device]);
    let netns = &resolver.lab.a.netns;
    let injector = netns.run(|| Injector::launch(netns, command, ""));
    let injector = injector.unwrap_or_else(|end| panic!("{end:?}"));
    assert_eq!(
        Family::ALL.map(|family| resolver.arrives(family)),
        [false, false]
    );

    resolver.answer(&[v6]);
    let renamed = injector.renamed();
    assert_eq!((renamed.name.as_str(), renamed.addresses), (NAME, vec![v6]));
    assert_eq!(
        Family::ALL.map(|family| resolver.arrives(family)),
        [true, false]
    );

    resolver.dnsmasq.kill().expect("kill dnsmasq");
    assert_eq!(injector.unnamed().name, NAME);
    assert_eq!(
        Family::ALL.map(|family| resolver.arrives(family)),
        [true, false]
    );
    injector.stop().achieved().assert_clean();
}

#[test]
fn a_name_that_nobody_knows_is_refused_before_anything_is_touched() {
    if kernel::is_guest() {
        return;
    }
    let resolver = Resolver::new("names-unknown", &[]);
    let profile = resolver.profile();
    let profile = profile.to_str().expect("UTF-8");
    for verb in ["run", "apply", "plan"] {
        let output = resolver.call(&[verb, profile, "-i", &resolver.lab.a.device]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(injector::code(output.status), 5, "{verb}: {stderr}");
        let expected = format!("error: cannot look up `{NAME}`, of rule `db`: ");
        assert!(stderr.starts_with(&expected), "{verb}: {stderr}");
    }
    // Nobody is asked only to see whether the profile is valid.
    let output = resolver.call(&["check", profile]);
    assert!(output.status.success(), "{output:?}");
}
