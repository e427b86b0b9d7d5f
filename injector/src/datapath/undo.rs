//! Putting back what a run changed.

use std::path::PathBuf;

use aya::programs::{TcAttachType, tc};
use serde::{Deserialize, Serialize};

use super::{Error, Result, netlink::Netlink, sysctl};
use crate::plan::Hook;

/// How the alias of a pair's ends begins: how ours are known.
pub const ALIAS_PREFIX: &str = "injector: ";

/// One change, described so that anybody can undo it, twice if need be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Undo {
    /// The private pair, by the name of its near end.
    DeletePair {
        /// The name.
        near: String,
    },
    /// A setting that had another value.
    RestoreSysctl {
        /// Its file.
        path: PathBuf,
        /// The value before.
        value: String,
    },
    /// The device's clsact qdisc, unless others have come to use it.
    DeleteClsact {
        /// The device.
        ifindex: u32,
    },
    /// Our cls_bpf filter.
    DetachFilter {
        /// The device.
        device: String,
        /// The direction.
        hook: Hook,
        /// The program, by name.
        program: String,
    },
}

impl Undo {
    /// Undoes the change; does nothing where it is undone already. Returns whether there was
    /// something to undo.
    pub fn apply(&self, netlink: &Netlink) -> Result<bool> {
        match self {
            Self::DeletePair { near } => match netlink.find_link(near)? {
                Some(link) if link.alias.is_empty() || link.alias.starts_with(ALIAS_PREFIX) => {
                    netlink.delete_link(link.index).map(|()| true)
                }
                _ => Ok(false),
            },
            Self::RestoreSysctl { path, value } => {
                if sysctl::read(path)?.is_none_or(|now| now == *value) {
                    return Ok(false);
                }
                sysctl::write(path, value).map(|()| true)
            }
            Self::DeleteClsact { ifindex } => {
                let present = netlink.qdiscs(*ifindex)?.iter().any(|q| q.kind == "clsact");
                if !present || netlink.has_filters(*ifindex)? {
                    return Ok(false);
                }
                netlink.delete_clsact(*ifindex).map(|()| true)
            }
            Self::DetachFilter {
                device,
                hook,
                program,
            } => detach_filter(device, *hook, program),
        }
    }
}

impl std::fmt::Display for Undo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::DeletePair { near } => write!(f, "veth pair {near}"),
            Self::RestoreSysctl { path, value } => write!(f, "{} = {value}", path.display()),
            Self::DeleteClsact { ifindex } => write!(f, "clsact qdisc of interface {ifindex}"),
            Self::DetachFilter {
                device,
                hook,
                program,
            } => {
                write!(f, "{hook} filter {program} of {device}")
            }
        }
    }
}

fn detach_filter(device: &str, hook: Hook, program: &str) -> Result<bool> {
    let attach_type = match hook {
        Hook::Egress => TcAttachType::Egress,
        Hook::Ingress => TcAttachType::Ingress,
    };
    match tc::qdisc_detach_program(device, attach_type, program) {
        Ok(()) => Ok(true),
        // No such filter, no clsact, or no device any more: nothing is left of it.
        Err(tc::TcError::IoError(_)) => Ok(false),
        Err(error) => {
            let error = Error::ebpf(format!("detach the {hook} filter from {device}"), &error);
            match error.errno() {
                Some(nix::libc::ENOENT | nix::libc::ENODEV | nix::libc::EINVAL) => Ok(false),
                _ => Err(error),
            }
        }
    }
}
