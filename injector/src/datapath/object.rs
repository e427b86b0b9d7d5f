//! The eBPF object: loading it for one device, and filling its maps from a plan.

use aya::{
    Ebpf, Pod,
    maps::{Array, Map, MapData},
    programs::{Program, ProgramError},
};
use injector_common::abi::{FaultSpec, RuleTable, XdpMode, globals, maps, programs};

use super::{Error, Result, counters::Counters, loader};
use crate::plan::{Hook, Plan};

/// Built by `build.rs` from `injector-ebpf`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/injector-ebpf"));

/// What the programs are specialised for.
#[derive(Clone, Copy, Debug)]
pub struct Specialisation {
    /// The index of the device under fault.
    pub device: u32,
    /// The index of the splitting pair's near end.
    pub near: u32,
    /// The index of its far end.
    pub far: u32,
    /// The index of the near end of the pair that carries super-packets whole; 0 without.
    pub whole: u32,
    /// The splitting pair takes its packets by NAPI.
    pub has_napi: bool,
    /// Most packets that can be on their way to be split, on one processor.
    pub splits_max: u32,
    /// The device's frames start with the IP header.
    pub raw_ip: bool,
    /// fq is there to hold packets.
    pub has_fq: bool,
    /// Where rules that only drop are decided on ingress.
    pub xdp: XdpMode,
    /// The longest frame that is one packet on the device's wire.
    pub frame_len_max: u32,
}

/// Creates the maps, fills them, and loads the programs that the plan needs. All of them at once:
/// maps can be taken out of the object only when no program is still to be tied to them.
pub fn load(plan: &Plan, special: Specialisation) -> Result<Ebpf> {
    let slots = plan.rules.len().max(1) as u32;
    // One more is being written.
    let ring = (special.splits_max + 1).next_power_of_two();
    let constants = [
        (globals::DEV_IFINDEX, special.device),
        (globals::NEAR_IFINDEX, special.near),
        (globals::FAR_IFINDEX, special.far),
        (globals::WHOLE_IFINDEX, special.whole),
        (globals::SPLITS_MASK, ring - 1),
        (globals::RAW_IP, u32::from(special.raw_ip)),
        (globals::HAS_FQ, u32::from(special.has_fq)),
        (globals::XDP_MODE, special.xdp as u32),
        (globals::FRAME_LEN_MAX, special.frame_len_max),
    ];
    let mut loader = loader::new();
    for (name, value) in &constants {
        loader.override_global(name, value, true);
    }
    for map in [maps::FAULTS, maps::STATES, maps::RULE_COUNTERS] {
        loader.map_max_entries(map, slots);
    }
    loader.map_max_entries(maps::SPLITS, processors()? * ring);
    let mut ebpf = loader
        .load(OBJECT)
        .map_err(|error| Error::ebpf("create the maps", &error))?;
    fill(&mut ebpf, plan)?;
    let mut names = vec![programs::STAMP, programs::RETURN];
    names.extend(
        Hook::ALL
            .into_iter()
            .filter(|hook| plan.uses(*hook))
            .map(divert_program),
    );
    if plan.splits() {
        names.extend([programs::DECIDE, programs::JOIN]);
    }
    if special.has_napi {
        names.push(programs::NAPI);
    }
    if special.xdp != XdpMode::Off {
        names.push(programs::XDP);
    }
    loader::load_programs(&mut ebpf, &names)?;
    Ok(ebpf)
}

/// The program for the device's hook.
pub(super) const fn divert_program(hook: Hook) -> &'static str {
    match hook {
        Hook::Egress => programs::DIVERT_EGRESS,
        Hook::Ingress => programs::DIVERT_INGRESS,
    }
}

/// One more than the highest number of a processor that there may be.
fn processors() -> Result<u32> {
    aya::util::nr_cpus()
        .map(|count| count as u32)
        .map_err(|(path, source)| Error::File {
            action: "read",
            path: path.into(),
            source,
        })
}

/// A program of the object, by name.
pub(super) fn find<'a, P>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut P>
where
    &'a mut P: TryFrom<&'a mut Program, Error = ProgramError>,
{
    let program = ebpf
        .program_mut(name)
        .ok_or_else(|| missing("program", name))?;
    program
        .try_into()
        .map_err(|error: ProgramError| Error::ebpf(format!("open {name}"), &error))
}

/// An object of which only the smallest program is loaded, to try attaching.
pub(super) fn load_smallest() -> Result<Ebpf> {
    let mut ebpf = loader::new()
        .load(OBJECT)
        .map_err(|error| Error::ebpf("create the maps", &error))?;
    loader::load_programs(&mut ebpf, &[programs::RETURN])?;
    Ok(ebpf)
}

fn fill(ebpf: &mut Ebpf, plan: &Plan) -> Result<()> {
    let failed = |error| Error::ebpf("fill the rule maps", &error);
    let mut tables: Array<&mut MapData, RuleTable> = array(ebpf, maps::RULES)?;
    for hook in Hook::ALL {
        tables
            .set(hook.table(), *plan.table(hook), 0)
            .map_err(failed)?;
    }
    let mut faults: Array<&mut MapData, FaultSpec> = array(ebpf, maps::FAULTS)?;
    for rule in &plan.rules {
        faults.set(rule.slot, rule.spec, 0).map_err(failed)?;
    }
    Ok(())
}

fn array<'a, T: Pod>(ebpf: &'a mut Ebpf, name: &str) -> Result<Array<&'a mut MapData, T>> {
    let map = ebpf.map_mut(name).ok_or_else(|| missing("map", name))?;
    Array::try_from(map).map_err(|error| Error::ebpf(format!("open the map {name}"), &error))
}

/// Takes an array map out of the object. The programs keep it alive.
pub(super) fn take_array<T: Pod>(ebpf: &mut Ebpf, name: &str) -> Result<Array<MapData, T>> {
    let map = take(ebpf, name)?;
    Array::try_from(map).map_err(|error| Error::ebpf(format!("open the map {name}"), &error))
}

/// Takes the counters out of the object.
pub(super) fn take_counters(ebpf: &mut Ebpf) -> Result<Counters> {
    let mut data = |name| match take(ebpf, name)? {
        Map::PerCpuArray(data) | Map::Array(data) => Ok(data),
        _ => Err(missing("map", name)),
    };
    Counters::new(
        data(maps::RULE_COUNTERS)?,
        data(maps::PATH_COUNTERS)?,
        data(maps::STATES)?,
    )
}

fn take(ebpf: &mut Ebpf, name: &str) -> Result<Map> {
    ebpf.take_map(name).ok_or_else(|| missing("map", name))
}

fn missing(what: &str, name: &str) -> Error {
    Error::Ebpf {
        action: format!("find the {what} {name}"),
        reason: "the eBPF object does not have it".into(),
        errno: None,
    }
}
