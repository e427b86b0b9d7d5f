//! Files that tell in the end what a run was like.

use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    cli::Judge,
    error::{Code, Failure},
    observe::{
        junit::{self, Case, Suite},
        verdict::{self, Verdict},
    },
};

/// All that were asked for.
pub(super) struct Outputs {
    junit: Option<Output>,
}

/// What they tell.
pub(super) struct Told<'a> {
    pub profile: &'a str,
    pub elapsed: Duration,
    pub verdicts: &'a [Verdict],
}

/// A file, opened while files can be: a run gives that up.
struct Output {
    path: PathBuf,
    file: File,
}

impl Outputs {
    /// Creates them, empty: results of an earlier run are not to be taken for those of one that fails.
    pub(super) fn create(args: &Judge) -> Result<Self, Failure> {
        let create = |path: &Option<PathBuf>| path.as_deref().map(Output::create).transpose();
        Ok(Self {
            junit: create(&args.junit)?,
        })
    }

    pub(super) fn write(self, told: &Told<'_>) -> Result<(), Failure> {
        if let Some(file) = self.junit {
            file.write(&junit::xml(&[suite(told)])?)?;
        }
        Ok(())
    }
}

impl Output {
    fn create(path: &Path) -> Result<Self, Failure> {
        let file = File::create(path).map_err(|error| {
            let code = match error.kind() {
                std::io::ErrorKind::PermissionDenied => Code::Unsupported,
                _ => Code::Usage,
            };
            Failure::new(code, format!("cannot create {}: {error}", path.display()))
                .hint("nothing was changed; name a file that can be written")
        })?;
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }

    fn write(mut self, text: &str) -> Result<(), Failure> {
        self.file.write_all(text.as_bytes()).map_err(|error| {
            let message = format!("cannot write {}: {error}", self.path.display());
            Failure::new(Code::Unexpected, message)
        })
    }
}

/// A test case for each expectation, of the length of the run.
fn suite(told: &Told<'_>) -> Suite {
    let case = |verdict: &Verdict| Case {
        name: verdict.expectation.clone(),
        time: told.elapsed,
        failure: (!verdict.passed)
            .then(|| format!("achieved: {}", verdict::shown(verdict.achieved))),
    };
    Suite {
        name: told.profile.to_owned(),
        time: told.elapsed,
        cases: told.verdicts.iter().map(case).collect(),
    }
}
