//! Whose socket a packet belongs to.
//!
//! A socket is labelled when it is opened, by the process that opens it; those that are there already userspace labels.
//! A connection that is accepted has the label of the socket that listened.

use core::{ffi::c_void, mem, ptr};

use aya_ebpf::{
    bindings::{
        __sk_buff, BPF_F_CLONE, BPF_F_CURRENT_NETNS, BPF_F_NO_PREALLOC,
        BPF_SK_STORAGE_GET_F_CREATE, bpf_map_type, bpf_sock, bpf_sock_tuple,
    },
    helpers,
    programs::SockContext,
};
use injector_common::{
    abi::{self, CGROUP_LEVELS_MAX, OwnerKey, features, owner_kind},
    field,
    wire::{PacketKey, ethertype, protocol},
};

use crate::{
    classify, globals,
    maps::{KEY, OWNER_KEYS},
    record,
    skb::Skb,
};

/// The labels of sockets. aya's own definition has no way to say that connections inherit them.
#[repr(C)]
pub struct Labels {
    r#type: *const [i32; bpf_map_type::BPF_MAP_TYPE_SK_STORAGE as usize],
    key: *const i32,
    value: *const u64,
    max_entries: *const [i32; 0],
    map_flags: *const [i32; (BPF_F_NO_PREALLOC | BPF_F_CLONE) as usize],
}

// SAFETY: the loader puts a map in its place; nobody looks through the pointers.
unsafe impl Sync for Labels {}

/// See [`maps::LABELS`](abi::maps::LABELS).
#[unsafe(link_section = ".maps")]
#[unsafe(export_name = "LABELS")]
static LABELS: Labels = Labels {
    r#type: ptr::null(),
    key: ptr::null(),
    value: ptr::null(),
    max_entries: ptr::null(),
    map_flags: ptr::null(),
};

/// What the program on sockets returns: the socket may be opened.
pub const ALLOW: i32 = 1;

/// Labels a socket that is being opened.
#[inline(always)]
pub fn label(context: &SockContext) -> i32 {
    let mut label = owners();
    if label != 0 {
        // SAFETY: the helper checks its arguments, and copies the value.
        unsafe {
            helpers::generated::bpf_sk_storage_get(
                labels(),
                context.sock.cast(),
                (&raw mut label).cast(),
                BPF_SK_STORAGE_GET_F_CREATE.into(),
            );
        }
    }
    ALLOW
}

/// Who the present process is, as far as rules look for it.
#[inline(always)]
fn owners() -> u64 {
    let process = helpers::bpf_get_current_pid_tgid() >> 32;
    let user = u64::from(helpers::bpf_get_current_uid_gid() as u32);
    let mut owners = known(&OwnerKey::numbered(owner_kind::PROCESS, process))
        | known(&OwnerKey::numbered(owner_kind::USER, user));
    if let Ok(name) = helpers::bpf_get_current_comm() {
        owners |= known(&OwnerKey::named(name));
    }
    let mut level = 0;
    while level < CGROUP_LEVELS_MAX {
        // SAFETY: takes a number.
        let group = unsafe { helpers::generated::bpf_get_current_ancestor_cgroup_id(level) };
        if group == 0 {
            break;
        }
        owners |= known(&OwnerKey::numbered(owner_kind::CGROUP, group));
        level += 1;
    }
    owners
}

#[inline(always)]
fn known(key: &OwnerKey) -> u64 {
    // SAFETY: userspace writes elements whole.
    unsafe { OWNER_KEYS.get(key) }.copied().unwrap_or(0)
}

/// Adds to the key that was just parsed the label of the socket that sends or receives the packet;
/// [`field::ABSENT`] stays where no socket of this machine does. Only where some rule of the table asks.
///
/// A global function, which the verifier checks once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn complete_key(ctx: *mut __sk_buff, direction: u32, table: u32) -> u32 {
    if !classify::asks(table, features::field(field::OWNER)) {
        return 0;
    }
    let Some(key) = KEY.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: per-CPU, and nobody else uses it meanwhile.
    let key = unsafe { &mut *key };
    let skb = Skb::from(ctx);
    let sender = if direction == abi::EGRESS {
        label_of_sender(skb)
    } else {
        None
    };
    match sender.or_else(|| label_of_peer(skb, key, direction)) {
        Some(label) => key.fields.set(globals::features(), field::OWNER, label),
        None => record::path(|counters| counters.unowned += 1),
    }
    0
}

/// Where the packet still has its socket, and that is more than a connection that is about to be.
#[inline(always)]
fn label_of_sender(skb: Skb) -> Option<u64> {
    let socket = skb.socket();
    if socket.is_null() {
        return None;
    }
    // SAFETY: the helper takes what the context has.
    let socket = unsafe { helpers::generated::bpf_sk_fullsock(socket) };
    if socket.is_null() {
        return None;
    }
    Some(label_of(socket))
}

/// Of the socket that receives what arrives, or would receive the answer to what leaves.
#[inline(always)]
fn label_of_peer(skb: Skb, key: &PacketKey, direction: u32) -> Option<u64> {
    let (mut from, mut to) = ((key.src, key.src_port), (key.dst, key.dst_port));
    if direction == abi::EGRESS {
        (from, to) = (to, from);
    }
    let ports = [from.1, to.1].map(|port| (port as u16).to_be());
    let mut tuple: bpf_sock_tuple = unsafe { mem::zeroed() };
    let len = if key.ethertype == ethertype::IPV4 {
        let ipv4 = unsafe { &mut tuple.__bindgen_anon_1.ipv4 };
        (ipv4.saddr, ipv4.daddr) = (from.0.words()[3], to.0.words()[3]);
        [ipv4.sport, ipv4.dport] = ports;
        size_of_val(ipv4)
    } else {
        let ipv6 = unsafe { &mut tuple.__bindgen_anon_1.ipv6 };
        (ipv6.saddr, ipv6.daddr) = (from.0.words(), to.0.words());
        [ipv6.sport, ipv6.dport] = ports;
        size_of_val(ipv6)
    };
    let (tuple, len) = (&raw mut tuple, len as u32);
    let netns = BPF_F_CURRENT_NETNS as i64 as u64;
    // SAFETY: the helpers check their arguments.
    let socket = unsafe {
        match u8::try_from(key.protocol) {
            Ok(protocol::TCP) => {
                helpers::generated::bpf_sk_lookup_tcp(skb.context().cast(), tuple, len, netns, 0)
            }
            Ok(protocol::UDP) => {
                helpers::generated::bpf_sk_lookup_udp(skb.context().cast(), tuple, len, netns, 0)
            }
            _ => return None,
        }
    };
    if socket.is_null() {
        return None;
    }
    let label = label_of(socket);
    // SAFETY: what was looked up is released once.
    unsafe { helpers::generated::bpf_sk_release(socket.cast()) };
    Some(label)
}

#[inline(always)]
fn label_of(socket: *mut bpf_sock) -> u64 {
    // SAFETY: the helper checks its arguments; what it returns lives as long as the socket.
    unsafe {
        let label =
            helpers::generated::bpf_sk_storage_get(labels(), socket.cast(), ptr::null_mut(), 0);
        label.cast::<u64>().as_ref().copied().unwrap_or(0)
    }
}

#[inline(always)]
fn labels() -> *mut c_void {
    (&raw const LABELS).cast_mut().cast()
}
