//! Who owns the sockets whose packets rules look for.

use super::record;

/// Most owners that a run tells apart: a bit each in a socket's label.
pub const OWNERS_MAX: usize = 62;
/// Most processes, users, groups and names that own something.
pub const OWNER_KEYS_MAX: u32 = 16 << 10;
/// How many groups above a process's own are looked at, the root included.
pub const CGROUP_LEVELS_MAX: i32 = 16;

/// By what an owner is known that opens a socket.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OwnerKey {
    /// One of [`owner_kind`].
    pub kind: u64,
    /// A number, or a name that is filled up with zeroes.
    pub value: [u64; 2],
}
record!(OwnerKey, size: 24, align: 8);

impl OwnerKey {
    /// Of something that has a number.
    #[inline(always)]
    pub const fn numbered(kind: u64, number: u64) -> Self {
        Self {
            kind,
            value: [number, 0],
        }
    }

    /// Of a thread's name (`comm`).
    #[inline(always)]
    pub const fn named(name: [u8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, rest @ ..] = name;
        Self {
            kind: owner_kind::COMMAND,
            value: [
                u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
                u64::from_ne_bytes(rest),
            ],
        }
    }
}

/// Kinds of [`OwnerKey`].
pub mod owner_kind {
    /// The name of the thread.
    pub const COMMAND: u64 = 0;
    /// The process, by its number in the first namespace.
    pub const PROCESS: u64 = 1;
    /// The user.
    pub const USER: u64 = 2;
    /// The control group (version 2), or one above it.
    pub const CGROUP: u64 = 3;
}
