//! Which rule a frame belongs to.

use injector_common::{
    abi::{self, Dimensions, ENTRIES_MAX, Row, RuleTable, SCAN_MAX, features},
    classify::{self, BitVectors},
    field, flow,
    wire::{self, Layout, PacketKey, Unparseable},
};

use crate::{
    connections,
    frame::Frame,
    globals,
    maps::{DIMENSIONS, GENERATION, KEY, ROWS, RULES},
    verifier,
};

/// Stands for "no rule" between [`find_slot`] and its caller.
const NO_SLOT: u32 = u32::MAX;
/// Stands for "protected from every rule". No element of a map has this number.
pub const PROTECTED: u32 = u32::MAX - 2;

/// Reads a frame's key, for [`find_rule`] to look up. `complete` adds to it what the frame does not tell.
#[inline(always)]
pub fn read_key(
    frame: &Frame,
    raw_ip: bool,
    complete: impl FnOnce(&mut PacketKey, &Layout),
) -> Result<(), Unparseable> {
    let Some(key) = KEY.get_ptr_mut(0) else {
        return Ok(());
    };
    // SAFETY: per-CPU, and used only until this function returns.
    let key = unsafe { &mut *key };
    let layout = wire::parse(frame, raw_ip, globals::features(), key)?;
    complete(key, &layout);
    Ok(())
}

/// The slot of the first rule of a table that matches the key, or [`PROTECTED`].
#[inline(always)]
pub fn find_rule(table: u32) -> Option<u32> {
    if globals::uses(features::FIELDS) {
        judge(table);
    }
    let slot = find_slot(table);
    if slot == NO_SLOT { None } else { Some(slot) }
}

/// The rules of a direction that are in force: to be asked once for each packet.
#[inline(always)]
pub fn table(direction: u32) -> u32 {
    abi::table(generation(), direction)
}

/// Whether the rules of a table ask for any of these [fields](features::FIELDS), or that later fragments follow
/// the first.
#[inline(always)]
pub fn asks(table: u32, features: u64) -> bool {
    globals::uses(features)
        && RULES
            .get(table)
            .is_some_and(|rules| rules.predicates.fields & features != 0)
}

/// Looks the key up in a table.
///
/// A global function, which the verifier checks once and for itself (Linux 5.6). Inlined, it would
/// be walked again for each of the ways through the parser.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn find_slot(table: u32) -> u32 {
    let (Some(key), Some(rules)) = (KEY.get(0), RULES.get(table)) else {
        return NO_SLOT;
    };
    if globals::uses(features::PROTECT) && rules.protects(key) {
        return PROTECTED;
    }
    let entry = if globals::uses(features::BIT_VECTORS) && rules.len as usize > SCAN_MAX {
        search(table, key)
    } else {
        rules.scan(key)
    };
    match entry {
        Some(entry) => rules.slots[entry & (ENTRIES_MAX - 1)],
        None => NO_SLOT,
    }
}

/// Finds out which predicates of a table are so of the packet.
///
/// A global function, so that the verifier forgets what it knows of them after each.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn judge(table: u32) -> u32 {
    let (Some(key), Some(rules)) = (KEY.get_ptr_mut(0), RULES.get(table)) else {
        return 0;
    };
    if globals::uses(features::FIELDS) {
        // SAFETY: per-CPU, and nobody else uses it meanwhile.
        let key = unsafe { &mut *key };
        count(rules, table, key);
        key.truths = rules.predicates.truths(globals::features(), key);
    }
    0
}

/// Counts the packet, where a rule of the table asks for its number.
#[inline(always)]
fn count(rules: &RuleTable, table: u32, key: &mut PacketKey) {
    let features = globals::features();
    if features & rules.predicates.fields & features::field(field::CONNECTION) == 0 {
        return;
    }
    let packets = key.fields.get(field::CONNECTION);
    let flow = flow::directed((table % 2).into(), key);
    if packets != field::ABSENT && flow != field::ABSENT {
        let number = connections::count(flow, packets);
        key.fields.set(features, field::CONNECTION, number);
    } else {
        key.fields.set(features, field::CONNECTION, field::ABSENT);
    }
}

#[inline(always)]
fn search(table: u32, key: &PacketKey) -> Option<usize> {
    let vectors = Vectors {
        dimensions: DIMENSIONS.get(table)?,
        unknown: table as usize,
    };
    classify::search(&vectors, globals::features(), key)
}

/// Read once for each packet, so that rules are replaced all at once.
#[inline(always)]
fn generation() -> u32 {
    if !globals::uses(features::SWAP) {
        return 0;
    }
    match GENERATION.get_ptr(0) {
        // SAFETY: userspace writes the word whole. Volatile, so that it is read once.
        Some(generation) => unsafe { generation.read_volatile() },
        None => 0,
    }
}

/// The bit vectors of a table.
struct Vectors<'a> {
    dimensions: &'a Dimensions,
    /// A number of which the verifier knows nothing.
    unknown: usize,
}

impl BitVectors for Vectors<'_> {
    #[inline(always)]
    fn dimensions(&self) -> &Dimensions {
        self.dimensions
    }

    #[inline(always)]
    fn row(&self, number: u32) -> Option<&Row> {
        ROWS.get(number)
    }

    #[inline(always)]
    fn forget(&self, number: usize) -> usize {
        verifier::forget(number, self.unknown)
    }
}
