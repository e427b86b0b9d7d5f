//! What other tools were told, played by injector; netem itself beside it, where there is one.

use std::time::Duration;

use injector_tests::{
    Injector, Lab, clock,
    directory::Directory,
    injector, kernel,
    stats::assert_share,
    theory::Chain,
    tool,
    udp::{Flow, Report},
};

/// How many standard deviations two counts may differ by: netem's chance cannot be seeded, so that nobody could
/// repeat what is a rare case.
const SIGMAS: f64 = 5.0;

/// Runs `injector import ARGS…`: the profile.
#[track_caller]
fn import(args: &[&str]) -> String {
    let output = injector::command().arg("import").args(args).output();
    let output = output.expect("run injector");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {stderr}");
    String::from_utf8(output.stdout).expect("text")
}

/// The profile that a request to netem becomes, without what `tc` says of the place.
#[track_caller]
fn import_netem(options: &str) -> String {
    let words = ["tc", "qdisc", "add", "dev", "eth0", "root", "netem"];
    let words: Vec<&str> = ["--name", "netem", "--"]
        .into_iter()
        .chain(words)
        .chain(options.split(' '))
        .collect();
    import(&words)
}

/// What comes through an imported profile, and through netem where there is one.
#[track_caller]
fn both(options: &str, flow: &Flow) -> (Report, Option<Report>) {
    let lab = Lab::new();
    let injector = Injector::start_with(&lab.a, &import_netem(options), &["--seed", "45"]);
    let ours = flow.send(&lab.a, &lab.b);
    injector.stop().achieved().assert_clean();
    let netems = kernel::has_netem().then(|| {
        let request = format!("qdisc add dev {} root netem {options}", lab.a.device);
        lab.a.run(|| tool::tc(&request));
        flow.send(&lab.a, &lab.b)
    });
    (ours, netems)
}

#[track_caller]
fn assert_near(what: &str, ours: f64, netems: f64, deviation: f64) {
    let bound = SIGMAS * deviation * 2_f64.sqrt();
    eprintln!("{what}: {ours} and netem's {netems}, at most {bound} apart");
    assert!(
        (ours - netems).abs() < bound,
        "{what}: {ours}, and netem's {netems}, are more than {bound} apart"
    );
}

/// Also natively, where injector's are compared with theory alone.
#[test]
fn imported_loss_and_copies_are_those_of_netem() {
    const COUNT: u64 = 6000;
    const COPIED: f64 = 0.1;
    let loss = Chain::gemodel(0.1, 0.5, 0.8, 0.01);
    let options = "loss gemodel 10% 50% 80% 1% duplicate 10%";
    let (ours, netems) = both(options, &Flow::new(COUNT));
    let lost = |report: &Report| report.lost().len() as u64;
    loss.assert_loss("lost", lost(&ours), COUNT);
    // Packets that are lost have no copies here; netem's may arrive once all the same.
    let arrived = COUNT - lost(&ours);
    let copied = ours.duplicated().len() as u64;
    assert_share("copied", copied, arrived, COPIED);
    if let Some(netems) = netems {
        let copies = |report: &Report| report.arrivals.len() as f64;
        // A copy takes a step of the chain of its own, and one of the two is lost more seldom than both.
        let rate = loss.loss_rate();
        let arrivals = COUNT as f64 * (1.0 - rate) * (1.0 + COPIED);
        let deviation = loss.loss_deviation(COUNT) * (1.0 + COPIED) + (arrivals * COPIED).sqrt();
        assert_near("arrivals", copies(&ours), copies(&netems), deviation);
    }
}

/// A busy machine makes delays longer, never shorter: so the short ones are judged.
#[test]
fn imported_delays_are_those_of_netem() {
    const COUNT: u64 = 2000;
    const MS: Duration = Duration::from_millis(1);
    /// Of a normal distribution, what lies more than one deviation below the middle.
    const BELOW: f64 = 0.1587;
    if !kernel::can_delay() || !kernel::has_netem() {
        return;
    }
    let _alone = clock::alone();
    let flow = Flow::new(COUNT).gap(MS).linger(500 * MS);
    let (ours, netems) = both("delay 60ms 8ms distribution normal", &flow);
    let most = COUNT as f64 * BELOW + SIGMAS * (COUNT as f64 * BELOW * (1.0 - BELOW)).sqrt();
    for (who, report) in [("injector", ours), ("netem", netems.expect("there is one"))] {
        let delays: Vec<Duration> = report
            .delays()
            .into_iter()
            .map(|(_, delay)| delay)
            .collect();
        let below = delays.iter().filter(|delay| **delay < 52 * MS).count() as f64;
        eprintln!("{who}: {below} below 52 ms, at most {most}; of {COUNT}");
        assert!(below <= most, "{who}: {below} below 52 ms");
        // Either has a table that ends at four deviations.
        let fastest = *delays.iter().min().expect("something arrives");
        assert!(
            (28 * MS..52 * MS).contains(&fastest),
            "{who}: the fastest took {fastest:?}"
        );
    }
}

/// What this machine's `tc` shows becomes what its command line becomes.
#[test]
fn what_tc_shows_is_understood() {
    if !kernel::has_netem() {
        return;
    }
    let options = "delay 100ms 10ms 25% loss state 1% 30% 10% 60% 2% duplicate 1% reorder 25% 50% gap 5 \
                   corrupt 2% rate 1mbit 20 48 limit 50";
    let lab = Lab::new();
    let request = format!("qdisc add dev {} root netem {options}", lab.a.device);
    let shown = |json: &str| {
        let file = Directory::new("import-shown");
        let path = file.file("shown");
        let show = format!("{json} qdisc show dev {}", lab.a.device);
        std::fs::write(&path, lab.a.run(|| tool::tc(show.trim()))).expect("write");
        import(&["--name", "netem", path.to_str().expect("a path")])
    };
    lab.a.run(|| tool::tc(&request));
    let faults = |profile: &str| {
        let lines = profile.lines().filter(|line| !line.starts_with('#'));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let asked = faults(&import_netem(options));
    assert_eq!(faults(&shown("")), asked);
    assert_eq!(faults(&shown("-j")), asked);
}

/// A duration is a phase, and what it says ends with it.
#[test]
fn an_imported_duration_ends() {
    let file = "
apiVersion: chaos-mesh.org/v1alpha1
kind: NetworkChaos
metadata: {name: split}
spec: {action: partition, direction: to, duration: 1500ms, externalTargets: [\"10.0.0.0/8\", \"fd00::/8\"]}";
    let directory = Directory::new("import-chaos");
    let path = directory.file("chaos.yaml");
    std::fs::write(&path, file).expect("write");
    let profile = import(&["--strict", path.to_str().expect("a path")]);
    let lab = Lab::new();
    let injector = Injector::start(&lab.a, &profile);
    let flow = Flow::new(10);
    assert_eq!(flow.send(&lab.a, &lab.b).lost().len(), 10);
    injector.wait().achieved().assert_clean();
    assert_eq!(flow.send(&lab.a, &lab.b).lost().len(), 0);
}

#[test]
fn strict_refuses_what_has_no_equivalent() {
    let command = "import --strict -- pumba netem -d 5s loss --percent 1 db";
    let output = injector::command()
        .args(command.split(' '))
        .output()
        .expect("run injector");
    assert_eq!((injector::code(output.status), output.stdout.len()), (3, 0));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("no equivalent: db: "), "{stderr}");
    assert!(
        stderr.contains("error: 1 thing has no equivalent"),
        "{stderr}"
    );
}
