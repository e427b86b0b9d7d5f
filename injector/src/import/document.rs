//! YAML and JSON, which is YAML too, of another tool: values that know where they stand, and tables that
//! know which of their keys nobody has asked for.

use std::fmt;

use serde_yaml::{Mapping, Value};

use super::{
    flaw::{Flaw, Parsed, Place},
    note::Notes,
};
use crate::profile::{Source, issue::Issue, yaml::FieldPath};

/// A value, and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub value: Value,
    pub path: FieldPath,
}

impl Node {
    /// Reads the document of a text that is a single one.
    pub(super) fn read(source: &Source) -> Parsed<Self> {
        let value = source.value().map_err(|(issue, offset)| {
            Flaw::new(*issue, offset.map_or(Place::Text, Place::Byte))
        })?;
        let path = FieldPath::default();
        Ok(Self { value, path })
    }

    pub(super) fn flaw(&self, issue: Issue) -> Box<Flaw> {
        Flaw::new(issue, Place::Field(self.path.clone()))
    }

    fn expected(&self, what: &str) -> Box<Flaw> {
        let field = self.path.shown().unwrap_or_else(|| "the text".to_owned());
        self.flaw(Issue::new(format!("`{field}` is not {what}")).expected(what))
    }

    pub(super) fn table(self) -> Parsed<Table> {
        match self.value {
            Value::Mapping(keys) => Ok(Table {
                keys,
                path: self.path,
            }),
            _ => Err(self.expected("a table")),
        }
    }

    pub(super) fn list(self) -> Parsed<Vec<Self>> {
        let Value::Sequence(values) = self.value else {
            return Err(self.expected("a list"));
        };
        let node = |(index, value)| Self {
            value,
            path: self.path.index(index),
        };
        Ok(values.into_iter().enumerate().map(node).collect())
    }

    /// A text, a number, or true or false, as it would be written.
    pub(super) fn text(&self) -> Parsed<String> {
        match &self.value {
            Value::String(text) => Ok(text.clone()),
            Value::Number(number) => Ok(number.to_string()),
            Value::Bool(truth) => Ok(truth.to_string()),
            _ => Err(self.expected("a text or a number")),
        }
    }

    /// What the text or number means.
    pub(super) fn parse<T>(&self, read: impl FnOnce(&str) -> Result<T, Issue>) -> Parsed<T> {
        read(&self.text()?).map_err(|issue| self.flaw(issue))
    }
}

impl fmt::Display for Node {
    /// As in a note: where it stands, and what it is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.text() {
            Ok(text) => write!(f, "{}: {text}", self.path),
            Err(_) => write!(f, "{}", self.path),
        }
    }
}

/// A mapping, of which keys are taken.
#[derive(Debug)]
pub(super) struct Table {
    keys: Mapping,
    pub path: FieldPath,
}

impl Table {
    /// Takes a value. One that is null is absent.
    pub(super) fn take(&mut self, key: &str) -> Option<Node> {
        let value = self.keys.remove(key).filter(|value| !value.is_null())?;
        let path = self.path.key(key);
        Some(Node { value, path })
    }

    /// Takes a value that has to be there.
    pub(super) fn required(&mut self, key: &str, what: &str) -> Parsed<Node> {
        let missing = || {
            let issue = Issue::new(format!("missing key `{key}`")).expected(format!("{what} here"));
            Flaw::new(issue, Place::Field(self.path.clone()))
        };
        let flaw = missing();
        self.take(key).ok_or(flaw)
    }

    /// Takes a value, and what it means.
    pub(super) fn parsed<T>(
        &mut self,
        key: &str,
        read: impl FnOnce(&str) -> Result<T, Issue>,
    ) -> Parsed<Option<T>> {
        self.take(key).map(|node| node.parse(read)).transpose()
    }

    /// Takes a text.
    pub(super) fn text(&mut self, key: &str) -> Parsed<Option<String>> {
        self.take(key).map(|node| node.text()).transpose()
    }

    /// Takes a table.
    pub(super) fn table(&mut self, key: &str) -> Parsed<Option<Self>> {
        self.take(key).map(Node::table).transpose()
    }

    /// Takes a list; an absent one is empty.
    pub(super) fn list(&mut self, key: &str) -> Parsed<Vec<Node>> {
        self.take(key).map_or(Ok(Vec::new()), Node::list)
    }

    /// Whether there is a value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.keys.contains_key(key)
    }

    /// Takes what is left, by the names of the keys.
    pub(super) fn rest(self) -> Vec<(String, Node)> {
        let path = self.path;
        let named = |(key, value): (Value, Value)| {
            let key = key.as_str().map(str::to_owned)?;
            let path = path.key(&key);
            Some((key, Node { value, path }))
        };
        self.keys.into_iter().filter_map(named).collect()
    }

    /// Notes what nobody has taken.
    pub(super) fn note_rest(self, why: &str, notes: &mut Notes) {
        for (_, node) in self.rest() {
            notes.missing(node, why);
        }
    }
}
