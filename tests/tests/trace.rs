//! What a trace tells is what happened.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    net::UdpSocket,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use etherparse::PacketBuilder;
use injector_tests::{
    Injector, Lab, directory::Directory, groups, injector, kernel, listener::Listener,
    predict::Oracle, tcp::Transfer, tool, tun::Tun, udp::Flow,
};
use nix::{
    sys::signal::Signal,
    unistd::{Uid, setuid},
};
use pcap_file::pcapng::{Block, PcapNgReader, blocks::enhanced_packet::EnhancedPacketOption};

const COUNT: u64 = 1000;

/// A few at a time, so that emulated processors keep up.
fn flow() -> Flow {
    Flow::new(COUNT).len(600).gap(Duration::from_micros(200))
}

#[test]
fn each_packet_that_is_hit_is_told_of() {
    const PROFILE: &str = "
name: traced
seed: 31
rules: [{name: hit, match: {protocol: udp}, drop: 5%, duplicate: 2%, corrupt: 1%}]";
    let oracle = Oracle::new(PROFILE);
    for batch in [1, 25] {
        let lab = Lab::new();
        let run = Injector::start(&lab.a, PROFILE);
        let trace = Listener::start(&lab.a.netns, &lab.a.device, &["--json"]);
        flow().batch(batch).send(&lab.a, &lab.b);
        let heard = trace.end();
        run.stop().achieved().assert_clean();
        assert_eq!(heard.code, 0, "{}", heard.said);
        assert_eq!(
            heard.packets("drop"),
            oracle.dropped(COUNT),
            "{batch} at a time"
        );
        assert_eq!(
            heard.packets("corrupt"),
            oracle.corrupted(COUNT),
            "{batch} at a time"
        );
        assert_eq!(
            heard.packets("duplicate"),
            oracle.duplicated(COUNT),
            "{batch} at a time"
        );
        for line in &heard.lines {
            assert_eq!(
                (line.rule.as_str(), line.direction.as_str()),
                ("hit", "egress")
            );
            let [src, dst] =
                [line.src, line.dst].map(|address| address.expect("an address").to_string());
            assert_eq!(
                (src, dst),
                (lab.a.v4.to_string(), lab.b.v4.to_string()),
                "{line:?}"
            );
            // A flipped bit may be anywhere.
            assert!(
                line.bit.is_some() || line.dst_port == Some(5000),
                "{line:?}"
            );
            assert_eq!(line.length % (600 + 14 + 20 + 8), 0, "{line:?}");
        }
    }
}

#[test]
fn only_what_is_asked_for_is_told() {
    const PROFILE: &str = "
name: chosen
seed: 32
rules:
  - {name: odd, match: {protocol: udp, dst_port: 5001}, drop: 10%, duplicate: 10%}
  - {name: even, match: {protocol: udp, dst_port: 5002}, drop: 10%}
  - {name: all, match: {protocol: tcp}, drop: 0.01%}";
    let lab = Lab::new();
    let run = Injector::start(&lab.a, PROFILE);
    let hear = |args: &[&str]| {
        let args = [args, &["--json"]].concat();
        let trace = Listener::start(&lab.a.netns, &lab.a.device, &args);
        for port in [5001, 5002] {
            Flow::new(300)
                .port(port)
                .linger(Duration::from_millis(50))
                .send(&lab.a, &lab.b);
        }
        trace.end()
    };
    let heard = hear(&["--rule", "odd"]);
    assert!(heard.lines.len() > 20 && heard.lines.iter().all(|line| line.rule == "odd"));
    let heard = hear(&["--fault", "duplicate,corrupt"]);
    assert!(heard.lines.len() > 5 && heard.lines.iter().all(|line| line.faults == ["duplicate"]));
    let heard = hear(&["--host", ":5002/udp"]);
    assert!(heard.lines.len() > 5 && heard.lines.iter().all(|line| line.dst_port == Some(5002)));
    let heard = hear(&["--host", &lab.b.v4.to_string()]);
    assert!(heard.lines.len() > 30, "{}", heard.lines.len());
    assert_eq!(hear(&["--host", "203.0.113.9"]).lines.len(), 0);
    let heard = hear(&["--sample", "20%"]);
    assert!(
        (1..60).contains(&heard.lines.len()),
        "{} of about 110",
        heard.lines.len()
    );
    let heard = hear(&["--rate", "10"]);
    assert!(
        heard.said.contains("more were beyond --rate 10"),
        "{}",
        heard.said
    );
    let status = run.stop();
    assert_eq!(status.code(), 0);
}

#[test]
fn a_trace_ends_by_itself() {
    const PROFILE: &str = "{name: all, seed: 1, rules: [{match: {protocol: udp}, drop: 100%}]}";
    let lab = Lab::new();
    let none = injector::call(&lab.a.netns, &["trace", "-i", &lab.a.device]);
    assert_eq!(injector::code(none.status), 5);
    assert!(String::from_utf8_lossy(&none.stderr).contains("no faults are in force on `eth0`"));

    let run = Injector::start(&lab.a, PROFILE);
    let trace = Listener::start(&lab.a.netns, &lab.a.device, &["--json", "--count", "3"]);
    let second = injector::call(&lab.a.netns, &["trace", "-i", &lab.a.device]);
    assert_eq!(injector::code(second.status), 5);
    assert!(String::from_utf8_lossy(&second.stderr).contains("another `injector trace` listens"));
    flow().send(&lab.a, &lab.b);
    let heard = trace.wait();
    assert_eq!((heard.code, heard.lines.len()), (0, 3), "{}", heard.said);
    assert!(
        heard
            .lines
            .iter()
            .all(|line| line.packet.is_none() && line.faults == ["drop"])
    );

    let unknown = injector::call(
        &lab.a.netns,
        &["trace", "-i", &lab.a.device, "--rule", "other"],
    );
    assert_eq!(injector::code(unknown.status), 2);
    let killed = Listener::start(&lab.a.netns, &lab.a.device, &["--json"]);
    killed.signal(Signal::SIGKILL);
    killed.wait();
    std::thread::sleep(Duration::from_millis(3500));
    let trace = Listener::start(&lab.a.netns, &lab.a.device, &["--json"]);
    run.stop();
    let heard = trace.wait();
    assert_eq!(heard.code, 0);
    assert!(heard.said.contains("the run has ended"), "{}", heard.said);
}

const DROP_ALL: &str = "{name: all, rules: [{name: all, match: {protocol: udp}, drop: 100%}]}";

#[test]
fn a_single_hit_is_shown_though_no_other_follows() {
    let lab = Lab::new();
    let run = Injector::start(&lab.a, DROP_ALL);
    let args = ["--json", "--count", "1"];
    let trace = Listener::start(&lab.a.netns, &lab.a.device, &args);
    let sent = Instant::now();
    lab.a.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
        socket.send_to(b"", (lab.b.v4, 5001)).expect("send");
    });
    let heard = trace.wait();
    let took = sent.elapsed();
    run.stop();
    assert!(took < Duration::from_secs(3), "{took:?}");
    let [line] = &heard.lines[..] else {
        panic!("{} lines: {}", heard.lines.len(), heard.said);
    };
    // Nothing but headers, of which the last byte counts, too.
    assert_eq!((line.dst_port, line.length), (Some(5001), 14 + 20 + 8));
}

#[test]
fn what_was_told_last_is_shown_before_the_end() {
    let lab = Lab::new();
    let run = Injector::start(&lab.a, DROP_ALL);
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let trace = Listener::start(&lab.a.netns, &lab.a.device, &["--json"]);
        // No more than are shown in a tenth of a second.
        const SENT: u64 = 400;
        Flow::new(SENT).linger(Duration::ZERO).send(&lab.a, &lab.b);
        trace.signal(signal);
        let heard = trace.wait();
        assert_eq!(heard.lines.len() as u64, SENT, "{}", heard.said);
    }
    run.stop();
}

#[test]
fn what_finds_no_room_is_counted() {
    // Whoever says nothing is told no more after 3 s, in which an emulated processor may not send as many.
    if kernel::is_guest() {
        return;
    }
    // More than there is room for.
    const SENT: u64 = 4000;
    let lab = Lab::new();
    let run = Injector::start(&lab.a, DROP_ALL);
    let args = ["--json", "--rate", "1000000"];
    let trace = Listener::start(&lab.a.netns, &lab.a.device, &args);
    trace.signal(Signal::SIGSTOP);
    Flow::new(SENT).send(&lab.a, &lab.b);
    trace.signal(Signal::SIGCONT);
    let heard = trace.end();
    run.stop();
    let lost = heard.said.split("; ").find_map(|part| {
        let lost = part
            .trim()
            .strip_suffix(" more came faster than they were taken")?;
        lost.replace(',', "").parse::<u64>().ok()
    });
    let lost = lost.unwrap_or_else(|| panic!("none was lost: {}", heard.said));
    assert_eq!(heard.lines.len() as u64 + lost, SENT, "{}", heard.said);
}

/// Index of the packet, what happened to it, its bytes.
fn packets(file: &Path) -> Vec<(u64, String, Vec<u8>)> {
    let mut reader = PcapNgReader::new(File::open(file).expect("the file")).expect("a pcapng file");
    let mut packets = Vec::new();
    while let Some(block) = reader.next_block() {
        let Block::EnhancedPacket(packet) = block.expect("a whole block") else {
            continue;
        };
        let comment = packet.options.iter().find_map(|option| match option {
            EnhancedPacketOption::Comment(comment) => Some(comment.as_ref()),
            _ => None,
        });
        let comment = comment
            .expect("a comment")
            .strip_prefix("injector: bad #")
            .expect("its form");
        let (index, fate) = comment.split_once(": ").expect("its form");
        let (fate, sender) = fate.split_once(", sent by ").expect("the sender");
        assert!(sender.starts_with("user 0 in /"), "{sender}");
        packets.push((
            index.parse().expect("an index"),
            fate.to_owned(),
            packet.data.to_vec(),
        ));
    }
    packets
}

const CORRUPT: &str = "
name: corrupt
seed: 33
rules: [{name: bad, match: {protocol: udp}, corrupt: 10%, drop: 1%}]";

#[test]
fn a_capture_has_corrupted_packets_as_they_were_and_as_they_are() {
    let directory = Directory::new("trace");
    let file = directory.file("hits.pcapng");
    let path = file.to_str().expect("a path");
    let lab = Lab::new();
    let run = Injector::start(&lab.a, CORRUPT);
    let trace = Listener::start(&lab.a.netns, &lab.a.device, &["--pcap", path]);
    flow().send(&lab.a, &lab.b);
    let heard = trace.end();
    run.stop();
    assert_eq!(heard.code, 0, "{}", heard.said);
    let oracle = Oracle::new(CORRUPT);
    let (mut before, mut after) = (BTreeMap::new(), BTreeMap::new());
    let mut dropped = 0;
    for (index, fate, bytes) in packets(&file) {
        if fate == "before it was corrupted" {
            before.insert(index, bytes);
        } else if let Some(bit) = fate.strip_prefix("bit ") {
            let bit = bit.strip_suffix(" flipped").expect("its form");
            after.insert(index, (bit.parse::<usize>().expect("a bit"), bytes));
        } else {
            assert_eq!(fate, "dropped");
            dropped += 1;
        }
    }
    assert_eq!(dropped, oracle.dropped(COUNT).len());
    let corrupted = oracle.corrupted(COUNT);
    assert!(corrupted.len() > 50);
    assert_eq!(
        after
            .keys()
            .copied()
            .collect::<std::collections::BTreeSet<_>>(),
        corrupted
    );
    for (index, (bit, is)) in after {
        let mut was = before.remove(&index).expect("as it was");
        assert_eq!(was.len(), 600 + 14 + 20 + 8);
        was[bit / 8] ^= 0x80 >> (bit % 8);
        assert_eq!(was, is, "packet {index}, bit {bit}");
    }
    if kernel::is_guest() {
        return;
    }
    // What Wireshark makes of it: comments, and checksums that do not fit where bits were flipped.
    let fields = "-T fields -e frame.comment -e udp.checksum.status -o udp.check_checksum:TRUE";
    let seen = tool::run("tshark", &format!("-r {path} {fields}"));
    let bad = seen
        .lines()
        .filter(|line| line.contains(" flipped, ") && line.ends_with("\t0"));
    assert_eq!(bad.count(), corrupted.len(), "{seen}");
    let good = seen
        .lines()
        .filter(|line| line.contains("before it was corrupted, "));
    assert_eq!(good.count(), corrupted.len());
}

#[test]
fn a_full_disk_ends_the_capture_and_nothing_else() {
    let directory = Directory::new("trace-full");
    let small = directory.file("small");
    fs::create_dir(&small).expect("a directory");
    let mount = |line: &str| {
        tool::run(
            line.split_once(' ').expect("a program").0,
            line.split_once(' ').expect("its arguments").1,
        )
    };
    mount(&format!(
        "mount -t tmpfs -o size=64k none {}",
        small.display()
    ));
    let file = small.join("hits.pcapng");
    let lab = Lab::new();
    let run = Injector::start(&lab.a, CORRUPT);
    let args = ["--pcap", file.to_str().expect("a path")];
    let trace = Listener::start(&lab.a.netns, &lab.a.device, &args);
    flow().send(&lab.a, &lab.b);
    let heard = trace.wait();
    let captured = packets(&file);
    mount(&format!("umount {}", small.display()));
    assert_eq!(heard.code, 6, "{}", heard.said);
    let full = io::Error::from_raw_os_error(nix::libc::ENOSPC).to_string();
    assert!(heard.said.contains(&full), "{}", heard.said);
    assert!((10..100).contains(&captured.len()), "{}", captured.len());
    assert_eq!(run.stop().achieved().only().matched, COUNT);
}

#[test]
fn delays_are_told_as_they_were_given() {
    if !kernel::can_delay() {
        return;
    }
    const PROFILE: &str = "
name: late
seed: 34
rules: [{match: {protocol: udp}, drop: 2%, delay: {time: 30ms, jitter: 10ms}}]";
    let lab = Lab::new();
    let run = Injector::start(&lab.a, PROFILE);
    let trace = Listener::start(&lab.a.netns, &lab.a.device, &["--json"]);
    Flow::new(500)
        .gap(Duration::from_millis(1))
        .send(&lab.a, &lab.b);
    let heard = trace.end();
    run.stop().achieved().assert_clean();
    let oracle = Oracle::new(PROFILE);
    let mut delayed = 0;
    for line in heard.lines.iter().filter(|line| line.faults == ["delay"]) {
        let expected = oracle.delay(line.packet.expect("an index"));
        assert_eq!(
            line.delay_ns.map(Duration::from_nanos),
            expected,
            "{line:?}"
        );
        delayed += 1;
    }
    assert_eq!(heard.packets("drop"), oracle.dropped(500));
    assert_eq!(delayed + heard.packets("drop").len(), 500, "{}", heard.said);
}

#[test]
fn a_stream_is_traced_by_its_packets() {
    const PROFILE: &str = "
name: stream
seed: 35
rules: [{match: {protocol: tcp}, drop: 0.5%}]";
    let lab = Lab::new();
    let run = Injector::start(&lab.a, PROFILE);
    let trace = Listener::start(&lab.a.netns, &lab.a.device, &["--json", "--host", "/tcp"]);
    Transfer::new(3_000_000)
        .send(&lab.a, &lab.b)
        .assert_intact(3_000_000);
    let heard = trace.end();
    let end = run.stop();
    let dropped: u64 = heard.lines.iter().map(|line| line.packets).sum();
    assert_eq!(dropped, end.achieved().only().dropped, "{}", heard.said);
    let oracle = Oracle::new(PROFILE);
    assert_eq!(
        heard.packets("drop"),
        oracle.dropped(end.achieved().only().matched)
    );
}

/// A control group, for the time of a test.
struct Group(PathBuf);

impl Group {
    fn new() -> Self {
        let path = groups::root().join(format!("injector-trace-{}", std::process::id()));
        fs::create_dir_all(path.join("below")).expect("make a group");
        Self(path)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(self.0.join("below"));
        let _ = fs::remove_dir(&self.0);
    }
}

const NOBODY: u32 = 65534;

/// Has a process of that user, in that group, send a datagram to each of these ports of B.
fn send_from(group: &Path, user: u32, lab: &Lab, ports: &'static [u16]) {
    let (entry, to) = (group.join("cgroup.procs"), lab.b.v4);
    let send = move || {
        fs::write(&entry, "0")?;
        setuid(Uid::from_raw(user))?;
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        ports
            .iter()
            .try_for_each(|port| socket.send_to(b"x", (to, *port)).map(drop))
    };
    let mut process = Command::new("true");
    // SAFETY: none of the test's threads holds the allocator's lock for long, and nothing else is shared.
    unsafe { process.pre_exec(send) };
    let status = lab.a.run(|| process.status().expect("start a process"));
    assert!(status.success());
}

#[test]
fn the_sender_of_a_packet_is_named() {
    // Told on the device, and on the pair, where packets have no socket any more.
    const PROFILE: &str = "
name: senders
rules:
  - {name: device, match: {protocol: udp, dst_port: 5001}, drop: 100%}
  - {name: pair, match: {protocol: udp, dst_port: 5002}, duplicate: 100%}";
    let (lab, group) = (Lab::new(), Group::new());
    lab.a
        .run(|| fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("forward"));
    let tun = Tun::new(&lab.a.netns, "tun0");
    lab.a.run(|| tool::ip("address add 10.99.0.1/24 dev tun0"));
    let run = Injector::start(&lab.a, PROFILE);
    let trace = Listener::start(&lab.a.netns, &lab.a.device, &["--json"]);
    send_from(&group.0, NOBODY, &lab, &[5001, 5002]);
    send_from(&group.0.join("below"), 0, &lab, &[5001, 5002]);
    for port in [5001, 5002] {
        let mut packet = Vec::new();
        let builder = PacketBuilder::ipv4([10, 99, 0, 2], lab.b.v4.octets(), 64).udp(5000, port);
        builder.write(&mut packet, b"x").expect("a packet");
        tun.send(&packet).expect("let it arrive");
    }
    let heard = trace.end();
    run.stop().achieved().assert_clean();
    let name = group.0.file_name().expect("a name").to_string_lossy();
    for rule in ["device", "pair"] {
        let lines = heard.lines.iter().filter(|line| line.rule == rule);
        let senders: Vec<_> = lines.map(|line| (line.cgroup.clone(), line.uid)).collect();
        let expected = [
            (Some(format!("/{name}")), Some(NOBODY)),
            (Some(format!("/{name}/below")), Some(0)),
            (None, None),
        ];
        assert_eq!(senders, expected, "{rule}: {}", heard.said);
    }
}

#[test]
fn a_file_that_cannot_be_written_is_refused_before_anything_is_heard() {
    let directory = Directory::new("trace-read-only");
    let place = directory.file("place");
    fs::create_dir(&place).expect("a directory");
    tool::run("mount", &format!("-t tmpfs -o ro none {}", place.display()));
    let file = place.join("hits.pcapng");
    let lab = Lab::new();
    let run = Injector::start(&lab.a, "{name: all, rules: [{drop: 100%}]}");
    let path = file.to_str().expect("a path");
    // Whoever listens already is not asked: the file comes first.
    let first = Listener::start(&lab.a.netns, &lab.a.device, &["--json"]);
    let refused = injector::call(
        &lab.a.netns,
        &["trace", "-i", &lab.a.device, "--pcap", path],
    );
    tool::run("umount", &place.display().to_string());
    first.end();
    run.stop();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(injector::code(refused.status), 4, "{said}");
    let reason = io::Error::from_raw_os_error(nix::libc::EROFS).to_string();
    assert!(
        said.contains(&format!("cannot write {path}: {reason}")),
        "{said}"
    );
    assert!(said.contains("hint: "), "{said}");
}
