//! `__sk_buff` and its helpers, one thin function each.

use aya_ebpf::{
    EbpfContext as _,
    bindings::{
        __sk_buff, BPF_CSUM_LEVEL_RESET, BPF_F_INGRESS, BPF_F_MARK_MANGLED_0, BPF_F_RECOMPUTE_CSUM,
        bpf_sock,
    },
    helpers,
    programs::TcContext,
};
use injector_common::{
    abi::{Sender, features},
    wire::{self, HEADERS_LEN_MAX},
};

use crate::{frame::Frame, globals};

/// Next program, or the default: `TCX_NEXT` and `TC_ACT_UNSPEC`. Not `TC_ACT_OK`, which would keep
/// the packet from programs attached after ours.
pub const PASS: i32 = -1;
/// `TC_ACT_OK`.
pub const OK: i32 = 0;
/// `TC_ACT_SHOT`. Only on the pair: on a device it would tell the sender (`NET_XMIT_DROP`).
pub const SHOT: i32 = 2;

/// No such interface: a redirect to it frees the packet, and the sender hears of success.
/// `TC_ACT_STOLEN` would do too, but tcx takes it for "next".
const NOWHERE: u32 = 0x7fff_fff0;
/// `PACKET_HOST` of linux/if_packet.h.
const PACKET_HOST: u32 = 0;

/// The clone could not be sent, and none of it left.
pub struct NotSent;

/// A packet.
#[derive(Clone, Copy)]
pub struct Skb(*mut __sk_buff);

impl From<*mut __sk_buff> for Skb {
    #[inline(always)]
    fn from(context: *mut __sk_buff) -> Self {
        Self(context)
    }
}

/// Reads or writes a context field. Volatile, because the verifier refuses accesses that the
/// compiler merged or narrowed.
macro_rules! field {
    ($get:ident, $field:ident: $type:ty) => {
        #[inline(always)]
        pub fn $get(self) -> $type {
            // SAFETY: the context is valid while the program runs.
            unsafe { (&raw const (*self.0).$field).read_volatile() }
        }
    };
    ($get:ident, $set:ident, $field:ident: $type:ty) => {
        field!($get, $field: $type);

        #[inline(always)]
        pub fn $set(self, value: $type) {
            // SAFETY: as for reading.
            unsafe { (&raw mut (*self.0).$field).write_volatile(value) }
        }
    };
}

impl Skb {
    #[inline(always)]
    pub fn new(ctx: &TcContext) -> Self {
        Self(ctx.as_ptr().cast())
    }

    /// The program's context, to pass it on.
    #[inline(always)]
    pub fn context(self) -> *mut __sk_buff {
        self.0
    }

    field!(len, len: u32);
    field!(gso_segs, gso_segs: u32);
    field!(gso_size, gso_size: u32);
    field!(protocol, protocol: u32);
    field!(mark, mark: u32);
    field!(vlan_present, vlan_present: u32);
    field!(vlan_tci, vlan_tci: u32);
    field!(priority, set_priority, priority: u32);
    field!(tstamp, set_tstamp, tstamp: u64);

    /// The socket that sends the packet; null where it has none any more.
    #[inline(always)]
    pub fn socket(self) -> *mut bpf_sock {
        // SAFETY: as for the fields.
        unsafe { (&raw const (*self.0).__bindgen_anon_2.sk).read_volatile() }
    }

    /// The number of the socket that sends the packet, which no other ever has; `None` where it has none any more.
    #[inline(always)]
    pub fn socket_cookie(self) -> Option<u64> {
        if self.socket().is_null() {
            return None;
        }
        // SAFETY: the helper takes the context.
        Some(unsafe { helpers::generated::bpf_get_socket_cookie(self.0.cast()) })
    }

    /// Who sends the packet, where it still has its socket.
    #[inline(always)]
    pub fn sender(self) -> Sender {
        if !globals::has_senders() {
            return Sender::default();
        }
        // SAFETY: the helpers take the context.
        unsafe {
            Sender {
                cgroup: helpers::generated::bpf_skb_cgroup_id(self.0),
                user: helpers::generated::bpf_get_socket_uid(self.0),
                reserved: 0,
            }
        }
    }

    /// A word of the control buffer.
    #[inline(always)]
    pub fn cb<const I: usize>(self) -> u32 {
        // SAFETY: as for the fields; I is below 5.
        unsafe { (&raw const (*self.0).cb[I]).read_volatile() }
    }

    /// Sets a word of the control buffer.
    #[inline(always)]
    pub fn set_cb<const I: usize>(self, value: u32) {
        // SAFETY: as above.
        unsafe { (&raw mut (*self.0).cb[I]).write_volatile(value) }
    }

    /// The departure time that the packet carries through the pair, in `cb[0]` and `cb[1]`.
    #[inline(always)]
    pub fn carried_ns(self) -> u64 {
        u64::from(self.cb::<0>()) | u64::from(self.cb::<1>()) << 32
    }

    /// See [`Self::carried_ns`].
    #[inline(always)]
    pub fn carry_ns(self, time_ns: u64) {
        self.set_cb::<0>(time_ns as u32);
        self.set_cb::<1>((time_ns >> 32) as u32);
    }

    /// The frame's headers, made linear where they are not.
    #[inline(always)]
    pub fn headers(self) -> Frame {
        self.pull_headers();
        self.linear()
    }

    /// Makes the headers linear; `false` where they are already, or cannot be.
    #[inline(always)]
    pub fn pull_headers(self) -> bool {
        let wanted = self.len().min(HEADERS_LEN_MAX as u32);
        if self.linear().len() >= wanted as usize {
            return false;
        }
        // SAFETY: the helper checks its arguments.
        unsafe { helpers::bpf_skb_pull_data(self.0, wanted) == 0 }
    }

    /// The part of the frame that can be read directly.
    #[inline(always)]
    pub fn linear(self) -> Frame {
        // SAFETY: as for the fields.
        let (data, end) = unsafe {
            (
                (&raw const (*self.0).data).read_volatile(),
                (&raw const (*self.0).data_end).read_volatile(),
            )
        };
        Frame::new(data as usize, end as usize)
    }

    /// Whether this is a super-packet whose segments the kernel has not counted, so that a limit on
    /// their number does not split it.
    #[inline(always)]
    pub fn is_uncounted(self) -> bool {
        self.gso_segs() == 0 && self.gso_size() != 0
    }

    /// How many packets this is on the wire.
    #[inline(always)]
    pub fn wire_packets(self) -> u64 {
        match (self.gso_segs(), self.gso_size()) {
            (0, 0) => 1,
            (0, size) => u64::from(count_segments(self.0, size)),
            (segments, _) => u64::from(segments),
        }
    }

    /// Bytes of each packet on the wire, if this is as many.
    #[inline(always)]
    pub fn wire_bytes(self, packets: u64) -> u64 {
        let len = u64::from(self.len());
        if packets <= 1 {
            return len;
        }
        // Each but the first gets a copy of the headers.
        let headers = u64::from(headers_len(self.0));
        (len + (packets - 1) * headers).div_ceil(packets)
    }

    /// How long the IP packet is on the wire that starts at `network`; of a super-packet each but the last, which
    /// may be shorter. `None` where this is none.
    #[inline(always)]
    pub fn segment_len(self, network: usize) -> Option<u64> {
        let size = self.gso_size();
        // Each has headers of its own.
        let headers = (size != 0).then(|| headers_len(self.0) as usize)?;
        Some(headers.saturating_sub(network) as u64 + u64::from(size))
    }

    /// Sends a clone, which belongs to no socket, out of `ifindex`.
    ///
    /// `NET_XMIT_DROP` counts as sent: a queue was full, but some segments may have left. What is
    /// lost then shows in the balance of the counters along the way.
    #[inline(always)]
    pub fn clone_to(self, ifindex: u32) -> Result<(), NotSent> {
        self.clone_redirect(ifindex, 0)
    }

    /// Lets a clone arrive at `ifindex`.
    #[inline(always)]
    pub fn clone_to_ingress(self, ifindex: u32) -> Result<(), NotSent> {
        self.clone_redirect(ifindex, BPF_F_INGRESS.into())
    }

    #[inline(always)]
    fn clone_redirect(self, ifindex: u32, flags: u64) -> Result<(), NotSent> {
        const NET_XMIT_CN: i64 = 2;
        // SAFETY: the helper checks its arguments.
        match unsafe { helpers::bpf_clone_redirect(self.0, ifindex, flags) } {
            // The interface is down.
            NET_XMIT_CN => Err(NotSent),
            // It is gone, or memory is short.
            code if code < 0 => Err(NotSent),
            _ => Ok(()),
        }
    }

    /// Sends the packet out of `ifindex`.
    #[inline(always)]
    pub fn to_egress(self, ifindex: u32) -> i32 {
        // SAFETY: the helper only notes the destination.
        unsafe { helpers::bpf_redirect(ifindex, 0) as i32 }
    }

    /// Lets the packet arrive at `ifindex`.
    #[inline(always)]
    pub fn to_ingress(self, ifindex: u32) -> i32 {
        // SAFETY: as above.
        unsafe { helpers::bpf_redirect(ifindex, BPF_F_INGRESS.into()) as i32 }
    }

    /// Ends the packet without a word to its sender.
    #[inline(always)]
    pub fn consume(self) -> i32 {
        self.to_egress(NOWHERE)
    }

    /// Declares the packet to be for this host, whatever address it bears.
    #[inline(always)]
    pub fn set_for_host(self) {
        // SAFETY: the helper checks its arguments.
        unsafe { helpers::bpf_skb_change_type(self.0, PACKET_HOST) };
    }

    /// Puts an Ethernet header in front of a packet that has none.
    #[inline(always)]
    pub fn push_ethernet(self) -> Result<(), ()> {
        const ETH_HLEN: u32 = 14;
        const ETHERTYPE_OFFSET: u32 = 12;
        let kind = self.protocol() as u16;
        // SAFETY: the helpers check their arguments; `protocol` is in network order already.
        let failed = unsafe {
            helpers::bpf_skb_change_head(self.0, ETH_HLEN, 0) != 0
                || helpers::bpf_skb_store_bytes(
                    self.0.cast(),
                    ETHERTYPE_OFFSET,
                    (&raw const kind).cast(),
                    2,
                    0,
                ) != 0
        };
        if failed { Err(()) } else { Ok(()) }
    }

    /// Whether the packet's flow understands ECN.
    #[inline(always)]
    pub fn is_ect(self) -> bool {
        ecn_bits(self.0) != 0
    }

    /// Marks the packet "congestion experienced"; `false` where its flow does not understand ECN.
    #[inline(always)]
    pub fn mark_ce(self) -> bool {
        // SAFETY: the helper checks the packet.
        unsafe { helpers::bpf_skb_ecn_set_ce(self.0) == 1 }
    }

    /// The byte at `offset`.
    #[inline(always)]
    pub fn load_byte(self, offset: usize) -> Option<u8> {
        let mut byte = 0u8;
        // SAFETY: the helper checks the offset and writes one byte.
        let code = unsafe {
            helpers::bpf_skb_load_bytes(self.0.cast(), offset as u32, (&raw mut byte).cast(), 1)
        };
        if code == 0 { Some(byte) } else { None }
    }

    /// Overwrites the byte at `offset`. `wire_like` makes the receiver check the packet anew: a
    /// checksum that hardware or GRO has already verified would hide the change.
    #[inline(always)]
    pub fn store_byte(self, offset: usize, byte: u8, wire_like: bool) -> Result<(), ()> {
        let flags = if wire_like {
            u64::from(BPF_F_RECOMPUTE_CSUM)
        } else {
            0
        };
        // SAFETY: the helper checks the offset and reads one byte.
        let code = unsafe {
            helpers::bpf_skb_store_bytes(
                self.0.cast(),
                offset as u32,
                (&raw const byte).cast(),
                1,
                flags,
            )
        };
        if code != 0 {
            return Err(());
        }
        if wire_like {
            // SAFETY: the helper checks its arguments.
            unsafe { helpers::bpf_csum_level(self.0, BPF_CSUM_LEVEL_RESET.into()) };
        }
        Ok(())
    }

    /// Corrects the checksum at `offset` for a 16-bit word that changed. `optional`: 0 there means
    /// "none" and stays.
    #[inline(always)]
    pub fn fix_checksum(self, offset: usize, from: u16, to: u16, optional: bool) {
        let mangled = if optional {
            u64::from(BPF_F_MARK_MANGLED_0)
        } else {
            0
        };
        // SAFETY: the helper checks the offset.
        unsafe {
            helpers::bpf_l4_csum_replace(
                self.0.cast(),
                offset as u32,
                from.into(),
                to.into(),
                mangled | 2,
            )
        };
    }
}

/// How many segments the kernel will make of a super-packet of unverified origin (tun, virtio), which
/// has their size but not yet their number: it counts them when the packet is first sent.
///
/// A global function, which the verifier checks once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn count_segments(ctx: *mut __sk_buff, size: u32) -> u32 {
    let skb = Skb::from(ctx);
    let payload = skb.len().saturating_sub(headers_len(ctx));
    // The verifier does not remember that the size is not 0.
    payload.div_ceil(size.max(1)).max(1)
}

/// How long the headers of a packet are, that of its transport protocol included.
///
/// A global function likewise.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn headers_len(ctx: *mut __sk_buff) -> u32 {
    let skb = Skb::from(ctx);
    let mut found = wire::payload(&skb.linear(), globals::raw_ip());
    // Rare, and dear: a packet that others hold too is copied.
    if found.is_none() && skb.pull_headers() {
        found = wire::payload(&skb.linear(), globals::raw_ip());
    }
    found.unwrap_or(0) as u32
}

/// The ECN field of a packet (RFC 3168), or 0.
///
/// A global function likewise.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn ecn_bits(ctx: *mut __sk_buff) -> u32 {
    if !globals::uses(features::ECN) {
        return 0;
    }
    let frame = Skb::from(ctx).headers();
    wire::ecn(&frame, globals::raw_ip()).unwrap_or(0)
}
