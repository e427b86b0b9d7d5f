//! Putting back what a run changed.

use std::{fs, io, path::PathBuf};

use aya::programs::{TcAttachType, tc};
use serde::{Deserialize, Serialize};

use super::{Error, Result, groups, netlink::Netlink, sysctl, target::Identity};
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
        device: Identity,
    },
    /// The socket over which a run in the background takes other rules.
    DeleteSocket {
        /// Its file.
        path: PathBuf,
    },
    /// The control group of the run's command.
    DeleteGroup {
        /// Its directory.
        path: PathBuf,
    },
    /// Our cls_bpf filter.
    DetachFilter {
        /// The device.
        device: Identity,
        /// The direction.
        hook: Hook,
        /// The program, by name.
        program: String,
    },
}

/// What came of undoing a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It is undone.
    Undone,
    /// It was undone already.
    Nothing,
    /// It stays, because it is no longer ours.
    Kept(String),
}

impl Undo {
    /// Undoes the change, if what is there still is ours; does nothing where it is undone already.
    pub fn apply(&self, netlink: &Netlink) -> Result<Effect> {
        match self {
            Self::DeletePair { near } => match netlink.find_link(near)? {
                Some(link) if link.alias.is_empty() || link.alias.starts_with(ALIAS_PREFIX) => {
                    netlink.delete_link(link.index)?;
                    Ok(Effect::Undone)
                }
                Some(link) => Ok(Effect::Kept(format!("it has the alias `{}`", link.alias))),
                None => Ok(Effect::Nothing),
            },
            Self::RestoreSysctl { path, value } => match sysctl::read(path)? {
                Some(now) if now == sysctl::OPEN => {
                    sysctl::write(path, value)?;
                    Ok(Effect::Undone)
                }
                Some(now) if now != *value => Ok(Effect::Kept(format!("it is {now} now"))),
                _ => Ok(Effect::Nothing),
            },
            Self::DeleteClsact { device } => match device.find(netlink)? {
                Some(link) => delete_clsact(netlink, link.index),
                None => Ok(Effect::Nothing),
            },
            Self::DeleteSocket { path } => match fs::remove_file(path) {
                Ok(()) => Ok(Effect::Undone),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Effect::Nothing),
                Err(source) => Err(Error::File {
                    action: "delete",
                    path: path.clone(),
                    source,
                }),
            },
            Self::DeleteGroup { path } => groups::disband(path),
            Self::DetachFilter {
                device,
                hook,
                program,
            } => match device.find(netlink)? {
                Some(link) => detach_filter(&link.name, *hook, program),
                None => Ok(Effect::Nothing),
            },
        }
    }
}

impl std::fmt::Display for Undo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::DeletePair { near } => write!(f, "veth pair {near}"),
            Self::RestoreSysctl { path, value } => write!(f, "{} = {value}", path.display()),
            Self::DeleteSocket { path } => write!(f, "socket {}", path.display()),
            Self::DeleteGroup { path } => write!(f, "control group {}", path.display()),
            Self::DeleteClsact { device } => write!(f, "clsact qdisc of {}", device.name),
            Self::DetachFilter {
                device,
                hook,
                program,
            } => {
                write!(f, "{hook} filter {program} of {}", device.name)
            }
        }
    }
}

fn delete_clsact(netlink: &Netlink, ifindex: u32) -> Result<Effect> {
    let present = netlink.qdiscs(ifindex)?.iter().any(|q| q.kind == "clsact");
    if !present {
        return Ok(Effect::Nothing);
    }
    if netlink.has_filters(ifindex)? {
        return Ok(Effect::Kept("others have filters there".into()));
    }
    netlink.delete_clsact(ifindex)?;
    Ok(Effect::Undone)
}

fn detach_filter(device: &str, hook: Hook, program: &str) -> Result<Effect> {
    let attach_type = match hook {
        Hook::Egress => TcAttachType::Egress,
        Hook::Ingress => TcAttachType::Ingress,
    };
    match tc::qdisc_detach_program(device, attach_type, program) {
        Ok(()) => Ok(Effect::Undone),
        // No such filter, no clsact, or no device any more: nothing is left of it.
        Err(tc::TcError::IoError(_)) => Ok(Effect::Nothing),
        Err(error) => {
            let error = Error::ebpf(format!("detach the {hook} filter from {device}"), &error);
            match error.errno() {
                Some(nix::libc::ENOENT | nix::libc::ENODEV | nix::libc::EINVAL) => {
                    Ok(Effect::Nothing)
                }
                _ => Err(error),
            }
        }
    }
}
