//! A stage, seen from outside: a process whose end is the end of all that it started.

use std::{
    ffi::CString,
    fs::File,
    io::{self, BufRead as _, BufReader, Write as _},
    os::unix::{ffi::OsStringExt as _, process::CommandExt as _},
    process::{Child, ChildStdout, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
};

use nix::{
    sched::{CloneFlags, setns, unshare},
    sys::{
        prctl::set_pdeathsig,
        signal::{Signal, kill},
    },
    unistd::{Pid, chdir, setsid},
};

use super::event::{Event, Request, Standing};
use crate::error::{Code, Failure};

/// The stages that are there.
#[derive(Debug, Default)]
pub(super) struct Stages(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    pids: Vec<Pid>,
    are_over: bool,
}

impl Stages {
    /// Ends them all, with all that they have started, and those to come.
    pub(super) fn end(&self) {
        let mut state = self.state();
        state.are_over = true;
        state.pids.iter().copied().for_each(end);
    }

    /// Whether they were ended.
    pub(super) fn are_over(&self) -> bool {
        self.state().are_over
    }

    fn add(&self, pid: Pid) {
        let mut state = self.state();
        state.pids.push(pid);
        if state.are_over {
            end(pid);
        }
    }

    /// Forgets one, before its number can be used again.
    fn remove(&self, pid: Pid) {
        self.state().pids.retain(|other| *other != pid);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn end(pid: Pid) {
    let _ = kill(pid, Signal::SIGKILL);
}

/// A stage.
pub(super) struct World<'a> {
    child: Child,
    events: BufReader<ChildStdout>,
    stages: &'a Stages,
}

impl<'a> World<'a> {
    /// Starts a stage, as the first process of a PID namespace: with it the kernel ends all others, and
    /// it ends with the calling thread, which cannot start threads any more.
    pub(super) fn begin(request: &Request, stages: &'a Stages) -> Result<Self, Failure> {
        unshare(CloneFlags::CLONE_NEWPID).map_err(|errno| {
            let message = format!("cannot create a PID namespace: {errno}");
            Failure::new(Code::Unsupported, message).hint("run it as root")
        })?;
        let mut command = Command::new("/proc/self/exe");
        command
            .arg("stage")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let detach = || {
            set_pdeathsig(Signal::SIGKILL)?;
            // Ctrl-C is for the command alone, which then ends the stage.
            setsid()?;
            Ok(())
        };
        // SAFETY: nothing but system calls, which are async-signal-safe.
        unsafe { command.pre_exec(detach) };
        let mut child = command.spawn()?;
        stages.add(pid(&child));
        let (Some(stdin), Some(stdout)) = (&mut child.stdin, child.stdout.take()) else {
            unreachable!("both were asked for");
        };
        // It may be gone already, which is seen when its events are read.
        let _ = serde_json::to_writer(&mut *stdin, request).map(|()| stdin.write_all(b"\n"));
        let events = BufReader::new(stdout);
        Ok(Self {
            child,
            events,
            stages,
        })
    }

    /// The next event; none once the stage has ended.
    pub(super) fn next(&mut self) -> Option<Event> {
        let mut line = String::new();
        match self.events.read_line(&mut line) {
            Ok(1..) => serde_json::from_str(&line).ok(),
            _ => None,
        }
    }

    /// The process, as it is called outside.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Runs an interactive shell on a host.
    pub(super) fn shell(&self, host: &Standing) -> Result<(), Failure> {
        let open = |fd: i32| File::open(format!("/proc/{}/fd/{fd}", self.pid()));
        let namespaces = [
            (open(host.mount)?, CloneFlags::CLONE_NEWNS),
            (open(host.net)?, CloneFlags::CLONE_NEWNET),
            (open(host.uts)?, CloneFlags::CLONE_NEWUTS),
        ];
        let shell = std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into());
        let mut command = Command::new(&shell);
        let here = std::env::current_dir()?.into_os_string();
        let directory = CString::new(here.into_vec()).map_err(io::Error::from)?;
        let enter = move || {
            for (file, kind) in &namespaces {
                setns(file, *kind)?;
            }
            // Entering a mount namespace leads to its root.
            chdir(directory.as_c_str())?;
            Ok(())
        };
        // SAFETY: nothing but system calls, which are async-signal-safe, on what was made before.
        unsafe { command.pre_exec(enter) };
        command.status().map_err(|error| {
            let shell = shell.display();
            Failure::new(Code::Usage, format!("cannot run `{shell}`: {error}"))
        })?;
        Ok(())
    }

    /// Lets what is kept go.
    pub(super) fn release(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Waits until all is gone.
    pub(super) fn end(mut self) -> io::Result<()> {
        self.release();
        let mut rest = Vec::new();
        let _ = io::Read::read_to_end(&mut self.events, &mut rest);
        self.stages.remove(pid(&self.child));
        self.child.wait().map(drop)
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id() as i32)
}
