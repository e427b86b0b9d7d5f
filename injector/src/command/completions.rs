//! `injector completions`

use clap_complete::env::Shells;

use super::{Outcome, print};
use crate::{
    cli::{Completions, VARIABLE},
    error::{Code, Failure},
};

const NAME: &str = "injector";

pub(super) fn completions(args: &Completions) -> Outcome {
    let shells = Shells::builtins();
    let Some(shell) = shells.completer(&args.shell.to_string()) else {
        let message = format!("no completions for {}", args.shell);
        return Err(Failure::new(Code::Unexpected, message));
    };
    let mut script = Vec::new();
    shell.write_registration(VARIABLE, NAME, NAME, NAME, &mut script)?;
    print(&String::from_utf8_lossy(&script))
}
