//! Round trips of small datagrams, one at a time.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use injector_tests::{socket, stats};

use crate::{contest::Measured, stream::Route};

/// A frame of 64 bytes with its checksum sequence: 14 + 20 + 8 + 18 + 4.
const PAYLOAD: [u8; 18] = [0x5a; 18];
/// How long an answer may take, and a server that nobody asks wait for its end.
const STEP: Duration = Duration::from_millis(200);

/// The median round trip within the time given, in µs.
pub fn median_us(route: &Route<'_>, length: Duration) -> Measured {
    let bind = |address: SocketAddr| -> io::Result<UdpSocket> {
        let socket = socket::once_free(|| UdpSocket::bind(address))?;
        socket.set_read_timeout(Some(STEP))?;
        Ok(socket)
    };
    let server = route.server.run(|| bind(route.listen));
    let server = server.map_err(|error| format!("the server: {error}"))?;
    let client = route.client.run(|| bind(([0; 4], 0).into()));
    let client = client.map_err(|error| format!("the client: {error}"))?;
    let done = AtomicBool::new(false);
    let times = thread::scope(|scope| {
        scope.spawn(|| answer(&server, &done));
        let times = scope.spawn(|| ask(&client, route.connect, length)).join();
        done.store(true, Ordering::Relaxed);
        times.expect("the client")
    });
    let times = times.map_err(|error| format!("ask: {error}"))?;
    if times.is_empty() {
        return Err("no answer came".into());
    }
    Ok(stats::median(times).as_nanos() as f64 / 1e3)
}

fn answer(server: &UdpSocket, done: &AtomicBool) {
    // On the processor of the client: waking another one costs more than the packet's way.
    socket::stay_on_one_cpu();
    let mut buffer = [0; 64];
    while !done.load(Ordering::Relaxed) {
        if let Ok((len, client)) = server.recv_from(&mut buffer) {
            // A lost answer is the client's to notice.
            let _ = server.send_to(&buffer[..len], client);
        }
    }
}

fn ask(client: &UdpSocket, address: SocketAddr, length: Duration) -> io::Result<Vec<Duration>> {
    socket::stay_on_one_cpu();
    client.connect(address)?;
    let (mut times, mut buffer) = (Vec::new(), [0; 64]);
    let end = Instant::now() + length;
    while Instant::now() < end {
        let start = Instant::now();
        client.send(&PAYLOAD)?;
        if client.recv(&mut buffer).is_ok() {
            times.push(start.elapsed());
        }
    }
    Ok(times)
}
