//! The project's programs, loaded for `BPF_PROG_TEST_RUN`. What this knows of the library's inside,
//! no other part of the benchmarks does.

use std::os::fd::{AsFd as _, BorrowedFd};

use aya::{
    Ebpf,
    maps::{Array, MapData},
};
use injector::{
    datapath::object::{self, Specialisation},
    plan::{Needs, Plan},
    profile,
};
use injector_common::abi::{self, Context, RuleId, XdpMode, maps};

pub use injector_common::abi::programs::{
    DECIDE, DIVERT_EGRESS, DIVERT_INGRESS, RETURN, STAMP, XDP,
};

/// Offset of `cb` in `struct __sk_buff`, and the structure's length (linux/bpf.h).
const CB: usize = 48;
const CONTEXT_LEN: usize = 192;
/// No interface has it: what is sent there is refused.
const NOWHERE: u32 = 0x7fff_0000;

/// The programs of a profile, loaded but not attached.
pub struct Own(Ebpf);

impl Own {
    /// Loads them.
    pub fn load(text: &str) -> Result<Self, String> {
        let profile = profile::parse("bench", text).map_err(|error| error.to_string())?;
        let plan = Plan::new(&profile, 1).map_err(|error| error.to_string())?;
        let special = Specialisation {
            device: NOWHERE,
            near: NOWHERE,
            far: NOWHERE,
            whole: NOWHERE,
            has_napi: false,
            splits_max: 1,
            raw_ip: false,
            has_fq: true,
            xdp: XdpMode::Native,
            frame_len_max: 1522,
            needs: Needs::of([&plan]),
        };
        let mut ebpf = object::load(&plan, special).map_err(|error| error.to_string())?;
        let control = ebpf.map_mut(maps::CONTROL).ok_or("no map for the lease")?;
        let mut control: Array<&mut MapData, u64> =
            Array::try_from(control).map_err(|error| error.to_string())?;
        control
            .set(abi::DEADLINE, u64::MAX, 0)
            .map_err(|error| error.to_string())?;
        Ok(Self(ebpf))
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
