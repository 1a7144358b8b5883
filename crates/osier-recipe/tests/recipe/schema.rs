//! Tables, readers, reference page and JSON schemas say the same.

use osier_recipe::schema::{Form, Key, Table, Type};
use osier_recipe::{Code, FORMATS, FileKind, json_schema, reference_markdown};
use proptest::prelude::*;
use proptest::string::string_regex;
use proptest::test_runner::TestRunner;
use serde_json::Value;

use crate::{EXAMPLES, errors, rendered};

/// Calls `visit` for each key of each table of a file with a text that holds the key, and else little.
fn each_key(kind: FileKind, visit: &mut dyn FnMut(&'static Table, &'static Key, &str)) {
    fn below(
        table: &'static Table,
        wrap: &dyn Fn(&[String]) -> String,
        visit: &mut dyn FnMut(&'static Table, &'static Key, &str),
    ) {
        for key in table.keys {
            visit(table, key, &wrap(&smallest(table, key, key.example)));
            let inner = |pairs: &[String]| {
                let value = nest(&key.kind, &format!("{{ {} }}", pairs.join(", ")));
                wrap(&smallest(table, key, &value))
            };
            if let Some(next) = next(&key.kind) {
                below(next, &inner, visit);
            }
        }
    }
    below(kind.table(), &|pairs| pairs.join("\n"), visit);
}

fn next(kind: &Type) -> Option<&'static Table> {
    match kind {
        Type::Table(table) => Some(table),
        Type::Array(kind) | Type::OneOrMore(kind) | Type::Map(_, kind) => next(kind),
        _ => None,
    }
}

fn nest(kind: &Type, table: &str) -> String {
    match kind {
        Type::Array(_) => format!("[{table}]"),
        Type::Map(form, _) => {
            let name = ["x86_64", "debug"].into_iter().find(|name| (form.accepts)(name)).unwrap();
            format!("{{ {name} = {table} }}")
        }
        _ => table.to_owned(),
    }
}

/// The pairs of the smallest valid table with `key`.
fn smallest(table: &Table, key: &Key, value: &str) -> Vec<String> {
    let one = table.exactly_one;
    let chosen = key
        .beside
        .first()
        .copied()
        .or(one.contains(&key.name).then_some(key.name))
        .or(one.first().copied());
    let needed = |other: &&Key| {
        let chosen = chosen.is_some_and(|chosen| {
            other.name == chosen || other.required && other.beside.contains(&chosen)
        });
        other.name == key.name || other.required && other.beside.is_empty() || chosen
    };
    let pair = |other: &Key| {
        let value = match (table.name, key.name, other.name) {
            _ if other.name == key.name => value,
            // The one key whose meaning hangs on the value of another.
            ("image", "size", "format") => "\"ext4\"",
            ("image", "label" | "content", "format") => "\"fat\"",
            _ => other.example,
        };
        format!("{} = {value}", other.name)
    };
    table.keys.iter().filter(needed).map(pair).collect()
}

/// Whether an error is one that a single table shows, as a JSON schema can.
fn of_one_table(code: Code) -> bool {
    use Code::{
        Conflict, GitAddress, LeavesFolder, UnknownKey, UnknownTarget, WrongForm, WrongType,
    };
    [UnknownKey, WrongType, WrongForm, Conflict, LeavesFolder, GitAddress, UnknownTarget]
        .contains(&code)
}

#[test]
fn every_key_is_read_and_every_example_valid() {
    let mut keys = 0;
    for kind in FileKind::ALL {
        let schema = json_schema(kind);
        each_key(kind, &mut |table, key, text| {
            // A key that its reader forgets makes the reader panic in tests.
            let found = errors(kind, text, None);
            let wrong: Vec<_> =
                found.into_iter().filter(|error| of_one_table(error.code)).collect();
            assert_eq!(rendered(&wrong, text), "", "{}.{}:\n{text}", table.name, key.name);
            let json = toml::from_str(text).unwrap();
            assert_eq!(reject(&schema, &json), None, "{}.{}:\n{text}", table.name, key.name);
            keys += 1;
        });
    }
    assert!(keys > 150, "{keys}");
}

#[test]
fn every_other_type_is_refused_by_reader_and_schema() {
    for kind in FileKind::ALL {
        let schema = json_schema(kind);
        each_key(kind, &mut |table, key, text| {
            for other in ["1.5", "1979-05-27", "[[1]]", "[1.5]"] {
                let needle = format!("{} = {}", key.name, key.example);
                let text = text.replacen(&needle, &format!("{} = {other}", key.name), 1);
                let Ok(json) = toml::from_str(&text) else { continue };
                if !text.contains(&format!("{} = {other}", key.name)) {
                    continue;
                }
                let found = errors(kind, &text, None);
                let wrong = found.iter().find(|error| error.code == Code::WrongType);
                let column = wrong.map(|error| text[error.span.clone()].to_owned());
                assert!(
                    column.is_some_and(|shown| other.contains(&shown)),
                    "{}.{} {text}",
                    table.name,
                    key.name
                );
                // A date is a table in this JSON, so that a table of any keys takes it.
                if other != "1979-05-27" {
                    assert!(reject(&schema, &json).is_some(), "{}.{} {text}", table.name, key.name);
                }
            }
        });
    }
}

#[test]
fn every_unknown_key_is_refused_by_reader_and_schema() {
    for kind in FileKind::ALL {
        let schema = json_schema(kind);
        each_key(kind, &mut |table, key, text| {
            if table.open.is_some() {
                return;
            }
            let text = text.replacen(&format!("{} = ", key.name), "no_such_key = 1, KEY = ", 1);
            let text = text
                .replace("1, KEY", if text.starts_with("no_such") { "1\nKEY" } else { "1, KEY" });
            let text = text.replace("KEY", key.name);
            let Ok(json) = toml::from_str(&text) else { return };
            let found = errors(kind, &text, None);
            assert!(found.iter().any(|error| error.code == Code::UnknownKey), "{text}");
            assert!(reject(&schema, &json).is_some(), "{text}");
        });
    }
}

#[test]
fn the_schemas_take_the_examples() {
    for (kind, text) in EXAMPLES {
        let json = toml::from_str(text).unwrap();
        assert_eq!(reject(&json_schema(kind), &json), None, "{kind:?}");
    }
}

#[test]
fn the_schemas_refuse_what_the_readers_refuse() {
    for (name, kind, text) in crate::wrong::CASES {
        let Ok(json) = toml::from_str::<Value>(text) else { continue };
        let found = errors(*kind, text, None);
        let plain = |code| matches!(code, Code::UnknownKey | Code::WrongType | Code::MissingHash);
        if found.iter().any(|error| plain(error.code)) {
            assert!(reject(&json_schema(*kind), &json).is_some(), "{name}");
        }
    }
}

#[test]
fn the_reference_page_names_every_key() {
    let page = reference_markdown();
    for kind in FileKind::ALL {
        each_key(kind, &mut |table, key, _| {
            assert!(page.contains(&format!("| `{}` |", key.name)), "{}.{}", table.name, key.name);
            assert!(
                page.contains(key.doc) && key.doc.ends_with('.'),
                "{}.{}",
                table.name,
                key.name
            );
            assert!(table.keys.len() <= 64 && !key.doc.contains('\n'));
        });
    }
    let (keys, formats) = page.split_once("\n## Formats of images\n").unwrap();
    for (part, columns) in [(keys, 4), (formats, 8)] {
        for line in part.lines().filter(|line| line.starts_with('|')) {
            assert_eq!(line.replace("\\|", "").matches('|').count(), columns + 1, "{line}");
        }
    }
    assert!(
        FORMATS.iter().all(|row| formats.contains(&format!("| {} | {} |", row.name, row.summary)))
    );
}

#[test]
fn the_patterns_of_the_schemas_promise_no_more_than_the_reader_takes() {
    fn forms(kind: &Type, found: &mut Vec<&'static Form>) {
        match kind {
            Type::Form(form) => found.push(form),
            Type::Map(form, kind) => {
                found.push(form);
                forms(kind, found);
            }
            Type::Array(kind) | Type::Set(kind) | Type::OneOrMore(kind) => forms(kind, found),
            _ => {}
        }
    }
    let mut found = Vec::new();
    for kind in FileKind::ALL {
        each_key(kind, &mut |_, key, _| forms(&key.kind, &mut found));
    }
    found.sort_by_key(|form| form.what);
    found.dedup_by_key(|form| form.what);
    let mut runner = TestRunner::deterministic();
    let mut checked = 0;
    for form in found {
        // These are stricter than a pattern can say.
        if ["\\S", ".*", "[^/]", "/-]"].iter().any(|open| form.pattern.contains(open)) {
            continue;
        }
        checked += 1;
        let inside = form.pattern.trim_start_matches('^').trim_end_matches('$');
        let texts = string_regex(inside)
            .unwrap()
            .prop_filter("sizes overflow", |text| text.len() < 9 || text.len() > 39);
        runner
            .run(&texts, |text| {
                prop_assert!((form.accepts)(&text), "{} {text:?}", form.what);
                Ok(())
            })
            .unwrap();
    }
    assert!(checked >= 12, "{checked}");
}

/// Checks a value against the part of JSON schema that the schemas use; says what is refused.
fn reject(schema: &Value, value: &Value) -> Option<String> {
    if let Value::Bool(allowed) = schema {
        return (!allowed).then(|| format!("{value} is not allowed"));
    }
    for (word, rule) in schema.as_object().unwrap() {
        let wrong = match word.as_str() {
            "type" => match rule.as_str().unwrap() {
                "object" => !value.is_object(),
                "array" => !value.is_array(),
                "string" => !value.is_string(),
                "integer" => !value.is_i64(),
                "boolean" => !value.is_boolean(),
                other => panic!("{other}"),
            },
            "enum" => !rule.as_array().unwrap().contains(value),
            "const" => rule != value,
            "minimum" => value.as_i64().is_some_and(|number| number < rule.as_i64().unwrap()),
            "maximum" => value.as_i64().is_some_and(|number| number > rule.as_i64().unwrap()),
            "required" => value.as_object().is_some_and(|fields| {
                rule.as_array()
                    .unwrap()
                    .iter()
                    .any(|name| !fields.contains_key(name.as_str().unwrap()))
            }),
            "uniqueItems" => value.as_array().is_some_and(|items| {
                items.iter().enumerate().any(|(at, item)| items[..at].contains(item))
            }),
            "anyOf" => rule.as_array().unwrap().iter().all(|one| reject(one, value).is_some()),
            "oneOf" => {
                rule.as_array().unwrap().iter().filter(|one| reject(one, value).is_none()).count()
                    != 1
            }
            "dependencies" => rule
                .as_object()
                .unwrap()
                .iter()
                .any(|(name, rule)| value.get(name).is_some() && reject(rule, value).is_some()),
            "items" => value
                .as_array()
                .is_some_and(|items| items.iter().any(|item| reject(rule, item).is_some())),
            "properties" => rule.as_object().unwrap().iter().any(|(name, rule)| {
                value.get(name).is_some_and(|value| reject(rule, value).is_some())
            }),
            "additionalProperties" => value.as_object().is_some_and(|fields| {
                let known = schema.get("properties");
                let others = fields
                    .iter()
                    .filter(|(name, _)| known.is_none_or(|known| known.get(name).is_none()));
                others.into_iter().any(|(_, value)| reject(rule, value).is_some())
            }),
            // Patterns have a test of their own.
            "pattern" | "propertyNames" | "title" | "description" | "$schema" => false,
            other => panic!("{other}"),
        };
        if wrong {
            return Some(format!("{word}: {rule} refuses {value}"));
        }
    }
    None
}
