//! One TCP stream as fast as it goes. Its bytes are nobody's: the tests check contents.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use injector_tests::{Family, Host, Lab, clock::PATIENCE, socket};

use crate::contest::Measured;

/// Not measured, so that the congestion window has opened: at a round trip of 50 ms, that takes
/// half a second.
const WARM_UP: Duration = Duration::from_secs(1);
const BUFFER_LEN: usize = 128 << 10;
/// How long a socket may block before the end is looked for.
const STEP: Duration = Duration::from_millis(100);

/// From where to where.
#[derive(Clone, Copy, Debug)]
pub struct Route<'a> {
    /// The sender, or whoever asks.
    pub client: &'a Host,
    /// What it connects to: the server itself, or a proxy.
    pub connect: SocketAddr,
    /// The receiver, or whoever answers.
    pub server: &'a Host,
    /// Where it listens.
    pub listen: SocketAddr,
}

impl<'a> Route<'a> {
    /// From host A to a port of host B.
    pub fn direct(lab: &'a Lab, port: u16) -> Self {
        let address = lab.b.at(Family::V4, port);
        Self {
            client: &lab.a,
            connect: address,
            server: &lab.b,
            listen: address,
        }
    }
}

/// Gbit/s of payload that arrive at the server in the time given.
pub fn goodput(route: &Route<'_>, length: Duration) -> Measured {
    let listener = route
        .server
        .run(|| socket::once_free(|| TcpListener::bind(route.listen)))
        .map_err(|error| format!("listen: {error}"))?;
    socket::set_receive_timeout(&listener, PATIENCE);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let sender = scope.spawn(|| route.client.run(|| transmit(route.connect, &done)));
        let received = receive(&listener, length);
        done.store(true, Ordering::Relaxed);
        let sent = sender.join().expect("the sender");
        let (bytes, elapsed) = received.map_err(|error| format!("receive: {error}"))?;
        sent.map_err(|error| format!("send: {error}"))?;
        Ok(bytes as f64 * 8.0 / elapsed.as_secs_f64() / 1e9)
    })
}

fn receive(listener: &TcpListener, length: Duration) -> io::Result<(u64, Duration)> {
    let (mut stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(STEP))?;
    let mut buffer = vec![0; BUFFER_LEN];
    // A short measurement is a trial, which can do with a short warm-up.
    pass_time(&mut stream, &mut buffer, WARM_UP.min(2 * length))?;
    let start = Instant::now();
    let bytes = pass_time(&mut stream, &mut buffer, length)?;
    Ok((bytes, start.elapsed()))
}

fn pass_time(stream: &mut TcpStream, buffer: &mut [u8], time: Duration) -> io::Result<u64> {
    let end = Instant::now() + time;
    let mut bytes = 0;
    while Instant::now() < end {
        match stream.read(buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(len) => bytes += len as u64,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

fn transmit(address: SocketAddr, done: &AtomicBool) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_write_timeout(Some(STEP))?;
    let buffer = vec![0x5a; BUFFER_LEN];
    while !done.load(Ordering::Relaxed) {
        match stream.write(&buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // The receiver has had enough, and `done` is about to be set.
            Err(error)
                if [io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe]
                    .contains(&error.kind()) =>
            {
                return Ok(());
            }
            result => drop(result?),
        }
    }
    Ok(())
}
