//! Where and how the demo measures, and the sockets that it measures with.

use std::{io::ErrorKind, net::UdpSocket, time::Duration};

use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};

use crate::command::signals::Signals;
use crate::{
    datapath::{
        self, Error, Netns,
        private_path::{End, PrivatePath},
    },
    error::Failure,
    plan::{Hook, Plan},
};

/// How long a socket waits before its owner looks whether to go on.
pub(super) const POLL: Duration = Duration::from_millis(20);

/// Where and how to measure.
pub(super) struct Setting<'a> {
    near: Netns,
    far: Netns,
    hooks: Vec<Hook>,
    /// How long the last packets may take to arrive.
    grace: Duration,
    pub(super) signals: &'a Signals,
}

impl<'a> Setting<'a> {
    pub(super) fn new(path: &PrivatePath, plan: &Plan, signals: &'a Signals) -> Self {
        /// For scheduling, on a busy machine.
        const MARGIN: Duration = Duration::from_millis(200);
        Self {
            near: path.netns(End::Near),
            far: path.netns(End::Far),
            hooks: Hook::ALL
                .into_iter()
                .filter(|hook| plan.uses(*hook))
                .collect(),
            // There and back.
            grace: 2 * Duration::from_nanos(plan.delay_max_ns()) + MARGIN,
            signals,
        }
    }

    /// The directions in which the profile has rules; at least one.
    pub(super) fn hooks(&self) -> &[Hook] {
        &self.hooks
    }

    /// How long the last packets may take to arrive.
    pub(super) fn grace(&self) -> Duration {
        self.grace
    }

    pub(super) fn netns(&self, end: End) -> &Netns {
        match end {
            End::Near => &self.near,
            End::Far => &self.far,
        }
    }

    /// A UDP socket on `port` of `end`, connected to `peer_port` of the other end.
    pub(super) fn socket(
        &self,
        end: End,
        port: u16,
        peer_port: u16,
    ) -> datapath::Result<UdpSocket> {
        /// The small default would overflow while the receiver waits for a processor.
        const BUFFER: usize = 4 << 20;
        self.netns(end).run(|| {
            let refused = |source| refused("open a UDP socket", source);
            let socket = UdpSocket::bind((end.address(), port)).map_err(refused)?;
            socket
                .connect((end.other().address(), peer_port))
                .map_err(refused)?;
            socket.set_read_timeout(Some(POLL)).map_err(refused)?;
            setsockopt(&socket, RcvBufForce, &BUFFER).map_err(|errno| refused(errno.into()))?;
            Ok(socket)
        })
    }
}

/// From where to where the packets of a direction go, seen from the near end.
pub(super) const fn ends(hook: Hook) -> (End, End) {
    match hook {
        Hook::Egress => (End::Near, End::Far),
        Hook::Ingress => (End::Far, End::Near),
    }
}

pub(super) fn refused(action: &str, source: std::io::Error) -> Error {
    Error::Refused {
        action: action.into(),
        source,
    }
}

/// Sends a packet. One that the device has no room for counts as sent, and is lost.
pub(super) fn send(socket: &UdpSocket, packet: &[u8]) -> Result<(), Failure> {
    match socket.send(packet) {
        Err(error) if error.raw_os_error() == Some(nix::libc::ENOBUFS) => Ok(()),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
        other => Ok(other
            .map(|_| ())
            .map_err(|error| refused("send a datagram", error))?),
    }
}
