//! Frames of any kind: what no rule matches arrives as it was sent.

use std::{
    collections::HashMap,
    fs,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use injector_tests::{
    Host, Injector, Lab,
    clock::{PATIENCE, Pacer, wait_until},
    frames::Tap,
    mutants::Mutants,
    socket, tool,
};

/// An address and a port that no frame has.
const PROFILE: &str = "
name: elsewhere
seed: 1
rules:
  - direction: both
    match: {protocol: udp, dst: 203.0.113.77, dst_port: 47777}
    drop: 100%
    corrupt: 100%
  - {direction: both, match: {dst: \"2001:db8:77::77\"}, drop: 100%}";

/// A frame to a host behind the bridge, which forwards what is to nobody it knows. Two kinds are left
/// out. A VLAN tag on the outside the kernel moves elsewhere before anybody sees the frame; one of a
/// PPPoE session that ends before its PPP header the bridge itself does not forward (seen on 6.18).
fn frame(mutants: &mut Mutants) -> Vec<u8> {
    let mut frame = mutants.frame();
    frame[..12].copy_from_slice(&[2, 0, 0, 0, 0, 3, 2, 0, 0, 0, 0, 1]);
    if matches!(frame[12..14], [0x81, 0x00] | [0x88, 0xa8 | 0x64]) {
        frame[12] = 0x08;
        frame[13] = 0x00;
    }
    frame
}

/// A port that has just come up forwards nothing for a moment.
fn wait_for_forwarding(host: &Host) {
    let forwards = || {
        let links = host.run(|| tool::ip("-d -o link show"));
        let count = |state| links.matches(state).count();
        count("state forwarding") == 2 && count("state UP") == 4
    };
    assert!(
        wait_until(PATIENCE, forwards),
        "the bridge does not forward"
    );
}

#[test]
fn frames_that_no_rule_matches_cross_the_cable_unchanged() {
    const COUNT: usize = 20_000;
    let mut mutants = Mutants::of_today();
    let frames: Vec<Vec<u8>> = (0..COUNT).map(|_| frame(&mut mutants)).collect();
    let lab = Lab::new();
    // Host B's device is a bridge's port: what is seen behind the other port has passed a program
    // on its way out of host A and one on its way into host B.
    lab.b.run(|| {
        // Where they exist: with them a bridge drops what is no good IP.
        for kind in ["iptables", "ip6tables", "arptables"] {
            let _ = fs::write(format!("/proc/sys/net/bridge/bridge-nf-call-{kind}"), "0");
        }
        tool::ip("link add name bridge0 type bridge forward_delay 0");
        tool::ip("link add name port0 type veth peer name behind0");
        for device in ["bridge0", "port0", "behind0"] {
            tool::ip(&format!("link set dev {device} up"));
        }
        tool::ip("link set dev port0 master bridge0");
        tool::ip("link set dev eth0 master bridge0");
    });
    wait_for_forwarding(&lab.b);
    let out = Injector::start(&lab.a, PROFILE);
    let back = Injector::start(&lab.b, PROFILE);
    let sender = Tap::new(&lab.a.netns, &lab.a.device);
    let receiver = Tap::new(&lab.b.netns, "behind0");
    let all_sent = AtomicBool::new(false);
    let received = thread::scope(|scope| {
        let received = scope.spawn(|| {
            let mut received = Vec::new();
            loop {
                match receiver.receive(Duration::from_millis(200)) {
                    Some(frame) => received.push(frame),
                    None if all_sent.load(Ordering::Acquire) => return received,
                    None => {}
                }
            }
        });
        socket::stay_on_one_cpu();
        let mut pacer = Pacer::new(Duration::from_micros(20));
        for frame in &frames {
            pacer.wait();
            sender.send(frame).expect("send a frame");
        }
        all_sent.store(true, Ordering::Release);
        received.join().expect("the receiver")
    });

    // In any order; the hosts' kernels may have something to say as well.
    let mut copies: HashMap<&[u8], i64> = HashMap::new();
    for frame in &received {
        *copies.entry(frame).or_default() += 1;
    }
    let mut missing = 0;
    for (number, frame) in frames.iter().enumerate() {
        let left = copies.entry(frame).or_default();
        *left -= 1;
        if *left < 0 {
            missing += 1;
            eprintln!("frame {number} is missing or changed: {frame:02x?}");
        }
    }
    assert_eq!(
        missing,
        0,
        "of {COUNT} frames; {} were received",
        received.len()
    );
    for injector in [out, back] {
        let end = injector.stop();
        assert!(
            end.achieved().rules.iter().all(|rule| rule.matched == 0),
            "{end:?}"
        );
        end.achieved().assert_clean();
        let path = end.achieved().path;
        assert!(path.unparseable > 0, "nothing was malformed");
        // The hosts' kernels may have had something to say as well.
        assert!(
            path.unmatched + path.unparseable + path.protected >= COUNT as u64,
            "{path:?}"
        );
    }
}
