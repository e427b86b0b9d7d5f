//! The JSON Schema of a profile, made of the types that read one.
//!
//! Keys and what they mean are those of the raw types, and their comments; what a scalar may be stands
//! beside its parser. Only tests make the schema: the command prints the file that they compare with it.

mod constraints;
mod reference;

use schemars::generate::SchemaSettings;
use schemars::transform::transform_subschemas;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::schema::{DistributionName, RawDistribution, RawProfile, RawTable};
use super::shape::{
    Alternatives, ByName, Fault, LIST_MAX, List, OneOrMany, PHASES_MAX, Phases, RULES_MAX, Rules,
    ShortOr,
};
use super::strict::Table;
use super::text::Name;

/// Declares the schemas of shapes, which stand where they are used.
macro_rules! shapes {
    ($([$($generics:tt)*] $type:ty: $schema:expr;)*) => {$(
        impl<$($generics)*> JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                std::any::type_name::<Self>().into()
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                let schema: fn(&mut SchemaGenerator) -> Schema = $schema;
                schema(generator)
            }
        }
    )*};
}

shapes! {
    [T: JsonSchema] Table<T>: |generator| generator.subschema_for::<T>();
    [T: Fault<Short: JsonSchema> + JsonSchema] ShortOr<T>: either::<T::Short, T>;
    [] RawDistribution: either::<DistributionName, RawTable>;
    [T: JsonSchema] OneOrMany<T>: |generator| {
        let one = generator.subschema_for::<T>();
        let many = list(&one, 1, LIST_MAX);
        json_schema!({ "anyOf": [one, many] })
    };
    [T: JsonSchema, const MAX: usize] List<T, MAX>: |generator| {
        list(&generator.subschema_for::<T>(), 1, MAX)
    };
    [T: JsonSchema, const MAX: usize] ByName<T, MAX>: |generator| {
        let names = generator.subschema_for::<Name>();
        let values = generator.subschema_for::<T>();
        json_schema!({
            "type": "object",
            "propertyNames": names,
            "additionalProperties": values,
            "minProperties": 1,
            "maxProperties": MAX,
        })
    };
    [T: JsonSchema] Alternatives<T>: |generator| list(&generator.subschema_for::<T>(), 1, LIST_MAX);
    [T: JsonSchema, const MIN: usize] Rules<T, MIN>: |generator| {
        list(&generator.subschema_for::<T>(), MIN, RULES_MAX)
    };
    [T: JsonSchema] Phases<T>: |generator| list(&generator.subschema_for::<T>(), 1, PHASES_MAX);
}

fn either<T: JsonSchema, U: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    let forms = [
        generator.subschema_for::<T>(),
        generator.subschema_for::<U>(),
    ];
    json_schema!({ "anyOf": forms })
}

fn list(items: &Schema, min: usize, max: usize) -> Schema {
    json_schema!({ "type": "array", "items": items, "minItems": min, "maxItems": max })
}

/// Returns the text of the schema.
fn text() -> String {
    let settings = SchemaSettings::draft07().with(|settings| {
        // Before a reference with a description is made what draft-07 wants.
        settings.transforms.insert(0, Box::new(unwrapped));
        settings.transforms.insert(0, Box::new(without_null));
        settings.transforms.insert(0, Box::new(with_constraints));
    });
    let mut schema = settings
        .into_generator()
        .into_root_schema_for::<RawProfile>();
    schema.insert("title".into(), "A profile of injector".into());
    let text = serde_json::to_string_pretty(&schema).expect("a tree of values");
    // The types are raw to us alone.
    text.replace("Raw", "") + "\n"
}

/// Comments are wrapped for us, and not for others.
fn unwrapped(schema: &mut Schema) {
    transform_subschemas(&mut unwrapped, schema);
    if let Some(Value::String(description)) = schema.get_mut("description") {
        *description = description.replace('\n', " ");
    }
}

/// A key that may be absent may not be left empty.
fn without_null(schema: &mut Schema) {
    transform_subschemas(&mut without_null, schema);
    // Serde's: what stands for an absent key is not said by its type.
    if matches!(schema.get("default"), Some(Value::Null | Value::Array(_))) {
        schema.remove("default");
    }
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|one| one != "null");
        if let [one] = types.as_slice() {
            let one = one.clone();
            schema.insert("type".into(), one);
        }
    }
    if let Some(Value::Array(forms)) = schema.get_mut("anyOf") {
        forms.retain(|form| *form != json!({ "type": "null" }));
        if let [Value::Object(form)] = forms.as_slice() {
            let form = form.clone();
            schema.remove("anyOf");
            schema.ensure_object().extend(form);
        }
    }
}

/// Adds what keys of a mapping have to do with each other.
fn with_constraints(schema: &mut Schema) {
    let constraints = |name: &str| constraints::of(name).into_iter().flatten();
    let definitions = schema.get_mut("definitions").and_then(Value::as_object_mut);
    for (name, definition) in definitions.into_iter().flatten() {
        let definition = definition.as_object_mut();
        definition
            .expect("a definition has keywords")
            .extend(constraints(name));
    }
    schema.ensure_object().extend(constraints("RawProfile"));
}

/// Set `BLESS=1` to write the file, and read the difference before committing it.
#[test]
fn the_schema_on_record_is_that_of_the_types() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/profile.schema.json");
    let text = text();
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let recorded = std::fs::read_to_string(path).unwrap();
    assert!(
        recorded == text,
        "to accept, run with BLESS=1; it would be\n{text}"
    );
}
