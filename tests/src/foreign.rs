//! eBPF programs that are somebody else's: they count the packets that they see, and pass them.

use std::{
    borrow::Cow,
    io,
    mem::{forget, size_of},
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    sync::atomic::{AtomicU32, Ordering},
};

use aya::programs::{
    ProgramInfo, SchedClassifier, TcAttachType,
    tc::{NlOptions, TcAttachOptions, qdisc_add_clsact},
};
use nix::libc;

use crate::Host;

// linux/bpf.h
const MAP_CREATE: i32 = 0;
const MAP_LOOKUP: i32 = 1;
const PROGRAM_LOAD: i32 = 5;
const LINK_CREATE: i32 = 28;
const XDP: u32 = 37;
const TCX_INGRESS: u32 = 46;
const TCX_EGRESS: u32 = 47;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
const MAP_TYPE_ARRAY: u32 = 2;
const PROGRAM_TYPE_TC: u32 = 3;
const PROGRAM_TYPE_XDP: u32 = 6;
/// `TC_ACT_UNSPEC` and `TCX_NEXT`.
const NEXT: i32 = -1;
const XDP_PASS: i32 = 2;
/// Offsets in `struct __sk_buff`.
const LEN: i16 = 0;
const MARK: i16 = 8;
const PRIORITY: i16 = 32;

/// Which packets a program counts.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    /// Their length, Ethernet header included.
    pub len: u32,
    /// Their mark.
    pub mark: u32,
    /// Their priority.
    pub priority: u32,
}

/// A program on a device. Dropping it detaches it, unless it is on clsact.
#[derive(Debug)]
pub struct Foreign {
    map: OwnedFd,
    /// The link, or on clsact the program itself.
    _held: OwnedFd,
}

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Out of the host.
    Egress,
    /// Into the host.
    Ingress,
}

impl Side {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Egress, Self::Ingress];
}

impl Foreign {
    /// On the host's device, by cls_bpf.
    #[track_caller]
    pub fn on_clsact(host: &Host, side: Side, counted: Counted) -> Self {
        let (map, program, info) = load_tc(counted);
        let attach_type = match side {
            Side::Egress => TcAttachType::Egress,
            Side::Ingress => TcAttachType::Ingress,
        };
        host.run(|| {
            let program = SchedClassifier::from_program_info(info, Cow::Borrowed("foreign"));
            let mut program = program.expect("take the program over");
            // It may be there already.
            let _ = qdisc_add_clsact(&host.device);
            let options = TcAttachOptions::Netlink(NlOptions::default());
            let id = program.attach_with_options(&host.device, attach_type, options);
            // Dropped, the link would detach the program.
            forget(program.take_link(id.expect("attach by cls_bpf")));
        });
        Self {
            map,
            _held: program,
        }
    }

    /// On the host's device, by tcx, the last in its chain.
    #[track_caller]
    pub fn on_tcx(host: &Host, side: Side, counted: Counted) -> Self {
        let (map, program, _) = load_tc(counted);
        let attach_type = match side {
            Side::Egress => TCX_EGRESS,
            Side::Ingress => TCX_INGRESS,
        };
        Self {
            map,
            _held: link(host, &program, attach_type, 0),
        }
    }

    /// On the host's device, by XDP in the driver; it counts everything.
    #[track_caller]
    pub fn on_xdp(host: &Host) -> Self {
        let map = create_map();
        let code = [count(&map, 0), ret(XDP_PASS)].concat();
        let (program, _) = load(PROGRAM_TYPE_XDP, &code);
        Self {
            map,
            _held: link(host, &program, XDP, XDP_FLAGS_DRV_MODE),
        }
    }

    /// How many packets of the counted length it has seen; by XDP, of any.
    pub fn seen(&self) -> u64 {
        lookup(&self.map, 0)
    }

    /// How many of these had mark and priority.
    pub fn seen_with_mark_and_priority(&self) -> u64 {
        lookup(&self.map, 1)
    }
}

#[track_caller]
fn load_tc(counted: Counted) -> (OwnedFd, OwnedFd, ProgramInfo) {
    let map = create_map();
    let code = [
        // r6 = r1: the context.
        vec![instruction(0xbf, 6, 1, 0, 0)],
        unless(LEN, counted.len),
        count(&map, 0),
        unless(MARK, counted.mark),
        unless(PRIORITY, counted.priority),
        count(&map, 1),
        ret(NEXT),
    ];
    let (program, info) = load(PROGRAM_TYPE_TC, &code.concat());
    (map, program, info)
}

#[track_caller]
fn link(host: &Host, program: &OwnedFd, attach_type: u32, flags: u32) -> OwnedFd {
    let mut attributes = CreateLink {
        program: program.as_raw_fd() as u32,
        target: host.ifindex(),
        attach_type,
        flags,
        reserved: [0; 4],
    };
    owned(host.run(|| bpf(LINK_CREATE, &mut attributes).expect("attach a program")))
}

fn instruction(code: u8, dst: u8, src: u8, offset: i16, immediate: i32) -> [u8; 8] {
    let (offset, immediate) = (offset.to_ne_bytes(), immediate.to_ne_bytes());
    let registers = src << 4 | dst;
    [
        code,
        registers,
        offset[0],
        offset[1],
        immediate[0],
        immediate[1],
        immediate[2],
        immediate[3],
    ]
}

/// Returns [`NEXT`] unless the context's field is `value`.
fn unless(field: i16, value: u32) -> Vec<[u8; 8]> {
    vec![
        // r1 = *(u32 *)(r6 + field); if w1 == value skip two.
        instruction(0x61, 1, 6, field, 0),
        instruction(0x16, 1, 0, 2, value as i32),
        instruction(0xb4, 0, 0, 0, NEXT),
        instruction(0x95, 0, 0, 0, 0),
    ]
}

/// Adds one to the map's element.
fn count(map: &OwnedFd, index: i32) -> Vec<[u8; 8]> {
    vec![
        // *(u32 *)(r10 - 4) = index; r2 = r10 - 4
        instruction(0x62, 10, 0, -4, index),
        instruction(0xbf, 2, 10, 0, 0),
        instruction(0x07, 2, 0, 0, -4),
        // r1 = map; r0 = bpf_map_lookup_elem(r1, r2)
        instruction(0x18, 1, 1, 0, map.as_raw_fd()),
        instruction(0x00, 0, 0, 0, 0),
        instruction(0x85, 0, 0, 0, 1),
        // if r0 == 0 skip two; r1 = 1; lock *(u64 *)(r0 + 0) += r1
        instruction(0x15, 0, 0, 2, 0),
        instruction(0xb7, 1, 0, 0, 1),
        instruction(0xdb, 0, 1, 0, 0),
    ]
}

fn ret(value: i32) -> Vec<[u8; 8]> {
    vec![
        instruction(0xb4, 0, 0, 0, value),
        instruction(0x95, 0, 0, 0, 0),
    ]
}

/// The front of `union bpf_attr` for each of the requests.
#[repr(C)]
struct CreateMap {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
}

#[repr(C)]
struct Lookup {
    map: u32,
    reserved: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
struct LoadProgram {
    program_type: u32,
    instructions_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
}

#[repr(C)]
struct CreateLink {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
    reserved: [u32; 4],
}

fn bpf<T>(request: i32, attributes: &mut T) -> io::Result<i32> {
    // SAFETY: the kernel is told the structure's size; its pointers are its maker's care.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            request,
            std::ptr::from_mut(attributes),
            size_of::<T>(),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result as i32)
    }
}

fn owned(fd: i32) -> OwnedFd {
    // SAFETY: the descriptor is new and nobody else's.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

#[track_caller]
fn create_map() -> OwnedFd {
    let mut attributes = CreateMap {
        map_type: MAP_TYPE_ARRAY,
        key_size: 4,
        value_size: 8,
        max_entries: 2,
    };
    owned(bpf(MAP_CREATE, &mut attributes).expect("create a map"))
}

#[track_caller]
fn lookup(map: &OwnedFd, index: u32) -> u64 {
    let mut value = 0_u64;
    let mut attributes = Lookup {
        map: map.as_raw_fd() as u32,
        reserved: 0,
        key: &raw const index as u64,
        value: &raw mut value as u64,
        flags: 0,
    };
    bpf(MAP_LOOKUP, &mut attributes).expect("look into the map");
    value
}

/// Loads a program under a name of its own, and finds it by that. The description does not keep it
/// loaded: that is what the descriptor is for.
#[track_caller]
fn load(program_type: u32, code: &[[u8; 8]]) -> (OwnedFd, ProgramInfo) {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("f{}_{number}", std::process::id());
    let mut name_bytes = [0; 16];
    name_bytes[..name.len()].copy_from_slice(name.as_bytes());
    let mut attributes = LoadProgram {
        program_type,
        instructions_count: code.len() as u32,
        instructions: code.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
        name: name_bytes,
    };
    let program = owned(bpf(PROGRAM_LOAD, &mut attributes).expect("load a program"));
    let loaded = aya::programs::loaded_programs().flatten();
    let found = loaded
        .into_iter()
        .find(|info| info.name_as_str() == Some(&name));
    (program, found.expect("the program just loaded"))
}
