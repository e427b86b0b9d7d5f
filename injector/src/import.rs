//! Faults that were written for other tools, as a profile.
//!
//! Each tool has a module that reads its form and says in its head where that form is described. All of
//! them make a [`Draft`], rules and notes, of which `write` makes the text of a profile. A note is about
//! what has no equivalent here, or a slightly different one: nothing is left out in silence.

mod chaos_mesh;
mod comcast;
mod detect;
mod document;
mod draft;
mod endpoint;
mod fault;
mod flags;
mod flaw;
mod mahimahi;
mod netem;
mod note;
mod pumba;
mod quantity;
#[cfg(test)]
mod tests;
mod toxiproxy;
mod words;
mod write;

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::Serialize;

use self::{draft::Draft, flaw::Parsed};
use crate::profile::{ProfileError, Source};

pub use self::note::{Kind, Note};

/// The tools whose faults can be imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tool {
    /// `tc qdisc … netem …`, or what `tc qdisc show` prints, also as JSON
    Netem,
    /// A pair of packet-delivery traces, or a command line of mm-link, mm-delay and mm-loss
    Mahimahi,
    /// A NetworkChaos of Chaos Mesh
    ChaosMesh,
    /// Proxies and their toxics, as Toxiproxy's HTTP interface shows them
    Toxiproxy,
    /// A command line of pumba: netem or iptables
    Pumba,
    /// A command line of comcast
    Comcast,
    /// A run document of fault-cli
    Fault,
}

/// What to make of a text.
#[derive(Debug, Default)]
pub struct Wish<'a> {
    /// The tool; found out where it is absent.
    pub tool: Option<Tool>,
    /// The device, proxy or experiment that is meant, where the text has several.
    pub only: Option<&'a str>,
    /// What to call the profile.
    pub name: Option<&'a str>,
    /// Where the profile will be: files that it names are looked for from there.
    pub directory: PathBuf,
}

/// A profile, and what there is to say about it.
#[derive(Debug)]
pub struct Imported {
    /// The tool that the faults were written for.
    pub tool: Tool,
    /// The profile.
    pub text: String,
    /// What has no equivalent, or another one.
    pub notes: Vec<Note>,
}

/// Makes a profile of what another tool was told.
///
/// # Errors
///
/// [`ProfileError::Invalid`], with the place: it is no such text, or no profile can say what it says.
pub fn import(source: &Source, wish: &Wish<'_>) -> Result<Imported, ProfileError> {
    let refused = |flaw: Box<flaw::Flaw>| flaw.in_text(source);
    let tool = match wish.tool {
        Some(tool) => tool,
        None => detect::tool(source).map_err(refused)?,
    };
    let chosen = match tool {
        Tool::ChaosMesh => Some(chaos_mesh::choose(source, wish.only).map_err(refused)?),
        _ => None,
    };
    let source = chosen.as_ref().unwrap_or(source);
    let draft = read(tool, source, wish).map_err(|flaw| flaw.in_text(source))?;
    finish(tool, draft, wish)
}

/// Makes a profile of two packet-delivery traces: of what is sent, and of what is received.
///
/// # Errors
///
/// [`ProfileError::Invalid`] where one of them is none.
pub fn import_traces([up, down]: [&Path; 2], wish: &Wish<'_>) -> Result<Imported, ProfileError> {
    finish(Tool::Mahimahi, mahimahi::pair(up, down), wish)
}

/// A command line, as it was given in words.
pub fn command_line(words: &[String]) -> Source {
    let text = words::quoted(words.iter().map(String::as_str));
    Source::of_text("the command", Path::new(""), text)
}

fn read(tool: Tool, source: &Source, wish: &Wish<'_>) -> Parsed<Draft> {
    match tool {
        Tool::Netem => netem::read(source, wish.only),
        Tool::Mahimahi => mahimahi::read(source.text()),
        Tool::ChaosMesh => chaos_mesh::read(source),
        Tool::Toxiproxy => toxiproxy::read(source, wish.only),
        Tool::Pumba => pumba::read(source.text()),
        Tool::Comcast => comcast::read(source.text()),
        Tool::Fault => fault::read(source, wish.only),
    }
}

/// Writes the profile, and reads it as a run will.
fn finish(tool: Tool, mut draft: Draft, wish: &Wish<'_>) -> Result<Imported, ProfileError> {
    if let Some(name) = wish.name {
        draft.name = draft::name_of(name);
    }
    let text = write::profile(&draft, tool, &wish.directory);
    Source::of_text("what becomes of it", &wish.directory, text.clone()).parse()?;
    Ok(Imported {
        tool,
        text,
        notes: draft.notes.into_list(),
    })
}
