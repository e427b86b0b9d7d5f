//! Round trips of small UDP packets.

use std::{
    net::UdpSocket,
    panic::resume_unwind,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use serde::Serialize;

use super::setting::{Setting, send};
use crate::{datapath::private_path::End, error::Failure};

/// The ports of RFC 862 and of the asking end.
pub(super) const PORT: u16 = 7;
pub(super) const CLIENT_PORT: u16 = 40007;

const PACKETS: u32 = 100;
const INTERVAL: Duration = Duration::from_millis(5);
/// Number and time, and both again inverted, so that a damaged packet is told.
const SIZE: usize = 24;

/// What came back.
#[derive(Debug, Serialize)]
pub(super) struct RoundTrips {
    pub(super) sent: u32,
    pub(super) returned: u32,
    /// The median; absent where nothing returned.
    pub(super) p50_ns: Option<u64>,
    pub(super) p95_ns: Option<u64>,
}

pub(super) fn measure(setting: &Setting<'_>) -> Result<RoundTrips, Failure> {
    let server = setting.socket(End::Far, PORT, CLIENT_PORT)?;
    let client = setting.socket(End::Near, CLIENT_PORT, PORT)?;
    let (base, done) = (Instant::now(), AtomicBool::new(false));
    thread::scope(|scope| {
        let answering = scope.spawn(|| answer(&server, &done));
        let listening = scope.spawn(|| listen(&client, base, &done));
        let asked = ask(&client, base, setting);
        done.store(true, Ordering::Relaxed);
        answering
            .join()
            .unwrap_or_else(|panic| resume_unwind(panic));
        let times = listening
            .join()
            .unwrap_or_else(|panic| resume_unwind(panic));
        asked.map(|()| RoundTrips::new(times))
    })
}

impl RoundTrips {
    fn new(mut times: Vec<u64>) -> Self {
        times.sort_unstable();
        Self {
            sent: PACKETS,
            returned: times.len() as u32,
            p50_ns: percentile(&times, 50),
            p95_ns: percentile(&times, 95),
        }
    }
}

/// The smallest value that at least `percent` of all do not exceed (nearest rank).
fn percentile(sorted: &[u64], percent: usize) -> Option<u64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).copied()
}

fn ask(client: &UdpSocket, base: Instant, setting: &Setting<'_>) -> Result<(), Failure> {
    for number in 0..PACKETS {
        setting.signals.check()?;
        send(client, &packet(number, base.elapsed().as_nanos() as u64))?;
        thread::sleep((base + INTERVAL * (number + 1)).saturating_duration_since(Instant::now()));
    }
    thread::sleep(setting.grace());
    Ok(())
}

/// Sends back what arrives.
fn answer(server: &UdpSocket, done: &AtomicBool) {
    let mut buffer = [0; 64];
    while !done.load(Ordering::Relaxed) {
        if let Ok(len) = server.recv(&mut buffer) {
            // What cannot be sent is a packet that does not return.
            let _ = server.send(&buffer[..len]);
        }
    }
}

/// The round trip of each packet that returns, of its first copy, in ns.
fn listen(client: &UdpSocket, base: Instant, done: &AtomicBool) -> Vec<u64> {
    let (mut buffer, mut times) = ([0; 64], [None; PACKETS as usize]);
    while !done.load(Ordering::Relaxed) {
        let Ok(len) = client.recv(&mut buffer) else {
            continue;
        };
        let now_ns = base.elapsed().as_nanos() as u64;
        if let Some((number, sent_ns)) = parse(&buffer[..len])
            && let Some(place) = times.get_mut(number as usize)
        {
            place.get_or_insert(now_ns.saturating_sub(sent_ns));
        }
    }
    times.into_iter().flatten().collect()
}

fn packet(number: u32, sent_ns: u64) -> [u8; SIZE] {
    let mut packet = [0; SIZE];
    packet[..4].copy_from_slice(&number.to_le_bytes());
    packet[4..12].copy_from_slice(&sent_ns.to_le_bytes());
    for i in 0..SIZE / 2 {
        packet[SIZE / 2 + i] = !packet[i];
    }
    packet
}

fn parse(packet: &[u8]) -> Option<(u32, u64)> {
    let number = u32::from_le_bytes(packet.get(..4)?.try_into().ok()?);
    let sent_ns = u64::from_le_bytes(packet.get(4..12)?.try_into().ok()?);
    (packet == self::packet(number, sent_ns)).then_some((number, sent_ns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let times: Vec<u64> = (1..=100).collect();
        assert_eq!(percentile(&times, 50), Some(50));
        assert_eq!(percentile(&times, 95), Some(95));
        assert_eq!(percentile(&[7], 95), Some(7));
        assert_eq!(percentile(&[], 50), None);
    }

    #[test]
    fn a_damaged_packet_is_told() {
        let good = packet(3, 1_000_000);
        assert_eq!(parse(&good), Some((3, 1_000_000)));
        for bit in 0..SIZE * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(parse(&bad), None, "bit {bit}");
        }
        assert_eq!(parse(&good[..10]), None);
    }
}
