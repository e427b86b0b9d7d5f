//! A run whose device is not there.

use std::io;

use super::{Options, claim, new_record};
use crate::{
    datapath::{Netns, Result, journal::Journal, netlink::Netlink, netns::NetnsId},
    plan::Plan,
};

/// The wait for a device of some name. Others see who waits, and that they cannot.
pub struct Absence(Journal);

impl Absence {
    /// Begins to wait.
    pub fn begin(
        netns: &Netns,
        id: NetnsId,
        device: &str,
        plan: &Plan,
        options: Options,
    ) -> Result<Self> {
        let record = new_record(device, 0, id, plan, options);
        netns.run(|| claim(&Netlink::open()?, record)).map(Self)
    }

    /// Ends the wait.
    pub fn end(self) -> Result<()> {
        self.0.forget()
    }
}

/// Whether there is such a device. The namespace has to be the one of that identity: nobody looks into
/// another one that has got its name.
pub fn is_there(netns: &Netns, id: &NetnsId, device: &str) -> Result<bool> {
    if !netns.id()?.may_be(id) {
        return Err(netns.missing(io::ErrorKind::NotFound.into()));
    }
    netns.run(|| Ok(Netlink::open()?.find_link(device)?.is_some()))
}
