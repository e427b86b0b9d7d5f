//! What the standard library's sockets leave out.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::{size_of, zeroed},
    net::SocketAddr,
    os::fd::{AsRawFd, FromRawFd as _, OwnedFd},
    time::Duration,
};

use nix::{
    cmsg_space, libc,
    sched::{CpuSet, sched_setaffinity},
    sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg},
    unistd::Pid,
};

use crate::clock::{PATIENCE, wait_until};

/// Keeps the calling thread on the first processor, so that its packets stay in order: each CPU
/// has a backlog of its own.
pub fn stay_on_one_cpu() {
    stay_on_cpu(0);
}

/// Binds the thread to a processor.
#[track_caller]
pub fn stay_on_cpu(cpu: usize) {
    let mut cpus = CpuSet::new();
    cpus.set(cpu).expect("a processor");
    sched_setaffinity(Pid::from_raw(0), &cpus).expect("bind to a processor");
}

/// A socket of any kind.
#[track_caller]
pub fn open(domain: i32, kind: i32, protocol: i32) -> OwnedFd {
    // SAFETY: no pointers are passed.
    let fd = unsafe { libc::socket(domain, kind | libc::SOCK_CLOEXEC, protocol) };
    assert!(fd >= 0, "open a socket: {}", io::Error::last_os_error());
    // SAFETY: the descriptor is new and nobody else's.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Sets an option that is an integer.
#[track_caller]
pub fn set(socket: &impl AsRawFd, level: i32, option: i32, value: i32) {
    set_bytes(socket, level, option, &value.to_ne_bytes());
}

/// Lets packets be sent with a stamp of the wall clock.
#[track_caller]
pub fn let_stamp(socket: &impl AsRawFd) {
    /// `struct sock_txtime` (linux/net_tstamp.h): clock and flags.
    const WALL_CLOCK: [i32; 2] = [libc::CLOCK_REALTIME, 0];
    let bytes = WALL_CLOCK.map(i32::to_ne_bytes).concat();
    set_bytes(socket, libc::SOL_SOCKET, libc::SO_TXTIME, &bytes);
}

/// Sends with the wall-clock time as the packet's stamp.
pub fn send_stamped(socket: &impl AsRawFd, bytes: &[u8]) -> io::Result<usize> {
    let now = std::time::UNIX_EPOCH.elapsed().expect("after 1970");
    let stamp_ns = now.as_nanos() as u64;
    let stamp = [ControlMessage::TxTime(&stamp_ns)];
    let bytes = [IoSlice::new(bytes)];
    let sent = sendmsg::<()>(socket.as_raw_fd(), &bytes, &stamp, MsgFlags::empty(), None);
    Ok(sent?)
}

/// Sets an option from the bytes of its structure.
#[track_caller]
pub fn set_bytes(socket: &impl AsRawFd, level: i32, option: i32, value: &[u8]) {
    // SAFETY: the pointer is to as many bytes as are told.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            value.as_ptr().cast(),
            value.len() as libc::socklen_t,
        )
    };
    assert_eq!(
        result,
        0,
        "set option {option}: {}",
        io::Error::last_os_error()
    );
}

/// Gives a receiver room for everything that a test sends, whatever the system's limit.
#[track_caller]
pub fn enlarge_receive_buffer(socket: &impl AsRawFd) {
    set(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, 256 << 20);
}

/// Lets a receive fail after `time`.
#[track_caller]
pub fn set_receive_timeout(socket: &impl AsRawFd, time: Duration) {
    let [seconds, micros] = [time.as_secs() as i64, time.subsec_micros().into()];
    let bytes: Vec<u8> = [seconds, micros]
        .into_iter()
        .flat_map(i64::to_ne_bytes)
        .collect();
    set_bytes(socket, libc::SOL_SOCKET, libc::SO_RCVTIMEO, &bytes);
}

/// Asks for errors that are not of the next call: full queues, and ICMP's.
#[track_caller]
pub fn report_errors(socket: &impl AsRawFd, address: SocketAddr) {
    match address {
        SocketAddr::V4(_) => set(socket, libc::SOL_IP, libc::IP_RECVERR, 1),
        SocketAddr::V6(_) => set(socket, libc::SOL_IPV6, libc::IPV6_RECVERR, 1),
    }
}

/// Sets the traffic class of what is sent to `address`: in its last two bits, what it says about
/// congestion.
#[track_caller]
pub fn set_traffic_class(socket: &impl AsRawFd, address: SocketAddr, class: u8) {
    match address {
        SocketAddr::V4(_) => set(socket, libc::SOL_IP, libc::IP_TOS, class.into()),
        SocketAddr::V6(_) => set(socket, libc::SOL_IPV6, libc::IPV6_TCLASS, class.into()),
    }
}

/// Asks for the traffic class of what is received at `address`.
#[track_caller]
pub fn report_traffic_class(socket: &impl AsRawFd, address: SocketAddr) {
    match address {
        SocketAddr::V4(_) => set(socket, libc::SOL_IP, libc::IP_RECVTOS, 1),
        SocketAddr::V6(_) => set(socket, libc::SOL_IPV6, libc::IPV6_RECVTCLASS, 1),
    }
}

/// Receives one message, with its traffic class where that was asked for.
pub fn receive_classified(
    socket: &impl AsRawFd,
    buffer: &mut [u8],
) -> io::Result<(usize, Option<u8>)> {
    let mut slices = [IoSliceMut::new(buffer)];
    let mut space = cmsg_space!(i32);
    let flags = MsgFlags::empty();
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut space), flags)?;
    let class = message.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::Ipv4Tos(class) => Some(class),
        ControlMessageOwned::Ipv6TClass(class) => u8::try_from(class).ok(),
        _ => None,
    });
    Ok((message.bytes, class))
}

/// Opens a socket, waiting for its address to be free: a test beside this one may be between fork
/// and exec, and hold a copy of the socket that has just been closed.
pub fn once_free<T>(open: impl Fn() -> io::Result<T>) -> io::Result<T> {
    let mut result = open();
    wait_until(PATIENCE, || {
        let in_use = |error: &io::Error| error.kind() == io::ErrorKind::AddrInUse;
        if !result.as_ref().is_err_and(in_use) {
            return true;
        }
        result = open();
        false
    });
    result
}

/// Binds to `address`.
#[track_caller]
pub fn bind(socket: &impl AsRawFd, address: SocketAddr) {
    let (storage, len) = raw_address(address);
    // SAFETY: the pointer is to a whole address.
    let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const storage).cast(), len) };
    assert_eq!(
        result,
        0,
        "bind to {address}: {}",
        io::Error::last_os_error()
    );
}

/// Sends `bytes` to `address`.
pub fn send_to(socket: &impl AsRawFd, bytes: &[u8], address: SocketAddr) -> io::Result<usize> {
    let (storage, len) = raw_address(address);
    // SAFETY: both pointers are to as many bytes as are told.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            bytes.as_ptr().cast(),
            bytes.len(),
            0,
            (&raw const storage).cast(),
            len,
        )
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Receives one message.
pub fn receive(socket: &impl AsRawFd, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the pointer is to as many bytes as are told.
    let received = unsafe {
        libc::recv(
            socket.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            0,
        )
    };
    usize::try_from(received).map_err(|_| io::Error::last_os_error())
}

fn raw_address(address: SocketAddr) -> (libc::sockaddr_storage, libc::socklen_t) {
    // SAFETY: all zeroes are an address of no family.
    let mut storage: libc::sockaddr_storage = unsafe { zeroed() };
    let place = &raw mut storage;
    let len = match address {
        SocketAddr::V4(v4) => {
            let raw = libc::sockaddr_in {
                sin_family: libc::AF_INET as u16,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr {
                    s_addr: u32::from(*v4.ip()).to_be(),
                },
                sin_zero: [0; 8],
            };
            // SAFETY: the storage is large enough for every family.
            unsafe { place.cast::<libc::sockaddr_in>().write(raw) };
            size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(v6) => {
            let raw = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as u16,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr {
                    s6_addr: v6.ip().octets(),
                },
                sin6_scope_id: v6.scope_id(),
            };
            // SAFETY: as above.
            unsafe { place.cast::<libc::sockaddr_in6>().write(raw) };
            size_of::<libc::sockaddr_in6>()
        }
    };
    (storage, len as libc::socklen_t)
}
