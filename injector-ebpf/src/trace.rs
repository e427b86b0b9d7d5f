//! Telling whoever listens which packets are hit. Costs nothing but a look where nobody does.

use core::{mem, ptr};

use aya_ebpf::{
    bindings::{__sk_buff, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP, xdp_md},
    helpers::{bpf_get_prandom_u32, bpf_ringbuf_output, bpf_skb_load_bytes},
};
use injector_common::{
    abi::{
        CAPTURED_END, HEADERS_CAPTURED, Hit, Sender, TRACE_ENTRIES_MAX, TRACE_WINDOW_NS, Told,
        TraceFilter, TraceState, features, hit,
    },
    wire::{self, Bytes as _},
};

use crate::{
    frame::Frame,
    maps::{HITS, KEY, SENDER, TOLD, TRACE, TRACE_STATE},
    record::monotonic_ns,
    skb::Skb,
    verifier,
};

const HEADERS: usize = HEADERS_CAPTURED as usize;

/// Who sends a packet that is about to lose its socket; nobody where nobody listens.
#[inline(always)]
pub fn sender(skb: Skb) -> Sender {
    if TRACE.get(0).is_some_and(|filter| filter.faults != 0) {
        sender_of(skb)
    } else {
        Sender::default()
    }
}

/// Tells of a packet.
#[inline(always)]
pub fn packet(skb: Skb, hit: Hit) {
    if is_chosen(&hit) && note(hit) {
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
    if is_chosen(&hit) && note(hit) {
        tell_frame(ctx);
    }
}

/// Whether somebody wants to hear of it, as far as what happened tells. What rules out most, and takes least, comes
/// first: where nobody listens, no fault is wanted.
#[inline(always)]
fn is_chosen(hit: &Hit) -> bool {
    TRACE.get(0).is_some_and(|filter| {
        filter.faults & hit.faults != 0 && filter.has_slot(hit.slot) && is_drawn(filter.odds)
    })
}

/// Leaves it where the functions below find it.
#[inline(always)]
fn note(hit: Hit) -> bool {
    const WORDS: usize = size_of::<Hit>() / size_of::<u64>();
    let Some(told) = told() else {
        return false;
    };
    // SAFETY: words of the same size.
    let words: [u64; WORDS] = unsafe { mem::transmute(hit) };
    let mut word = 0;
    while word < WORDS {
        // Volatile: the compiler would have a function clear many of them, byte by byte.
        // SAFETY: as `told` says.
        unsafe { told.cast::<u64>().add(word).write_volatile(words[word]) };
        word += 1;
    }
    true
}

/// Room for a hit. It is this processor's, and the programs run with softirqs off.
#[inline(always)]
fn told() -> Option<*mut Told<CAPTURED_END>> {
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
    if filter.entries_len != 0 && packet_matches(ctx) == 0 {
        return 0;
    }
    let Some(turn) = turn(filter, hit) else {
        return 0;
    };
    let frame = skb.linear();
    if hit.sender.cgroup == 0 {
        hit.sender = sender_of(skb);
    }
    if filter.captured_max <= HEADERS_CAPTURED && has_headers(&frame, hit.len) {
        tell_headers(hit, &frame, turn);
        return 0;
    }
    // Never 0, of which the verifier would have to be convinced: a packet is longer.
    let wanted = bounded(hit.len.min(filter.captured_max).wrapping_sub(1)) + 1;
    // SAFETY: there is room for as many.
    let code = unsafe {
        let bytes = (&raw mut (*told).bytes).cast();
        bpf_skb_load_bytes(ctx.cast(), 0, bytes, wanted)
    };
    tell(told, if code == 0 { wanted } else { 0 }, turn);
    0
}

/// Whether a packet's headers can be read directly: its linear part may end behind them, or before.
#[inline(always)]
fn has_headers(frame: &Frame, len: u32) -> bool {
    /// Those of Ethernet, IPv6 and UDP, and a tag.
    const ENOUGH: usize = 14 + 4 + 40 + 8;
    frame.len() >= ENOUGH.min(len as usize)
}

/// The same for what has no socket buffer.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn tell_frame(ctx: *mut xdp_md) -> u32 {
    let (Some(filter), Some(told)) = (TRACE.get(0), told()) else {
        return 0;
    };
    // SAFETY: as `told` says.
    let hit = unsafe { &mut (*told).hit };
    if filter.entries_len != 0 && frame_matches(ctx) == 0 {
        return 0;
    }
    if let Some(turn) = turn(filter, hit) {
        let frame = bytes_of(ctx);
        hit.len = frame.len() as u32;
        tell_headers(hit, &frame, turn);
    }
    0
}

#[inline(always)]
fn bytes_of(ctx: *mut xdp_md) -> Frame {
    // SAFETY: the context is valid while the program runs.
    unsafe {
        Frame::new(
            (&raw const (*ctx).data).read_volatile() as usize,
            (&raw const (*ctx).data_end).read_volatile() as usize,
        )
    }
}

/// Whether a packet matches what was asked for.
///
/// A global function likewise: what follows is not walked again for each of the many ways through the parser.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn packet_matches(ctx: *mut __sk_buff) -> u32 {
    matches(&Skb::from(ctx).linear()).into()
}

/// The same for what has no socket buffer.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn frame_matches(ctx: *mut xdp_md) -> u32 {
    matches(&bytes_of(ctx)).into()
}

/// Who sends the packet. A socket is not asked again until another has been: that takes twice as long as its number.
#[inline(always)]
fn sender_of(skb: Skb) -> Sender {
    let (Some(socket), Some(known)) = (skb.socket_cookie(), SENDER.get_ptr_mut(0)) else {
        return Sender::default();
    };
    // SAFETY: per-CPU, as in `told`.
    let known = unsafe { &mut *known };
    if known.socket != socket {
        known.sender = skb.sender();
        known.socket = socket;
    }
    known.sender
}

/// A hit that is told of.
struct Turn {
    state: &'static mut TraceState,
    /// The flags of what is put into the ring.
    flags: u64,
}

/// The turn of a packet of which somebody wants to hear, where there is time to.
#[inline(always)]
fn turn(filter: &TraceFilter, hit: &mut Hit) -> Option<Turn> {
    if hit.time_ns == 0 {
        hit.time_ns = monotonic_ns();
    }
    if filter.until_ns < hit.time_ns {
        return None;
    }
    let state = TRACE_STATE.get_ptr_mut(0)?;
    // SAFETY: an element of a map; nobody relies on what others write meanwhile.
    let state = unsafe { &mut *state };
    if hit.time_ns.saturating_sub(state.window_ns) >= TRACE_WINDOW_NS {
        state.window_ns = hit.time_ns;
        state.in_window = 0;
    }
    state.in_window += 1;
    let nth = state.in_window;
    if nth > filter.window_max {
        state.limited += 1;
        return None;
    }
    let wakes = nth & filter.wake_mask == 0;
    let flags = if wakes {
        BPF_RB_FORCE_WAKEUP
    } else {
        BPF_RB_NO_WAKEUP
    };
    Some(Turn {
        state,
        flags: flags.into(),
    })
}

/// Nothing is drawn where every one is wanted.
#[inline(always)]
fn is_drawn(odds: u64) -> bool {
    // SAFETY: the helper only draws a number.
    odds > u32::MAX.into() || u64::from(unsafe { bpf_get_prandom_u32() }) < odds
}

#[inline(always)]
fn matches(frame: &Frame) -> bool {
    let (Some(told), Some(key)) = (told(), KEY.get_ptr_mut(0)) else {
        return false;
    };
    // SAFETY: as `told` says; the rule has been found already.
    let (raw_ip, key) = unsafe { ((*told).hit.flags & hit::RAW_IP != 0, &mut *key) };
    wire::parse(frame, raw_ip, features::LAYOUT, key).is_ok() && key_matches() != 0
}

/// Whether the key that was parsed does. A global function likewise.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn key_matches() -> u32 {
    let (Some(filter), Some(key)) = (TRACE.get(0), KEY.get(0)) else {
        return 0;
    };
    let (mut is_any, mut i) = (false, 0);
    while i < TRACE_ENTRIES_MAX {
        is_any |= (i as u32) < filter.entries_len && filter.entries[i].matches(key);
        i += 1;
    }
    is_any.into()
}

/// Puts it into the ring, with its headers. Other lengths than a constant cannot be reserved there.
#[inline(always)]
fn tell_headers(hit: &mut Hit, frame: &Frame, turn: Turn) {
    let Some(mut room) = HITS.reserve::<Told<HEADERS>>(0) else {
        turn.state.lost += 1;
        return;
    };
    let told = room.as_mut_ptr();
    // SAFETY: the room is ours until it is submitted.
    unsafe {
        ptr::copy_nonoverlapping(hit, &raw mut (*told).hit, 1);
        let captured = copy(frame, &mut (*told).bytes);
        (*told).hit.captured = captured;
    }
    room.submit(turn.flags);
}

/// Puts it into the ring, with so many bytes of its packet.
#[inline(always)]
fn tell(told: *mut Told<CAPTURED_END>, captured: u32, turn: Turn) {
    // SAFETY: as `told` says; the helper reads no more than there is.
    let code = unsafe {
        (*told).hit.captured = captured;
        let len = size_of::<Hit>() as u64 + u64::from(bounded(captured));
        bpf_ringbuf_output(
            (&raw const HITS).cast_mut().cast(),
            told.cast(),
            len,
            turn.flags,
        )
    };
    if code != 0 {
        turn.state.lost += 1;
    }
}

/// The number, which is below [`CAPTURED_END`], with a bound that the verifier sees.
#[inline(always)]
fn bounded(captured: u32) -> u32 {
    verifier::masked(captured as usize, CAPTURED_END - 1) as u32
}

/// Copies the headers, in ever smaller pieces, and returns how many bytes they are.
#[inline(always)]
fn copy(frame: &Frame, bytes: &mut [u8; HEADERS]) -> u32 {
    let (bytes, mut copied) = (bytes.as_mut_ptr(), 0);
    while copied < HEADERS && copy_words::<u64, 4>(frame, bytes, frame.forget(copied)) {
        copied += 32;
    }
    if copied == HEADERS {
        return HEADERS_CAPTURED;
    }
    let mut words = 0;
    copied = frame.forget(copied);
    while words < 3 && copy_words::<u64, 1>(frame, bytes, copied) {
        copied += 8;
        words += 1;
    }
    copied = frame.forget(copied);
    if copy_words::<u32, 1>(frame, bytes, copied) {
        copied += 4;
    }
    copied = frame.forget(copied);
    if copy_words::<u16, 1>(frame, bytes, copied) {
        copied += 2;
    }
    copied = frame.forget(copied);
    if copy_words::<u8, 1>(frame, bytes, copied) {
        copied += 1;
    }
    copied as u32
}

/// Copies so many words, if the frame has as many; there must be room for them. The offset is a multiple of their length.
#[inline(always)]
fn copy_words<T, const COUNT: usize>(frame: &Frame, bytes: *mut u8, offset: usize) -> bool {
    let Some(from) = frame.at::<[T; COUNT]>(offset) else {
        return false;
    };
    let (mut word, offset) = (
        0,
        verifier::masked(offset, HEADERS - size_of::<[T; COUNT]>()),
    );
    while word < COUNT {
        // SAFETY: both have as many. Volatile, or the compiler would have a function copy them.
        unsafe {
            let value = from.cast::<T>().add(word).read_volatile();
            bytes
                .add(offset)
                .cast::<T>()
                .add(word)
                .write_volatile(value);
        }
        word += 1;
    }
    true
}
