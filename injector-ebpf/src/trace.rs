//! Telling whoever listens which packets are hit. Costs nothing but a look where nobody does.

use core::arch::asm;

use aya_ebpf::{
    bindings::{__sk_buff, xdp_md},
    helpers::{bpf_get_prandom_u32, bpf_ringbuf_output, bpf_skb_load_bytes},
};
use injector_common::{
    abi::{
        CAPTURED_END, HEADERS_CAPTURED, Hit, Sender, TRACE_ENTRIES_MAX, TRACE_WINDOW_NS, Told,
        TraceFilter, features, hit,
    },
    wire::{self, Bytes as _},
};

use crate::{
    frame::Frame,
    maps::{HITS, KEY, TOLD, TRACE, TRACE_STATE},
    record::monotonic_ns,
    skb::Skb,
};

/// Whether anybody listens.
#[inline(always)]
fn is_heard() -> bool {
    // SAFETY: a word, read at once.
    TRACE
        .get_ptr(0)
        .is_some_and(|filter| unsafe { (&raw const (*filter).until_ns).read_volatile() } != 0)
}

/// Who sends a packet that is about to lose its socket; nobody where nobody listens.
#[inline(always)]
pub fn sender(skb: Skb) -> Sender {
    if is_heard() {
        skb.sender()
    } else {
        Sender::default()
    }
}

/// Tells of a packet.
#[inline(always)]
pub fn packet(skb: Skb, hit: Hit) {
    if is_heard() && note(hit) {
        tell_packet(skb.context());
    }
}

/// Tells of a packet as it is before bits of it are flipped, if that is wanted.
#[inline(always)]
pub fn before(skb: Skb, hit: Hit) {
    if TRACE.get(0).is_some_and(|filter| filter.before != 0) {
        let flags = hit.flags | hit::BEFORE;
        packet(skb, Hit { flags, ..hit });
    }
}

/// Tells of a frame that has no socket buffer yet.
#[inline(always)]
pub fn frame(ctx: *mut xdp_md, hit: Hit) {
    if is_heard() && note(hit) {
        tell_frame(ctx);
    }
}

/// Leaves it where the functions below find it.
#[inline(always)]
fn note(hit: Hit) -> bool {
    let Some(told) = told() else {
        return false;
    };
    // SAFETY: as `told` says.
    unsafe { (&raw mut (*told).hit).write(hit) };
    true
}

/// Room for a hit. It is this processor's, and the programs run with softirqs off.
#[inline(always)]
fn told() -> Option<*mut Told> {
    TOLD.get_ptr_mut(0)
}

/// A global function, which the verifier checks once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn tell_packet(ctx: *mut __sk_buff) -> u32 {
    let skb = Skb::from(ctx);
    let (Some(filter), Some(told)) = (TRACE.get(0), told()) else {
        return 0;
    };
    // SAFETY: as `told` says, here and below.
    let hit = unsafe { &mut (*told).hit };
    hit.len = skb.len();
    if is_wanted(filter, hit, &skb.linear()) {
        if hit.sender.cgroup == 0 {
            hit.sender = skb.sender();
        }
        // Never 0, of which the verifier would have to be convinced: a packet is longer.
        let wanted = bounded(hit.len.min(filter.captured_max).wrapping_sub(1)) + 1;
        // SAFETY: there is room for as many.
        let code = unsafe {
            let bytes = (&raw mut (*told).bytes).cast();
            bpf_skb_load_bytes(ctx.cast(), 0, bytes, wanted)
        };
        tell(told, if code == 0 { wanted } else { 0 });
    }
    0
}

/// The same for what has no socket buffer.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn tell_frame(ctx: *mut xdp_md) -> u32 {
    // SAFETY: the context is valid while the program runs.
    let frame = unsafe {
        Frame::new(
            (&raw const (*ctx).data).read_volatile() as usize,
            (&raw const (*ctx).data_end).read_volatile() as usize,
        )
    };
    let (Some(filter), Some(told)) = (TRACE.get(0), told()) else {
        return 0;
    };
    // SAFETY: as `told` says, here and below.
    let hit = unsafe { &mut (*told).hit };
    hit.len = frame.len() as u32;
    if is_wanted(filter, hit, &frame) {
        // SAFETY: as above.
        let copied = copy(&frame, unsafe { &mut (*told).bytes });
        tell(told, copied);
    }
    0
}

/// Whether somebody wants to hear of it, and there is time to. What rules out most, and takes least, comes first.
#[inline(always)]
fn is_wanted(filter: &TraceFilter, hit: &mut Hit, frame: &Frame) -> bool {
    if filter.faults & hit.faults == 0 || !filter.has_slot(hit.slot) || !is_drawn(filter.odds) {
        return false;
    }
    if filter.entries_len != 0 && !matches(filter, frame, hit.flags & hit::RAW_IP != 0) {
        return false;
    }
    hit.time_ns = monotonic_ns();
    filter.until_ns >= hit.time_ns && has_room(filter, hit.time_ns)
}

/// Nothing is drawn where every one is wanted.
#[inline(always)]
fn is_drawn(odds: u64) -> bool {
    // SAFETY: the helper only draws a number.
    odds > u32::MAX.into() || u64::from(unsafe { bpf_get_prandom_u32() }) < odds
}

#[inline(always)]
fn matches(filter: &TraceFilter, frame: &Frame, raw_ip: bool) -> bool {
    let Some(key) = KEY.get_ptr_mut(0) else {
        return false;
    };
    // SAFETY: per-CPU; the rule has been found already.
    let key = unsafe { &mut *key };
    if wire::parse(frame, raw_ip, features::LAYOUT, key).is_err() {
        return false;
    }
    let (mut is_any, mut i) = (false, 0);
    while i < TRACE_ENTRIES_MAX {
        is_any |= (i as u32) < filter.entries_len && filter.entries[i].matches(key);
        i += 1;
    }
    is_any
}

/// Whether there were not too many in the present window.
#[inline(always)]
fn has_room(filter: &TraceFilter, now_ns: u64) -> bool {
    let Some(state) = TRACE_STATE.get_ptr_mut(0) else {
        return false;
    };
    // SAFETY: an element of a map; nobody relies on what others write meanwhile.
    let state = unsafe { &mut *state };
    if now_ns - state.window_ns >= TRACE_WINDOW_NS {
        state.window_ns = now_ns;
        state.in_window = 0;
    }
    state.in_window += 1;
    if state.in_window > filter.window_max {
        state.limited += 1;
        return false;
    }
    true
}

/// Puts it into the ring, with so many bytes of its packet.
#[inline(always)]
fn tell(told: *mut Told, captured: u32) {
    // SAFETY: as `told` says; the helper reads no more than there is.
    let code = unsafe {
        (*told).hit.captured = captured;
        let len = size_of::<Hit>() as u64 + u64::from(bounded(captured));
        bpf_ringbuf_output((&raw const HITS).cast_mut().cast(), told.cast(), len, 0)
    };
    if code != 0
        && let Some(state) = TRACE_STATE.get_ptr_mut(0)
    {
        // SAFETY: as in `has_room`.
        unsafe { (*state).lost += 1 };
    }
}

/// The number, which is below [`CAPTURED_END`], with a bound that the verifier sees on the very register.
#[inline(always)]
fn bounded(mut captured: u32) -> u32 {
    const _: () = assert!(CAPTURED_END == 2048);
    // SAFETY: touches nothing but the register.
    unsafe {
        asm!("{captured} &= 2047", captured = inout(reg) captured, options(pure, nomem, nostack));
    }
    captured
}

/// Copies the headers, as far as there are eight bytes more.
#[inline(always)]
fn copy(frame: &Frame, bytes: &mut [u8; CAPTURED_END]) -> u32 {
    const WORD: usize = 8;
    let mut copied = 0;
    while copied < HEADERS_CAPTURED as usize {
        let Some(word) = frame.read::<[u32; 2]>(copied) else {
            break;
        };
        // SAFETY: there is room for as many.
        unsafe {
            bytes
                .as_mut_ptr()
                .add(copied)
                .cast::<[u32; 2]>()
                .write(word)
        };
        copied += WORD;
    }
    copied as u32
}
