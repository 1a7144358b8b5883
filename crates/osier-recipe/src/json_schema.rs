//! JSON schemas for editors, made from the tables.

use serde_json::{Map, Value, json};

use crate::schema::{FileKind, Form, Table, Type};

/// The JSON schema (draft 7) of a kind of file.
///
/// It holds all that stands in the tables: keys, types, forms, and which keys must or may stand together.
pub fn json_schema(kind: FileKind) -> Value {
    let mut schema = table(kind.table());
    if let Some(fields) = schema.as_object_mut() {
        fields.insert("$schema".into(), json!("http://json-schema.org/draft-07/schema#"));
        fields.insert("title".into(), json!(format!("osier {}", kind.as_str())));
    }
    schema
}

fn table(table: &Table) -> Value {
    let mut properties = Map::new();
    for key in table.keys {
        let mut schema = value(&key.kind);
        if let Some(fields) = schema.as_object_mut() {
            fields.insert("description".into(), json!(key.doc));
        }
        properties.insert(key.name.into(), schema);
    }
    let always = |key: &&crate::schema::Key| key.required && key.beside.is_empty();
    let required: Vec<&str> = table.keys.iter().filter(always).map(|key| key.name).collect();
    let mut schema = json!({
        "type": "object",
        "description": table.doc,
        "properties": properties,
        "required": required,
        "additionalProperties": table.open.map_or(Value::Bool(false), value),
    });
    let Some(fields) = schema.as_object_mut() else { return schema };
    if !table.exactly_one.is_empty() {
        let choice = |one: &&str| {
            let besides = table.keys.iter().filter(|key| key.required && key.beside.contains(one));
            let names: Vec<&str> = [*one].into_iter().chain(besides.map(|key| key.name)).collect();
            json!({ "required": names })
        };
        fields.insert("oneOf".into(), table.exactly_one.iter().map(choice).collect());
    }
    let beside: Map<String, Value> = table
        .keys
        .iter()
        .filter(|key| !key.beside.is_empty())
        .map(|key| {
            let any: Vec<Value> =
                key.beside.iter().map(|name| json!({ "required": [name] })).collect();
            (key.name.to_owned(), json!({ "anyOf": any }))
        })
        .collect();
    if !beside.is_empty() {
        fields.insert("dependencies".into(), Value::Object(beside));
    }
    schema
}

fn value(kind: &Type) -> Value {
    match kind {
        Type::Text => json!({ "type": "string" }),
        Type::Form(Form { pattern, what, looks, .. }) => {
            json!({ "type": "string", "pattern": pattern, "title": format!("{what}: {looks}") })
        }
        Type::Choice(choices) => json!({ "enum": choices }),
        Type::Integer(least, most) => {
            json!({ "type": "integer", "minimum": least, "maximum": most })
        }
        Type::Boolean => json!({ "type": "boolean" }),
        Type::True => json!({ "const": true }),
        Type::Value => json!({ "anyOf": [
            { "type": "string" },
            { "type": "integer" },
            { "type": "boolean" },
            { "type": "array", "items": { "type": "string" } },
        ] }),
        Type::Array(kind) => json!({ "type": "array", "items": value(kind) }),
        Type::Set(kind) => json!({ "type": "array", "items": value(kind), "uniqueItems": true }),
        Type::OneOrMore(kind) => {
            json!({ "anyOf": [value(kind), { "type": "array", "items": value(kind) }] })
        }
        Type::Table(inner) => table(inner),
        Type::Map(form, kind) => json!({
            "type": "object",
            "propertyNames": { "pattern": form.pattern },
            "additionalProperties": value(kind),
        }),
    }
}
