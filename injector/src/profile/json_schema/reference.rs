//! The tables of keys in the manual, made of the schema.

use std::collections::BTreeSet;

use serde_json::Value;

/// Begins a table, and names the mapping that it is about.
const BEGIN: &str = "<!-- keys of ";
const BEGIN_END: &str = "; made from the schema, see CONTRIBUTING.md -->\n";
const END: &str = "<!-- end of keys -->";

/// The manual with every table as the schema has it, and the mappings that they are about.
fn filled(manual: &str, schema: &Value) -> (String, BTreeSet<String>) {
    let mut parts = manual.split(BEGIN);
    let mut text = parts.next().unwrap_or_default().to_owned();
    let mut named = BTreeSet::new();
    for part in parts {
        let (name, rest) = part.split_once(BEGIN_END).expect("the name of a mapping");
        let (_, after) = rest.split_once(END).expect("the end of a table");
        let table = table(schema, mapping(schema, name));
        text += &format!("{BEGIN}{name}{BEGIN_END}\n{table}\n{END}{after}");
        named.insert(name.to_owned());
    }
    (text, named)
}

/// What the tables call the profile itself.
const PROFILE: &str = "Profile";

fn mapping<'a>(schema: &'a Value, name: &str) -> &'a Value {
    match name {
        PROFILE => schema,
        _ => &schema["definitions"][name],
    }
}

/// Every mapping there is.
fn mappings(schema: &Value) -> BTreeSet<String> {
    let definitions = schema["definitions"].as_object().into_iter().flatten();
    let mappings = definitions.filter(|(_, definition)| definition.get("properties").is_some());
    let names = mappings.map(|(name, _)| name.clone());
    names.chain([PROFILE.to_owned()]).collect()
}

/// A line for each key, with what it takes, what stands where it is absent, and what it means.
fn table(schema: &Value, mapping: &Value) -> String {
    let keys = mapping["properties"].as_object().expect("keys");
    let required = mapping["required"].as_array();
    let is_required = |key: &str| required.is_some_and(|keys| keys.iter().any(|one| one == key));
    let mut text = String::from("| key | takes | absent | |\n|---|---|---|---|\n");
    for (key, value) in keys {
        let absent = match value.get("default") {
            Some(Value::String(default)) => format!("`{default}`"),
            Some(default) => format!("`{default}`"),
            None if is_required(key) => "refused".into(),
            None => String::new(),
        };
        let takes = takes(schema, value);
        let meaning = value["description"].as_str().expect("what the key means");
        text += &format!("| `{key}` | {takes} | {absent} | {meaning} |\n");
    }
    text
}

const MAPPING: &str = "a mapping";

/// What a value may be, in words.
fn takes(schema: &Value, value: &Value) -> String {
    if let Some(name) = value["$ref"].as_str() {
        let name = name.rsplit('/').next().unwrap_or_default();
        return named(&schema["definitions"][name]);
    }
    if let Some(Value::Array(forms)) = value.get("allOf").or_else(|| value.get("anyOf")) {
        let forms: Vec<_> = forms.iter().map(|form| takes(schema, form)).collect();
        return forms.join("; or ");
    }
    match value["type"].as_str() {
        Some("array") => {
            let [min, max] = ["minItems", "maxItems"].map(|key| &value[key]);
            let of = takes(schema, &value["items"]);
            let of = match of.strip_prefix("a list") {
                Some(rest) => format!("lists{rest}"),
                None if of == MAPPING => "mappings".into(),
                // Said before, of one alone.
                None => "such".into(),
            };
            format!("a list of {min} to {max} {of}")
        }
        Some("object") => {
            let [min, max] = ["minProperties", "maxProperties"].map(|key| &value[key]);
            format!("a mapping of {min} to {max} names to mappings")
        }
        Some("boolean") => "`true` or `false`".into(),
        other => panic!("no words for {other:?}"),
    }
}

/// A type, with bounds that its words do not tell.
fn named(definition: &Value) -> String {
    if definition.get("properties").is_some() {
        return MAPPING.into();
    }
    let words = definition["description"].as_str().expect("what it takes");
    let bound = |key: &str| definition.get(key).map(Value::to_string);
    match (bound("minimum"), bound("maximum")) {
        (_, Some(high)) if words.contains(&high) => words.to_owned(),
        (_, Some(high)) if words.ends_with(" or more") => format!("{words}, up to {high}"),
        (Some(low), Some(high)) => format!("{words}; {low} to {high}"),
        _ => words.to_owned(),
    }
}

/// Set `BLESS=1` to write the tables, and read the difference before committing it.
#[test]
fn the_keys_in_the_manual_are_those_of_the_schema_on_record() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/profile.md");
    let schema: Value = serde_json::from_str(&super::text()).unwrap();
    let manual = std::fs::read_to_string(path).unwrap();
    let (filled, named) = filled(&manual, &schema);
    assert_eq!(named, mappings(&schema), "a table for each mapping");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, &filled).unwrap();
    } else {
        assert!(
            filled == manual,
            "to accept, run with BLESS=1; it would be\n{filled}"
        );
    }
}
