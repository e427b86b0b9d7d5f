//! Flipped bits.

use std::collections::BTreeSet;

use injector::plan::Hook;
use injector_tests::{
    Family, Host, Injector, Lab, echo::Echoes, injector::Achieved, predict::Oracle,
    snmp::ChecksumErrors, stats, tcp::Transfer, tool, udp::Flow,
};

const DATAGRAMS: u64 = 1500;
const ECHOES: u16 = 500;
const BYTES: u64 = 1 << 20;

/// A profile with a rule for each protocol over each version of IP, so that each has a count of its
/// own.
struct Corruption {
    hook: Hook,
    profile: String,
}

impl Corruption {
    fn new(hook: Hook, checksum: &str) -> Self {
        let rule = |name: &str, protocol: &str, to: &str, probability: &str| {
            format!(
                "  - name: {name}
    direction: {hook}
    match: {{protocol: {protocol}, dst: \"{to}\"}}
    corrupt: {{probability: {probability}, checksum: {checksum}}}\n"
            )
        };
        let rules: String = [("4", "10.77.0.2"), ("6", "fd77::2")]
            .iter()
            .flat_map(|(version, to)| {
                [("udp", "10%"), ("icmp", "10%"), ("tcp", "3%")].map(|(protocol, probability)| {
                    rule(&format!("{protocol}{version}"), protocol, to, probability)
                })
            })
            .collect();
        Self {
            hook,
            profile: format!("name: corrupt\nseed: 3\nrules:\n{rules}"),
        }
    }

    /// Starts it: on host A's device for packets on their way out, on host B's for those that come
    /// in.
    fn start(&self, lab: &Lab) -> Injector {
        let host = if self.hook == Hook::Egress {
            &lab.a
        } else {
            &lab.b
        };
        Injector::start(host, &self.profile)
    }

    /// Which of the first `count` packets of the rule are corrupted.
    fn corrupted(&self, rule: &str, count: u64) -> BTreeSet<u64> {
        Oracle::of(&self.profile, rule, self.hook).corrupted(count)
    }
}

fn name(protocol: &str, family: Family) -> String {
    format!("{protocol}{}", if family == Family::V4 { "4" } else { "6" })
}

/// What host B's checksum errors were, and what they have become.
struct Errors(ChecksumErrors);

impl Errors {
    fn so_far(lab: &Lab) -> Self {
        Self(ChecksumErrors::of(&lab.b))
    }

    /// How many datagrams, echoes and segments were found damaged since.
    fn since(&self, lab: &Lab, family: Family) -> [u64; 3] {
        let (before, after) = (self.0, ChecksumErrors::of(&lab.b));
        let v4 = [after.udp - before.udp, after.icmp - before.icmp];
        let v6 = [after.udp6 - before.udp6, after.icmp6 - before.icmp6];
        let ([udp, icmp], other) = if family == Family::V4 {
            (v4, v6)
        } else {
            (v6, v4)
        };
        assert_eq!(other, [0, 0], "errors over the other version of IP");
        [udp, icmp, after.tcp - before.tcp]
    }
}

#[track_caller]
fn damage_is_noticed(lab: &Lab, hook: Hook) {
    let corruption = Corruption::new(hook, "stale");
    let injector = corruption.start(lab);
    let mut noticed = Vec::new();
    for family in Family::ALL {
        let errors = Errors::so_far(lab);
        let datagrams = Flow::new(DATAGRAMS).family(family).send(&lab.a, &lab.b);
        let corrupted = corruption.corrupted(&name("udp", family), DATAGRAMS);
        assert_eq!(
            (datagrams.damaged(), datagrams.errors.len()),
            (0, 0),
            "{family:?}"
        );
        assert!(
            datagrams.lost() == corrupted,
            "{family:?}: lost {:?}",
            datagrams.lost()
        );
        stats::assert_share("corrupted", corrupted.len() as u64, DATAGRAMS, 0.1);

        let echoes = Echoes::new(ECHOES).family(family).send(&lab.a, &lab.b);
        let corrupted = corruption.corrupted(&name("icmp", family), ECHOES.into());
        let answered: BTreeSet<u64> = echoes.replies.iter().map(|&(n, _)| n.into()).collect();
        assert_eq!((echoes.damaged, echoes.errors.len()), (0, 0), "{family:?}");
        assert_eq!(
            &(0..ECHOES.into()).collect::<BTreeSet<u64>>() - &answered,
            corrupted
        );

        let stream = Transfer::new(BYTES)
            .family(family)
            .on_one_cpu()
            .send(&lab.a, &lab.b);
        stream.assert_intact(BYTES);
        noticed.push((family, errors.since(lab, family)));
    }
    let end = injector.stop();
    end.achieved().assert_clean();
    for (family, noticed) in noticed {
        assert_eq!(
            done(end.achieved(), family),
            noticed,
            "{family:?}: done and noticed"
        );
        let tcp = end.achieved().rule(&name("tcp", family));
        stats::assert_share("segments", tcp.corrupted, tcp.matched, 0.03);
    }
}

/// How many datagrams, echoes and segments were corrupted.
fn done(achieved: &Achieved, family: Family) -> [u64; 3] {
    ["udp", "icmp", "tcp"].map(|protocol| achieved.rule(&name(protocol, family)).corrupted)
}

#[test]
fn flipped_bits_fail_the_receivers_checksum() {
    damage_is_noticed(&Lab::new(), Hook::Egress);
}

#[test]
fn bits_flipped_on_arrival_fail_the_receivers_checksum() {
    damage_is_noticed(&Lab::new(), Hook::Ingress);
}

/// What receive offload has verified is not verified again, unless it is asked to be.
#[test]
fn bits_flipped_behind_receive_offload_fail_the_checksum_all_the_same() {
    let lab = Lab::new();
    let ethtool = |host: &Host, feature: &str| {
        host.run(|| tool::run("ethtool", &format!("-K {} {feature}", host.device)));
    };
    // Real checksums on the wire, as from another machine.
    ethtool(&lab.a, "tx off");
    ethtool(&lab.b, "gro on");
    damage_is_noticed(&lab, Hook::Ingress);
}

#[track_caller]
fn damage_goes_through(hook: Hook) {
    let corruption = Corruption::new(hook, "valid");
    let lab = Lab::new();
    let injector = corruption.start(&lab);
    for family in Family::ALL {
        // An odd length: the last byte is checksummed together with a byte of padding.
        let datagrams = Flow::new(DATAGRAMS)
            .family(family)
            .len(9)
            .send(&lab.a, &lab.b);
        let corrupted = corruption.corrupted(&name("udp", family), DATAGRAMS);
        assert_eq!(datagrams.arrivals.len() as u64, DATAGRAMS, "{family:?}");
        assert_eq!(datagrams.damaged(), corrupted.len() as u64, "{family:?}");
        assert_eq!(
            datagrams.lost(),
            corrupted,
            "{family:?}: not among the intact ones"
        );

        let echoes = Echoes::new(ECHOES).family(family).send(&lab.a, &lab.b);
        let corrupted = corruption.corrupted(&name("icmp", family), ECHOES.into());
        assert_eq!(echoes.damaged, corrupted.len() as u64, "{family:?}");
        assert_eq!(
            echoes.replies.len() as u64,
            u64::from(ECHOES) - echoes.damaged,
            "{family:?}"
        );

        let stream = Transfer::new(BYTES)
            .family(family)
            .on_one_cpu()
            .send(&lab.a, &lab.b);
        assert_eq!(
            (stream.received, stream.intact),
            (BYTES, false),
            "{family:?}"
        );
    }
    let end = injector.stop();
    end.achieved().assert_clean();
    assert!(
        Family::ALL
            .iter()
            .all(|&family| done(end.achieved(), family)[2] > 0)
    );
    assert_eq!(ChecksumErrors::of(&lab.b).sum(), 0);
}

#[test]
fn flipped_bits_with_a_corrected_checksum_arrive() {
    damage_goes_through(Hook::Egress);
}

#[test]
fn bits_flipped_on_arrival_with_a_corrected_checksum_are_received() {
    damage_goes_through(Hook::Ingress);
}

#[test]
fn as_many_bits_are_flipped_as_asked() {
    const COUNT: u64 = 500;
    for (bits, family, batch) in [
        (1, Family::V4, 1),
        (4, Family::V4, 1),
        (4, Family::V6, 40),
        (8, Family::V6, 1),
    ] {
        let profile = format!(
            "{{name: bits, seed: {bits}, rules: [{{match: {{protocol: udp}}, corrupt: {{probability: 20%, bits: {bits}, checksum: valid}}}}]}}"
        );
        let lab = Lab::new();
        let injector = Injector::start(&lab.a, &profile);
        let flow = Flow::new(COUNT).family(family).batch(batch);
        let report = flow.send(&lab.a, &lab.b);
        let end = injector.stop();
        let corrupted = Oracle::new(&profile).corrupted(COUNT);
        assert_eq!(report.arrivals.len() as u64, COUNT, "{bits} bits");
        assert_eq!(
            report.lost(),
            corrupted,
            "{bits} bits: not among the intact ones"
        );
        assert_eq!(flow.wrong_bits(&report), vec![bits; corrupted.len()]);
        assert_eq!(end.achieved().only().corrupted, corrupted.len() as u64);
        end.achieved().assert_clean();
    }
}
