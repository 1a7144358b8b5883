//! Values of a parsed text that has passed its checks.

use std::borrow::Cow;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

use crate::{Spanned, Target, Value};

/// A value of the parsed text with its place.
pub(crate) type Node<'t> = toml::Spanned<DeValue<'t>>;

/// A key of the parsed text with its place.
pub(crate) type NodeKey<'t> = toml::Spanned<Cow<'t, str>>;

pub(crate) fn elements<'n, 't>(node: &'n Node<'t>) -> impl Iterator<Item = &'n Node<'t>> {
    let (one, many) = match node.get_ref() {
        DeValue::Array(array) => (None, Some(array.iter())),
        _ => (Some(node), None),
    };
    one.into_iter().chain(many.into_iter().flatten())
}

/// How many elements an array has. Lists get room for just these: ten thousand recipes are held at once.
pub(crate) fn count(node: &Node<'_>) -> usize {
    node.get_ref().as_array().map_or(1, |array| array.len())
}

/// The tables of an array of tables, or the one table.
pub(crate) fn tables<'n, 't>(
    node: &'n Node<'t>,
) -> impl Iterator<Item = (&'n DeTable<'t>, Range<usize>)> {
    elements(node).filter_map(|element| Some((element.get_ref().as_table()?, element.span())))
}

/// The entries of a table.
pub(crate) fn entries<'n, 't>(
    node: &'n Node<'t>,
) -> impl Iterator<Item = (&'n NodeKey<'t>, &'n Node<'t>)> {
    node.get_ref().as_table().into_iter().flatten()
}

pub(crate) fn text(node: &Node<'_>) -> Spanned<String> {
    Spanned::new(node.get_ref().as_str().unwrap_or_default().to_owned(), node.span())
}

/// The strings of an array, or the one string.
pub(crate) fn texts(node: &Node<'_>) -> Vec<Spanned<String>> {
    let mut list = Vec::with_capacity(count(node));
    list.extend(elements(node).filter(|element| element.get_ref().is_str()).map(text));
    list
}

/// The strings of an array that `parse` takes; the others have been reported as not of their form.
pub(crate) fn parsed<T>(node: &Node<'_>, parse: impl Fn(&str) -> Option<T>) -> Vec<Spanned<T>> {
    let mut list = Vec::with_capacity(count(node));
    list.extend(elements(node).filter_map(|element| parsed_one(element, &parse)));
    list
}

pub(crate) fn parsed_one<T>(
    node: &Node<'_>,
    parse: impl Fn(&str) -> Option<T>,
) -> Option<Spanned<T>> {
    Some(Spanned::new(parse(node.get_ref().as_str()?)?, node.span()))
}

pub(crate) fn target(key: &NodeKey<'_>) -> Option<Target> {
    Target::parse(key.get_ref())
}

pub(crate) fn boolean(node: &Node<'_>) -> bool {
    node.get_ref().as_bool().unwrap_or_default()
}

pub(crate) fn integer(node: &Node<'_>) -> Option<i64> {
    let number = node.get_ref().as_integer()?;
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

/// A whole number that its table keeps from being negative.
pub(crate) fn unsigned(node: &Node<'_>) -> u64 {
    integer(node).and_then(|number| u64::try_from(number).ok()).unwrap_or_default()
}

pub(crate) fn value(node: &Node<'_>) -> Option<Value> {
    Some(match node.get_ref() {
        DeValue::String(text) => Value::String(text.clone().into_owned()),
        DeValue::Integer(_) => Value::Integer(integer(node)?),
        DeValue::Boolean(value) => Value::Boolean(*value),
        DeValue::Array(_) => Value::List(texts(node)),
        _ => return None,
    })
}
