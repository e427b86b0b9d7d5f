//! The programs of a profile, loaded but attached to nothing, for `BPF_PROG_TEST_RUN`.

use aya::{
    Ebpf,
    maps::{Array, MapData},
};
use injector::{
    datapath::{
        object::{self, Specialisation},
        owners::Owners,
    },
    plan::{Needs, Plan},
    profile,
};
use injector_common::abi::{self, XdpMode, maps};

/// No interface has it: what is sent there is refused.
const NOWHERE: u32 = 0x7fff_0000;

/// Loads the programs of the profile in `text`, with a lease that does not end.
pub fn load(text: &str, seed: u64, xdp: XdpMode) -> Result<(Plan, Ebpf), String> {
    let plan = plan(text, seed)?;
    let ebpf = load_for(&plan, xdp, Needs::of([&plan]))?;
    Ok((plan, ebpf))
}

/// What the profile in `text` amounts to.
pub fn plan(text: &str, seed: u64) -> Result<Plan, String> {
    let profile = profile::parse("test", text).map_err(|error| error.to_string())?;
    Plan::new(&profile, seed).map_err(|error| error.to_string())
}

/// Loads the programs of a plan, specialised for these needs, with a lease that does not end.
pub fn load_for(plan: &Plan, xdp: XdpMode, needs: Needs) -> Result<Ebpf, String> {
    let special = Specialisation {
        device: NOWHERE,
        near: NOWHERE,
        far: NOWHERE,
        splitter: NOWHERE,
        splits_max: 1,
        raw_ip: false,
        has_fq: true,
        xdp,
        frame_len_max: 1522,
        interfaces: 1,
        needs,
    };
    let mut ebpf =
        object::load(plan, &Owners::default(), special).map_err(|error| error.to_string())?;
    let control = ebpf.map_mut(maps::CONTROL).ok_or("no map for the lease")?;
    let mut control: Array<&mut MapData, u64> =
        Array::try_from(control).map_err(|error| error.to_string())?;
    for limit in [abi::DEADLINE, abi::END] {
        control
            .set(limit, u64::MAX, 0)
            .map_err(|error| error.to_string())?;
    }
    Ok(ebpf)
}
