//! Numbered datagrams, of which every one is accounted for.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{SocketAddr, UdpSocket},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use nix::libc;

use crate::{Family, Host, clock::Pacer, socket};

/// Bytes at the start of a datagram that hold its number.
const NUMBER_LEN: usize = 4;

/// What a traffic class says of a sender that understands congestion marks: ECT(0).
pub const ECT: u8 = 0b10;
/// What it says where a packet met congestion.
pub const CE: u8 = 0b11;

/// Datagrams to be sent.
#[derive(Clone, Debug)]
pub struct Flow {
    /// The version of IP.
    pub family: Family,
    /// The destination port.
    pub port: u16,
    /// The source port; 0 for any.
    pub source_port: u16,
    /// How many.
    pub count: u64,
    /// Bytes of payload of each.
    pub len: usize,
    /// The time between two.
    pub gap: Duration,
    /// How long to wait for one more when all are sent.
    pub linger: Duration,
    /// The sender's `SO_MARK`.
    pub mark: u32,
    /// The sender's `SO_PRIORITY`.
    pub priority: u32,
    /// The traffic class: in its last two bits, what it says about congestion.
    pub class: u8,
    /// How many are handed to the kernel together, to be segmented there or by the device.
    pub batch: usize,
    /// Whether they bear the wall-clock time, as a packet does that was received and is forwarded.
    pub stamped: bool,
}

impl Flow {
    /// `count` small datagrams over IPv4 to port 5000, at once.
    pub fn new(count: u64) -> Self {
        Self {
            family: Family::V4,
            port: 5000,
            source_port: 0,
            count,
            len: 64,
            gap: Duration::ZERO,
            linger: Duration::from_millis(250),
            mark: 0,
            priority: 0,
            class: 0,
            batch: 1,
            stamped: false,
        }
    }

    /// Over another version of IP.
    pub fn family(self, family: Family) -> Self {
        Self { family, ..self }
    }

    /// To another port.
    pub fn port(self, port: u16) -> Self {
        Self { port, ..self }
    }

    /// From a certain port.
    pub fn source_port(self, source_port: u16) -> Self {
        Self {
            source_port,
            ..self
        }
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

    /// With `mark` on every packet.
    pub fn mark(self, mark: u32) -> Self {
        Self { mark, ..self }
    }

    /// With `priority` on every packet.
    pub fn priority(self, priority: u32) -> Self {
        Self { priority, ..self }
    }

    /// With a traffic class.
    pub fn class(self, class: u8) -> Self {
        Self { class, ..self }
    }

    /// In super-packets of `batch` datagrams.
    pub fn batch(self, batch: usize) -> Self {
        Self { batch, ..self }
    }

    /// With the wall-clock time on every packet.
    pub fn stamped(self) -> Self {
        Self {
            stamped: true,
            ..self
        }
    }

    /// Sends them from one host to the other.
    #[track_caller]
    pub fn send(&self, from: &Host, to: &Host) -> Report {
        self.send_to(from, to, to.at(self.family, self.port))
    }

    /// Sends them from one host to the other, which has `address`.
    #[track_caller]
    pub fn send_to(&self, from: &Host, to: &Host, address: SocketAddr) -> Report {
        let receiver =
            to.run(|| socket::once_free(|| UdpSocket::bind(address)).expect("bind the receiver"));
        socket::report_traffic_class(&receiver, address);
        let sender = from.run(|| self.open_sender(address));
        self.pass(&sender, &receiver)
    }

    fn open_sender(&self, to: SocketAddr) -> UdpSocket {
        let any: SocketAddr = match self.family {
            Family::V4 => ([0; 4], self.source_port).into(),
            Family::V6 => ([0; 16], self.source_port).into(),
        };
        let sender = socket::once_free(|| UdpSocket::bind(any)).expect("bind the sender");
        socket::report_errors(&sender, to);
        if self.mark != 0 {
            socket::set(&sender, libc::SOL_SOCKET, libc::SO_MARK, self.mark as i32);
        }
        if self.priority != 0 {
            socket::set(
                &sender,
                libc::SOL_SOCKET,
                libc::SO_PRIORITY,
                self.priority as i32,
            );
        }
        if self.class != 0 {
            socket::set_traffic_class(&sender, to, self.class);
        }
        if self.batch > 1 {
            socket::set(&sender, libc::SOL_UDP, libc::UDP_SEGMENT, self.len as i32);
        }
        if self.stamped {
            socket::let_stamp(&sender);
        }
        sender.connect(to).expect("connect the sender");
        sender
    }

    fn pass(&self, sender: &UdpSocket, receiver: &UdpSocket) -> Report {
        socket::enlarge_receive_buffer(receiver);
        let all_sent = AtomicBool::new(false);
        thread::scope(|scope| {
            let received = scope.spawn(|| self.receive(receiver, &all_sent));
            let sent = scope.spawn(|| self.transmit(sender));
            let (sent, errors) = sent.join().expect("the sender");
            all_sent.store(true, Ordering::Release);
            self.report(sent, errors, received.join().expect("the receiver"))
        })
    }

    fn transmit(&self, sender: &UdpSocket) -> (Vec<Instant>, Vec<String>) {
        socket::stay_on_one_cpu();
        let datagrams: Vec<Vec<u8>> = (0..self.count)
            .map(|number| self.datagram(number))
            .collect();
        let mut pacer = Pacer::new(self.gap);
        let (mut sent, mut errors) = (Vec::new(), Vec::new());
        for (number, batch) in datagrams.chunks(self.batch).enumerate() {
            let bytes = batch.concat();
            pacer.wait();
            sent.extend(batch.iter().map(|_| Instant::now()));
            let result = if self.stamped {
                socket::send_stamped(sender, &bytes)
            } else {
                sender.send(&bytes)
            };
            if let Err(error) = result {
                errors.push(format!("batch {number}: {error}"));
            }
        }
        (sent, errors)
    }

    fn receive(&self, receiver: &UdpSocket, all_sent: &AtomicBool) -> Vec<Received> {
        const STEP: Duration = Duration::from_millis(20);
        receiver
            .set_read_timeout(Some(STEP))
            .expect("set a timeout");
        let mut buffer = vec![0; 1 << 16];
        // Checked at the end, so that no datagram waits for the check of another.
        let (mut received, mut quiet_since) = (Vec::new(), None);
        loop {
            match socket::receive_classified(receiver, &mut buffer) {
                Ok((len, class)) => {
                    quiet_since = None;
                    received.push(Received {
                        at: Instant::now(),
                        class: class.expect("a traffic class"),
                        bytes: buffer[..len].to_vec(),
                    });
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
                // A test's other processes end, and their signal may reach this thread.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => panic!("receive: {error}"),
            }
        }
        received
    }

    fn report(&self, sent: Vec<Instant>, errors: Vec<String>, received: Vec<Received>) -> Report {
        let arrivals: Vec<Arrival> = received.iter().map(|one| self.arrival(one)).collect();
        let damaged = received.into_iter().zip(&arrivals);
        let damaged = damaged.filter(|(_, arrival)| !arrival.intact);
        Report {
            sent,
            errors,
            damage: damaged.map(|(one, _)| one.bytes).collect(),
            arrivals,
        }
    }

    fn arrival(&self, received: &Received) -> Arrival {
        let Received { at, class, bytes } = received;
        let number = bytes
            .first_chunk::<NUMBER_LEN>()
            .map_or(0, |b| u32::from_be_bytes(*b));
        let number = u64::from(number);
        Arrival {
            number,
            at: *at,
            class: *class,
            intact: *bytes == self.datagram(number),
        }
    }

    /// How many bits of each damaged datagram are wrong. Which one it was follows from what is left of it.
    pub fn wrong_bits(&self, report: &Report) -> Vec<u32> {
        let sent: Vec<Vec<u8>> = (0..self.count)
            .map(|number| self.datagram(number))
            .collect();
        let distance = |a: &[u8], b: &[u8]| -> u32 {
            let bytes = a.iter().zip(b);
            bytes.map(|(a, b)| (a ^ b).count_ones()).sum()
        };
        let nearest = |damaged: &Vec<u8>| sent.iter().map(|sent| distance(sent, damaged)).min();
        let damage = report.damage.iter();
        damage
            .map(|damaged| nearest(damaged).expect("datagrams"))
            .collect()
    }

    /// Its number, and bytes that follow from the number.
    fn datagram(&self, number: u64) -> Vec<u8> {
        assert!(self.len >= NUMBER_LEN, "a datagram has room for its number");
        let mut bytes = (number as u32).to_be_bytes().to_vec();
        // Every bit of the number changes the first byte already.
        let start = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56;
        bytes.extend((NUMBER_LEN..self.len).map(|i| (start as usize + i * 7) as u8));
        bytes
    }
}

/// A datagram as it was received.
struct Received {
    at: Instant,
    class: u8,
    bytes: Vec<u8>,
}

/// A datagram that was received.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// Its number, right only where it is intact.
    pub number: u64,
    /// When.
    pub at: Instant,
    /// Its traffic class.
    pub class: u8,
    /// Whether every byte is as it was sent.
    pub intact: bool,
}

/// What became of the datagrams.
#[derive(Clone, Debug)]
pub struct Report {
    /// When each was sent.
    pub sent: Vec<Instant>,
    /// What the sender was told.
    pub errors: Vec<String>,
    /// What was received, in order.
    pub arrivals: Vec<Arrival>,
    /// The bytes of what was received damaged, in order.
    pub damage: Vec<Vec<u8>>,
}

impl Report {
    /// The numbers of those that never arrived.
    pub fn lost(&self) -> BTreeSet<u64> {
        let copies = self.copies();
        (0..self.sent.len() as u64)
            .filter(|number| !copies.contains_key(number))
            .collect()
    }

    /// How often each intact one arrived that did.
    pub fn copies(&self) -> BTreeMap<u64, u64> {
        let mut copies = BTreeMap::new();
        for arrival in self.arrivals.iter().filter(|arrival| arrival.intact) {
            *copies.entry(arrival.number).or_default() += 1;
        }
        copies
    }

    /// The numbers of those that arrived twice or more.
    pub fn duplicated(&self) -> BTreeSet<u64> {
        self.copies()
            .into_iter()
            .filter(|&(_, n)| n > 1)
            .map(|(number, _)| number)
            .collect()
    }

    /// How many arrived with a wrong byte.
    pub fn damaged(&self) -> u64 {
        self.arrivals
            .iter()
            .filter(|arrival| !arrival.intact)
            .count() as u64
    }

    /// The numbers of those that arrived marked "congestion experienced" (RFC 3168).
    pub fn marked(&self) -> BTreeSet<u64> {
        let is_marked = |arrival: &&Arrival| arrival.intact && arrival.class & CE == CE;
        let marked = self.arrivals.iter().filter(is_marked);
        marked.map(|arrival| arrival.number).collect()
    }

    /// How long each arrival was under way, with its number, in the order of arrival.
    pub fn delays(&self) -> Vec<(u64, Duration)> {
        let intact = self.arrivals.iter().filter(|arrival| arrival.intact);
        intact
            .map(|arrival| {
                (
                    arrival.number,
                    arrival.at - self.sent[arrival.number as usize],
                )
            })
            .collect()
    }

    /// The numbers of those that arrived before one that was sent earlier, with how many such there were: the
    /// extent of the reordering. All have arrived.
    pub fn overtaking(&self) -> Vec<(u64, u64)> {
        let mut place = vec![0; self.sent.len()];
        for (at, arrival) in self.arrivals.iter().enumerate() {
            place[arrival.number as usize] = at;
        }
        let overtaken = |n: &usize| place[..*n].iter().filter(|at| **at > place[*n]).count() as u64;
        let all = (0..place.len()).map(|n| (n as u64, overtaken(&n)));
        all.filter(|&(_, overtaken)| overtaken > 0).collect()
    }

    /// Asserts that everything arrived once, in order and intact, and that the sender heard of
    /// nothing.
    #[track_caller]
    pub fn assert_untouched(&self) {
        assert_eq!(self.errors, Vec::<String>::new(), "errors at the sender");
        assert_eq!(self.damaged(), 0, "damaged datagrams");
        let numbers: Vec<u64> = self.arrivals.iter().map(|arrival| arrival.number).collect();
        let expected: Vec<u64> = (0..self.sent.len() as u64).collect();
        assert!(
            numbers == expected,
            "lost {:?}, twice {:?}",
            self.lost(),
            self.duplicated()
        );
    }
}
