//! The command under fault.

use std::{
    ffi::OsString, fs::File, io::Write as _, os::unix::process::ExitStatusExt as _, path::Path,
    process::ExitStatus,
};

use tokio::process::{Child, Command};

use super::files::Files;
use crate::{
    datapath::Netns,
    error::{Code, Failure},
};

/// Starts the command, inside the namespace, and in the control group that `entry` leads to.
pub(super) fn spawn(
    command: &[OsString],
    netns: &Netns,
    entry: Option<&Path>,
    files: Files,
) -> Result<Option<Child>, Failure> {
    let Some((program, args)) = command.split_first() else {
        return Ok(None);
    };
    let mut command = Command::new(program);
    command.args(args);
    let netns = netns.clone();
    let open = |entry| File::options().write(true).open(entry);
    let mut entry = entry.map(open).transpose()?;
    // SAFETY: sets a limit, writes to a file, opens one and calls setns: async-signal-safe but for allocation, and this process
    // has no other thread that could hold the allocator's lock when it forks.
    unsafe {
        command.pre_exec(move || {
            files.restore()?;
            if let Some(entry) = &mut entry {
                entry.write_all(b"0")?;
            }
            netns.enter().map_err(std::io::Error::other)
        });
    }
    let child = command.spawn().map_err(|error| {
        Failure::new(
            Code::Usage,
            format!("cannot run `{}`: {error}", program.display()),
        )
    })?;
    Ok(Some(child))
}

/// The exit status as a shell tells it: 128 plus the signal that ended the command.
pub(in crate::command) fn status_code(status: ExitStatus) -> u8 {
    match (status.code(), status.signal()) {
        (Some(code), _) => code as u8,
        (None, Some(signal)) => 128u8.wrapping_add(signal as u8),
        (None, None) => Code::Unexpected as u8,
    }
}
