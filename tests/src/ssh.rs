//! An SSH session between two hosts.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
};

use crate::{
    Family, Host,
    clock::{PATIENCE, wait_until},
    directory::Directory,
    tool,
};

/// Where the server listens.
pub const PORT: u16 = 22;

/// A shell on one host, of a user at the other one. Dropping it ends the server, too.
#[derive(Debug)]
pub struct Session {
    server: Child,
    client: Child,
    commands: ChildStdin,
    answers: Receiver<String>,
    _files: Directory,
}

impl Session {
    /// Logs in to `server` from `client`, without a terminal.
    #[track_caller]
    pub fn open(client: &Host, server: &Host) -> Self {
        let files = Directory::new("ssh");
        prepare(&files);
        let home = files.file("").display().to_string();
        // A user whose keys are here: seen by this server alone.
        let serve = format!(
            "mount --bind {home}/passwd /etc/passwd &&
             exec dropbear -F -s -m -r {home}/host -P {home}/pid -p {PORT}"
        );
        let mut daemon = Command::new("unshare");
        daemon.args(["--mount", "sh", "-c", &serve]);
        let server_process = server.run(|| start(&mut daemon));
        let address = server.at(Family::V4, PORT);
        let listens = || client.run(|| TcpStream::connect(address).is_ok());
        assert!(wait_until(PATIENCE, listens), "no SSH server");
        let mut login = Command::new("dbclient");
        login.args(["-y", "-y", "-T", "-i", &format!("{home}/id")]);
        login.args([&format!("root@{}", address.ip()), "sh"]);
        login.env("HOME", &home);
        let mut client_process = client.run(|| start(&mut login));
        let mut session = Self {
            server: server_process,
            commands: client_process.stdin.take().expect("a pipe"),
            answers: lines(&mut client_process),
            client: client_process,
            _files: files,
        };
        session.say("echo logged in");
        session.hear(|line| line == "logged in");
        session
    }

    /// Has the shell run a line.
    #[track_caller]
    pub fn say(&mut self, line: &str) {
        let written = writeln!(self.commands, "{line}");
        written
            .and_then(|()| self.commands.flush())
            .expect("a session that lives");
    }

    /// The next line that comes back and is `wanted`.
    #[track_caller]
    pub fn hear(&mut self, wanted: impl Fn(&str) -> bool) -> String {
        loop {
            let line = self.answers.recv_timeout(PATIENCE);
            let line = line.expect("an answer from a session that lives");
            if wanted(&line) {
                return line;
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        for process in [&mut self.client, &mut self.server] {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn start(command: &mut Command) -> Child {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}; scripts/setup installs it"))
}

/// What a process says, line by line.
fn lines(process: &mut Child) -> Receiver<String> {
    let stdout = BufReader::new(process.stdout.take().expect("a pipe"));
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        let mut said = stdout.lines().map_while(Result::ok);
        said.try_for_each(|line| sender.send(line))
    });
    lines
}

/// Makes the keys, and a user whose home has them.
fn prepare(files: &Directory) {
    let home = files.file("").display().to_string();
    for key in ["host", "id"] {
        tool::run("dropbearkey", &format!("-t ed25519 -f {home}/{key}"));
    }
    let told = tool::run("dropbearkey", &format!("-y -f {home}/id"));
    let public = told.lines().find(|line| line.starts_with("ssh-"));
    fs::create_dir_all(files.file(".ssh")).expect("a directory");
    fs::write(
        files.file(".ssh/authorized_keys"),
        public.expect("a public key"),
    )
    .expect("write a file");
    let user = format!("root:x:0:0:root:{home}:/bin/sh\n");
    fs::write(files.file("passwd"), user).expect("write a file");
}
