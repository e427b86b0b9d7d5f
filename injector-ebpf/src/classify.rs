//! Which rule a frame belongs to.

use injector_common::wire::{self, Unparseable};

use crate::{
    frame::Frame,
    maps::{KEY, RULES},
};

/// Stands for "no rule" between [`find_slot`] and its caller.
const NO_SLOT: u32 = u32::MAX;

/// The slot of the first rule in the direction's table that matches.
#[inline(always)]
pub fn find_rule(frame: &Frame, raw_ip: bool, table: u32) -> Result<Option<u32>, Unparseable> {
    let Some(key) = KEY.get_ptr_mut(0) else {
        return Ok(None);
    };
    // SAFETY: per-CPU, and used only until this function returns.
    wire::parse(frame, raw_ip, unsafe { &mut *key })?;
    let slot = find_slot(table);
    Ok(if slot == NO_SLOT { None } else { Some(slot) })
}

/// Compares the key with the table's entries.
///
/// A global function, which the verifier checks once and for itself (Linux 5.6). Inlined, it would
/// be walked again for each of the many ways through the parser.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn find_slot(table: u32) -> u32 {
    let (Some(key), Some(rules)) = (KEY.get(0), RULES.get(table)) else {
        return NO_SLOT;
    };
    rules.find(key).unwrap_or(NO_SLOT)
}
