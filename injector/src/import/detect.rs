//! Which tool a text was written for.

use serde_yaml::Value;

use super::{
    Tool,
    document::Node,
    flaw::{Flaw, Parsed, Place},
    netem, words,
};
use crate::profile::{Source, issue::Issue};

/// Programs, and the tools that they are.
const PROGRAMS: [(&str, Tool); 6] = [
    ("tc", Tool::Netem),
    ("pumba", Tool::Pumba),
    ("comcast", Tool::Comcast),
    ("mm-link", Tool::Mahimahi),
    ("mm-delay", Tool::Mahimahi),
    ("mm-loss", Tool::Mahimahi),
];

/// Finds out which tool it is.
pub(super) fn tool(source: &Source) -> Parsed<Tool> {
    if netem::show_begins(source.text()) {
        return Ok(Tool::Netem);
    }
    let program = words::commands(source.text()).ok().and_then(|commands| {
        let mut words = commands.iter().flatten();
        words.find_map(|word| {
            let named = PROGRAMS
                .iter()
                .find(|(program, _)| *program == word.program());
            named.map(|(_, tool)| *tool)
        })
    });
    // What is a document may well have such a word in it.
    let first = source.documents().into_iter().next();
    let node = first.and_then(|document| Node::read(&document).ok());
    let documented = node.and_then(|node| of_document(&node.value));
    documented.or(program).ok_or_else(unknown)
}

fn of_document(value: &Value) -> Option<Tool> {
    let has = |value: &Value, keys: &[&str]| keys.iter().all(|key| value.get(key).is_some());
    let first = match value {
        Value::Sequence(values) => values.first()?,
        Value::Mapping(keys) => keys.values().next()?,
        _ => return None,
    };
    if value
        .get("apiVersion")
        .and_then(Value::as_str)
        .is_some_and(|version| version.starts_with("chaos-mesh.org/"))
    {
        return Some(Tool::ChaosMesh);
    }
    if has(value, &["proxies", "phases"]) {
        return Some(Tool::Fault);
    }
    let is_toxic = |value: &Value| has(value, &["type", "attributes"]);
    let is_proxy = |value: &Value| has(value, &["listen", "upstream"]);
    if [value, first]
        .into_iter()
        .any(|value| is_toxic(value) || is_proxy(value))
    {
        return Some(Tool::Toxiproxy);
    }
    has(first, &["kind", "handle"]).then_some(Tool::Netem)
}

fn unknown() -> Box<Flaw> {
    let issue = Issue::new("no form of any known tool");
    let issue = issue.expected(
        "a command line of tc, pumba, comcast or mm-link, what `tc qdisc show` prints, a NetworkChaos, \
         proxies of Toxiproxy, or a run document of fault-cli",
    );
    let hint = "say `--from TOOL` to see what is wrong with it; Mahimahi's traces are two files";
    Flaw::new(issue.hint(hint), Place::Text)
}
