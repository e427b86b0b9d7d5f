//! eBPF programs that are somebody else's: they count the packets that they see, and pass them.

use std::{
    borrow::Cow,
    mem::forget,
    os::fd::{AsRawFd as _, OwnedFd},
};

use aya::programs::{
    ProgramInfo, SchedClassifier, TcAttachType,
    tc::{NlOptions, TcAttachOptions, qdisc_add_clsact},
};

use crate::{
    Host,
    bpf::{self, Instruction, Kind, NEXT, XDP_PASS, instruction},
};

// linux/bpf.h
const MAP_CREATE: i32 = 0;
const MAP_LOOKUP: i32 = 1;
const MAP_TYPE_ARRAY: u32 = 2;
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

    fn tcx(self) -> u32 {
        match self {
            Self::Egress => bpf::TCX_EGRESS,
            Self::Ingress => bpf::TCX_INGRESS,
        }
    }
}

impl Foreign {
    /// On the host's device, by cls_bpf.
    #[track_caller]
    pub fn on_clsact(host: &Host, side: Side, counted: Counted) -> Self {
        let (map, program, info) = load_tc(counted, NEXT);
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
        let (map, program, _) = load_tc(counted, NEXT);
        Self {
            map,
            _held: bpf::link(host, &program, side.tcx(), 0),
        }
    }

    /// Likewise, but accepting every packet, so that those behind it in the chain see none; the first or
    /// the last in its chain.
    #[track_caller]
    pub fn accepting_on_tcx(host: &Host, side: Side, counted: Counted, is_first: bool) -> Self {
        let (map, program, _) = load_tc(counted, bpf::OK);
        let flags = if is_first { bpf::BEFORE } else { 0 };
        Self {
            map,
            _held: bpf::link(host, &program, side.tcx(), flags),
        }
    }

    /// On the host's device, by XDP in the driver; it counts everything.
    #[track_caller]
    pub fn on_xdp(host: &Host) -> Self {
        let map = create_map();
        let code = [count(&map, 0), bpf::ret(XDP_PASS)].concat();
        let (program, _) = bpf::load(Kind::Xdp, &code);
        Self {
            map,
            _held: bpf::link(host, &program, bpf::XDP, bpf::XDP_FLAGS_DRV_MODE),
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
fn load_tc(counted: Counted, verdict: i32) -> (OwnedFd, OwnedFd, ProgramInfo) {
    let map = create_map();
    let code = [
        // r6 = r1: the context.
        vec![instruction(0xbf, 6, 1, 0, 0)],
        unless(LEN, counted.len, verdict),
        count(&map, 0),
        unless(MARK, counted.mark, verdict),
        unless(PRIORITY, counted.priority, verdict),
        count(&map, 1),
        bpf::ret(verdict),
    ];
    let (program, info) = bpf::load(Kind::Tc, &code.concat());
    (map, program, info)
}

/// Returns the verdict unless the context's field is `value`.
fn unless(field: i16, value: u32, verdict: i32) -> Vec<Instruction> {
    vec![
        // r1 = *(u32 *)(r6 + field); if w1 == value skip two.
        instruction(0x61, 1, 6, field, 0),
        instruction(0x16, 1, 0, 2, value as i32),
        instruction(0xb4, 0, 0, 0, verdict),
        instruction(0x95, 0, 0, 0, 0),
    ]
}

/// Adds one to the map's element.
fn count(map: &OwnedFd, index: i32) -> Vec<Instruction> {
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

#[track_caller]
fn create_map() -> OwnedFd {
    let mut attributes = CreateMap {
        map_type: MAP_TYPE_ARRAY,
        key_size: 4,
        value_size: 8,
        max_entries: 2,
    };
    bpf::owned(bpf::bpf(MAP_CREATE, &mut attributes).expect("create a map"))
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
    bpf::bpf(MAP_LOOKUP, &mut attributes).expect("look into the map");
    value
}
