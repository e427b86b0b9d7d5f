//! How many files a run may have open: the programs and maps of each interface are dozens.

use nix::{
    errno::Errno,
    sys::resource::{Resource, getrlimit, rlim_t, setrlimit},
};

/// The limit as it was.
#[derive(Clone, Copy)]
pub(super) struct Files {
    soft: rlim_t,
    hard: rlim_t,
}

impl Files {
    /// Raises the limit as far as this process may.
    pub(super) fn raise() -> Result<Self, Errno> {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        Ok(Self { soft, hard })
    }

    /// Puts the limit back, for a program that may not be made for more (select(2)).
    pub(super) fn restore(self) -> Result<(), Errno> {
        setrlimit(Resource::RLIMIT_NOFILE, self.soft, self.hard)
    }
}
