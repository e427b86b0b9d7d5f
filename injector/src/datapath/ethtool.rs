//! Offloads of the pair, through `SIOCETHTOOL`: rtnetlink has no message for them before 5.x's
//! ethtool netlink, whose crate cannot set features.

use std::{io, mem, os::fd::AsRawFd as _};

use nix::{
    libc,
    sys::socket::{AddressFamily, SockFlag, SockType, socket},
};

use super::{Error, Result};

/// An offload that can be switched off.
#[derive(Clone, Copy, Debug)]
pub(super) enum Offload {
    /// `tx-checksumming`.
    TxChecksum,
    /// `tcp-segmentation-offload`.
    Tso,
    /// `generic-segmentation-offload`.
    Gso,
    /// `generic-receive-offload`.
    Gro,
}

impl Offload {
    /// The command that sets it (linux/ethtool.h).
    const fn command(self) -> u32 {
        match self {
            Self::TxChecksum => 0x17, // ETHTOOL_STXCSUM
            Self::Tso => 0x1f,        // ETHTOOL_STSO
            Self::Gso => 0x24,        // ETHTOOL_SGSO
            Self::Gro => 0x2c,        // ETHTOOL_SGRO
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::TxChecksum => "tx-checksumming",
            Self::Tso => "tcp-segmentation-offload",
            Self::Gso => "generic-segmentation-offload",
            Self::Gro => "generic-receive-offload",
        }
    }
}

/// `struct ethtool_value`.
#[repr(C)]
struct EthtoolValue {
    command: u32,
    value: u32,
}

/// Switches `offload` of `device` off.
pub(super) fn switch_off(device: &str, offload: Offload) -> Result<()> {
    let refused = |source: io::Error| {
        Error::refused(
            format!("switch {} of `{device}` off", offload.name()),
            source,
        )
    };
    let socket = socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .map_err(|errno| refused(errno.into()))?;
    let mut value = EthtoolValue {
        command: offload.command(),
        value: 0,
    };
    // SAFETY: all-zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(device.bytes()) {
        *place = byte as libc::c_char;
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: the request points to a value that outlives the call, of the command's type.
    match unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) } {
        0 => Ok(()),
        _ => Err(refused(io::Error::last_os_error())),
    }
}
