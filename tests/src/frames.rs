//! Raw frames, sent and seen at a device.

use std::{
    io,
    mem::{size_of, zeroed},
    os::fd::{AsRawFd as _, OwnedFd},
    time::{Duration, Instant},
};

use nix::libc;

use crate::{Netns, lab, socket};

/// A socket for whole frames, at one device.
#[derive(Debug)]
pub struct Tap(OwnedFd);

impl Tap {
    /// At `device` in `netns`. It sees what arrives there, and can send.
    #[track_caller]
    pub fn new(netns: &Netns, device: &str) -> Self {
        let ifindex = lab::ifindex(netns, device);
        let every_protocol = (libc::ETH_P_ALL as u16).to_be();
        let socket = netns.run(|| socket::open(libc::AF_PACKET, libc::SOCK_RAW, 0));
        // SAFETY: all zeroes are a valid address.
        let mut address: libc::sockaddr_ll = unsafe { zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = every_protocol;
        address.sll_ifindex = ifindex as i32;
        // Before binding, so that nothing is missed; what is sent here is not to be seen here.
        socket::enlarge_receive_buffer(&socket);
        socket::set(&socket, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1);
        // SAFETY: the pointer is to a whole address.
        let result = unsafe {
            libc::bind(
                socket.as_raw_fd(),
                (&raw const address).cast(),
                size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            )
        };
        assert_eq!(
            result,
            0,
            "bind to {device}: {}",
            io::Error::last_os_error()
        );
        Self(socket)
    }

    /// Sends a frame.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        // SAFETY: the pointer is to as many bytes as are told.
        let sent = unsafe { libc::send(self.0.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        if sent < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }

    /// The next frame; `None` when none comes within `time`.
    #[track_caller]
    pub fn receive(&self, time: Duration) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 1 << 16];
        // A timeout of zero would mean none.
        socket::set_receive_timeout(&self.0, time.max(Duration::from_micros(1)));
        match socket::receive(&self.0, &mut buffer) {
            Ok(len) => {
                buffer.truncate(len);
                Some(buffer)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => panic!("receive a frame: {error}"),
        }
    }

    /// Every frame that has come, until none comes for `quiet`.
    #[track_caller]
    pub fn drain(&self, quiet: Duration) -> Vec<Vec<u8>> {
        let end = Instant::now() + crate::clock::PATIENCE;
        std::iter::from_fn(|| {
            (Instant::now() < end)
                .then(|| self.receive(quiet))
                .flatten()
        })
        .collect()
    }
}
