//! A shell with a `/run` of its own.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, Stdio},
};

use crate::injector;

/// What a shell does, as root in a `/run` of its own, in which `/run/test` is the lab's first namespace.
pub struct Shell {
    child: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Shell {
    /// Starts one.
    pub fn start() -> Self {
        let mut child = std::process::Command::new("unshare")
            .args(["--mount", "sh"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let answers = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut shell = Self { child, answers };
        shell.call("mount -t tmpfs tmpfs /run");
        shell
    }

    /// Runs a line, and returns what it says.
    #[track_caller]
    pub fn call(&mut self, line: &str) -> String {
        let stdin = self.child.stdin.as_mut().expect("a pipe");
        writeln!(stdin, "{line}; echo \"status $?\"").expect("write to the shell");
        let mut said = String::new();
        loop {
            let from = said.len();
            assert_ne!(
                self.answers.read_line(&mut said).unwrap(),
                0,
                "the shell has ended"
            );
            if said[from..].starts_with("status ") {
                assert_eq!(&said[from..], "status 0\n", "{line}: {said}");
                said.truncate(from);
                return said;
            }
        }
    }

    /// Where this shell sees a path of its own.
    pub fn outside(&self, path: &str) -> String {
        format!("/proc/{}/root{path}", self.child.id())
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The command, for a shell.
pub fn command() -> String {
    injector::command()
        .get_program()
        .to_str()
        .expect("UTF-8")
        .to_owned()
}
