use std::{collections::HashSet, fs, path::Path};

use proptest::prelude::*;

use super::*;
use crate::profile::Report;

fn read(text: &str) -> Result<Scenario, Box<Report>> {
    Scenario::read(&Source::of_stdin(text.into())).map_err(|error| Box::new(error.report()))
}

/// A scenario of two hosts with these steps.
fn with_steps(steps: &str) -> String {
    format!("name: x\nhosts: [client, server]\nsteps:\n{steps}")
}

#[track_caller]
fn steps(text: &str) -> Vec<Step> {
    read(&with_steps(text)).unwrap().steps
}

#[test]
fn hosts_are_joined_where_nothing_is_said() {
    let scenario = read(&with_steps("  - {run: 'true', on: client}\n")).unwrap();
    let [link] = &scenario.links[..] else {
        panic!("{:?}", scenario.links)
    };
    let ends: Vec<_> = link
        .ends
        .iter()
        .map(|end| format!("{} {:?}", end.device, end.addresses))
        .collect();
    assert_eq!(
        ends,
        [
            "eth0 [10.0.1.1/24, fd00:1::1/64]",
            "eth0 [10.0.1.2/24, fd00:1::2/64]"
        ]
    );
    let [step] = &scenario.steps[..] else {
        panic!("{:?}", scenario.steps)
    };
    assert_eq!(step.title(&scenario), "run on client: true");
    let Action::Run {
        command,
        timeout,
        expected,
    } = &step.action
    else {
        panic!("{step:?}")
    };
    assert_eq!(command.arguments, ["/bin/sh", "-c", "true"]);
    assert_eq!(
        (*timeout, expected),
        (Duration::from_secs(30), &Expectation::default())
    );
}

#[test]
fn hosts_are_called_by_their_nearest_addresses() {
    let scenario = read(
        "name: x
hosts: [a, router, b]
links:
  - {between: [a, router], network: 192.0.2.0/29}
  - {name: far, between: [router, b], mtu: 1400}
steps: [{sleep: 1s}]
",
    )
    .unwrap();
    let addresses = |host, other| {
        let addresses = scenario.addresses(host, other);
        addresses
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(addresses(0, 1), ["192.0.2.2"]);
    assert_eq!(addresses(2, 1), ["10.0.2.1", "fd00:2::1"]);
    assert_eq!(
        addresses(0, 2),
        ["10.0.2.2", "fd00:2::2"],
        "only by way of another"
    );
    let devices: Vec<_> = scenario.ends(1).map(|end| end.device.as_str()).collect();
    assert_eq!(devices, ["eth0", "eth1"]);
    assert_eq!(scenario.links[1].mtu, Some(1400));
}

#[test]
fn what_is_left_is_stopped_the_last_first() {
    let steps = steps(
        "  - {start: /usr/sbin/nginx -g x, on: server}
  - {start: curl x, on: client, as: download}
  - {faults: {rules: [{drop: 1%}]}, on: client}
  - {faults: lossy, on: server}
  - {wait: download}
  - {stop: faults}
",
    );
    let implied: Vec<_> = steps
        .iter()
        .filter(|step| step.is_implied)
        .map(|step| &step.action)
        .collect();
    let stop = |name: &str| Action::Stop { name: name.into() };
    assert_eq!(implied, [&stop("lossy"), &stop("nginx")]);
}

#[test]
fn faults_are_whole_profiles() {
    let steps = steps(
        "  - {faults: {seed: 3, rules: [{drop: 1%}]}, on: client, as: bad, expect: 'rule-1.drop=1%'}\n",
    );
    let Action::Faults(faults) = &steps[0].action else {
        panic!("{steps:?}")
    };
    let profile = crate::profile::parse("-", &faults.text).unwrap();
    assert_eq!((profile.name.as_str(), profile.seed), ("bad", Some(3)));
    assert!(faults.is_seeded);
    assert_eq!(faults.expected, ["rule-1.drop=1%"]);
    assert_eq!((faults.host, faults.device.as_str()), (0, "eth0"));
}

#[test]
fn mistakes_are_shown_where_they_are() {
    for (steps, path, message, told) in [
        (
            "  - {rum: x}\n",
            "steps[0].rum",
            "`rum` is not a key of a step",
            "did you mean `run`?",
        ),
        (
            "  - {on: client}\n",
            "steps[0]",
            "a step that does nothing",
            "`start`, `run`",
        ),
        (
            "  - {run: x}\n",
            "steps[0].on",
            "missing key `on`",
            "the host of `run`",
        ),
        (
            "  - {run: x, on: sever}\n",
            "steps[0].on",
            "there is no host `sever`",
            "did you mean `server`?",
        ),
        (
            "  - {run: x, start: y, on: client}\n",
            "steps[0].run",
            "`run` does not go with `start`",
            "in each step",
        ),
        (
            "  - {sleep: 1s, on: client}\n",
            "steps[0].on",
            "`on` does not go with `sleep`",
            "`sleep` alone",
        ),
        (
            "  - {stop: x}\n",
            "steps[0].stop",
            "there is no step that started `x`",
            "none here",
        ),
        (
            "  - {start: x, on: client}\n  - {stop: x}\n  - {wait: x}\n",
            "steps[2].wait",
            "there is no command running that is named `x`",
            "none here",
        ),
        (
            "  - {start: x, on: client}\n  - {start: x y, on: server}\n",
            "steps[1]",
            "two steps start something named `x`",
            "by `as`",
        ),
        (
            "  - {faults: losssy, on: client}\n",
            "steps[0].faults",
            "losssy: there is no built-in",
            "`lossy`",
        ),
        (
            "  - {faults: {rules: [{dorp: 1%}]}, on: client}\n",
            "steps[0].faults.rules[0].dorp",
            "`dorp` is not a key of a rule",
            "did you mean `drop`?",
        ),
        (
            "  - {faults: {rules: [{drop: {every: 2, first: 3}}]}, on: client}\n",
            "steps[0].faults.rules[0].drop.first",
            "`every` and `first` exclude each other",
            "one of them",
        ),
        (
            "  - {run: x, on: client, expect: {within: 2}}\n",
            "steps[0].expect.within",
            "`2` has no unit",
            "a duration",
        ),
        (
            "  - {run: x, on: client, expect: path.lost=0}\n",
            "steps[0].expect",
            "expectations of faults",
            "{status: 0",
        ),
        (
            "  - {run: x, on: client, expect: {stdout: {matches: '('}}}\n",
            "steps[0].expect.stdout.matches",
            "`(` is not a regular expression",
            "",
        ),
        (
            "  - {start: x, on: client, ready: {tcp: 0}}\n",
            "steps[0].ready.tcp",
            "`0` is below",
            "65535",
        ),
        (
            "  - {start: x, on: client, ready: {within: 1s}}\n",
            "steps[0].ready",
            "not one condition",
            "`tcp`",
        ),
        (
            "  - {stop: x, expect: path.lost=0}\n",
            "steps[0].expect",
            "`expect` does not go with `stop`",
            "where they begin",
        ),
    ] {
        let report = read(&with_steps(steps)).expect_err(steps);
        assert_eq!(report.path.as_deref(), Some(path), "{steps}: {report:?}");
        assert!(report.message.contains(message), "{steps}: {report:?}");
        let rest = format!("{:?} {:?}", report.expected, report.hint);
        assert!(rest.contains(told), "{steps}: {rest}");
        assert!(
            report.line.is_some_and(|line| line >= 4),
            "{steps}: {report:?}"
        );
    }
}

#[test]
fn links_join_hosts_that_are_there_and_have_room() {
    for (links, path, message) in [
        (
            "[{between: [a]}]",
            "links[0].between",
            "a link with one end",
        ),
        (
            "[{between: [a, a]}]",
            "links[0].between[1]",
            "two ends are named `a`",
        ),
        (
            "[{between: [a, c]}]",
            "links[0].between[1]",
            "there is no host `c`",
        ),
        (
            "[{between: [a, b], network: 10.0.0.0/31}]",
            "links[0].network",
            "no room for 2 hosts",
        ),
        (
            "[{between: [a, b], mtu: 500}]",
            "links[0].mtu",
            "below the minimum",
        ),
    ] {
        let text = format!("name: x\nhosts: [a, b]\nlinks: {links}\nsteps: [{{sleep: 1s}}]\n");
        let report = read(&text).expect_err(links);
        assert_eq!(report.path.as_deref(), Some(path), "{report:?}");
        assert!(report.message.contains(message), "{report:?}");
    }
}

#[test]
fn every_example_is_valid_and_says_what_it_shows() {
    let directory = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios"));
    let files: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    let files: Vec<_> = files
        .iter()
        .filter(|file| file.extension().is_some_and(|it| it == "yaml"))
        .collect();
    assert!(files.len() >= 6, "{files:?}");
    for file in files {
        let scenario = Source::file(file).and_then(|source| Scenario::read(&source));
        let scenario = scenario.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(
            file.file_stem().unwrap().to_str(),
            Some(scenario.name.as_str())
        );
        assert!(
            scenario.description.is_some() && !scenario.requires.is_empty(),
            "{}",
            scenario.name
        );
    }
}

proptest! {
    #[test]
    fn no_two_ends_have_an_address_in_common(hosts in 2usize..20, pairs in prop::collection::vec((0usize..20, 0usize..20), 1..20)) {
        let names: Vec<_> = (0..hosts).map(|host| format!("h{host}")).collect();
        let pairs = pairs.iter().map(|(a, b)| (a % hosts, b % hosts)).filter(|(a, b)| a != b);
        let links: Vec<_> = pairs.map(|(a, b)| format!("{{between: [h{a}, h{b}]}}")).collect();
        prop_assume!(!links.is_empty());
        let links = links.join(", ");
        let text = format!("name: x\nhosts: [{}]\nlinks: [{links}]\nsteps: [{{sleep: 1s}}]\n", names.join(", "));
        let scenario = read(&text).unwrap();
        let mut seen = HashSet::new();
        for end in scenario.links.iter().flat_map(|link| &link.ends) {
            prop_assert!(seen.insert((end.host, end.device.clone())));
        }
        let ends = scenario.links.iter().flat_map(|link| &link.ends);
        let addresses: Vec<_> = ends.flat_map(|end| end.addresses.iter().map(|net| net.addr())).collect();
        let distinct: HashSet<_> = addresses.iter().collect();
        prop_assert_eq!(distinct.len(), addresses.len());
    }

    #[test]
    fn what_is_started_ends_once(ends in prop::collection::vec(0u8..3, 1..20)) {
        let text: String = ends.iter().enumerate().map(|(index, end)| {
            let end = match end {
                0 => String::new(),
                1 => format!("  - {{stop: c{index}}}\n"),
                _ => format!("  - {{wait: c{index}}}\n"),
            };
            format!("  - {{start: x, on: client, as: c{index}}}\n{end}")
        }).collect();
        let ended = steps(&text).into_iter().filter_map(|step| match step.action {
            Action::Stop { name } | Action::Wait { name, .. } => Some(name),
            _ => None,
        });
        let mut ended: Vec<_> = ended.collect();
        ended.sort();
        let mut all: Vec<_> = (0..ends.len()).map(|index| format!("c{index}")).collect();
        all.sort();
        prop_assert_eq!(ended, all);
    }
}
