//! Targets in several namespaces, and partitions between them.

use std::{fs, path::PathBuf, process::Output};

use injector_tests::{
    Family, Injector, Netns, directory::Directory, injector, residue::Snapshot, star::Star, tool,
};

/// Datagrams from one host to another, for each version of IP.
const COUNT: usize = 20;

/// A profile in a file, with targets `h0`, `h1` and so on, of which each is a host.
struct Profile {
    _directory: Directory,
    path: PathBuf,
}

impl Profile {
    fn new(name: &str, star: &Star, more: &str) -> Self {
        let targets: String = star.hosts.iter().enumerate().map(line).collect();
        Self::of(name, &format!("{targets}{more}"))
    }

    fn of(name: &str, text: &str) -> Self {
        let directory = Directory::new(&format!("partition-{name}"));
        let path = directory.file("split.yaml");
        fs::write(&path, format!("name: split\nseed: 1\ntargets:\n{text}")).expect("write it");
        Self {
            _directory: directory,
            path,
        }
    }

    fn path(&self) -> &str {
        self.path.to_str().expect("UTF-8")
    }

    /// Runs it. Namespaces are named by the profile alone.
    fn start(&self, star: &Star) -> Injector {
        let mut command = injector::command();
        command.args(["--json", "run", self.path()]);
        let injector = Injector::launch(&star.hosts[0], command, "").expect("it starts");
        for _ in 1..star.hosts.len() {
            injector.in_force();
        }
        injector
    }
}

fn line((number, host): (usize, &Netns)) -> String {
    format!("  h{number}: {{netns: {}}}\n", host.path().display())
}

/// Asserts that exactly these pairs hear nothing of each other, and all others everything.
#[track_caller]
fn assert_cut(star: &Star, cut: &[[usize; 2]]) {
    for family in Family::ALL {
        for from in 0..star.hosts.len() {
            for to in (0..star.hosts.len()).filter(|to| *to != from) {
                let is_cut = cut.contains(&[from, to]) || cut.contains(&[to, from]);
                let expected = if is_cut { 0 } else { COUNT };
                let arrived = star.deliver(family, from, to, COUNT);
                assert_eq!(arrived, expected, "{family:?} from {from} to {to}");
            }
        }
    }
}

fn snapshots(star: &Star) -> Vec<Snapshot> {
    star.hosts.iter().map(Snapshot::of).collect()
}

#[track_caller]
fn assert_same(before: &[Snapshot], star: &Star) {
    for (before, host) in before.iter().zip(&star.hosts) {
        before.assert_same(host);
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn groups_are_cut_off_from_each_other_and_nobody_else() {
    let star = Star::new(4);
    assert_cut(&star, &[]);
    let before = snapshots(&star);
    // The last one is in no group.
    let profile = Profile::new("groups", &star, "partition: [[h0, h1], [h2]]\n");
    let injector = profile.start(&star);
    assert_cut(&star, &[[0, 2], [1, 2]]);
    let end = injector.stop();
    assert_cut(&star, &[]);
    assert_same(&before, &star);
    // Both sides drop: what arrives has left somewhere where it is not known.
    let dropped = |at: &str, direction: &str| {
        let mut rules = end.achieved().rules.iter();
        let rule = rules.find(|rule| rule.at.as_deref() == Some(at) && rule.direction == direction);
        rule.expect("a rule of the partition").dropped
    };
    let packets = (2 * COUNT) as u64;
    assert!(dropped("h0", "egress") >= packets && dropped("h1", "egress") >= packets);
    assert!(dropped("h2", "egress") >= 2 * packets);
    assert_eq!(dropped("h3", "egress") + dropped("h3", "ingress"), 0);
}

/// The other side alone is enough: nobody has to hold both ends.
#[test]
fn what_arrives_from_beyond_is_dropped_too() {
    let star = Star::new(2);
    // An address that is nobody's: the one that has it now sends by another.
    let targets = format!(
        "  h0: {{netns: {}, addresses: [10.78.0.1, 'fd78::1']}}\n  h1: {{netns: {}, interface: lo, \
         addresses: [10.78.0.2, 'fd78::2']}}\n",
        star.hosts[0].path().display(),
        star.hosts[1].path().display()
    );
    let text = format!("{targets}partition: [[h0], [h1]]\n");
    let injector = Profile::of("one-side", &text).start(&star);
    assert_cut(&star, &[[0, 1]]);
    let end = injector.stop();
    for direction in ["egress", "ingress"] {
        let mut rules = end.achieved().rules.iter();
        let rule =
            rules.find(|rule| rule.at.as_deref() == Some("h0") && rule.direction == direction);
        assert!(
            rule.expect("a rule").dropped >= 2 * COUNT as u64,
            "{direction}"
        );
    }
}

#[test]
fn a_partition_heals_and_comes_back_by_phases() {
    let star = Star::new(3);
    let phases = "repeat: 2\nphases:\n\
        - {name: split, for: 4s, partition: [[h0], [h1, h2]]}\n\
        - {name: healed, for: 4s, rules: []}\n";
    let injector = Profile::new("phases", &star, phases).start(&star);
    for expected in [&[[0, 1], [0, 2]][..], &[], &[[0, 1], [0, 2]]] {
        let phase = injector.phase();
        assert_eq!(phase.phase == "healed", expected.is_empty());
        for [from, to] in [[0, 1], [2, 0], [1, 2]] {
            let is_cut = expected.contains(&[from, to]) || expected.contains(&[to, from]);
            let arrived = star.deliver(Family::V4, from, to, COUNT);
            assert_eq!(
                arrived,
                if is_cut { 0 } else { COUNT },
                "{from} to {to}: {phase:?}"
            );
        }
    }
    injector.stop();
    assert_cut(&star, &[]);
}

#[test]
fn rules_of_the_profile_hold_on_every_target_behind_the_partition() {
    let star = Star::new(3);
    // An exemption opens nothing that the partition cuts.
    let more = "partition: [[h0], [h1]]\n\
        rules:\n- {match: {dst: [10.78.0.2]}}\n- {name: v4, match: {protocol: ip}, drop: 100%}\n";
    let injector = Profile::new("rules", &star, more).start(&star);
    for (family, from, to, expected) in [
        (Family::V4, 0, 1, 0),
        (Family::V4, 2, 1, COUNT),
        (Family::V4, 2, 0, 0),
        (Family::V6, 0, 1, 0),
        (Family::V6, 2, 0, COUNT),
    ] {
        assert_eq!(
            star.deliver(family, from, to, COUNT),
            expected,
            "{family:?} from {from} to {to}"
        );
    }
    injector.stop();
}

#[test]
fn where_a_target_is_missing_nothing_is_changed() {
    let star = Star::new(2);
    let before = snapshots(&star);
    for (target, why) in [
        ("{netns: not-there-at-all}", "not-there-at-all"),
        (
            "{interface: not-there0, addresses: 10.78.0.9}",
            "`not-there0`",
        ),
    ] {
        let more = format!("  c: {target}\npartition: [[h0, h1], [c]]\n");
        let profile = Profile::new("missing", &star, &more);
        let mut command = injector::command();
        let output = command
            .args(["run", profile.path()])
            .output()
            .expect("run injector");
        assert_eq!(output.status.code(), Some(6), "{}", stderr(&output));
        assert!(
            stderr(&output).contains("error: c: "),
            "{}",
            stderr(&output)
        );
        assert!(stderr(&output).contains(why), "{}", stderr(&output));
        assert_same(&before, &star);
        assert_cut(&star, &[]);
    }
}

/// Whatever way it ends.
#[test]
fn a_plan_says_of_which_target_it_is() {
    let star = Star::new(2);
    let profile = Profile::new("plan", &star, "partition: [[h0], [h1]]\n");
    let planned = injector::call(&star.hosts[0], &["plan", "--json", profile.path()]);
    let planned: serde_json::Value = serde_json::from_slice(&planned.stdout).expect("JSON");
    let targets = [0, 1].map(|part| planned["plans"][part]["target"].clone());
    assert_eq!(targets, ["h0", "h1"]);
}

#[test]
fn a_killed_partition_heals() {
    let star = Star::new(2);
    let injector = Profile::new("killed", &star, "partition: [[h0], [h1]]\n").start(&star);
    assert_cut(&star, &[[0, 1]]);
    injector.kill();
    let is_open = || star.deliver(Family::V4, 0, 1, COUNT) == COUNT;
    assert!(injector_tests::clock::wait_until(
        injector_tests::clock::PATIENCE,
        is_open
    ));
    for host in &star.hosts {
        injector::call(host, &["clear", "--all"]);
    }
    assert_cut(&star, &[]);
}

#[test]
fn a_partition_is_applied_in_the_background_and_cleared() {
    let star = Star::new(2);
    let before = snapshots(&star);
    let profile = Profile::new("background", &star, "partition: [[h0], [h1]]\n");
    let mut command = injector::command();
    let output = command
        .args(["apply", profile.path()])
        .output()
        .expect("run injector");
    assert!(output.status.success(), "{}", stderr(&output));
    assert_cut(&star, &[[0, 1]]);
    for host in &star.hosts {
        assert!(injector::call(host, &["clear", "--all"]).status.success());
    }
    assert_cut(&star, &[]);
    assert_same(&before, &star);
}

#[test]
fn interfaces_may_be_named_by_the_profile_and_the_command_line_has_the_last_word() {
    let star = Star::new(3);
    let profile = "{name: x, seed: 1, interfaces: ['port[01]'], rules: [{drop: 100%}]}";
    let run = |args: &[&str]| {
        let mut command = injector::command();
        command.arg("--netns").arg(star.switch.path());
        command.args(["--json", "run", "-"]).args(args);
        command.stdin(std::process::Stdio::piped());
        Injector::launch(&star.switch, command, profile).expect("it starts")
    };
    let heard = || [0, 1].map(|host| star.deliver(Family::V4, 2, host, COUNT) == COUNT);
    let injector = run(&[]);
    injector.in_force();
    assert_eq!(heard(), [false, false]);
    injector.stop();
    let injector = run(&["-i", "port1"]);
    assert_eq!(heard(), [true, false]);
    injector.stop();
    let output = injector::call(&star.switch, &["run", "--drop", "1%"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    star.switch.run(|| tool::ip("link show br0"));
}
