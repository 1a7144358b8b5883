//! The reference pages, made from the tables.

use std::fmt::Write;

use crate::format::{FORMATS, Takes};
use crate::schema::{FileKind, Key, Table, Type};
use crate::size;
use crate::words::{list, words};

/// The page of all files and keys, as Markdown.
pub fn reference_markdown() -> String {
    let mut out = String::from(
        "# Files and keys\n\nGenerated from the tables that osier reads files with.\n",
    );
    for kind in FileKind::ALL {
        let mut tables = Vec::new();
        nested(kind.table(), &mut tables);
        let mut name = kind.as_str().to_owned();
        name[..1].make_ascii_uppercase();
        // Writing to a string cannot fail, here and below.
        let _ = write!(out, "\n## {name}\n\n{}\n\n", kind.table().doc);
        keys(&mut out, kind.table());
        for table in &tables[1..] {
            let _ = write!(out, "\n### {}: {}\n\n{}\n\n", name, table.name, table.doc);
            keys(&mut out, table);
        }
    }
    formats(&mut out);
    out
}

/// The table of the formats of images.
fn formats(out: &mut String) {
    out.push_str(
        "\n## Formats of images\n\nThe first compression is the default.\n\n\
         | `format` | what it is | made of | compressions, with their levels | file | `size` | `label` | made or checked by |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for row in FORMATS {
        let compressions = row.compressions.iter().map(|compression| {
            let name = compression.compression.as_str();
            match &compression.levels {
                Some(levels) => format!("{name} {} to {}", levels.start(), levels.end()),
                None => name.to_owned(),
            }
        });
        let compressions = compressions.collect::<Vec<_>>().join(", ");
        let size = match &row.sizes {
            Some(sizes) => {
                format!("{} to {}", size::words(*sizes.start()), size::words(*sizes.end()))
            }
            None => "no".to_owned(),
        };
        let takes = match row.takes {
            Takes::Root => "the root",
            Takes::Files { .. } => "files",
        };
        let label = if row.label.is_some() { "yes" } else { "no" };
        let tool = row.tool.map_or("osier", |tool| tool.program);
        let (name, summary, suffix) = (row.name, row.summary, row.suffix);
        let _ = writeln!(
            out,
            "| {name} | {summary} | {takes} | {compressions} | `NAME.{suffix}` | {size} | {label} | {tool} |"
        );
    }
    out.push('\n');
    for row in FORMATS.iter().filter(|row| !row.note.is_empty()) {
        let _ = writeln!(out, "- {}: {}", row.name, row.note);
    }
}

/// The table and those below it, each once, in the order of their keys.
pub(crate) fn nested(table: &'static Table, found: &mut Vec<&'static Table>) {
    if found.iter().any(|known| std::ptr::eq(*known, table)) {
        return;
    }
    found.push(table);
    for key in table.keys {
        if let Some(inner) = inner(&key.kind) {
            nested(inner, found);
        }
    }
}

pub(crate) fn inner(kind: &Type) -> Option<&'static Table> {
    match kind {
        Type::Table(table) => Some(table),
        Type::Array(kind) | Type::Set(kind) | Type::OneOrMore(kind) | Type::Map(_, kind) => {
            inner(kind)
        }
        _ => None,
    }
}

fn keys(out: &mut String, table: &Table) {
    out.push_str("| key | value | meaning | example |\n| --- | --- | --- | --- |\n");
    for key in table.keys {
        let needed = match (key.required, key.beside) {
            (true, []) => " **Needed.**".to_owned(),
            (true, beside) => format!(" **Required with {}.**", list(beside, "or")),
            (false, []) => String::new(),
            (false, beside) => format!(" Only with {}.", list(beside, "or")),
        };
        let example = key.example.replace('|', "\\|");
        let _ = writeln!(
            out,
            "| `{}` | {} | {}{needed} | `{example}` |",
            key.name,
            value(key),
            key.doc
        );
    }
    if let Some(kind) = table.open {
        let _ = writeln!(out, "| any other | {} | An argument. | |", words(kind));
    }
}

/// The value of a key in words, the form of its strings included.
fn value(key: &Key) -> String {
    let in_words = words(&key.kind);
    match &key.kind {
        Type::Integer(least, i64::MAX) => format!("{in_words} from {least}"),
        Type::Integer(least, most) => format!("{in_words} from {least} to {most}"),
        Type::Form(form) => format!("{}: {}", form.what, form.looks),
        Type::Array(Type::Form(form))
        | Type::Set(Type::Form(form))
        | Type::OneOrMore(Type::Form(form)) => {
            format!("{in_words}, each {}: {}", form.what, form.looks)
        }
        Type::Map(form, kind) => {
            format!("{in_words}; keys: {}; values: {}", form.what, words(kind))
        }
        _ => in_words,
    }
}
