//! How a command fails: what to say, what to suggest, and the exit code.

use std::{fmt, io};

use serde::{Deserialize, Serialize};

use crate::{datapath, plan::PlanError, profile::ProfileError};

/// The exit codes of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Code {
    /// Done.
    Ok = 0,
    /// A bug.
    Unexpected = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// The profile is invalid.
    Profile = 3,
    /// Not permitted, or the kernel lacks something.
    Unsupported = 4,
    /// A conflict, or the target is gone.
    Conflict = 5,
    /// The kernel refused, and everything was rolled back.
    Refused = 6,
    /// Something was expected, and not achieved.
    Missed = 7,
    /// After Ctrl-C, with everything cleaned up.
    Interrupted = 130,
}

impl Code {
    /// Of what the user has named, and cannot be had.
    pub fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::Unsupported
            }
            io::ErrorKind::AddrInUse => Self::Conflict,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Refused,
            _ => Self::Usage,
        }
    }
}

/// A failure, ready to be shown.
#[derive(Debug, Serialize, Deserialize)]
pub struct Failure {
    /// The exit code.
    pub code: Code,
    /// What failed.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The message is complete as it stands: a rendered snippet, with its own heading.
    pub rendered: bool,
}

impl Failure {
    /// A failure without a hint.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hint: None,
            rendered: false,
        }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rendered {
            return f.write_str(self.message.trim_end());
        }
        write!(f, "error: {}", self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl From<ProfileError> for Failure {
    fn from(error: ProfileError) -> Self {
        Self {
            rendered: true,
            ..Self::new(Code::Profile, error.to_string())
        }
    }
}

impl From<PlanError> for Failure {
    fn from(error: PlanError) -> Self {
        Self::new(Code::Profile, error.to_string()).hint(error.remedy())
    }
}

impl From<datapath::Error> for Failure {
    fn from(error: datapath::Error) -> Self {
        use datapath::Error;
        let code = match &error {
            Error::NoDevice { .. }
            | Error::NoNetns { .. }
            | Error::NoOwner { .. }
            | Error::NoContainer { .. }
            | Error::ContainerNotRunning { .. }
            | Error::AmbiguousContainer { .. }
            | Error::ContainerElsewhere { .. }
            | Error::Busy { .. }
            | Error::Traced { .. }
            | Error::ForeignXdp { .. }
            | Error::UnknownRecord { .. }
            | Error::Unprepared { .. } => Code::Conflict,
            Error::UnsupportedLink { .. }
            | Error::TooManyOwners
            | Error::NoCgroups
            | Error::NoLabels(_)
            | Error::NoCommandGroup { .. }
            | Error::NoContainerGroup { .. }
            | Error::NotPermitted { .. }
            | Error::LentPrivileges
            | Error::NoFq => Code::Unsupported,
            Error::Refused { .. } | Error::Ebpf { .. } | Error::File { .. } => {
                match error.errno() {
                    // Memory, too, is a matter of what is allowed.
                    Some(nix::libc::EPERM | nix::libc::EACCES | nix::libc::ENOMEM) => {
                        Code::Unsupported
                    }
                    _ => Code::Refused,
                }
            }
            Error::Undo { .. } => Code::Refused,
        };
        Self {
            hint: error.hint(),
            ..Self::new(code, error.to_string())
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(Code::Unexpected, error.to_string())
    }
}
