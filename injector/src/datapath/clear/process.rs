//! A process that keeps its number for as long as we have a hold of it.

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    ptr,
};

use nix::libc;

/// A process of somebody else.
pub(super) struct Process(OwnedFd);

impl Process {
    /// Takes a hold of it; `None` where there is no such process.
    pub(super) fn open(pid: u32) -> io::Result<Option<Self>> {
        // SAFETY: the call has no pointers.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        if fd < 0 {
            let error = io::Error::last_os_error();
            return match error.raw_os_error() {
                Some(libc::ESRCH) => Ok(None),
                _ => Err(error),
            };
        }
        // SAFETY: the kernel has just given us the descriptor.
        Ok(Some(Self(unsafe { OwnedFd::from_raw_fd(fd as i32) })))
    }

    /// Asks it to end, also where it is stopped.
    pub(super) fn terminate(&self) -> io::Result<()> {
        self.signal(libc::SIGTERM)?;
        self.signal(libc::SIGCONT)
    }

    /// Ends it.
    pub(super) fn kill(&self) -> io::Result<()> {
        self.signal(libc::SIGKILL)
    }

    fn signal(&self, signal: i32) -> io::Result<()> {
        let info = ptr::null::<libc::siginfo_t>();
        // SAFETY: without information about the signal the kernel makes it up.
        let sent = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.0.as_raw_fd(),
                signal,
                info,
                0,
            )
        };
        match sent {
            0 => Ok(()),
            _ => match io::Error::last_os_error() {
                error if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
                error => Err(error),
            },
        }
    }
}
