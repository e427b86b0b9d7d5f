//! A stream of which every byte is checked.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd as _,
    thread,
    time::{Duration, Instant},
};

use nix::libc;

use crate::{Family, Host, clock::PATIENCE, socket};

/// Bytes to be sent through one connection.
#[derive(Clone, Debug)]
pub struct Transfer {
    /// The version of IP.
    pub family: Family,
    /// The destination port.
    pub port: u16,
    /// How much.
    pub bytes: u64,
    /// Stop sending after this time.
    pub time_max: Duration,
    /// Keep both ends on one processor.
    pub one_cpu: bool,
}

/// What became of them.
#[derive(Clone, Debug)]
pub struct Report {
    /// Bytes received.
    pub received: u64,
    /// Whether every byte is as it was sent.
    pub intact: bool,
    /// From the first byte received to the last.
    pub elapsed: Duration,
    /// How many bytes had been received at which times.
    pub progress: Vec<(Instant, u64)>,
    /// What the sender's kernel says at the end.
    pub info: Info,
}

/// A part of `struct tcp_info`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Info {
    /// Bytes of payload in a full segment.
    pub mss: u32,
    /// Segments that were sent again.
    pub retransmits: u32,
    /// Segments with payload that were sent, those sent again included.
    pub data_segments: u32,
    /// Segments that the receiver says it had already: they were sent again for nothing.
    pub spurious: u32,
    /// Times that reordering was noticed.
    pub reorderings: u32,
}

impl Transfer {
    /// `bytes` over IPv4 to port 5001.
    pub fn new(bytes: u64) -> Self {
        Self {
            family: Family::V4,
            port: 5001,
            bytes,
            time_max: PATIENCE,
            one_cpu: false,
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

    /// For no longer than `time_max`.
    pub fn time_max(self, time_max: Duration) -> Self {
        Self { time_max, ..self }
    }

    /// With both ends on one processor, so that the kernel keeps the segments in order: on several
    /// they overtake each other, and TCP takes some for lost.
    pub fn on_one_cpu(self) -> Self {
        Self {
            one_cpu: true,
            ..self
        }
    }

    /// Sends from one host to the other.
    #[track_caller]
    pub fn send(&self, from: &Host, to: &Host) -> Report {
        let address = to.at(self.family, self.port);
        let listener = to.run(|| socket::once_free(|| TcpListener::bind(address)).expect("listen"));
        thread::scope(|scope| {
            let receiver = scope.spawn(|| {
                self.settle();
                receive(&listener)
            });
            let sender = scope.spawn(|| {
                self.settle();
                from.run(|| self.transmit(address))
            });
            let info = sender.join().expect("the sender");
            let (progress, intact) = receiver.join().expect("the receiver");
            Report {
                received: progress.last().map_or(0, |&(_, received)| received),
                intact,
                elapsed: elapsed(&progress),
                progress,
                info,
            }
        })
    }

    /// Threads that a thread starts inherit its processor.
    fn settle(&self) {
        if self.one_cpu {
            socket::stay_on_one_cpu();
        }
    }

    fn transmit(&self, address: SocketAddr) -> Info {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE).expect("connect");
        stream
            .set_write_timeout(Some(PATIENCE))
            .expect("set a timeout");
        let (mut pattern, end) = (Pattern::new(), Instant::now() + self.time_max);
        let mut left = self.bytes;
        while left > 0 && Instant::now() < end {
            let chunk = pattern.next(left.min(CHUNK_LEN as u64) as usize);
            stream.write_all(chunk).expect("send");
            left -= chunk.len() as u64;
        }
        stream
            .shutdown(std::net::Shutdown::Write)
            .expect("shut down");
        // The receiver closes when it has everything: then the counts are final.
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("set a timeout");
        let answer = stream.read(&mut [0]);
        assert!(matches!(answer, Ok(0)), "the receiver's end: {answer:?}");
        info(&stream)
    }
}

impl Report {
    /// Bits of payload per second.
    pub fn goodput(&self) -> f64 {
        self.received as f64 * 8.0 / self.elapsed.as_secs_f64()
    }

    /// Asserts that all `bytes` arrived as they were sent.
    #[track_caller]
    pub fn assert_intact(&self, bytes: u64) {
        assert!(self.intact, "wrong bytes in the stream");
        assert_eq!(self.received, bytes, "bytes received");
    }
}

fn elapsed(progress: &[(Instant, u64)]) -> Duration {
    match progress {
        [(first, _), .., (last, _)] => *last - *first,
        _ => Duration::ZERO,
    }
}

fn receive(listener: &TcpListener) -> (Vec<(Instant, u64)>, bool) {
    let mut stream = accept(listener);
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("set a timeout");
    let mut buffer = vec![0; CHUNK_LEN];
    let (mut received, mut intact, mut pattern) = (0, true, Pattern::new());
    let mut progress = Vec::new();
    loop {
        let len = match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(len) => len,
            Err(error) => panic!("receive, {received} bytes so far: {error}"),
        };
        let now = Instant::now();
        intact &= buffer[..len] == *pattern.next(len);
        received += len as u64;
        progress.push((now, received));
    }
    (progress, intact)
}

fn accept(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).expect("not block");
    let end = Instant::now() + PATIENCE;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).expect("block");
                return stream;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < end => {
                thread::sleep(Duration::from_millis(1));
            }
            Err(error) => panic!("accept: {error}"),
        }
    }
}

const CHUNK_LEN: usize = 1 << 16;
/// Prime, so that no packet's length divides it: a packet in the wrong place shows.
const PATTERN_LEN: usize = 65_521;

/// Bytes that repeat after [`PATTERN_LEN`].
struct Pattern {
    bytes: Vec<u8>,
    position: usize,
}

impl Pattern {
    fn new() -> Self {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let bytes = (0..PATTERN_LEN + CHUNK_LEN).map(|i| match i.checked_sub(PATTERN_LEN) {
            Some(_) => 0,
            None => {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(i as u64);
                (state >> 56) as u8
            }
        });
        let mut bytes: Vec<u8> = bytes.collect();
        for i in PATTERN_LEN..bytes.len() {
            bytes[i] = bytes[i - PATTERN_LEN];
        }
        Self { bytes, position: 0 }
    }

    fn next(&mut self, len: usize) -> &[u8] {
        let start = self.position;
        self.position = (start + len) % PATTERN_LEN;
        &self.bytes[start..start + len]
    }
}

fn info(stream: &TcpStream) -> Info {
    let mut bytes = [0_u8; 256];
    let mut len = bytes.len() as libc::socklen_t;
    // SAFETY: the pointers are to a buffer of the told length, and to that length.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            bytes.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    assert_eq!(result, 0, "TCP_INFO: {}", io::Error::last_os_error());
    // Offsets in linux/tcp.h's `struct tcp_info`, which only ever grows at its end.
    let word = |offset: usize| {
        u32::from_ne_bytes(bytes[offset..offset + 4].try_into().expect("four bytes"))
    };
    Info {
        mss: word(16),
        retransmits: word(100),
        data_segments: word(156),
        spurious: word(216),
        reorderings: word(220),
    }
}
