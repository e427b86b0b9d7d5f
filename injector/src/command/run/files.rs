//! How many files a run may have open: the programs and maps of each interface are dozens.

use std::io;

use nix::{
    errno::Errno,
    sys::resource::{Resource, getrlimit, rlim_t, setrlimit},
};

use super::entering;
use crate::{
    error::{Code, Failure},
    plan::Needs,
};

/// Open files of the process itself.
const OTHERS: rlim_t = 64;
/// Those of an interface that is being made ready: maps, programs, links and the journal.
const STARTING: rlim_t = 50;

/// Those of one that is ready, which keeps its maps where rules may be swapped.
fn of_interface(needs: &Needs) -> rlim_t {
    if needs.swaps() { 40 } else { 15 }
}

/// The limit as it was.
#[derive(Clone, Copy)]
pub(super) struct Files {
    soft: rlim_t,
    hard: rlim_t,
}

impl Files {
    /// Raises the limit as far as this process may, or beyond where so many interfaces need it. Refused where they
    /// cannot have what they need.
    pub(super) fn raise(interfaces: impl ExactSizeIterator<Item = Needs>) -> Result<Self, Failure> {
        let count = interfaces.len();
        let needed = OTHERS
            + STARTING * entering::at_a_time().min(count) as rlim_t
            + interfaces.map(|needs| of_interface(&needs)).sum::<rlim_t>();
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(io::Error::from)?;
        let limit = if count > 1 { needed.max(hard) } else { hard };
        match setrlimit(Resource::RLIMIT_NOFILE, limit, limit) {
            Ok(()) => Ok(Self { soft, hard }),
            Err(_) if limit > hard => {
                let message = format!(
                    "{count} interfaces need {needed} open files, and no more than {hard} are allowed"
                );
                let hint = format!(
                    "`ulimit -Hn {needed}`, LimitNOFILE={needed} in a unit, or fewer interfaces"
                );
                Err(Failure::new(Code::Unsupported, message).hint(hint))
            }
            Err(errno) => Err(io::Error::from(errno).into()),
        }
    }

    /// Puts the limit back, for a program that may not be made for more (select(2)).
    pub(super) fn restore(self) -> Result<(), Errno> {
        setrlimit(Resource::RLIMIT_NOFILE, self.soft, self.hard)
    }
}
