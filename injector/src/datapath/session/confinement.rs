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

impl Session {
    /// Gives up what is not needed any more, for the calling thread and those that it will start. What
    /// was started before keeps what it has.
    ///
    /// # Errors
    ///
    /// Where the kernel refuses, which it has no reason to.
    pub fn confine(&self, ahead: Ahead<'_>) -> Result<()> {
        let refused = |errno| Error::refused("set no_new_privs", errno);
        prctl::set_no_new_privs().map_err(refused)?;
        // From inside, Landlock refuses to open /proc/PID/ns/net, and a namespace is entered again and
        // again.
        // Nor does it let other processes' sockets be looked at.
        if self.netns == Netns::Current && !self.asks_for_owners() {
            // Where the kernel has no Landlock, or it is switched off, there is none.
            let _ = write_only_in(&self.written(ahead));
        }
        capability::keep_only(&self.kept(ahead))
    }

    fn kept(&self, ahead: Ahead<'_>) -> Vec<Capability> {
        let mut kept = vec![Capability::CAP_NET_ADMIN, Capability::CAP_BPF];
        let enters = self.netns != Netns::Current;
        if enters {
            // To enter; and to open the file, which may be of a process with more capabilities.
            kept.extend([Capability::CAP_SYS_ADMIN, Capability::CAP_SYS_PTRACE]);
        }
        if self.asks_for_owners() {
            kept.push(Capability::CAP_SYS_PTRACE);
        }
        if self.command_group.is_some() {
            // The groups above may be another user's.
            kept.push(Capability::CAP_DAC_OVERRIDE);
        }
        if enters || ahead.reads || self.asks_for_owners() {
            kept.push(Capability::CAP_DAC_READ_SEARCH);
        }
        if ahead.signals {
            kept.push(Capability::CAP_KILL);
        }
        kept
    }

    /// Where files are still to be written.
    fn written<'a>(&self, ahead: Ahead<'a>) -> Vec<&'a Path> {
        let undo = self.journal.iter().flat_map(|journal| &journal.record.undo);
        let mut written = vec![Path::new(journal::DIRECTORY)];
        written.extend(ahead.writes);
        if undo
            .into_iter()
            .any(|undo| matches!(undo, Undo::RestoreSysctl { .. }))
        {
            // Not deeper: Landlock knows directories by inode, and those below the mount point may
            // get another one at any time.
            written.push(Path::new("/proc"));
        }
        written
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
