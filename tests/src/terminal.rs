//! A terminal, and somebody at it.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsFd as _, AsRawFd as _},
        unix::{fs::OpenOptionsExt as _, process::CommandExt as _},
    },
    process::{Child, Command, ExitStatus},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use nix::{
    errno::Errno,
    fcntl::OFlag,
    libc::{self, winsize},
    poll::{PollFd, PollFlags, poll},
    pty::{PtyMaster, grantpt, posix_openpt, ptsname_r, unlockpt},
    sys::{
        signal::{self, Signal},
        termios::{LocalFlags, tcgetattr},
    },
    unistd::{Pid, setsid},
};

use crate::clock::{PATIENCE, wait_until};

/// A terminal with a program on it. Dropping it kills the program.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    /// Our end, until we hang up.
    keys: Option<Arc<PtyMaster>>,
    /// The program's end, so that there is one when the program has ended.
    line: File,
    seen: Arc<Mutex<Seen>>,
    /// How it treated what is typed before the program came.
    flags: LocalFlags,
}

/// What the program has written.
struct Seen {
    parser: vt100::Parser,
    raw: Vec<u8>,
}

impl Seen {
    fn take(&mut self, bytes: &[u8]) {
        self.parser.process(bytes);
        self.raw.extend(bytes);
    }
}

impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.parser.screen().contents())
    }
}

/// The end of a terminal at which somebody sits, and the one that programs have.
#[track_caller]
pub fn open() -> (PtyMaster, File) {
    // Closed in the child, or it would be its own other end.
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let keys = posix_openpt(flags).expect("a terminal");
    grantpt(&keys)
        .and_then(|()| unlockpt(&keys))
        .expect("an open terminal");
    let name = ptsname_r(&keys).expect("its name");
    let line = File::options()
        .read(true)
        .write(true)
        .custom_flags(OFlag::O_NOCTTY.bits())
        .open(name)
        .expect("open the terminal");
    (keys, line)
}

impl Terminal {
    /// Starts a program on a terminal of 80×24, which is all that it knows of the terminal's kind.
    #[track_caller]
    pub fn start(mut command: Command) -> Self {
        let (keys, line) = open();
        let (rows, columns) = (24, 80);
        resize(&keys, rows, columns);
        let flags = tcgetattr(&line).expect("its state").local_flags;
        let end = || line.try_clone().expect("a descriptor");
        command.stdin(end()).stdout(end()).stderr(end());
        command.env("TERM", "xterm").env_remove("COLORTERM");
        let own_the_terminal = || {
            setsid()?;
            // SAFETY: of standard input, which is the terminal.
            let code = unsafe { libc::ioctl(libc::STDIN_FILENO, libc::TIOCSCTTY, 0) };
            Errno::result(code).map(drop).map_err(io::Error::from)
        };
        // SAFETY: only calls that are allowed between fork and exec.
        unsafe { command.pre_exec(own_the_terminal) };
        let child = command.spawn().expect("start a program");
        let seen = Arc::new(Mutex::new(Seen {
            parser: vt100::Parser::new(rows, columns, 0),
            raw: Vec::new(),
        }));
        let shared = Arc::clone(&seen);
        let keys = Arc::new(keys);
        let screen = Arc::downgrade(&keys);
        thread::spawn(move || {
            while let Some(keys) = screen.upgrade() {
                let seen = || shared.lock().unwrap_or_else(PoisonError::into_inner);
                if !read(&keys, |bytes| seen().take(bytes)) {
                    break;
                }
            }
        });
        Self {
            child,
            keys: Some(keys),
            line,
            seen,
            flags,
        }
    }

    /// Types.
    #[track_caller]
    pub fn press(&self, keys: &str) {
        let mut terminal: &PtyMaster = self.keys.as_ref().expect("a terminal");
        terminal.write_all(keys.as_bytes()).expect("type");
    }

    /// Takes the terminal away, as when a connection breaks, and waits until the program has ended.
    #[track_caller]
    pub fn hang_up(mut self) -> ExitStatus {
        self.keys = None;
        self.wait()
    }

    /// Sends the program a signal.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        signal::kill(Pid::from_raw(self.child.id() as i32), signal).expect("a process");
    }

    /// Makes it larger or smaller.
    #[track_caller]
    pub fn resize(&self, rows: u16, columns: u16) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.parser.screen_mut().set_size(rows, columns);
        resize(self.keys.as_ref().expect("a terminal"), rows, columns);
    }

    /// What is on the screen.
    pub fn contents(&self) -> String {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.parser.screen().contents()
    }

    /// Everything that was written, with what controls the terminal.
    pub fn raw(&self) -> String {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&seen.raw).into_owned()
    }

    /// Waits until this is on the screen.
    #[track_caller]
    pub fn wait_for(&self, text: &str) {
        let is_there = wait_until(PATIENCE, || self.contents().contains(text));
        assert!(is_there, "no `{text}` on\n{}", self.contents());
    }

    /// Waits until the program has ended, and the terminal is as it was before.
    #[track_caller]
    pub fn assert_restored(&mut self) -> ExitStatus {
        let status = self.wait();
        let is_as_before = wait_until(PATIENCE, || {
            let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            let screen = seen.parser.screen();
            !screen.alternate_screen() && !screen.hide_cursor()
        });
        assert!(is_as_before, "{:?}", self.raw());
        let flags = tcgetattr(&self.line).expect("its state").local_flags;
        assert_eq!(flags, self.flags, "how it treats what is typed");
        status
    }

    #[track_caller]
    fn wait(&mut self) -> ExitStatus {
        let ended = wait_until(PATIENCE, || {
            self.child.try_wait().expect("a child").is_some()
        });
        assert!(ended, "still there:\n{}", self.contents());
        self.child.wait().expect("a child")
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Takes what has been written, for a while; `false` where nothing comes any more.
fn read(mut keys: &PtyMaster, take: impl FnOnce(&[u8])) -> bool {
    const WHILE: u16 = 20;
    let mut ready = [PollFd::new(keys.as_fd(), PollFlags::POLLIN)];
    if poll(&mut ready, WHILE) == Ok(0) {
        return true;
    }
    let mut bytes = [0; 4096];
    match keys.read(&mut bytes) {
        Ok(read @ 1..) => {
            take(&bytes[..read]);
            true
        }
        _ => false,
    }
}

#[track_caller]
fn resize(keys: &PtyMaster, rows: u16, columns: u16) {
    let size = winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the size is the record that the request reads.
    let code = unsafe { libc::ioctl(keys.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    Errno::result(code).expect("a size");
}
