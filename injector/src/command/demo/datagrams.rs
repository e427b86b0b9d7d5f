//! The fate of numbered UDP datagrams.

use std::{
    net::UdpSocket,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use serde::Serialize;

use super::{
    setting::{Setting, ends, send},
    snmp,
};
use crate::{error::Failure, plan::Hook};

/// The port of RFC 863, and that of the sending end.
pub(super) const PORT: u16 = 9;
pub(super) const SENDER_PORT: u16 = 40009;

pub(super) const PACKETS: u32 = 1000;
const INTERVAL: Duration = Duration::from_micros(800);
const SIZE: usize = 64;

/// What became of the datagrams of one direction.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Datagrams {
    pub(super) direction: Hook,
    pub(super) sent: u32,
    /// Arrived intact, copies not counted.
    pub(super) received: u32,
    /// Never arrived.
    pub(super) lost: u32,
    /// Arrived damaged, and the kernel's checksum caught it.
    pub(super) caught: u32,
    /// Arrived damaged, and the socket got it.
    pub(super) delivered_damaged: u32,
    /// Copies beyond the first.
    pub(super) duplicates: u32,
}

/// What the receiver saw.
#[derive(Debug)]
struct Seen {
    times: Vec<u32>,
    damaged: u32,
}

/// Sends in every direction that the profile has rules for, at the same time.
pub(super) fn measure(setting: &Setting<'_>) -> Result<Vec<Datagrams>, Failure> {
    thread::scope(|scope| {
        let directions: Vec<_> = setting
            .hooks()
            .iter()
            .map(|hook| scope.spawn(|| one_way(*hook, setting)))
            .collect();
        directions
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    })
}

fn one_way(hook: Hook, setting: &Setting<'_>) -> Result<Datagrams, Failure> {
    let (from, to) = ends(hook);
    let sender = setting.socket(from, SENDER_PORT, PORT)?;
    let receiver = setting.socket(to, PORT, SENDER_PORT)?;
    let caught_before = snmp::checksum_errors(setting.netns(to))?;
    let done = AtomicBool::new(false);
    let seen = thread::scope(|scope| {
        let receiving = scope.spawn(|| receive(&receiver, &done));
        let sent = send_all(&sender, setting);
        done.store(true, Ordering::Relaxed);
        let seen = receiving
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        sent.map(|()| seen)
    })?;
    let caught = snmp::checksum_errors(setting.netns(to))? - caught_before;
    Ok(Datagrams::new(hook, &seen, caught as u32))
}

impl Datagrams {
    fn new(direction: Hook, seen: &Seen, caught: u32) -> Self {
        let received = seen.times.iter().filter(|times| **times > 0).count() as u32;
        let missing = seen.times.len() as u32 - received;
        Self {
            direction,
            sent: seen.times.len() as u32,
            received,
            // A copy of a damaged datagram is damaged too, so that there may be more than missing.
            lost: missing.saturating_sub(caught + seen.damaged),
            caught,
            delivered_damaged: seen.damaged,
            duplicates: seen.times.iter().map(|times| times.saturating_sub(1)).sum(),
        }
    }
}

fn send_all(sender: &UdpSocket, setting: &Setting<'_>) -> Result<(), Failure> {
    let base = Instant::now();
    for number in 0..PACKETS {
        setting.signals.check()?;
        send(sender, &packet(number))?;
        thread::sleep((base + INTERVAL * (number + 1)).saturating_duration_since(Instant::now()));
    }
    thread::sleep(setting.grace());
    Ok(())
}

fn receive(receiver: &UdpSocket, done: &AtomicBool) -> Seen {
    let mut seen = Seen {
        times: vec![0; PACKETS as usize],
        damaged: 0,
    };
    let mut buffer = [0; 2 * SIZE];
    while !done.load(Ordering::Relaxed) {
        let Ok(len) = receiver.recv(&mut buffer) else {
            continue;
        };
        match number(&buffer[..len]).and_then(|number| seen.times.get_mut(number as usize)) {
            Some(times) => *times += 1,
            None => seen.damaged += 1,
        }
    }
    seen
}

/// The number, again and again: whichever bit is flipped, it is told.
fn packet(number: u32) -> [u8; SIZE] {
    let mut packet = [0; SIZE];
    for place in packet.chunks_exact_mut(4) {
        place.copy_from_slice(&number.to_le_bytes());
    }
    packet
}

fn number(packet: &[u8]) -> Option<u32> {
    let number = u32::from_le_bytes(packet.get(..4)?.try_into().ok()?);
    (packet == self::packet(number)).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_is_told_wherever_it_is() {
        let good = packet(77);
        assert_eq!(number(&good), Some(77));
        for bit in 0..SIZE * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(number(&bad), None, "bit {bit}");
        }
    }

    #[test]
    fn what_is_missing_is_lost_or_damaged() {
        let seen = Seen {
            times: vec![1, 0, 2, 0, 0, 1, 3, 0],
            damaged: 1,
        };
        let datagrams = Datagrams::new(Hook::Egress, &seen, 2);
        assert_eq!((datagrams.sent, datagrams.received), (8, 4));
        assert_eq!((datagrams.lost, datagrams.duplicates), (1, 3));
    }

    #[test]
    fn copies_of_damaged_datagrams_are_not_negative_loss() {
        let seen = Seen {
            times: vec![1, 0],
            damaged: 0,
        };
        assert_eq!(Datagrams::new(Hook::Egress, &seen, 2).lost, 0);
    }
}
