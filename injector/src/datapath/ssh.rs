//! The SSH session that this process was started from.

use std::{env, ffi::OsStr, fs, io, os::unix::ffi::OsStrExt as _, os::unix::process::parent_id};

use crate::plan::Connection;

/// Where sshd says which connection a session came by.
const VARIABLE: &str = "SSH_CONNECTION";

/// The session's connection; `None` where there is no session.
///
/// sudo drops the variable: then it is found in the environment of the process that called it, or of one
/// before that.
///
/// # Errors
///
/// Why that cannot be told.
pub fn connection() -> Result<Option<Connection>, String> {
    if let Some(value) = env::var_os(VARIABLE) {
        return parse(value.as_bytes()).map(Some);
    }
    let mut hidden = None;
    let mut pid = parent_id();
    // The first process of all is nobody's session.
    while pid > 1 {
        match variable_of(pid) {
            Ok(Some(value)) => return parse(&value).map(Some),
            Ok(None) => {}
            Err(error) => {
                let why = || format!("the environment of process {pid} cannot be read: {error}");
                hidden.get_or_insert_with(why);
            }
        }
        pid = parent_of(pid).unwrap_or(0);
    }
    hidden.map_or(Ok(None), Err)
}

fn parse(value: &[u8]) -> Result<Connection, String> {
    let parsed = OsStr::from_bytes(value).to_string_lossy().parse();
    parsed.map_err(|why: String| format!("{VARIABLE}: {why}"))
}

/// The variable, in the environment with which the process was started.
fn variable_of(pid: u32) -> io::Result<Option<Vec<u8>>> {
    let environment = fs::read(format!("/proc/{pid}/environ"))?;
    let mut variables = environment.split(|byte| *byte == 0);
    Ok(variables.find_map(|variable| {
        let value = variable.strip_prefix(VARIABLE.as_bytes())?;
        value.strip_prefix(b"=").map(<[u8]>::to_vec)
    }))
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may have any in it; state and parent follow.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}
