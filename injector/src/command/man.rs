//! `injector man`

use std::{fs, io, path::Path};

use clap::{Command, CommandFactory as _};
use clap_mangen::roff::{Roff, roman};

use super::{Outcome, print};
use crate::{
    cli::{Cli, Man},
    error::{Code, Failure},
};

/// Where tc(8) and ip(8) are.
const SECTION: &str = "8";

pub(super) fn man(args: &Man) -> Outcome {
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    let Some(directory) = &args.directory else {
        return print(&String::from_utf8_lossy(&page(&root)?));
    };
    let failed = |error: io::Error| {
        let message = format!("cannot write to {}: {error}", directory.display());
        Failure::new(Code::Usage, message)
    };
    fs::create_dir_all(directory).map_err(failed)?;
    write_all(&root, directory).map_err(failed)?;
    Ok(0)
}

/// Writes the page of a command, and those of its subcommands.
fn write_all(command: &Command, directory: &Path) -> io::Result<()> {
    let name = format!("{}.{SECTION}", name(command));
    fs::write(directory.join(name), page(command)?)?;
    let mut subcommands = command.get_subcommands().filter(|sub| !sub.is_hide_set());
    subcommands.try_for_each(|subcommand| write_all(subcommand, directory))
}

fn name(command: &Command) -> &str {
    command
        .get_display_name()
        .unwrap_or_else(|| command.get_name())
}

fn page(command: &Command) -> io::Result<Vec<u8>> {
    let version = format!("injector {}", env!("CARGO_PKG_VERSION"));
    // The synopsis that is made of the options has them all, and no `--` before a command.
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").to_owned();
    let page = clap_mangen::Man::new(command.clone().override_usage(usage));
    let page = page.section(SECTION).source(version).manual("injector");
    let mut out = Vec::new();
    page.render_title(&mut out)?;
    page.render_name_section(&mut out)?;
    page.render_synopsis_section(&mut out)?;
    page.render_description_section(&mut out)?;
    page.render_options_section(&mut out)?;
    if command.get_subcommands().any(|sub| !sub.is_hide_set()) {
        page.render_subcommands_section(&mut out)?;
    }
    after(command).to_writer(&mut out)?;
    Ok(out)
}

/// What the help ends with: examples line by line, everything else as paragraphs.
fn after(command: &Command) -> Roff {
    let mut roff = Roff::default();
    let text = command.get_after_help().map(ToString::to_string);
    for paragraph in text.unwrap_or_default().split("\n\n") {
        match paragraph.strip_prefix("Examples:\n") {
            Some(examples) => lines(&mut roff, "EXAMPLES", examples),
            None if paragraph.is_empty() => {}
            None => {
                roff.control("SH", ["NOTES"]);
                roff.text([roman(paragraph.replace('\n', " "))]);
            }
        }
    }
    if name(command) != "injector" {
        roff.control("SH", ["SEE ALSO"]);
        roff.text([roman(format!("injector({SECTION})"))]);
    }
    roff
}

fn lines(roff: &mut Roff, heading: &str, text: &str) {
    roff.control("SH", [heading]);
    roff.control("nf", []);
    for line in text.lines() {
        roff.text([roman(line.trim_start())]);
    }
    roff.control("fi", []);
}
