//! What a run gives up once its faults are in force.

use std::path::Path;

use landlock::{
    ABI, AccessFs, PathBeneath, PathFd, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _,
    RulesetError, path_beneath_rules,
};
use nix::sys::prctl;

use super::Session;
use crate::datapath::{
    Error, Netns, Result,
    capability::{self, Capability},
    journal,
    undo::Undo,
};

/// What a run will do beside renewing its lease, swapping its rules and undoing everything.
#[derive(Clone, Copy, Debug)]
pub struct Ahead<'a> {
    /// Read profiles, which may be another user's.
    pub reads: bool,
    /// Signal a command, which may have become another user's.
    pub signals: bool,
    /// Write files in this directory.
    pub writes: Option<&'a Path>,
}

/// Gives up what these do not need any more, for the calling thread and those that it will start. What was
/// started before keeps what it has.
///
/// # Errors
///
/// Where the kernel refuses, which it has no reason to.
pub fn confine(sessions: &[&Session], ahead: Ahead<'_>) -> Result<()> {
    let refused = |errno| Error::refused("set no_new_privs", errno);
    prctl::set_no_new_privs().map_err(refused)?;
    let needs = Needed {
        enters: (sessions.iter()).any(|session| session.netns != Netns::Current),
        asks: sessions.iter().any(|session| session.asks_for_owners()),
        commands: (sessions.iter()).any(|session| session.command_group.is_some()),
        restores: sessions.iter().any(|session| session.restores()),
        ahead,
    };
    // From inside, Landlock refuses to open /proc/PID/ns/net, and a namespace is entered again and
    // again.
    // Nor does it let other processes' sockets be looked at.
    if !needs.enters && !needs.asks {
        // Where the kernel has no Landlock, or it is switched off, there is none.
        let _ = write_only_in(&needs.written());
    }
    capability::keep_only(&needs.kept())
}

/// What is needed to the end.
struct Needed<'a> {
    /// Namespaces are entered.
    enters: bool,
    /// Rules ask for owners.
    asks: bool,
    /// A command has a control group of its own, which is deleted.
    commands: bool,
    /// Settings are put back.
    restores: bool,
    ahead: Ahead<'a>,
}

impl<'a> Needed<'a> {
    fn kept(&self) -> Vec<Capability> {
        let mut kept = vec![Capability::CAP_NET_ADMIN, Capability::CAP_BPF];
        if self.enters {
            // To enter; and to open the file, which may be of a process with more capabilities.
            kept.extend([Capability::CAP_SYS_ADMIN, Capability::CAP_SYS_PTRACE]);
        }
        if self.asks {
            kept.push(Capability::CAP_SYS_PTRACE);
        }
        if self.commands {
            // The groups above may be another user's.
            kept.push(Capability::CAP_DAC_OVERRIDE);
        }
        if self.enters || self.ahead.reads || self.asks {
            kept.push(Capability::CAP_DAC_READ_SEARCH);
        }
        if self.ahead.signals {
            kept.push(Capability::CAP_KILL);
        }
        kept
    }

    /// Where files are still to be written.
    fn written(&self) -> Vec<&'a Path> {
        let mut written = vec![Path::new(journal::DIRECTORY)];
        written.extend(self.ahead.writes);
        if self.restores {
            // Not deeper: Landlock knows directories by inode, and those below the mount point may
            // get another one at any time.
            written.push(Path::new("/proc"));
        }
        written
    }
}

impl Session {
    /// Whether settings are to be put back.
    fn restores(&self) -> bool {
        let mut undo = self.journal.iter().flat_map(|journal| &journal.record.undo);
        undo.any(|undo| matches!(undo, Undo::RestoreSysctl { .. }))
    }
}

/// Lets the thread write, create and delete in these directories only, where the kernel has Landlock
/// (Linux 5.13).
fn write_only_in(directories: &[&Path]) -> std::result::Result<(), RulesetError> {
    let writing = AccessFs::from_write(ABI::V3);
    let mut ruleset = Ruleset::default()
        .handle_access(writing)?
        .create()?
        .add_rules(path_beneath_rules(directories, writing))?;
    // The journal's directory goes with its last file.
    if let Ok(run) = PathFd::new("/run") {
        ruleset = ruleset.add_rule(PathBeneath::new(run, AccessFs::RemoveDir))?;
    }
    ruleset.restrict_self().map(|_| ())
}

#[cfg(test)]
mod tests {
    use std::{fs, io::ErrorKind, thread};

    use super::*;

    /// Whether the kernel has Landlock, and it is not switched off.
    fn has_landlock() -> bool {
        use landlock::{CompatLevel, Compatible as _};
        Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_write(ABI::V1))
            .and_then(Ruleset::create)
            .is_ok()
    }

    #[test]
    fn files_are_written_where_the_run_has_to_alone() {
        if !has_landlock() {
            return;
        }
        let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let old = outside.path().join("old");
        fs::write(&old, "old").unwrap();
        let confined = || {
            write_only_in(&[inside.path()]).unwrap();
            fs::write(inside.path().join("file"), "text").unwrap();
            fs::remove_file(inside.path().join("file")).unwrap();
            assert_eq!(fs::read_to_string(&old).unwrap(), "old");
            let refused = [
                fs::write(&old, "new"),
                fs::write(outside.path().join("new"), "new"),
                fs::remove_file(&old),
                fs::create_dir(outside.path().join("directory")),
            ];
            refused.map(|result| result.unwrap_err().kind())
        };
        // Of this thread alone.
        let kinds = thread::scope(|scope| scope.spawn(confined).join().unwrap());
        assert_eq!(kinds, [ErrorKind::PermissionDenied; 4]);
    }
}
