//! The project's programs, loaded for `BPF_PROG_TEST_RUN`. What this knows of the library's inside,
//! no other part of the benchmarks does.

use std::os::fd::{AsFd as _, BorrowedFd};

use aya::Ebpf;
use injector_common::abi::{Context, RuleId, XdpMode};
use injector_tests::loaded;

pub use injector_common::abi::programs::{
    DECIDE, DIVERT_EGRESS, DIVERT_INGRESS, HOLD, RETURN, XDP,
};

/// Offset of `cb` in `struct __sk_buff`, and the structure's length (linux/bpf.h).
const CB: usize = 48;
const CONTEXT_LEN: usize = 192;

/// The programs of a profile, loaded but not attached.
pub struct Own(Ebpf);

impl Own {
    /// Loads them.
    pub fn load(text: &str) -> Result<Self, String> {
        loaded::load(text, 1, XdpMode::Native).map(|(_, ebpf)| Self(ebpf))
    }

    /// One of them.
    pub fn get(&self, name: &str) -> Result<BorrowedFd<'_>, String> {
        let program = self.0.program(name).ok_or("not in the object")?;
        let fd = program.fd().map_err(|error| error.to_string())?;
        Ok(fd.as_fd())
    }
}

/// The context of a packet on the private pair: `struct __sk_buff`, for the first slot.
pub fn context_on_the_pair() -> [u8; CONTEXT_LEN] {
    let mut context = [0; CONTEXT_LEN];
    let word = Context::new(RuleId::new(0, 0), false, true).word();
    context[CB + 16..CB + 20].copy_from_slice(&word.to_ne_bytes());
    context
}
