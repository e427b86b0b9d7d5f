//! A tun device, whose other end is in the test's hands: raw IP packets, without Ethernet.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::fd::{AsFd as _, AsRawFd as _},
    time::{Duration, Instant},
};

use nix::{
    libc,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

use crate::{Netns, tool};

// linux/if_tun.h
nix::ioctl_write_ptr_bad!(
    /// `TUNSETIFF`
    set_interface,
    0x4004_54ca,
    libc::ifreq
);
nix::ioctl_write_int_bad!(
    /// `TUNSETLINK`
    set_link_type,
    0x4004_54cd
);

/// The device.
#[derive(Debug)]
pub struct Tun {
    file: File,
    name: String,
}

impl Tun {
    /// One that is up.
    #[track_caller]
    pub fn new(netns: &Netns, name: &str) -> Self {
        let tun = Self::open(netns, name);
        netns.run(|| tool::ip(&format!("link set dev {name} addrgenmode none")));
        netns.run(|| tool::ip(&format!("link set dev {name} up")));
        tun
    }

    /// One that is down and of any link type (`ARPHRD_…` of linux/if_arp.h).
    #[track_caller]
    pub fn with_link_type(netns: &Netns, name: &str, link_type: u16) -> Self {
        let tun = Self::open(netns, name);
        // SAFETY: the descriptor is a tun device's, and the argument an integer.
        let result = unsafe { set_link_type(tun.file.as_raw_fd(), link_type.into()) };
        result.expect("set the link type");
        tun
    }

    #[track_caller]
    fn open(netns: &Netns, name: &str) -> Self {
        // The device comes into being in the namespace of the thread that opens the file.
        let file = netns.run(|| {
            let options = OpenOptions::new()
                .read(true)
                .write(true)
                .open("/dev/net/tun");
            let file = options.expect("open /dev/net/tun");
            // SAFETY: all zeroes are a valid request.
            let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
            for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
                *place = byte as libc::c_char;
            }
            request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as i16;
            // SAFETY: the pointer is to a whole request.
            let result = unsafe { set_interface(file.as_raw_fd(), &raw const request) };
            result.expect("create a tun device");
            file
        });
        Self {
            file,
            name: name.into(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Lets a packet arrive at the device.
    pub fn send(&self, packet: &[u8]) -> io::Result<()> {
        (&self.file).write_all(packet)
    }

    /// The packets that leave by the device, until none leaves for `quiet`.
    #[track_caller]
    pub fn drain(&self, quiet: Duration) -> Vec<Vec<u8>> {
        let (mut packets, mut last) = (Vec::new(), Instant::now());
        while last.elapsed() < quiet {
            let mut fds = [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)];
            let ready = poll(&mut fds, PollTimeout::from(10_u8)).expect("poll");
            if ready == 0 {
                continue;
            }
            let mut buffer = vec![0; 1 << 16];
            let len = (&self.file).read(&mut buffer).expect("read a packet");
            buffer.truncate(len);
            packets.push(buffer);
            last = Instant::now();
        }
        packets
    }
}
