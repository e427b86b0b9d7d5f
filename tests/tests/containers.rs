//! Faults for containers, by their names.

use std::{
    process::{Output, Stdio},
    time::Duration,
};

use injector_tests::{
    Injector, Lab, Netns,
    clock::wait_until,
    container::Container,
    injector::{self, Background},
    residue::Snapshot,
    tool,
    udp::Flow,
};

const PATIENCE: Duration = Duration::from_secs(20);

fn call(args: &[&str]) -> Output {
    let output = injector::command().args(args).output();
    output.expect("run injector")
}

#[track_caller]
fn succeed(args: &[&str]) -> String {
    let output = call(args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Asserts that it is refused as a conflict. Returns what is said.
#[track_caller]
fn conflict(args: &[&str]) -> String {
    let output = call(args);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(5), "{args:?}: {said}");
    said
}

/// Ends a container. Returns what is said of it then.
#[track_caller]
fn ends(container: &Container) -> String {
    let args = ["status", "--container", &container.name];
    container.kill();
    let ended = wait_until(PATIENCE, || !call(&args).status.success());
    assert!(ended, "it is still found");
    conflict(&args)
}

fn is_silent(lab: &Lab) -> bool {
    Flow::new(20).send(&lab.a, &lab.b).arrivals.is_empty()
}

/// Applies faults to a container, by each of its names in turn, and none to another.
fn alone_is_hit(lab: &Lab, beside: &Lab, names: &[&str]) {
    let before = [lab, beside].map(|lab| Snapshot::of(&lab.a.netns));
    for name in names {
        succeed(&["apply", "--container", name, "--drop", "100%"]);
        assert!(is_silent(lab), "{name}");
        Flow::new(20).send(&beside.a, &beside.b).assert_untouched();
        let status = succeed(&["status", "--container", name, "--json"]);
        let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
        assert_eq!(status["runs"][0]["device"], "eth0");
        // Once there is a run, there are more devices, which are not the container's.
        succeed(&["apply", "--container", name, "--drop", "0%"]);
        assert!(!is_silent(lab), "{name}");
        let cleared = succeed(&["clear", "--container", name]);
        assert!(cleared.starts_with("eth0: stopped"), "{cleared}");
        Flow::new(20).send(&lab.a, &lab.b).assert_untouched();
    }
    before[0].assert_same(&lab.a.netns);
    before[1].assert_same(&beside.a.netns);
}

#[test]
fn a_container_is_hit_and_the_one_beside_it_is_not() {
    let (lab, beside) = (Lab::new(), Lab::new());
    let container = Container::runc("hit", &lab.a.netns);
    let _other = Container::runc("beside", &beside.a.netns);
    alone_is_hit(&lab, &beside, &[&container.name]);
}

#[test]
fn podmans_containers_go_by_their_names_and_by_what_their_identifiers_begin_with() {
    let (lab, beside) = (Lab::new(), Lab::new());
    let container = Container::podman("podman", &lab.a.netns);
    let _other = Container::podman("podman-beside", &beside.a.netns);
    let id = container.id();
    alone_is_hit(&lab, &beside, &[&container.name, &id[..12]]);
    assert!(ends(&container).contains("is not running"));
}

#[test]
fn one_process_cuts_containers_off_from_each_other() {
    let lab = Lab::new();
    let [a, b] = [("cut-a", &lab.a), ("cut-b", &lab.b)]
        .map(|(name, host)| Container::runc(name, &host.netns));
    let profile = format!(
        "{{name: cut, seed: 1, targets: {{a: {{container: {}}}, b: {{container: {}}}}}, partition: [[a], [b]]}}",
        a.name, b.name
    );
    let before = [&lab.a, &lab.b].map(|host| Snapshot::of(&host.netns));
    let mut command = injector::command();
    command.args(["--json", "run", "-"]).stdin(Stdio::piped());
    let run = Injector::launch(&lab.a.netns, command, &profile).expect("it starts");
    run.in_force();
    let silent = is_silent(&lab);
    let achieved = run.stop();
    assert!(silent);
    assert!(
        achieved
            .achieved()
            .rules
            .iter()
            .any(|rule| rule.dropped > 0)
    );
    for (host, before) in [&lab.a, &lab.b].into_iter().zip(before) {
        before.assert_same(&host.netns);
    }
    assert!(!is_silent(&lab));
}

#[test]
fn a_run_lasts_as_long_as_its_command_which_runs_in_the_namespace() {
    let lab = Lab::new();
    let container = Container::runc("command", &lab.a.netns);
    let run = [
        "run",
        "--container",
        &container.name,
        "--drop",
        "100%",
        "-q",
        "--",
    ];
    let ping = ["ping", "-q", "-c", "1", "-W", "1", "10.77.0.2"];
    let output = call(&[&run[..], &ping].concat());
    assert_eq!(output.status.code(), Some(1), "ping's status for silence");
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let lab = Lab::new();
    let container = Container::runc("refused", &lab.a.netns);
    let plan = |name: &str| conflict(&["plan", "lossy", "--container", name]);
    let said = plan("nobody");
    for place in [
        "/var/lib/docker/containers",
        "/run/containerd/",
        "/run/runc",
        "/run/systemd/machines",
    ] {
        assert!(said.contains(place), "{said}");
    }
    lab.a
        .netns
        .run(|| tool::ip("link add name second type veth peer name third"));
    succeed(&["plan", "lossy", "--container", &container.name]);
    lab.a
        .netns
        .run(|| tool::ip_batch("link set dev second up\nlink set dev third up"));
    let said = plan(&container.name);
    assert!(said.contains("second") && said.contains("-i DEV"), "{said}");
    succeed(&[
        "plan",
        "lossy",
        "--container",
        &container.name,
        "-i",
        "second",
    ]);
    let said = ends(&container);
    assert!(said.contains("is not running: process "), "{said}");
    let output = call(&["plan", "lossy"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_container_without_a_network_of_its_own_is_refused() {
    let here = Netns::open("/proc/self/ns/net".as_ref());
    let container = Container::runc("host", &here);
    let said = conflict(&["plan", "lossy", "--container", &container.name, "-i", "lo"]);
    assert!(
        said.contains("no network of its own") && said.contains("match: {container:"),
        "{said}"
    );
}

/// Whether a container's packets are answered.
fn is_answered(container: &Container) -> bool {
    container.exec("ping -q -c 3 -W 1 10.77.0.2")
}

#[test]
fn of_two_containers_that_share_a_network_one_is_hit() {
    let lab = Lab::new();
    let (hit, spared) = (
        Container::runc("shares-hit", &lab.a.netns),
        Container::runc("shares-spared", &lab.a.netns),
    );
    let profile = format!(
        "{{name: x, seed: 1, rules: [{{match: {{container: {}}}, drop: 100%}}]}}",
        hit.name
    );
    let run = Injector::start(&lab.a, &profile);
    assert!(!is_answered(&hit), "a packet of the container passed");
    assert!(is_answered(&spared), "a packet of the other one was hit");
    let end = run.stop();
    let rule = end.achieved().only();
    assert_eq!((rule.matched, rule.dropped), (3, 3));
}

#[test]
fn when_a_container_has_ended_rules_for_another_one_may_follow() {
    let lab = Lab::new();
    let [first, second] = ["first", "second"].map(|name| Container::runc(name, &lab.a.netns));
    let rules = |container: &Container| {
        format!(
            "{{name: x, rules: [{{match: {{container: {}}}, drop: 100%}}]}}",
            container.name
        )
    };
    let _applied = Background::apply(&lab.a, &rules(&first), &[]);
    ends(&first);
    drop(first);
    let applied = injector::call_apply(&lab.a.netns, "eth0", &rules(&second), &[]);
    let said = String::from_utf8_lossy(&applied.stderr);
    assert!(applied.status.success(), "{said}");
    assert!(!is_answered(&second), "a packet of the container passed");
}

#[test]
fn a_rule_for_a_container_is_refused_where_its_packets_have_lost_their_owner() {
    let (lab, elsewhere) = (Lab::new(), Lab::new());
    let container = Container::runc("elsewhere", &elsewhere.a.netns);
    let profile = format!(
        "{{name: x, rules: [{{match: {{container: {}}}, drop: 100%}}]}}",
        container.name
    );
    let before = Snapshot::of(&lab.a.netns);
    let output = injector::call_run(&lab.a.netns, &lab.a.device, &profile, &["--for", "1s"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{said}");
    let remedy = format!("--container {}", container.name);
    assert!(said.contains(&remedy), "{said}");
    before.assert_same(&lab.a.netns);
}
