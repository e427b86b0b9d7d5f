//! Frames as nobody should send them, through the programs by `BPF_PROG_TEST_RUN`: the kernel side takes
//! each for what userspace takes it for, counts it so, and changes none that no rule matches.
//!
//! `TEST_FRAMES=10000000` says how many; natively that many take some minutes on each processor.

use std::{
    collections::HashMap,
    ops::AddAssign,
    thread,
    time::{Duration, Instant},
};

use aya::{
    Ebpf, Pod,
    maps::{MapData, PerCpuArray},
    programs::{SchedClassifier, TestRunOptions, Xdp},
};
use injector::plan::{Hook, Needs, Plan, Table};
use injector_common::{
    abi::{EGRESS, INGRESS, PathCounters, RuleCounters, XdpMode, features, flags, maps, programs},
    fragments::{self, Fragmented, Header, Memory},
    wire::{self, PacketKey},
};
use injector_tests::{kernel, loaded, mutants::Mutants, seed::seed};
use nix::time::{ClockId, clock_gettime};

/// `TC_ACT_UNSPEC`, `TC_ACT_REDIRECT`, by which packets end, `XDP_DROP` and `XDP_PASS`.
const UNSPEC: u32 = u32::MAX;
const REDIRECT: u32 = 7;
const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;

/// The kernel makes no socket buffers of test frames that are shorter than Ethernet and IPv6 headers.
const SHORTEST_BUFFER: usize = 54;
/// Frames between two looks at the counters.
const BATCH: usize = 1000;

/// Rules that together look at everything there is to match. So few are compared one by one.
const FEW: &str = "
name: few
rules:
  - {direction: both, match: {protocol: udp, dst: 10.0.0.2, dst_port: 9-999}, drop: 100%}
  - {direction: both, match: {protocol: icmp, src: 10.0.0.0/31}, drop: 100%}
  - {direction: both, match: {src: \"2001:db8::2/127\", src_port: 1000-1999}, drop: 100%}
  - {direction: both, match: {protocol: sctp, dst_port: 443}, drop: 100%}
  - {direction: both, match: {protocol: arp}, drop: 100%}
  - {direction: both, match: {protocol: ipv6, dst: \"2001:db8::3\"}, drop: 100%}
  - {direction: both, match: {ttl: 0-63}, drop: 100%}";

/// So many are found by bit vectors.
const MANY: &str = "
name: many
rules:
  - {direction: both, match: {protocol: udp, dst: [10.0.0.2, \"2001:db8::/64\"], dst_port: [9, 80, 1000-1007]}, drop: 100%}
  - {direction: both, match: {protocol: tcp, src: [10.0.0.0/31, 10.0.0.3], src_port: [9, 443]}, drop: 100%}
  - {direction: both, match: {protocol: icmp}, drop: 100%}
  - {direction: both, match: {protocol: 17, src_port: 65535}, drop: 100%}
  - {direction: both, match: {protocol: 132}, drop: 100%}
  - {direction: both, match: {src: 10.0.0.1, dst: 10.0.0.1}, drop: 100%}
  - {direction: both, match: {protocol: arp}, drop: 100%}";

/// What rules ask beside addresses, ports and protocol, found by bit vectors, too.
const PREDICATES: &str = "
name: predicates
rules:
  - {direction: both, match: {icmp_type: [0-130, time-exceeded]}, drop: 100%}
  - {direction: both, match: {fragment: frag}, drop: 100%}
  - {direction: both, match: {tcp_flags: [\"!ack,!rst\", fin]}, drop: 100%}
  - {direction: both, match: {any: [{dscp: 1-63}, {ttl: [0-63, 65-255]}, {ecn: ce}]}, drop: 100%}
  - {direction: both, match: {not: {any: [{dst: [10.0.0.0/24, \"2001:db8::/64\"]}, {dst_port: 1-65535}]}}, drop: 100%}
  - {direction: both, match: {vlan: [0-99, 4095], not: {vlan: 3, src_mac: \"02:00:00:00:00:02\"}}, drop: 100%}
  - {direction: both, match: {length: 0-90, flows: [10%, 40%-70%]}, drop: 100%}";

/// What later fragments do not tell.
const FOLLOWING: &str = "
name: following
fragments: follow
rules:
  - {direction: both, match: {fragment: laterfrag, any: [{icmp_type: 0-255}, {tcp_flags: \"!syn\"}]}, drop: 100%}
  - {direction: both, match: {fragment: laterfrag, dst_port: 80-1007}, drop: 100%}
  - {direction: both, match: {fragment: laterfrag, flows: 50%}, drop: 100%}
  - {direction: both, match: {fragment: laterfrag}, drop: 100%}
  - {direction: both, match: {fragment: firstfrag}, drop: 100%}";

/// The programs of a profile, with what they are to say.
struct Programs {
    plan: Plan,
    features: u64,
    /// By hook.
    tables: [Table; 2],
    /// With tc programs that decide everything.
    tc: Ebpf,
    /// With an XDP program that does.
    xdp: Ebpf,
}

/// What first fragments told the programs.
#[derive(Default)]
struct Told(HashMap<Fragmented, Header>);

impl Memory for Told {
    fn header(&self, of: &Fragmented) -> Option<&Header> {
        self.0.get(of)
    }

    fn remember(&mut self, of: &Fragmented, header: &Header) {
        self.0.insert(*of, *header);
    }

    fn now_ns(&self) -> u64 {
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("the time");
        Duration::from(now).as_nanos() as u64
    }
}

/// What frames are taken for: how many for which rule's, for no rule's, and for unreadable.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    rules: Vec<u64>,
    unmatched: u64,
    unparseable: u64,
}

impl Tally {
    fn of(rules: usize) -> Self {
        Self {
            rules: vec![0; rules],
            ..Self::default()
        }
    }

    /// Counts a frame; whether a rule is to drop it.
    fn count(&mut self, found: Result<Option<u32>, wire::Unparseable>) -> bool {
        match found {
            Ok(Some(slot)) => self.rules[slot as usize] += 1,
            Ok(None) => self.unmatched += 1,
            Err(_) => self.unparseable += 1,
        }
        matches!(found, Ok(Some(_)))
    }
}

impl Programs {
    fn load(profile: &str) -> Self {
        let (plan, tc) = loaded::load(profile, 1, XdpMode::Off).expect("load the tc programs");
        let (_, xdp) = loaded::load(profile, 1, XdpMode::Native).expect("load the XDP program");
        Self {
            features: Needs::of([&plan]).features,
            tables: [Hook::Egress, Hook::Ingress].map(|hook| plan.table(hook, 0)),
            plan,
            tc,
            xdp,
        }
    }

    /// Runs the programs on so many frames.
    fn run(&self, mutants: &mut Mutants, count: usize) {
        let (mut tc, mut xdp) = (self.tally(), self.tally());
        let mut told = [Told::default(), Told::default()];
        let mut done = 0;
        while done < count {
            let frames: Vec<_> = (0..BATCH.min(count - done))
                .map(|_| mutants.frame())
                .collect();
            for frame in &frames {
                self.run_one(frame, &mut tc, &mut xdp, &mut told);
            }
            done += frames.len();
            assert_eq!(self.counted(&self.tc), tc, "after {done} frames");
            let counted = self.counted(&self.xdp);
            assert_eq!(counted.rules, xdp.rules, "XDP, after {done} frames");
        }
        eprintln!("{}: {tc:?}, XDP {xdp:?}", self.plan.profile);
        // What never happens is not tested.
        let all = tc.rules.iter().chain([&tc.unmatched, &tc.unparseable]);
        assert!(all.into_iter().all(|taken| *taken > 0), "{tc:?}");
    }

    fn run_one(&self, frame: &[u8], tc: &mut Tally, xdp: &mut Tally, told: &mut [Told; 2]) {
        let mut key = PacketKey::default();
        let parsed = wire::parse(frame, false, self.features, &mut key);
        let find = |hook: u32, told: &mut Told| {
            let mut key = key;
            parsed.map(|_| {
                if self.features & features::FOLLOW != 0 {
                    fragments::follow(&mut key, self.features, told);
                }
                self.tables[hook as usize].find(self.features, &key)
            })
        };
        let mut out = vec![0; frame.len() + 64];
        for (hook, name) in [
            (EGRESS, programs::DIVERT_EGRESS),
            (INGRESS, programs::DIVERT_INGRESS),
        ] {
            if hook == INGRESS {
                let program: &Xdp = self.program(&self.xdp, programs::XDP);
                // From the first rule on that asks for what XDP does not see, it decides none.
                let is_xdp =
                    |slot: &u32| self.plan.rules[*slot as usize].spec.flags & flags::XDP != 0;
                let found = find(hook, &mut told[1]);
                let is_dropped = xdp.count(found.map(|slot| slot.filter(is_xdp)));
                let verdict = [XDP_PASS, XDP_DROP][usize::from(is_dropped)];
                assert_ran(program, frame, &mut out, verdict);
            }
            if frame.len() >= SHORTEST_BUFFER {
                let program: &SchedClassifier = self.program(&self.tc, name);
                let found = find(hook, &mut told[0]);
                let verdict = [UNSPEC, REDIRECT][usize::from(tc.count(found))];
                assert_ran(program, frame, &mut out, verdict);
            }
        }
    }

    fn program<'a, P>(&self, ebpf: &'a Ebpf, name: &str) -> &'a P
    where
        &'a P: TryFrom<&'a aya::programs::Program, Error: std::fmt::Debug>,
    {
        let program = ebpf.program(name).expect("a program");
        program.try_into().expect("a program of that type")
    }

    fn tally(&self) -> Tally {
        Tally::of(self.plan.rules.len())
    }

    fn counted(&self, ebpf: &Ebpf) -> Tally {
        let rules = (0..self.plan.rules.len() as u32).map(|slot| {
            let counters: RuleCounters = sum(ebpf, maps::RULE_COUNTERS, slot);
            assert_eq!(counters.matched, counters.dropped, "{counters:?}");
            assert_eq!((counters.failed_open, counters.lost), (0, 0));
            counters.matched
        });
        let path: PathCounters = sum(ebpf, maps::PATH_COUNTERS, 0);
        assert_eq!((path.lapsed, path.stray), (0, 0));
        Tally {
            rules: rules.collect(),
            unmatched: path.unmatched,
            unparseable: path.unparseable,
        }
    }
}

/// Over all processors.
fn sum<T: Pod + Default + AddAssign>(ebpf: &Ebpf, map: &str, index: u32) -> T {
    let map = ebpf.map(map).expect("a map");
    let map: PerCpuArray<&MapData, T> = map.try_into().expect("a map of that type");
    let mut sum = T::default();
    for value in map.get(&index, 0).expect("counters").iter() {
        sum += *value;
    }
    sum
}

/// Asserts what the program says of a frame, and that it has not changed it.
#[track_caller]
fn assert_ran<P>(program: &P, frame: &[u8], out: &mut [u8], verdict: u32)
where
    P: for<'a> aya::TestRun<Opts<'a> = TestRunOptions<'a>, Result = aya::TestRunResult>,
{
    let result = program.test_run(TestRunOptions {
        data_in: Some(frame),
        data_out: Some(&mut *out),
        ..TestRunOptions::new()
    });
    let result = result.unwrap_or_else(|error| panic!("{error}: {frame:02x?}"));
    let left = &out[..result.data_size_out as usize];
    assert_eq!(
        (result.return_value, left),
        (verdict, frame),
        "{frame:02x?}"
    );
}

fn frames() -> usize {
    let given = std::env::var("TEST_FRAMES").ok();
    let given = given.map(|text| text.parse().expect("TEST_FRAMES is a number"));
    // Emulated guests take milliseconds a frame.
    given.unwrap_or(if kernel::is_guest() { 4_000 } else { 400_000 })
}

#[test]
fn the_kernel_takes_every_frame_for_what_userspace_takes_it_for() {
    let (seed, started) = (seed(), Instant::now());
    let frames = frames();
    thread::scope(|scope| {
        let profiles = [FEW, MANY, PREDICATES, FOLLOWING];
        for (n, profile) in profiles.into_iter().enumerate() {
            let mut mutants = Mutants::new(seed.wrapping_add(n as u64));
            scope.spawn(move || Programs::load(profile).run(&mut mutants, frames / 2));
        }
    });
    eprintln!("{frames} frames in {:?}", started.elapsed());
}
