//! Quantities as users write them, in a profile and in a flag alike.
//!
//! Each type parses one notation, refuses what is ambiguous instead of guessing, and displays in a
//! form that parses back to the same value. Percent signs and unit names exist only here: past
//! this module a probability is a count of 2^-32 odds and a duration a count of nanoseconds.

mod address;
mod bandwidth;
mod duration;
mod error;
mod flows;
mod interface;
mod mac;
mod mark;
mod network;
mod owner;
mod packet;
mod port;
mod probability;
mod quantity;
mod range;
pub(crate) mod scalar;
mod size;
mod span;
mod tcp_flags;
mod whole;

pub use address::{Address, HostName};
pub use bandwidth::Bandwidth;
pub use duration::DurationNs;
pub use error::UnitError;
pub(crate) use error::{Reason, quote};
pub use flows::Flows;
pub use interface::{Interface, Namespace};
pub use mac::Mac;
pub use mark::Mark;
pub use network::Network;
pub use owner::Owner;
pub(crate) use owner::{CgroupPath, ContainerName, Pid, ProcessName, UserName};
pub use packet::PacketRange;
pub use port::PortRange;
pub use probability::Probability;
pub(crate) use quantity::{is_digits, split_number};
pub use size::Size;
pub use span::{Dscp, Field, Length, Span, Ttl, Vlan};
pub use tcp_flags::TcpFlags;
pub(crate) use whole::whole_number;
