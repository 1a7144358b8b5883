//! Names and types in the words of messages.

use crate::schema::Type;

/// Names in back quotes, joined for a sentence.
pub(crate) fn list(names: &[&str], last: &str) -> String {
    match names {
        [] => "none".into(),
        [one] => format!("`{one}`"),
        [first @ .., end] => {
            let first: Vec<String> = first.iter().map(|name| format!("`{name}`")).collect();
            format!("{} {last} `{end}`", first.join(", "))
        }
    }
}

/// A type in words, for messages and the reference page.
pub(crate) fn words(kind: &Type) -> String {
    match kind {
        Type::Text | Type::Form(_) => "a string".into(),
        Type::Choice(choices) => format!("a string, {}", list(choices, "or")),
        Type::Integer(..) => "a whole number".into(),
        Type::Boolean => "a boolean".into(),
        Type::True => "`true`".into(),
        Type::Value => "a string, a whole number, a boolean or an array of strings".into(),
        Type::Array(Type::Table(_)) => "an array of tables".into(),
        Type::Array(_) | Type::Set(_) => "an array of strings".into(),
        Type::OneOrMore(Type::Table(_)) => "a table or an array of tables".into(),
        Type::OneOrMore(_) => "a string or an array of strings".into(),
        Type::Table(_) | Type::Map(..) => "a table".into(),
    }
}

pub(crate) fn article(noun: &str) -> String {
    let article = if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {noun}")
}
