//! Echo requests and their replies, through sockets for which the kernel checks the checksums.

use std::{
    io,
    net::SocketAddr,
    os::fd::OwnedFd,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use nix::libc;

use crate::{Family, Host, clock::Pacer, socket};

const REQUEST_V4: u8 = 8;
const REQUEST_V6: u8 = 128;
const HEADER_LEN: usize = 8;

/// Echo requests to be sent.
#[derive(Clone, Debug)]
pub struct Echoes {
    /// The version of IP.
    pub family: Family,
    /// How many.
    pub count: u16,
    /// Bytes of payload of each.
    pub len: usize,
    /// The time between two.
    pub gap: Duration,
    /// How long to wait for one more reply when all are sent.
    pub linger: Duration,
    /// How many replies are enough.
    pub enough: usize,
}

/// What became of them.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Numbers and round-trip times of the replies, in the order of arrival.
    pub replies: Vec<(u16, Duration)>,
    /// What the sender was told.
    pub errors: Vec<String>,
    /// Replies with a wrong byte.
    pub damaged: u64,
}

impl Echoes {
    /// `count` over IPv4, one every 200 µs.
    pub fn new(count: u16) -> Self {
        Self {
            family: Family::V4,
            count,
            len: 56,
            gap: Duration::from_micros(200),
            linger: Duration::from_millis(250),
            enough: count.into(),
        }
    }

    /// Over another version of IP.
    pub fn family(self, family: Family) -> Self {
        Self { family, ..self }
    }

    /// With `len` bytes of payload each.
    pub fn len(self, len: usize) -> Self {
        Self { len, ..self }
    }

    /// One every `gap`.
    pub fn gap(self, gap: Duration) -> Self {
        Self { gap, ..self }
    }

    /// Waiting as long as `linger` for the last.
    pub fn linger(self, linger: Duration) -> Self {
        Self { linger, ..self }
    }

    /// Waiting for `enough` replies.
    pub fn expecting(self, enough: usize) -> Self {
        Self { enough, ..self }
    }

    /// Sends them from one host to the other.
    #[track_caller]
    pub fn send(&self, from: &Host, to: &Host) -> Report {
        let address = to.at(self.family, 0);
        from.run(|| self.exchange(&self.open(), address))
    }

    fn open(&self) -> OwnedFd {
        let socket = match self.family {
            Family::V4 => socket::open(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_ICMP),
            Family::V6 => socket::open(libc::AF_INET6, libc::SOCK_DGRAM, libc::IPPROTO_ICMPV6),
        };
        socket::enlarge_receive_buffer(&socket);
        socket
    }

    fn exchange(&self, socket: &OwnedFd, to: SocketAddr) -> Report {
        socket::report_errors(socket, to);
        let all_sent = AtomicBool::new(false);
        thread::scope(|scope| {
            let replies = scope.spawn(|| self.receive(socket, &all_sent));
            let sent = scope.spawn(|| self.transmit(socket, to));
            let (sent, mut errors) = sent.join().expect("the sender");
            all_sent.store(true, Ordering::Release);
            let (replies, more) = replies.join().expect("the receiver");
            errors.extend(more);
            self.report(&sent, &replies, errors)
        })
    }

    fn transmit(&self, socket: &OwnedFd, to: SocketAddr) -> (Vec<Instant>, Vec<String>) {
        socket::stay_on_one_cpu();
        let mut pacer = Pacer::new(self.gap);
        let (mut sent, mut errors) = (Vec::new(), Vec::new());
        for number in 0..self.count {
            pacer.wait();
            sent.push(Instant::now());
            if let Err(error) = socket::send_to(socket, &self.request(number), to) {
                errors.push(format!("request {number}: {error}"));
            }
        }
        (sent, errors)
    }

    fn receive(&self, socket: &OwnedFd, all_sent: &AtomicBool) -> (Vec<Reply>, Vec<String>) {
        const STEP: Duration = Duration::from_millis(20);
        socket::set_receive_timeout(socket, STEP);
        let mut buffer = [0; 1 << 16];
        let (mut replies, mut errors, mut quiet_since) = (Vec::new(), Vec::new(), None);
        while replies.len() < self.enough {
            match socket::receive(socket, &mut buffer) {
                Ok(len) => {
                    quiet_since = None;
                    replies.push((Instant::now(), buffer[..len].to_vec()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !all_sent.load(Ordering::Acquire) {
                        continue;
                    }
                    let since = quiet_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= self.linger {
                        break;
                    }
                }
                Err(error) => errors.push(format!("receive: {error}")),
            }
        }
        (replies, errors)
    }

    fn report(&self, sent: &[Instant], replies: &[Reply], errors: Vec<String>) -> Report {
        let mut report = Report {
            errors,
            ..Report::default()
        };
        for (at, reply) in replies {
            let number = u16::from_be_bytes([reply[6], reply[7]]);
            if reply[HEADER_LEN..] == self.request(number)[HEADER_LEN..] {
                report
                    .replies
                    .push((number, *at - sent[usize::from(number)]));
            } else {
                report.damaged += 1;
            }
        }
        report
    }

    fn request(&self, number: u16) -> Vec<u8> {
        let kind = match self.family {
            Family::V4 => REQUEST_V4,
            Family::V6 => REQUEST_V6,
        };
        // The kernel fills in checksum and identifier.
        let mut bytes = vec![kind, 0, 0, 0, 0, 0];
        bytes.extend(number.to_be_bytes());
        bytes.extend((0..self.len).map(|i| (usize::from(number) + i) as u8));
        bytes
    }
}

/// When it came, and its bytes.
type Reply = (Instant, Vec<u8>);

impl Report {
    /// The round-trip time that one reply in four is faster than.
    #[track_caller]
    pub fn quartile(&self) -> Duration {
        crate::stats::quartile(self.replies.iter().map(|&(_, time)| time))
    }
}
