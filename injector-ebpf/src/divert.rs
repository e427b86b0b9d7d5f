//! On the device: which packets are lifted onto the pair.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use injector_common::{
    abi::{self, Context, FaultSpec, RETURN_MAGIC, flags},
    fate,
};

use crate::{
    classify, globals,
    maps::FAULTS,
    record,
    skb::{PASS, Skb},
};

/// Which of the device's hooks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Egress,
    Ingress,
}

impl Direction {
    #[inline(always)]
    fn table(self) -> u32 {
        match self {
            Self::Egress => abi::EGRESS,
            Self::Ingress => abi::INGRESS,
        }
    }
}

/// Lifts a packet that a rule matches; everything else passes.
#[inline(always)]
pub fn run(skb: Skb, direction: Direction) -> i32 {
    if has_returned(skb) {
        return PASS;
    }
    let Some(slot) = find_rule(skb, direction) else {
        return PASS;
    };
    let Some(spec) = FAULTS.get(slot) else {
        return PASS;
    };
    if spec.flags & flags::XDP != 0 && globals::xdp_decides(skb.len()) {
        return PASS;
    }
    if spec.flags & flags::EXEMPT != 0 {
        let (packets, bytes) = (skb.wire_packets(), u64::from(skb.len()));
        record::rule(slot, |counters| {
            counters.matched += packets;
            counters.bytes += bytes;
        });
        return PASS;
    }
    if record::lapsed() {
        record::path(|counters| counters.lapsed += 1);
        return PASS;
    }
    lift(skb, slot, spec, direction)
}

/// Recognises a packet that the pair has put back, and restores its priority, which no crossing
/// keeps.
#[inline(always)]
fn has_returned(skb: Skb) -> bool {
    if skb.cb::<3>() != RETURN_MAGIC[0]
        || skb.cb::<4>() != RETURN_MAGIC[1]
        || skb.cb::<2>() != globals::dev_ifindex()
    {
        return false;
    }
    // Should the packet come by again, it is a new one.
    skb.set_cb::<4>(0);
    skb.set_priority(skb.cb::<1>());
    true
}

#[inline(always)]
fn find_rule(skb: Skb, direction: Direction) -> Option<u32> {
    match classify::find_rule(&skb.headers(), globals::raw_ip(), direction.table()) {
        Ok(Some(slot)) => return Some(slot),
        Ok(None) => record::path(|counters| counters.unmatched += 1),
        Err(_) => record::path(|counters| counters.unparseable += 1),
    }
    None
}

/// Sends a clone through the pair and consumes the original.
///
/// The clone belongs to no socket. Without that, a delayed packet would count against its socket's
/// limits (TCP Small Queues, `SO_SNDBUF`) and throttle the sender, which a long wire does not.
#[inline(always)]
fn lift(skb: Skb, slot: u32, spec: &FaultSpec, direction: Direction) -> i32 {
    let packets = skb.wire_packets();
    let split = spec.flags & flags::SPLIT != 0;
    skb.set_cb::<3>(skb.priority());
    skb.set_cb::<4>(Context::new(slot, direction == Direction::Ingress).word());
    // The bytes are counted before a header is put in front.
    let bytes = u64::from(skb.len());
    if globals::raw_ip() && skb.push_ethernet().is_err() {
        return fail_open(slot, packets);
    }
    let sent = if split {
        skb.carry_ns(skb.tstamp());
        skb.clone_to(globals::near_ifindex())
    } else {
        let Some(n) = record::advance(slot, packets) else {
            return PASS;
        };
        // SAFETY: the helper only reads the clock.
        let now_ns = unsafe { bpf_ktime_get_ns() };
        skb.carry_ns(fate::departure_ns(
            now_ns,
            skb.tstamp(),
            fate::delay_ns(spec, n),
        ));
        skb.clone_to(globals::far_ifindex())
    };
    if sent.is_err() && !globals::raw_ip() {
        return fail_open(slot, packets);
    }
    record::rule(slot, |counters| {
        if sent.is_err() {
            // The Ethernet header cannot be taken off again.
            counters.lost += packets;
        } else if split {
            counters.diverted += packets;
        } else {
            counters.matched += packets;
            counters.bytes += bytes;
            counters.delayed += packets;
        }
    });
    skb.consume()
}

/// The pair is gone or down: no packet may be lost for that.
#[inline(always)]
fn fail_open(slot: u32, packets: u64) -> i32 {
    record::rule(slot, |counters| counters.failed_open += packets);
    PASS
}
