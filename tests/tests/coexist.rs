//! What others have set up on the device stays, and works.

use std::time::Duration;

use injector_tests::{
    Host, Injector, Lab,
    foreign::{Counted, Foreign, Side},
    injector, kernel,
    residue::Snapshot,
    tcp::Transfer,
    tool,
    udp::{Flow, Report},
};

/// Matches everything on egress and ingress, and hardly ever does anything.
const MILD: &str = "{name: mild, seed: 1, rules: [{direction: both, drop: 0.0000001%}]}";
const LATE: &str = "{name: late, seed: 1, rules: [{direction: both, delay: 5ms}]}";

/// Ways of attaching and profiles: each way, and each of the two ways through the pair, at least
/// once where this kernel has it.
fn variants() -> [(&'static str, &'static str); 2] {
    let late = if kernel::can_delay() { LATE } else { MILD };
    if kernel::has_tcx() {
        [("tcx", late), ("clsact", MILD)]
    } else {
        [("clsact", late), ("clsact", MILD)]
    }
}

fn start(host: &Host, profile: &str, way: &str) -> Injector {
    Injector::start_with(host, profile, &["--attach", way])
}

fn send(lab: &Lab, flow: &Flow) -> Report {
    let report = flow
        .clone()
        .linger(Duration::from_millis(300))
        .send(&lab.a, &lab.b);
    report.assert_untouched();
    report
}

/// Packets that a class of the root qdisc has sent.
fn class_packets(host: &Host, class: &str) -> u64 {
    let text = host.run(|| tool::tc("-s class show dev eth0"));
    // " Sent 1234 bytes 5 pkt (dropped …", on the line after the class's own.
    let mut lines = text
        .lines()
        .skip_while(|line| !line.contains(&format!(" {class} ")));
    let sent = lines
        .nth(1)
        .and_then(|line| line.split_whitespace().nth(3))
        .expect("its packets");
    sent.parse().expect("a number of packets")
}

#[test]
fn htb_classes_by_mark_and_priority_as_before() {
    const COUNT: u64 = 100;
    if !kernel::has_htb() {
        return;
    }
    for (way, profile) in variants() {
        let lab = Lab::new();
        lab.a.run(|| {
            tool::tc("qdisc add dev eth0 root handle 1: htb default 30");
            for class in ["10", "20", "30"] {
                tool::tc(&format!(
                    "class add dev eth0 parent 1: classid 1:{class} htb rate 1gbit"
                ));
            }
            // Classic BPF: load the mark (SKF_AD_OFF + SKF_AD_MARK); if it is 7, match.
            let by_mark = "4,32 0 0 4294963220,21 0 1 7,6 0 0 4294967295,6 0 0 0";
            let add = "filter add dev eth0 parent 1: protocol all bpf flowid 1:10 bytecode";
            let args: Vec<&str> = add.split(' ').chain([by_mark]).collect();
            tool::tc_args(&args);
        });
        let before = Snapshot::of(&lab.a.netns);
        let injector = start(&lab.a, profile, way);
        // A priority with htb's major number names a class directly.
        let flows = [
            Flow::new(COUNT).mark(7),
            Flow::new(COUNT).priority(0x0001_0020),
            Flow::new(COUNT),
        ];
        for (flow, class) in flows.iter().zip(["1:10", "1:20", "1:30"]) {
            let earlier = class_packets(&lab.a, class);
            send(&lab, flow);
            let packets = class_packets(&lab.a, class) - earlier;
            // Not less, and more only by what the kernel itself may have to say.
            assert!(
                (COUNT..COUNT + 5).contains(&packets),
                "{way} {class}: {packets}"
            );
        }
        let end = injector.stop();
        assert!(end.achieved().rules[0].matched >= 3 * COUNT);
        before.assert_same(&lab.a.netns);
    }
}

/// On the wire a datagram has 42 bytes of headers.
const COUNTED: Counted = Counted {
    len: 42 + 100,
    mark: 0x1234_5678,
    priority: 5,
};

/// Sends marked datagrams through foreign programs on both sides of host A, which has a run.
#[track_caller]
fn foreign_programs_see_each_packet_once(lab: &Lab, foreign: &[Foreign; 2]) {
    const COUNT: u64 = 100;
    let earlier = foreign.each_ref().map(Foreign::seen);
    let flow = Flow::new(COUNT)
        .len(100)
        .mark(COUNTED.mark)
        .priority(COUNTED.priority);
    send(lab, &flow);
    let back = flow.linger(Duration::from_millis(300)).send(&lab.b, &lab.a);
    back.assert_untouched();
    let [out, back] = foreign;
    assert_eq!(out.seen() - earlier[0], COUNT, "on egress");
    assert_eq!(back.seen() - earlier[1], COUNT, "on ingress");
    // The crossing to another namespace clears a mark; on egress it is still there.
    let kept = out.seen_with_mark_and_priority();
    assert_eq!(kept, out.seen(), "packets with mark and priority on egress");
}

#[test]
fn foreign_cls_bpf_programs_stay_and_see_each_packet_once() {
    for (way, profile) in variants() {
        let lab = Lab::new();
        let foreign = Side::ALL.map(|side| Foreign::on_clsact(&lab.a, side, COUNTED));
        foreign_programs_see_each_packet_once(&lab, &foreign);
        let before = Snapshot::of(&lab.a.netns);
        let injector = start(&lab.a, profile, way);
        foreign_programs_see_each_packet_once(&lab, &foreign);
        let end = injector.stop();
        assert!(
            end.achieved().rules.iter().all(|rule| rule.matched >= 100),
            "{way}"
        );
        before.assert_same(&lab.a.netns);
        foreign_programs_see_each_packet_once(&lab, &foreign);
    }
}

#[test]
fn foreign_tcx_programs_stay_and_see_each_packet_once() {
    if !kernel::has_tcx() {
        return;
    }
    for (_, profile) in variants() {
        let lab = Lab::new();
        let foreign = Side::ALL.map(|side| Foreign::on_tcx(&lab.a, side, COUNTED));
        foreign_programs_see_each_packet_once(&lab, &foreign);
        let before = Snapshot::of(&lab.a.netns);
        let injector = start(&lab.a, profile, "tcx");
        foreign_programs_see_each_packet_once(&lab, &foreign);
        injector.stop().achieved();
        before.assert_same(&lab.a.netns);
        foreign_programs_see_each_packet_once(&lab, &foreign);
    }
}

/// Programs that accept packets, as Cilium's do: those behind them in the chain see none.
#[test]
fn programs_that_accept_packets_do_not_keep_them_from_ours() {
    const LOSS: &str = "{name: loss, seed: 1, rules: [{direction: both, drop: 100%}]}";
    if !kernel::has_tcx() {
        return;
    }
    for profile in [LOSS, LATE, MILD] {
        if profile == LATE && !kernel::can_delay() {
            continue;
        }
        let lab = Lab::new();
        let accepting = |is_first| {
            Side::ALL.map(|side| Foreign::accepting_on_tcx(&lab.a, side, COUNTED, is_first))
        };
        let before = Snapshot::of(&lab.a.netns);
        // One was there; the other comes later.
        let first = accepting(true);
        let run = start(&lab.a, profile, "tcx");
        let late = accepting(false);
        if profile == LOSS {
            let flow = Flow::new(20).len(100);
            assert_eq!(flow.send(&lab.a, &lab.b).arrivals.len(), 0);
            assert_eq!(flow.send(&lab.b, &lab.a).arrivals.len(), 0);
            assert_eq!(first.each_ref().map(Foreign::seen), [0, 0]);
        } else {
            foreign_programs_see_each_packet_once(&lab, &first);
        }
        // They sit behind the one that accepts.
        assert_eq!(late.each_ref().map(Foreign::seen), [0, 0]);
        assert_eq!(run.stderr(), "");
        run.stop().achieved();
        drop((first, late));
        before.assert_same(&lab.a.netns);
    }
}

#[test]
fn a_program_that_goes_before_ours_later_is_left_there() {
    const LOSS: &str = "{name: loss, seed: 1, rules: [{drop: 100%}]}";
    if !kernel::has_tcx() {
        return;
    }
    let lab = Lab::new();
    let run = start(&lab.a, LOSS, "tcx");
    let first = Foreign::accepting_on_tcx(&lab.a, Side::Egress, COUNTED, true);
    run.counters();
    send(&lab, &Flow::new(20).len(100));
    assert_eq!(first.seen(), 20);
    drop(first);
    let report = Flow::new(20).send(&lab.a, &lab.b);
    assert_eq!(report.arrivals.len(), 0, "ours works again");
    run.stop().achieved();
}

#[test]
fn a_foreign_xdp_program_stays_and_works() {
    const LOSS: &str = "{name: loss, seed: 1, rules: [{direction: ingress, drop: 100%}]}";
    let lab = Lab::new();
    let foreign = Foreign::on_xdp(&lab.b);
    let before = Snapshot::of(&lab.b.netns);
    let injector = Injector::start(&lab.b, LOSS);
    let earlier = foreign.seen();
    assert_eq!(Flow::new(100).send(&lab.a, &lab.b).arrivals.len(), 0);
    assert!(foreign.seen() - earlier >= 100);
    injector.stop().achieved();
    before.assert_same(&lab.b.netns);

    let output = injector::call_run(&lab.b.netns, "eth0", LOSS, &["--xdp", "native"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(injector::code(output.status), 5, "{said}");
    // Its name, its number and its mode.
    assert!(
        said.contains(": f") && said.contains("(id ") && said.contains(", native)"),
        "{said}"
    );
    before.assert_same(&lab.b.netns);
    send(&lab, &Flow::new(100));
}

#[test]
fn a_root_qdisc_of_the_users_stays() {
    let lab = Lab::new();
    lab.a
        .run(|| tool::tc("qdisc add dev eth0 root handle 7: tbf rate 1gbit burst 1m latency 1s"));
    let before = Snapshot::of(&lab.a.netns);
    for (_, profile) in variants() {
        let injector = Injector::start(&lab.a, profile);
        let qdiscs = lab.a.run(|| tool::tc("qdisc show dev eth0"));
        assert!(qdiscs.contains("qdisc tbf 7: root"), "{qdiscs}");
        let report = Transfer::new(1 << 20).send(&lab.a, &lab.b);
        report.assert_intact(1 << 20);
        injector.stop().achieved();
        before.assert_same(&lab.a.netns);
    }
}

/// Root qdiscs with leaves, each with what there is to be seen of it beside other things.
const ROOTS: [(&str, &[&str]); 3] = [
    (
        "htb",
        &[
            "qdisc add dev eth0 root handle 1: htb default 10",
            "class add dev eth0 parent 1: classid 1:10 htb rate 1gbit",
            "qdisc add dev eth0 parent 1:10 handle 10: pfifo limit 500",
        ],
    ),
    (
        "cake",
        &["qdisc add dev eth0 root handle 2: cake bandwidth 1gbit"],
    ),
    (
        "mq",
        &[
            "qdisc add dev eth0 root handle 3: mq",
            "qdisc replace dev eth0 parent 3:1 handle 31: pfifo limit 500",
            "qdisc replace dev eth0 parent 3:2 handle 32: pfifo limit 500",
        ],
    ),
];

#[test]
fn root_qdiscs_with_leaves_stay_as_they_are_and_work() {
    const COUNT: u64 = 100;
    for (kind, commands) in ROOTS {
        // veth devices have had several queues by themselves since 5.15.
        if !kernel::has_qdisc(kind) || kind == "mq" && kernel::version() < (5, 15) {
            continue;
        }
        let lab = Lab::new();
        lab.a
            .run(|| commands.iter().for_each(|command| drop(tool::tc(command))));
        let shown = || {
            let show = || tool::tc("qdisc show dev eth0") + &tool::tc("class show dev eth0");
            lasting(&lab.a.run(show))
        };
        let (before, tree) = (Snapshot::of(&lab.a.netns), shown());
        // An emulated processor takes its time to start: the one that delays.
        let variants = variants()
            .into_iter()
            .take(if kernel::is_guest() { 1 } else { 2 });
        for (way, profile) in variants {
            let injector = start(&lab.a, profile, way);
            assert_eq!(shown(), tree, "{kind} {way}");
            let earlier = root_packets(&lab.a);
            let flow = Flow::new(COUNT).linger(Duration::from_millis(300));
            let report = flow.send(&lab.a, &lab.b);
            report.assert_untouched();
            // What is held is held beside it, and comes to it afterwards.
            let sent = root_packets(&lab.a) - earlier;
            assert!((COUNT..COUNT + 5).contains(&sent), "{kind} {way}: {sent}");
            if profile == LATE {
                let delays = report.delays();
                let least = delays.into_iter().map(|(_, delay)| delay).min();
                assert!(least >= Some(Duration::from_millis(5)), "{kind}: {least:?}");
            }
            injector.stop().achieved().assert_clean();
            assert_eq!(shown(), tree, "{kind} {way}");
            before.assert_same(&lab.a.netns);
        }
    }
}

/// What `tc` shows, but for the hooks, and for cake's classes, which are the flows of the moment.
fn lasting(shown: &str) -> String {
    let passes = |line: &&str| line.contains(" clsact ") || line.starts_with("class cake");
    let lines = shown.lines().filter(|line| !passes(line));
    lines.map(|line| format!("{line}\n")).collect()
}

/// Packets that the root qdisc has sent.
fn root_packets(host: &Host) -> u64 {
    let shown = host.run(|| tool::tc("-s -j qdisc show dev eth0 root"));
    let qdiscs: serde_json::Value = serde_json::from_str(&shown).expect("JSON from tc");
    let roots = qdiscs.as_array().expect("qdiscs").iter();
    let mut roots = roots.filter(|qdisc| qdisc["root"] == true);
    roots
        .next()
        .and_then(|root| root["packets"].as_u64())
        .expect("its packets")
}

#[test]
fn a_clsact_that_others_came_to_use_stays() {
    let lab = Lab::new();
    let injector = start(&lab.a, MILD, "clsact");
    let foreign = Foreign::on_clsact(&lab.a, Side::Egress, COUNTED);
    injector.stop().achieved();
    let filters = lab.a.run(|| tool::tc("filter show dev eth0 egress"));
    assert!(
        filters.contains("foreign"),
        "the foreign filter is gone: {filters}"
    );
    send(&lab, &Flow::new(100).len(100));
    assert_eq!(foreign.seen(), 100);
    assert!(!filters.contains("injector"), "ours is not: {filters}");
}

#[test]
fn filters_in_the_callers_namespace_stay() {
    let lab = Lab::new();
    let injector = lab.b.run(|| Injector::start(&lab.a, MILD));
    let links = lab.a.run(|| tool::ip("-o link"));
    let pair = links.lines().filter(|line| line.contains(": inj"));
    // Devices with the indexes of the pair's ends, with the filters that tc adds first.
    let devices: Vec<String> = pair
        .filter_map(|line| line.split(':').next())
        .map(|index| format!("dev{index} index {index} type veth peer index 1{index}"))
        .collect();
    let before = lab.b.run(|| {
        for device in &devices {
            tool::ip(&format!("link add {device}"));
            let name = device.split(' ').next().expect("a name");
            tool::tc(&format!("qdisc add dev {name} clsact"));
            let add = format!("filter add dev {name} ingress bpf bytecode");
            let args: Vec<&str> = add.split(' ').chain(["1,6 0 0 0"]).collect();
            tool::tc_args(&args);
        }
        Snapshot::of(&lab.b.netns)
    });
    injector.stop();
    before.assert_same(&lab.b.netns);
}
