//! What is fixed when the programs are loaded. The section is frozen then, so that the verifier
//! treats these as constants and removes code that they exclude.

use aya_ebpf::Global;
use injector_common::abi::{FaultSpec, XdpMode, flags};

#[unsafe(no_mangle)]
static DEV_IFINDEX: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static NEAR_IFINDEX: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static FAR_IFINDEX: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static SPLITTER_IFINDEX: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static SPLITS_MASK: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static RAW_IP: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static HAS_FQ: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static HAS_SENDERS: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static FEATURES: Global<u64> = Global::new(0);
#[unsafe(no_mangle)]
static XDP_MODE: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static FRAME_LEN_MAX: Global<u32> = Global::new(0);

/// The device under fault.
#[inline(always)]
pub fn dev_ifindex() -> u32 {
    DEV_IFINDEX.load()
}

/// The pair's near end, on whose way to the far end super-packets are split and checksums filled in.
#[inline(always)]
pub fn near_ifindex() -> u32 {
    NEAR_IFINDEX.load()
}

/// The pair's far end, on which fq holds packets.
#[inline(always)]
pub fn far_ifindex() -> u32 {
    FAR_IFINDEX.load()
}

/// Whether there is a device that splits super-packets on their way out of the far end.
#[inline(always)]
pub fn has_splitter() -> bool {
    SPLITTER_IFINDEX.load() != 0
}

/// That device.
#[inline(always)]
pub fn splitter_ifindex() -> u32 {
    SPLITTER_IFINDEX.load()
}

/// One less than the elements of a processor in [`SPLITS`](crate::maps::SPLITS).
#[inline(always)]
pub fn splits_mask() -> u32 {
    SPLITS_MASK.load()
}

/// Whether the device's frames start with the IP header.
#[inline(always)]
pub fn raw_ip() -> bool {
    RAW_IP.load() != 0
}

/// Whether fq honours departure times.
#[inline(always)]
pub fn has_fq() -> bool {
    HAS_FQ.load() != 0
}

/// Whether the kernel tells the control group of a packet's socket.
#[inline(always)]
pub fn has_senders() -> bool {
    HAS_SENDERS.load() != 0
}

/// What the rules make use of.
#[inline(always)]
pub fn features() -> u64 {
    FEATURES.load()
}

/// Whether the rules make use of any of these features.
#[inline(always)]
pub fn uses(features: u64) -> bool {
    FEATURES.load() & features != 0
}

/// Whether XDP decides a frame of this length, in a rule that only drops.
///
/// Generic XDP also sees super-packets, in which a drop is one packet on the wire, and a second time
/// what the pair puts back. So it drops single packets of rules that drop everything.
#[inline(always)]
pub fn xdp_decides(spec: &FaultSpec, frame_len: u32) -> bool {
    let mode = XDP_MODE.load();
    spec.flags & flags::XDP != 0
        && (mode == XdpMode::Native as u32
            || mode == XdpMode::Generic as u32
                && spec.drops_all()
                && frame_len <= FRAME_LEN_MAX.load())
}
