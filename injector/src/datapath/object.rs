//! The eBPF object: loading it for one device, and filling its maps from a plan.

use std::os::fd::AsFd as _;

use aya::{
    Ebpf, Pod,
    maps::{Array, Map, MapData, MapError},
    programs::{Program, ProgramError},
};
use injector_common::{
    abi::{
        self, CONNECTIONS_MAX, EPOCHS, FRAGMENTED_MAX, HITS_BYTES, OWNER_KEYS_MAX, RuleState,
        XdpMode, features, globals, maps, programs,
    },
    field,
};

use super::{
    Error, Result,
    control::Control,
    counters::Counters,
    loader,
    owners::Owners,
    splits::{self, Splits},
    trace::TraceIds,
};
use crate::plan::{Hook, Models, Needs, Plan, Table};

/// Built by `build.rs` from `injector-ebpf`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/injector-ebpf"));

/// Where in [`OBJECT`] maps are defined, by name.
static DEFINITIONS: &[(&str, usize)] = include!(concat!(env!("OUT_DIR"), "/maps.rs"));

/// Maps with large elements, each with the feature without which no program uses it.
const LARGE: [(&str, u64); 5] = [
    (maps::DIMENSIONS, features::BIT_VECTORS),
    (maps::ROWS, features::BIT_VECTORS),
    (maps::DISTRIBUTIONS, features::DISTRIBUTION),
    (maps::CHAINS, features::MARKOV),
    (maps::POINTS, features::TRACK),
];

/// What the programs are specialised for.
#[derive(Clone, Copy, Debug)]
pub struct Specialisation {
    /// The index of the device under fault.
    pub device: u32,
    /// The index of the pair's near end.
    pub near: u32,
    /// The index of its far end.
    pub far: u32,
    /// The index of the splitter; 0 without.
    pub splitter: u32,
    /// Most packets that can be on their way across the pair, on one processor.
    pub splits_max: u32,
    /// The device's frames start with the IP header.
    pub raw_ip: bool,
    /// fq is there to hold packets.
    pub has_fq: bool,
    /// Where rules that only drop are decided on ingress.
    pub xdp: XdpMode,
    /// The longest frame that is one packet on the device's wire.
    pub frame_len_max: u32,
    /// How many interfaces the run has.
    pub interfaces: u32,
    /// What the plans that may come into force make use of.
    pub needs: Needs,
}

/// Creates the maps, fills them, and loads the programs that are needed. All of them at once: maps
/// can be taken out of the object only when no program is still to be tied to them.
pub fn load(plan: &Plan, owners: &Owners, special: Specialisation) -> Result<Ebpf> {
    let needs = &special.needs;
    let processors = processors()?;
    let ring = splits::ring(special.splits_max, processors);
    let constants = [
        (globals::DEV_IFINDEX, special.device),
        (globals::NEAR_IFINDEX, special.near),
        (globals::FAR_IFINDEX, special.far),
        (globals::SPLITTER_IFINDEX, special.splitter),
        (globals::SPLITS_MASK, ring - 1),
        (globals::RAW_IP, u32::from(special.raw_ip)),
        (globals::HAS_FQ, u32::from(special.has_fq)),
        (globals::HAS_SENDERS, u32::from(loader::tells_senders())),
        (globals::XDP_MODE, special.xdp as u32),
        (globals::FRAME_LEN_MAX, special.frame_len_max),
    ];
    let mut loader = loader::new();
    for (name, value) in &constants {
        loader.override_global(name, value, true);
    }
    loader.override_global(globals::FEATURES, &needs.features, true);
    for (map, elements) in sizes(needs) {
        loader.map_max_entries(map, elements.max(1));
    }
    let mut object = OBJECT.to_vec();
    for (map, feature) in LARGE {
        if needs.features & feature == 0 {
            shrink(&mut object, map);
        }
    }
    let is_shared = needs.splits && special.interfaces > 1;
    let splits = is_shared.then(|| Splits::shared(ring)).flatten();
    let has_own = needs.splits && splits.is_none();
    let records = if has_own { processors * ring } else { 1 };
    loader.map_max_entries(maps::SPLITS, records);
    loader.map_max_entries(maps::HITS, hits(special.interfaces));
    let mut ebpf = loader
        .load(&object)
        .map_err(|error| Error::ebpf("create the maps", &error))?;
    match splits {
        Some(splits) => splits.lend(&ebpf)?,
        None if is_shared => Splits::share(&ebpf, ring)?,
        None => {}
    }
    fill(&mut ebpf, plan, owners, needs, 0)?;
    let mut names = vec![programs::HOLD, programs::RETURN];
    names.extend(
        Hook::ALL
            .into_iter()
            .filter(|hook| needs.uses(*hook))
            .map(divert_program),
    );
    if needs.splits {
        names.push(programs::DECIDE);
    }
    if needs.looks_for_owners() {
        names.push(programs::SOCKET);
    }
    if special.xdp != XdpMode::Off {
        names.push(programs::XDP);
    }
    loader::load_programs(&mut ebpf, &names)?;
    Ok(ebpf)
}

/// Makes the element of a map that no program uses, without which there is no map, as small as it can be.
fn shrink(object: &mut [u8], map: &str) {
    /// Behind the map's type and the size of its keys (`struct bpf_map_def`).
    const VALUE_SIZE: usize = 8;
    let definition = DEFINITIONS.iter().find(|(name, _)| *name == map);
    if let Some((_, start)) = definition
        && let Some(size) = object[start + VALUE_SIZE..].first_chunk_mut()
    {
        *size = (size_of::<u64>() as u32).to_le_bytes();
    }
}

/// Bytes of the ring by which a run on so many interfaces tells of packets on each: together as many as on one,
/// but for the smallest ring that there can be.
fn hits(interfaces: u32) -> u32 {
    // Rounded up to whole pages.
    HITS_BYTES / interfaces.clamp(1, HITS_BYTES).next_power_of_two()
}

/// How many elements the maps have that depend on the rules.
fn sizes(needs: &Needs) -> [(&'static str, u32); 14] {
    let models = needs.models.times(needs.generations());
    let tables = abi::table(needs.generations(), 0);
    let slots = needs.generations() * needs.slots;
    let searched = if needs.features & features::BIT_VECTORS == 0 {
        0
    } else {
        tables
    };
    let counts = needs.features & features::field(field::CONNECTION) != 0;
    let connections = if counts { CONNECTIONS_MAX } else { 0 };
    let follows = needs.features & features::FOLLOW != 0;
    let fragmented = if follows { FRAGMENTED_MAX } else { 0 };
    let owner_keys = if needs.looks_for_owners() {
        OWNER_KEYS_MAX
    } else {
        0
    };
    [
        (maps::RULES, tables),
        (maps::CONNECTIONS, connections),
        (maps::FRAGMENTED, fragmented),
        (maps::OWNER_KEYS, owner_keys),
        (maps::DIMENSIONS, searched),
        (maps::ROWS, searched * needs.rows),
        (maps::FAULTS, slots),
        (maps::STATES, slots),
        (maps::RULE_COUNTERS, slots),
        (maps::CHAINS, models.chains),
        (maps::BOUNDS, models.bounds),
        (maps::DISTRIBUTIONS, models.distributions),
        (maps::POINTS, models.points),
        (maps::OPPORTUNITIES, models.opportunities),
    ]
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

/// Writes the rules of a generation that is not in force.
pub(super) fn fill(
    ebpf: &mut Ebpf,
    plan: &Plan,
    owners: &Owners,
    needs: &Needs,
    generation: u32,
) -> Result<()> {
    let slots = needs.slots_of(plan, generation);
    for hook in Hook::ALL {
        let number = abi::table(generation, hook.direction());
        let mut table = plan.table(hook, slots.start);
        owners.name_in(&mut table.rules.predicates, plan.predicates.owners());
        fill_table(ebpf, table, number, needs.rows)?;
    }
    let places = needs.models_of(generation);
    let Models {
        chains,
        bounds,
        distributions,
        points,
        opportunities,
        ..
    } = &plan.models;
    write(ebpf, maps::CHAINS, places.chains, chains)?;
    write(ebpf, maps::BOUNDS, places.bounds, bounds)?;
    let distributions = distributions.iter().map(AsRef::as_ref);
    write(
        ebpf,
        maps::DISTRIBUTIONS,
        places.distributions,
        distributions,
    )?;
    write(ebpf, maps::POINTS, places.points, points)?;
    write(
        ebpf,
        maps::OPPORTUNITIES,
        places.opportunities,
        opportunities,
    )?;
    let specs = plan.rules.iter();
    let specs: Vec<_> = specs
        .map(|rule| places.moved(rule.spec, generation))
        .collect();
    write(ebpf, maps::FAULTS, slots.start, &specs)?;
    let mut states: Array<&mut MapData, RuleState> = array(ebpf, maps::STATES)?;
    for slot in slots {
        let former = states.get(&slot, 0).map_err(|error| unfilled(&error))?;
        let state = RuleState {
            epoch: (former.epoch + 1) % EPOCHS,
            ..RuleState::default()
        };
        states
            .set(slot, state, 0)
            .map_err(|error| unfilled(&error))?;
    }
    Ok(())
}

/// Makes the programs use the rules of a generation, from one packet to the next.
pub(super) fn put_into_force(ebpf: &mut Ebpf, generation: u32) -> Result<()> {
    let mut in_force: Array<&mut MapData, u32> = array(ebpf, maps::GENERATION)?;
    in_force
        .set(0, generation, 0)
        .map_err(|error| Error::ebpf("put the rules into force", &error))
}

/// Writes elements of an array map, from `first` on.
fn write<'a, T: Pod + 'a>(
    ebpf: &mut Ebpf,
    map: &str,
    first: u32,
    elements: impl IntoIterator<Item = &'a T>,
) -> Result<()> {
    let mut elements = (first..).zip(elements).peekable();
    // A map that has none has not the size of one, either.
    if elements.peek().is_none() {
        return Ok(());
    }
    let mut array: Array<&mut MapData, T> = array(ebpf, map)?;
    for (place, element) in elements {
        array
            .set(place, element, 0)
            .map_err(|error| unfilled(&error))?;
    }
    Ok(())
}

fn fill_table(ebpf: &mut Ebpf, table: Table, number: u32, rows_max: u32) -> Result<()> {
    write(ebpf, maps::RULES, number, [table.rules.as_ref()])?;
    let Some(vectors) = table.vectors else {
        return Ok(());
    };
    let first_row = number * rows_max;
    let vectors = vectors.moved(first_row);
    write(ebpf, maps::ROWS, first_row, &vectors.rows)?;
    let dimensions = vectors.dimensions.as_ref();
    write(ebpf, maps::DIMENSIONS, number, [dimensions])
}

fn unfilled(error: &MapError) -> Error {
    Error::ebpf("fill the rule maps", error)
}

fn array<'a, T: Pod>(ebpf: &'a mut Ebpf, name: &str) -> Result<Array<&'a mut MapData, T>> {
    let map = ebpf.map_mut(name).ok_or_else(|| missing("map", name))?;
    Array::try_from(map).map_err(|error| Error::ebpf(format!("open the map {name}"), &error))
}

/// Takes what the programs hear from out of the object. They keep it alive.
pub(super) fn take_control(ebpf: &mut Ebpf) -> Result<Control> {
    match take(ebpf, maps::CONTROL)? {
        Map::Array(data) => Control::new(data),
        _ => Err(missing("map", maps::CONTROL)),
    }
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
        share(ebpf, maps::STATES)?,
    )
}

/// Lets go of the maps where no rules will be swapped: the programs keep them, and a file less is open for each.
pub(super) fn release(ebpf: &mut Ebpf, needs: &Needs) {
    if needs.swaps() {
        return;
    }
    let names: Vec<_> = ebpf.maps().map(|(name, _)| name.to_owned()).collect();
    for name in names {
        drop(ebpf.take_map(&name));
    }
}

/// The kernel's numbers of the maps by which the programs tell of packets.
pub(super) fn trace_ids(ebpf: &Ebpf) -> Result<TraceIds> {
    let id = |name| match ebpf.map(name) {
        Some(Map::Array(data) | Map::RingBuf(data)) => {
            let info = data.info();
            let info = info.map_err(|error| Error::ebpf(format!("open the map {name}"), &error))?;
            Ok(info.id())
        }
        _ => Err(missing("map", name)),
    };
    Ok(TraceIds {
        filter: id(maps::TRACE)?,
        state: id(maps::TRACE_STATE)?,
        hits: id(maps::HITS)?,
    })
}

/// A second handle of an array map that stays in the object.
fn share(ebpf: &Ebpf, name: &str) -> Result<MapData> {
    let Some(Map::Array(data)) = ebpf.map(name) else {
        return Err(missing("map", name));
    };
    let fd = data.fd().as_fd().try_clone_to_owned();
    let fd = fd.map_err(|source| Error::refused(format!("share the map {name}"), source))?;
    MapData::from_fd(fd).map_err(|error| Error::ebpf(format!("open the map {name}"), &error))
}

pub(super) fn take(ebpf: &mut Ebpf, name: &str) -> Result<Map> {
    ebpf.take_map(name).ok_or_else(|| missing("map", name))
}

pub(super) fn missing(what: &str, name: &str) -> Error {
    Error::Ebpf {
        action: format!("find the {what} {name}"),
        reason: "the eBPF object does not have it".into(),
        errno: None,
    }
}
