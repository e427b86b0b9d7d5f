//! eBPF programs of a few instructions, written by hand, and the system call that makes them.

use std::{
    io,
    mem::size_of,
    os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use aya::programs::ProgramInfo;
use nix::libc;

use crate::Host;

// linux/bpf.h
const PROGRAM_LOAD: i32 = 5;
const PROGRAM_TEST_RUN: i32 = 10;
const OBJECT_INFO: i32 = 15;
const LINK_CREATE: i32 = 28;
const LINK_OPEN: i32 = 30;
const LINK_NEXT: i32 = 31;
const LINK_DETACH: i32 = 34;
const LINK_XDP: u32 = 6;
const LINK_TCX: u32 = 11;
const TEST_XDP_LIVE_FRAMES: u32 = 1 << 1;
/// The attach type of XDP on a device.
pub const XDP: u32 = 37;
/// The attach types of tcx.
pub const TCX_INGRESS: u32 = 46;
/// Likewise.
pub const TCX_EGRESS: u32 = 47;
/// The first in its chain (`BPF_F_BEFORE`).
pub const BEFORE: u32 = 1 << 3;
/// XDP in the driver.
pub const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
/// `TC_ACT_UNSPEC` and `TCX_NEXT`.
pub const NEXT: i32 = -1;
/// `TC_ACT_OK` and `TCX_PASS`.
pub const OK: i32 = 0;
/// Verdicts of XDP.
pub const XDP_DROP: i32 = 1;
/// Likewise.
pub const XDP_PASS: i32 = 2;

/// One instruction, as the kernel takes it.
pub type Instruction = [u8; 8];

/// The type of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// `BPF_PROG_TYPE_SCHED_CLS`.
    Tc = 3,
    /// `BPF_PROG_TYPE_XDP`.
    Xdp = 6,
}

/// `BPF_EXIT` and its like: code, registers, offset, immediate.
pub fn instruction(code: u8, dst: u8, src: u8, offset: i16, immediate: i32) -> Instruction {
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

/// Returns `value`.
pub fn ret(value: i32) -> Vec<Instruction> {
    vec![
        instruction(0xb4, 0, 0, 0, value),
        instruction(0x95, 0, 0, 0, 0),
    ]
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

#[repr(C)]
#[derive(Default)]
struct TestRun {
    program: u32,
    verdict: u32,
    data_in_len: u32,
    data_out_len: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration_ns: u32,
    context_in_len: u32,
    context_out_len: u32,
    context_in: u64,
    context_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    reserved: u32,
}

/// The system call. `T` is the front of `union bpf_attr` for the request.
pub fn bpf<T>(request: i32, attributes: &mut T) -> io::Result<i32> {
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

/// Takes a descriptor over that [`bpf`] returned.
pub fn owned(fd: i32) -> OwnedFd {
    // SAFETY: the descriptor is new and nobody else's.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Loads a program under a name of its own, and finds it by that. The description does not keep it
/// loaded: that is what the descriptor is for.
#[track_caller]
pub fn load(kind: Kind, code: &[Instruction]) -> (OwnedFd, ProgramInfo) {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("f{}_{number}", std::process::id());
    let mut name_bytes = [0; 16];
    name_bytes[..name.len()].copy_from_slice(name.as_bytes());
    let mut attributes = LoadProgram {
        program_type: kind as u32,
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

/// Attaches a program to the host's device, for as long as the link is held.
#[track_caller]
pub fn link(host: &Host, program: &OwnedFd, attach_type: u32, flags: u32) -> OwnedFd {
    let mut attributes = CreateLink {
        program: program.as_raw_fd() as u32,
        target: host.ifindex(),
        attach_type,
        flags,
        reserved: [0; 4],
    };
    owned(host.run(|| bpf(LINK_CREATE, &mut attributes).expect("attach a program")))
}

#[repr(C)]
#[derive(Default)]
struct Find {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

#[repr(C)]
struct GetInfo {
    object: u32,
    len: u32,
    info: u64,
}

/// The front of `struct bpf_link_info`.
#[repr(C)]
#[derive(Default)]
struct LinkInfo {
    kind: u32,
    id: u32,
    program: u32,
    padding: u32,
    /// Of tcx: the interface and the attach type.
    details: [u32; 6],
}

/// Takes a program off the hook to which somebody's link holds it: by tcx with that attach type, or by
/// XDP. Returns how many links were detached.
pub fn detach_links(programs: &[u32], attach_type: u32) -> usize {
    let mut detached = 0;
    for link in links() {
        let mut info = LinkInfo::default();
        let mut request = GetInfo {
            object: link.as_raw_fd() as u32,
            len: size_of::<LinkInfo>() as u32,
            info: &raw mut info as u64,
        };
        bpf(OBJECT_INFO, &mut request).expect("ask for a link");
        let is_there = match info.kind {
            LINK_XDP => attach_type == XDP,
            LINK_TCX => attach_type == info.details[1],
            _ => false,
        };
        if programs.contains(&info.program) && is_there {
            bpf(LINK_DETACH, &mut [link.as_raw_fd() as u32]).expect("detach a link");
            detached += 1;
        }
    }
    detached
}

/// Every link there is.
fn links() -> Vec<OwnedFd> {
    let mut links = Vec::new();
    let mut find = Find::default();
    while bpf(LINK_NEXT, &mut find).is_ok() {
        find.id = find.next_id;
        let mut open = Find {
            id: find.id,
            ..Find::default()
        };
        // It may be gone already.
        links.extend(bpf(LINK_OPEN, &mut open).ok().map(owned));
    }
    links
}

/// Runs a program `times` times in one go on the same packet, as it is left by the run before, and
/// returns how long one took. Without a context its fields are zero.
pub fn test_run(
    program: impl AsFd,
    frame: &[u8],
    context: Option<&[u8]>,
    times: u32,
) -> io::Result<Duration> {
    let context = context.unwrap_or_default();
    let mut attributes = TestRun {
        program: program.as_fd().as_raw_fd() as u32,
        data_in_len: frame.len() as u32,
        data_in: frame.as_ptr() as u64,
        context_in_len: context.len() as u32,
        // The kernel wants no pointer to nothing.
        context_in: if context.is_empty() {
            0
        } else {
            context.as_ptr() as u64
        },
        repeat: times,
        ..TestRun::default()
    };
    bpf(PROGRAM_TEST_RUN, &mut attributes)?;
    Ok(Duration::from_nanos(attributes.duration_ns.into()))
}

/// Runs an XDP program on `count` frames that are then really received, sent or dropped (Linux
/// 5.18), and returns how long one took. They come in on the loopback device of the calling
/// thread's namespace.
pub fn run_live(program: impl AsFd, frame: &[u8], count: u32) -> io::Result<Duration> {
    let mut attributes = TestRun {
        program: program.as_fd().as_raw_fd() as u32,
        data_in_len: frame.len() as u32,
        data_in: frame.as_ptr() as u64,
        repeat: count,
        flags: TEST_XDP_LIVE_FRAMES,
        ..TestRun::default()
    };
    bpf(PROGRAM_TEST_RUN, &mut attributes)?;
    Ok(Duration::from_nanos(attributes.duration_ns.into()))
}
