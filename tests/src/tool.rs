//! Other programs: iproute2 and its like, for set-up and inspection, never for data.

use std::{
    ffi::OsStr,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

/// Runs `ip` with the arguments in `line`, which are separated by spaces.
///
/// A device's name must follow `name` or `dev`: in their place `a` means `address`.
#[track_caller]
pub fn ip(line: &str) -> String {
    run("ip", line)
}

/// Runs `tc`.
#[track_caller]
pub fn tc(line: &str) -> String {
    run("tc", line)
}

/// Runs `tc` with arguments of which some contain spaces.
#[track_caller]
pub fn tc_args(args: &[&str]) -> String {
    match attempt_args("tc", args) {
        Ok(output) => output,
        Err(error) => panic!("tc {args:?}: {error}"),
    }
}

/// Runs `program`, which must succeed, and returns its standard output.
#[track_caller]
pub fn run(program: &str, line: &str) -> String {
    match attempt(program, line) {
        Ok(output) => output,
        Err(error) => panic!("{program} {line}: {error}"),
    }
}

/// Runs `program`; what it says on standard error is the error.
pub fn attempt(program: &str, line: &str) -> Result<String, String> {
    attempt_args(program, &line.split_whitespace().collect::<Vec<_>>())
}

fn attempt_args(program: &str, args: &[&str]) -> Result<String, String> {
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!(
        "{}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    ))
}

/// Runs the lines of `script` in one `ip`.
#[track_caller]
pub fn ip_batch(script: &str) {
    let mut child = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start ip");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(script.as_bytes()).expect("write to ip");
    drop(stdin);
    let output = child.wait_with_output().expect("wait for ip");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "ip -batch: {}\n{script}",
        said.trim()
    );
}

/// Copies an executable. Written by this process, it would for a moment be open for writing in whatever processes other
/// tests start, and nobody could run it.
#[track_caller]
pub fn copy(from: impl AsRef<OsStr>, to: &Path) {
    let status = Command::new("cp").arg(&from).arg(to).status();
    assert!(status.is_ok_and(|status| status.success()), "cp to {to:?}");
}
