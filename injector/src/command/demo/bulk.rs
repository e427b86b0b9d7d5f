//! How much TCP carries in a second, and whether the bytes are those that were sent.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use nix::{
    libc,
    sys::socket::{setsockopt, sockopt::Linger},
};
use serde::Serialize;

use super::setting::{POLL, Setting, ends, refused};
use crate::{
    datapath::{self, Netns},
    error::Failure,
};

const PORT: u16 = 5001;
const DURATION: Duration = Duration::from_secs(1);
/// How long to wait for a connection: through two lost SYN packets and a satellite.
const PATIENCE: Duration = Duration::from_secs(4);
/// A prime, so that the content does not repeat in step with any power of two.
const PERIOD: usize = 65521;

/// What was carried.
#[derive(Debug, Serialize)]
pub(super) struct Bulk {
    /// Whether a connection came about.
    pub(super) connected: bool,
    pub(super) bytes: u64,
    pub(super) elapsed_ms: u64,
    /// Whether every byte was the one that was sent.
    pub(super) intact: bool,
}

impl Bulk {
    /// Bits in a second; `None` without a connection.
    pub(super) fn rate(&self) -> Option<f64> {
        self.connected
            .then(|| self.bytes as f64 * 8e3 / self.elapsed_ms.max(1) as f64)
    }
}

/// Transfers in the first direction that the profile has rules for.
pub(super) fn measure(setting: &Setting<'_>) -> Result<Bulk, Failure> {
    let (from, to) = ends(setting.hooks()[0]);
    let address = SocketAddr::from((to.address(), PORT));
    let listener = setting.netns(to).run(|| listen(address))?;
    let netns = setting.netns(from).clone();
    let connect = move || netns_connect(&netns, address);
    let Some((sender, receiver)) = connection(&listener, connect, setting)? else {
        return Ok(Bulk {
            connected: false,
            bytes: 0,
            elapsed_ms: 0,
            intact: true,
        });
    };
    let (content, done) = (content(), AtomicBool::new(false));
    thread::scope(|scope| {
        let sending = scope.spawn(|| send(sender, &content, &done));
        let bulk = receive(receiver, &content, setting);
        done.store(true, Ordering::Relaxed);
        sending
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        bulk
    })
}

fn listen(address: SocketAddr) -> datapath::Result<TcpListener> {
    let refused = |source| refused("listen on a TCP socket", source);
    let listener = TcpListener::bind(address).map_err(refused)?;
    listener.set_nonblocking(true).map_err(refused)?;
    Ok(listener)
}

fn netns_connect(netns: &Netns, address: SocketAddr) -> datapath::Result<TcpStream> {
    netns.run(|| {
        TcpStream::connect_timeout(&address, PATIENCE)
            .map_err(|source| refused("connect a TCP socket", source))
    })
}

/// Both ends of a connection; `None` where the path is too bad for one.
fn connection(
    listener: &TcpListener,
    connect: impl FnOnce() -> datapath::Result<TcpStream> + Send + 'static,
    setting: &Setting<'_>,
) -> Result<Option<(TcpStream, TcpStream)>, Failure> {
    let end = Instant::now() + PATIENCE;
    let (sender, result) = mpsc::channel();
    // Not waited for when a signal comes.
    thread::spawn(move || sender.send(connect()));
    let (mut near, mut far) = (None, None);
    while Instant::now() < end && (near.is_none() || far.is_none()) {
        setting.signals.check()?;
        match result.recv_timeout(POLL) {
            Ok(Ok(stream)) => near = Some(stream),
            // It timed out, or was refused by a packet that a fault changed.
            Ok(Err(_)) => return Ok(None),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => thread::sleep(POLL),
        }
        far = far.or(listener.accept().ok().map(|(stream, _)| stream));
    }
    Ok(near.zip(far))
}

/// Sends until told to stop, then drops what is still on its way.
fn send(mut stream: TcpStream, content: &[u8], done: &AtomicBool) {
    let mut offset = 0;
    // Without either setting, more is sent after the end, which the next phase would see.
    let _ = stream.set_write_timeout(Some(POLL));
    let _ = setsockopt(
        &stream,
        Linger,
        &libc::linger {
            l_onoff: 1,
            l_linger: 0,
        },
    );
    while !done.load(Ordering::Relaxed) {
        match stream.write(&content[offset..]) {
            Ok(written) => offset = (offset + written) % content.len(),
            Err(error) if is_pause(&error) => {}
            Err(_) => break,
        }
    }
}

fn receive(mut stream: TcpStream, content: &[u8], setting: &Setting<'_>) -> Result<Bulk, Failure> {
    let refused = |source| refused("receive by TCP", source);
    stream.set_nonblocking(false).map_err(refused)?;
    stream.set_read_timeout(Some(POLL)).map_err(refused)?;
    let (start, mut buffer) = (Instant::now(), vec![0; PERIOD]);
    let (mut bytes, mut intact) = (0u64, true);
    while start.elapsed() < DURATION {
        setting.signals.check()?;
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(len) => {
                intact &= continues(content, bytes, &buffer[..len]);
                bytes += len as u64;
            }
            Err(error) if is_pause(&error) => {}
            Err(_) => break,
        }
    }
    let elapsed_ms = start.elapsed().as_millis() as u64;
    Ok(Bulk {
        connected: true,
        bytes,
        elapsed_ms,
        intact,
    })
}

fn is_pause(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}

/// What is sent, over and over: bytes without a pattern.
fn content() -> Vec<u8> {
    let mut state = 1u32;
    let next = || {
        // Numerical Recipes, "quick and dirty".
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(PERIOD).collect()
}

/// Whether `bytes` are those of the endless content at `offset`.
fn continues(content: &[u8], offset: u64, bytes: &[u8]) -> bool {
    let start = (offset % content.len() as u64) as usize;
    let until_end = bytes.len().min(content.len() - start);
    bytes[..until_end] == content[start..start + until_end]
        && bytes[until_end..] == content[..bytes.len() - until_end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_continues_over_its_end() {
        let content = content();
        let offset = 3 * PERIOD as u64 - 10;
        let mut bytes = [&content[PERIOD - 10..], &content[..20]].concat();
        assert!(continues(&content, offset, &bytes));
        assert!(!continues(&content, offset + 1, &bytes));
        bytes[15] ^= 1;
        assert!(!continues(&content, offset, &bytes));
    }

    #[test]
    fn a_rate_is_in_bits() {
        let bulk = Bulk {
            connected: true,
            bytes: 125_000,
            elapsed_ms: 1000,
            intact: true,
        };
        assert_eq!(bulk.rate(), Some(1e6));
    }
}
