//! How many packets of each flow have come.

use crate::{maps::CONNECTIONS, record};

/// Counts packets of a flow; returns the number of the first of them, from 1 on.
#[inline(always)]
pub fn count(flow: u64, packets: u64) -> u64 {
    let Some(counted) = CONNECTIONS.get_ptr_mut(&flow) else {
        // Where two processors are first, one of them is not counted; where memory is short, neither.
        let _ = CONNECTIONS.insert(&flow, &packets, 0);
        return 1;
    };
    // SAFETY: a word of a map element, to which everybody only adds.
    unsafe {
        let before = counted.read_volatile();
        record::add(counted, packets);
        before + 1
    }
}
