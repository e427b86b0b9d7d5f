//! Loss where local senders hand over super-packets: of packets on the wire.

use std::time::Duration;

use etherparse::{SlicedPacket, TransportSlice};
use injector_tests::{Lab, frames::Tap, tcp::Transfer, theory::Chain, udp::Flow};

use super::{
    loss,
    subject::{Effort, Quantity, Subject, Values},
};

pub fn subjects(effort: Effort) -> Vec<Subject> {
    vec![datagrams(effort.of(20_000)), stream(effort.of(24 << 20))]
}

fn subject(
    names: [&'static str; 2],
    count: u64,
    send: impl Fn(&Lab) -> Values + 'static,
) -> Subject {
    let chain = Chain::bernoulli(0.01, 0.0);
    let quantities = [loss::share(&chain, count), loss::mean_burst(&chain, count)];
    let named = quantities.into_iter().zip(names);
    Subject {
        faults: "drop: 1%".into(),
        netem: "loss 1%".into(),
        quantities: named
            .map(|(quantity, name)| Quantity { name, ..quantity })
            .collect(),
        send: Box::new(send),
    }
}

fn datagrams(count: u64) -> Subject {
    let names = [
        "UDP, 40 at once: share of packets",
        "UDP, 40 at once: mean burst",
    ];
    subject(names, count, move |lab| {
        let report = Flow::new(count).len(1000).batch(40).send(&lab.a, &lab.b);
        loss::judge(&[loss::SHARE, loss::MEAN_BURST], &report.lost(), count)
    })
}

/// What was lost of the segments that are sent for the first time: gaps in what is seen at the receiver's
/// device. Those that are sent again fill them.
fn stream(bytes: u64) -> Subject {
    const MSS: u64 = 1448;
    let names = ["TCP: share of packets", "TCP: mean burst"];
    subject(names, bytes / MSS, move |lab| {
        let tap = Tap::new(&lab.b.netns, &lab.b.device);
        let report = Transfer::new(bytes).on_one_cpu().send(&lab.a, &lab.b);
        report.assert_intact(bytes);
        let (mut first, mut highest, mut bursts) = (None, 0_u64, Vec::new());
        for frame in tap.drain(Duration::from_millis(50)) {
            let Some((sequence, len)) = segment(&frame) else {
                continue;
            };
            let first = *first.get_or_insert(sequence);
            let begin = u64::from(sequence.wrapping_sub(first));
            if begin > highest {
                bursts.push((begin - highest).div_ceil(MSS));
            }
            highest = highest.max(begin + len);
        }
        let (lost, count) = (bursts.iter().sum::<u64>() as f64, bursts.len() as f64);
        let share = lost * MSS as f64 / highest as f64;
        vec![Some(share), (count > 0.0).then(|| lost / count)]
    })
}

/// The sequence number and the length of the payload, where there is any.
fn segment(frame: &[u8]) -> Option<(u32, u64)> {
    let packet = SlicedPacket::from_ethernet(frame).ok()?;
    let Some(TransportSlice::Tcp(tcp)) = packet.transport else {
        return None;
    };
    let len = tcp.payload().len() as u64;
    (len > 0).then(|| (tcp.sequence_number(), len))
}
