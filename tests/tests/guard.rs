//! Whoever injects faults is not locked out by them.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use injector_tests::{
    Family, Host, Injector, Lab,
    clock::{PATIENCE, wait_until},
    echo::Echoes,
    frames::Tap,
    injector,
    residue::Snapshot,
    ssh::{self, Session},
    terminal, tool,
    udp::Flow,
};
use nix::pty::PtyMaster;

/// Longer than any packet takes, short enough to wait for often.
const QUIET: Duration = Duration::from_millis(60);

const OFFLINE: &str = "
name: offline
seed: 1
rules: [{direction: both, drop: 100%}]";

/// Whether another connection can be made.
fn connects(client: &Host, address: SocketAddr) -> bool {
    match client.run(|| TcpStream::connect_timeout(&address, Duration::from_secs(2))) {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::TimedOut => false,
        Err(error) => panic!("connect to {address}: {error}"),
    }
}

#[test]
fn an_ssh_session_survives_what_it_starts() {
    let lab = Lab::new();
    let address = lab.b.at(Family::V4, ssh::PORT);
    let mut session = Session::open(&lab.a, &lab.b);
    let port = session_port(&lab.b);
    let protected = format!("\"protected\":[\"ssh 10.77.0.1:{port}\",\"ARP\",\"ND\",\"DHCP\"]");
    let program = injector::command().get_program().display().to_string();
    // The second one drops the environment, as sudo does.
    for prefix in ["", "env -i"] {
        assert!(connects(&lab.a, address));
        session.say(&format!(
            "{prefix} {program} --json run -i eth0 --drop 100% --direction both &"
        ));
        let started = session.hear(|line| line.contains("\"started\""));
        assert!(started.contains(&protected), "{started}");

        assert!(!connects(&lab.a, address), "a connection that nobody named");
        session.say("seq 1 100000");
        session.hear(|line| line == "100000");
        session.hear(|line| line.contains("\"counters\""));

        session.say("kill $!; wait $!; echo exit $?");
        let exit = session.hear(|line| line.starts_with("exit"));
        assert_eq!(exit, "exit 0");
    }
    assert!(connects(&lab.a, address));
}

/// The port at which the client of the only established connection is.
fn session_port(server: &Host) -> u16 {
    let listing = server.run(|| std::fs::read_to_string("/proc/thread-self/net/tcp"));
    let listing = listing.expect("the host's connections");
    let established = listing
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let remote = established
        .filter(|fields| fields[3] == "01")
        .map(|fields| fields[2].to_owned());
    let [remote] = &remote.collect::<Vec<_>>()[..] else {
        panic!("not one connection: {listing}")
    };
    let (_, port) = remote.split_once(':').expect("a port");
    u16::from_str_radix(port, 16).expect("a port")
}

/// A connection from host A to a port of host B, and the same as sshd would call it.
fn connection(lab: &Lab, listener: &TcpListener, family: Family) -> ([TcpStream; 2], String) {
    let port = listener.local_addr().expect("an address").port();
    let near = lab
        .a
        .run(|| TcpStream::connect(lab.b.at(family, port)).expect("connect"));
    let (far, client) = listener.accept().expect("a connection");
    let server = far.local_addr().expect("an address");
    let name = format!("{} {} {} {}", client.ip(), client.port(), server.ip(), port);
    for stream in [&near, &far] {
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("set a timeout");
        stream.set_nodelay(true).expect("set an option");
    }
    ([near, far], name)
}

/// Sends data to and fro.
#[track_caller]
fn assert_carries([near, far]: &[TcpStream; 2]) {
    for round in 0..20 {
        for (mut from, mut to) in [(near, far), (far, near)] {
            let mut received = [0; 1000];
            from.write_all(&[round; 1000]).expect("send");
            to.read_exact(&mut received).expect("receive");
            assert_eq!(received, [round; 1000]);
        }
    }
}

#[test]
fn the_connection_that_ssh_names_lives_and_no_other() {
    for family in Family::ALL {
        let lab = Lab::new();
        // A socket for both versions of IP calls an IPv4 address `::ffff:10.77.0.1`.
        let listener = lab.b.run(|| TcpListener::bind("[::]:0").expect("listen"));
        let (named, name) = connection(&lab, &listener, family);
        let (other, _) = connection(&lab, &listener, family);
        let mut command = injector::run(&lab.b.netns, &lab.b.device, OFFLINE, &[]);
        command.env("SSH_CONNECTION", &name);
        let injector = Injector::launch(&lab.b.netns, command, OFFLINE).expect("a start");
        assert_eq!(injector.started().protected.len(), 4, "{name}");

        assert_carries(&named);
        assert!(!connects(
            &lab.a,
            lab.b
                .at(family, listener.local_addr().expect("an address").port())
        ));
        let (mut near, mut far) = (&other[0], &other[1]);
        near.write_all(&[1]).expect("send");
        far.set_read_timeout(Some(Duration::from_millis(300)))
            .expect("set a timeout");
        assert_eq!(
            far.read(&mut [0]).expect_err("nothing").kind(),
            ErrorKind::WouldBlock
        );
        let achieved = injector.counters();
        assert!(achieved.path.protected >= 40, "{achieved:?}");
        assert_eq!(achieved.path.unmatched, 0, "{achieved:?}");
        let end = injector.stop();
        end.achieved().assert_clean();
        // What was lost is sent again.
        assert_carries(&named);
        far.set_read_timeout(Some(PATIENCE)).expect("set a timeout");
        far.read_exact(&mut [0]).expect("receive");
    }
}

#[test]
fn a_connection_of_another_namespace_is_not_looked_for() {
    let lab = Lab::new();
    let start = |server: &str| {
        let mut command = injector::run(&lab.b.netns, &lab.b.device, OFFLINE, &[]);
        command.env("SSH_CONNECTION", format!("192.0.2.7 51234 {server} 22"));
        let injector = Injector::launch(&lab.b.netns, command, OFFLINE).expect("a start");
        injector.started().protected.clone()
    };
    assert_eq!(start("192.0.2.1"), ["ARP", "ND", "DHCP"]);
    assert_eq!(start("10.77.0.2")[0], "ssh 192.0.2.7:51234");
}

/// Whether a datagram arrives at that port.
fn arrives(from: &Host, to: &Host, family: Family, port: u16) -> bool {
    let flow = Flow::new(3).family(family).port(port).linger(QUIET);
    let arrivals = flow.send(from, to).arrivals.len();
    assert!(arrivals == 0 || arrivals == 3, "{arrivals} of 3 arrive");
    arrivals == 3
}

/// Makes the hosts ask for each other's hardware address.
fn forget_neighbours(host: &Host) {
    host.run(|| tool::ip("neighbour flush dev eth0 nud permanent"));
}

fn knows(host: &Host, neighbour: &Host, family: Family) -> bool {
    let address = neighbour.address(family);
    let entry = host.run(|| tool::ip(&format!("neighbour show {address} dev eth0")));
    entry.contains("lladdr")
}

/// An ICMPv6 message to host B.
fn icmpv6(lab: &Lab, kind: u8) -> Vec<u8> {
    let mut frame = [lab.b.mac, lab.a.mac].concat();
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 16, 58, 255]);
    frame.extend(lab.a.v6.octets());
    frame.extend(lab.b.v6.octets());
    frame.extend([kind, 0, 0xde, 0xad]);
    frame.extend([kind; 12]);
    frame
}

fn arp(lab: &Lab) -> Vec<u8> {
    let mut frame = [lab.b.mac, lab.a.mac].concat();
    // To the network's unused address 10.77.0.3.
    frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(lab.a.mac);
    frame.extend(lab.a.v4.octets());
    frame.extend([0, 0, 0, 0, 0, 0, 10, 77, 0, 3]);
    frame
}

#[test]
fn what_keeps_addresses_known_survives_and_nothing_else() {
    let lab = Lab::new();
    let (a, b) = (&lab.a, &lab.b);
    // XDP leaves what it does not drop to the hook behind it.
    for (protected, args) in [
        (true, &[][..]),
        (true, &["--xdp", "native"]),
        (false, &["--no-protect"]),
    ] {
        let injector = Injector::start_with(a, OFFLINE, args);
        for (family, ports) in [
            (Family::V4, [66, 67, 68, 69]),
            (Family::V6, [545, 546, 547, 548]),
        ] {
            for (i, port) in ports.into_iter().enumerate() {
                let expected = protected && (1..=2).contains(&i);
                assert_eq!(arrives(a, b, family, port), expected, "{family:?} {port}");
                assert_eq!(arrives(b, a, family, port), expected, "{family:?} {port}");
            }
        }
        let tap = Tap::new(&b.netns, &b.device);
        let sender = Tap::new(&a.netns, &a.device);
        let frames: Vec<_> = (120..=150)
            .map(|kind| icmpv6(&lab, kind))
            .chain([arp(&lab)])
            .collect();
        for frame in &frames {
            sender.send(frame).expect("send a frame");
        }
        let arrived = tap.drain(Duration::from_millis(200));
        let arrived: Vec<_> = frames.iter().map(|frame| arrived.contains(frame)).collect();
        let expected = (120..=150)
            .map(|kind| (133..=137).contains(&kind))
            .chain([true]);
        assert_eq!(
            arrived,
            expected
                .map(|passes| passes && protected)
                .collect::<Vec<_>>()
        );

        // The question leaves, the answer arrives.
        forget_neighbours(a);
        for family in Family::ALL {
            let echoes = Echoes::new(3).family(family).linger(QUIET);
            assert_eq!(echoes.send(a, b).replies.len(), 0, "{family:?}");
            let learns = wait_until(if protected { PATIENCE } else { QUIET }, || {
                knows(a, b, family)
            });
            assert_eq!(learns, protected, "{family:?}");
        }
        let path = injector.stop().achieved().path;
        assert_eq!(path.unmatched, 0);
        assert_eq!(path.protected != 0, protected, "{path:?}");
        // As they were.
        for (family, host) in [(Family::V4, b), (Family::V6, b)] {
            let mac = injector_tests::lab::format_mac(host.mac);
            let address = host.address(family);
            a.run(|| {
                tool::ip(&format!(
                    "neighbour replace {address} lladdr {mac} dev eth0 nud permanent"
                ))
            });
        }
    }
}

#[test]
fn a_rule_that_cannot_meet_them_counts_none_of_them() {
    let lab = Lab::new();
    let rules = "name: test\nrules: [{match: {protocol: udp, dst_port: 5000}, drop: 100%}]";
    let injector = Injector::start(&lab.a, rules);
    let sender = Tap::new(&lab.a.netns, &lab.a.device);
    for _ in 0..5 {
        sender.send(&arp(&lab)).expect("send a frame");
        sender.send(&icmpv6(&lab, 135)).expect("send a frame");
    }
    assert!(!arrives(&lab.a, &lab.b, Family::V4, 5000));
    let end = injector.stop();
    assert_eq!(end.achieved().path.protected, 0);
    assert!(end.achieved().path.unmatched >= 10);
    assert_eq!(end.achieved().only().matched, 3);
}

/// A lab whose host A has a default route.
fn routed() -> Lab {
    let lab = Lab::new();
    lab.a
        .run(|| tool::ip(&format!("route add default via {}", lab.b.v4)));
    lab
}

#[track_caller]
fn assert_refused(lab: &Lab, profile: &str, args: &[&str], words: &[&str]) {
    let started = Injector::try_start(&lab.a.netns, &lab.a.device, profile, args);
    let end = started.expect_err("a refusal");
    assert_eq!(end.code(), 2, "{}", end.stderr);
    for word in words {
        assert!(end.stderr.contains(word), "no {word} in: {}", end.stderr);
    }
}

#[test]
fn the_default_route_is_silenced_only_with_an_end_in_sight() {
    let lab = routed();
    let before = Snapshot::of(&lab.a.netns);
    let call =
        |profile: &str, args: &[&str]| injector::call_run(&lab.a.netns, "eth0", profile, args);
    assert_refused(
        &lab,
        OFFLINE,
        &[],
        &[
            "`offline`",
            "IPv4",
            "egress of `eth0`",
            "default route",
            "--for",
            "--confirm",
            "-- COMMAND",
        ],
    );
    let phases = "
name: outages
repeat: forever
phases:
  - {for: 1s, rules: []}
  - {name: outage, for: 1s, rules: [{direction: ingress, match: {protocol: ip}, drop: 100%}]}";
    assert_refused(&lab, phases, &[], &["phase `outage`", "ingress"]);
    assert_refused(&lab, OFFLINE, &["--confirm", "5s"], &["terminal", "--for"]);
    before.assert_same(&lab.a.netns);

    for args in [&["--for", "1s"][..], &["--dry-run"], &["--", "true"]] {
        let output = call(OFFLINE, args);
        assert!(
            output.status.success(),
            "{args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let once = phases.replace("forever", "1");
    assert!(call(&once, &[]).status.success());
    before.assert_same(&lab.a.netns);
    // Each of these goes on until it is stopped.
    let v6_only = "name: v6\nrules: [{match: {protocol: ipv6}, drop: 100%}]";
    for (profile, args) in [(OFFLINE, &["--no-protect"][..]), (v6_only, &[])] {
        Injector::start_with(&lab.a, profile, args)
            .stop()
            .achieved();
    }
    lab.a.run(|| tool::ip("route delete default"));
    Injector::start(&lab.a, OFFLINE).stop().achieved();
    lab.a
        .run(|| tool::ip(&format!("-6 route add default via {}", lab.b.v6)));
    assert_refused(&lab, v6_only, &[], &["IPv6"]);
}

/// A run that asks on a terminal, and the terminal's other end.
fn asking(lab: &Lab, time: &str, typed_before: &[u8]) -> (Injector, PtyMaster) {
    let (mut keys, line) = terminal::open();
    keys.write_all(typed_before).expect("type");
    let args = ["--drop", "100%", "--confirm", time];
    let mut command = injector::run(&lab.a.netns, "eth0", "", &args);
    command.stdin(line);
    let injector = Injector::launch(&lab.a.netns, command, "").expect("a start");
    assert!(wait_until(PATIENCE, || injector
        .stderr()
        .contains("press Enter")));
    (injector, keys)
}

#[test]
fn faults_that_nobody_confirms_end() {
    let lab = routed();
    for typed_before in [&b""[..], b"\n\n"] {
        let asked = Instant::now();
        let (injector, _keys) = asking(&lab, "2s", typed_before);
        let end = injector.wait();
        assert!(end.status.success(), "{}", end.stderr);
        assert_eq!(end.ended.expect("the event").reason, "not confirmed");
        assert!(asked.elapsed() >= Duration::from_secs(2));
    }
    let (injector, mut keys) = asking(&lab, "1h", b"");
    keys.write_all(b"no\n").expect("type");
    assert_eq!(
        injector.wait().ended.expect("the event").reason,
        "not confirmed"
    );
    let (injector, keys) = asking(&lab, "1h", b"");
    drop(keys);
    assert_eq!(
        injector.wait().ended.expect("the event").reason,
        "not confirmed"
    );
}

#[test]
fn faults_that_are_confirmed_stay() {
    const TIME: Duration = Duration::from_secs(3);
    let lab = routed();
    let (injector, mut keys) = asking(&lab, "3s", b"");
    keys.write_all(b"\n").expect("type");
    assert!(wait_until(PATIENCE, || injector
        .stderr()
        .contains("the faults stay")));
    thread::sleep(TIME);
    assert!(!arrives(&lab.a, &lab.b, Family::V4, 5000));
    let end = injector.stop();
    assert_eq!(end.ended.expect("the event").reason, "terminated");
}
