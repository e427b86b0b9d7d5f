//! Everything that touches the kernel: devices, queueing disciplines, programs, maps.
//!
//! [`Session`] owns what a run changes and puts it back. Each change is written to a journal
//! before it is made (see [`journal`]), so that `injector clear` can undo what a killed run left.

mod attach;
pub mod capability;
pub mod clear;
pub mod containers;
pub mod control;
pub mod counters;
mod error;
mod ethtool;
pub mod eviction;
pub mod groups;
pub mod journal;
mod loader;
pub mod namespaces;
pub mod netlink;
pub mod netns;
pub mod object;
pub mod owners;
pub mod pair;
pub mod private_path;
pub mod probe;
pub mod session;
mod splits;
pub mod ssh;
mod sysctl;
pub mod target;
mod tcx;
pub mod trace;
pub mod undo;

pub use attach::{AttachPolicy, XdpPolicy};
pub use error::Error;
pub use journal::{Attached, Via};
pub use netns::Netns;
pub use session::{Options, Session};

/// Result of an operation on the kernel.
pub type Result<T> = std::result::Result<T, Error>;
