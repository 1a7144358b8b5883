//! The part of a recipe that the tables of targets and profiles can add to.

use std::ops::Range;

use crate::component_ref::ComponentRef;
use crate::diagnostic::quoted;
use crate::walk::{self, Node, NodeKey, Walk};
use crate::{Code, Named, Spanned, Step, Value, Waiver, step, tables, waive};

/// What a recipe says for all builds, for one target or for one profile.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Part {
    /// Debian packages added to the build environment.
    pub packages: Vec<Spanned<String>>,
    /// Components that run in the build.
    pub tools: Vec<Spanned<ComponentRef>>,
    /// Components that are linked for the target.
    pub needs: Vec<Spanned<ComponentRef>>,
    /// Environment variables of all steps.
    pub env: Named<Spanned<String>>,
    /// Patterns of files that the steps see.
    pub files: Vec<Spanned<String>>,
    /// Patterns of patches, in the order in which they are applied.
    pub patches: Vec<Spanned<String>>,
    /// Patches whose conflict does not stop the build.
    pub waivers: Vec<Waiver>,
    /// Values of the kind's variables.
    pub with: Named<Setting>,
    /// New steps and changes to the kind's.
    pub steps: Vec<Step>,
}

/// A value for one of the kind's variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The bytes of the variable's name.
    pub key: Range<usize>,
    /// The value.
    pub value: Spanned<Value>,
}

impl Part {
    /// Reads one key; false for a key that is not one of a part.
    pub(crate) fn read(&mut self, walk: &mut Walk, key: &'static str, node: &Node<'_>) -> bool {
        match key {
            "packages" => self.packages = walk::texts(node),
            "tools" => self.tools = walk::parsed(node, ComponentRef::parse),
            "needs" => self.needs = walk::parsed(node, ComponentRef::parse),
            "env" => self.env = environment(node),
            "files" => self.files = walk::texts(node),
            "patches" => self.patches = walk::texts(node),
            "waive" => self.waivers = waive::waivers(walk, node),
            "with" => self.with = settings(walk, node),
            "step" => self.steps = step::steps(walk, node, &tables::STEP_TABLE),
            _ => return false,
        }
        true
    }
}

/// Reads the one table of a part below `[target.X]` or `[profile.X]`.
pub(crate) fn part(walk: &mut Walk, node: &Node<'_>) -> Part {
    let mut part = Part::default();
    if let Some(table) = node.get_ref().as_table() {
        walk.table(table, &node.span(), &tables::PART, &mut part, |part, walk, key, node| {
            if !part.read(walk, key, node) {
                walk::unread("target and profile", key);
            }
        });
    }
    part
}

/// Reads `env`.
pub(crate) fn environment(node: &Node<'_>) -> Named<Spanned<String>> {
    walk::entries(node)
        .map(|(key, value)| (key.get_ref().clone().into_owned(), walk::text(value)))
        .collect()
}

fn settings(walk: &mut Walk, node: &Node<'_>) -> Named<Setting> {
    let setting = |(key, node): (&NodeKey<'_>, &Node<'_>)| {
        let value = walk::value(node)?;
        no_blanks(walk, &value);
        let value = Spanned::new(value, node.span());
        Some((key.get_ref().clone().into_owned(), Setting { key: key.span(), value }))
    };
    walk::entries(node).filter_map(setting).collect()
}

/// Reports elements of a list that would fall apart, as steps see a list joined by blanks.
pub(crate) fn no_blanks(walk: &mut Walk, value: &Value) {
    let Value::List(list) = value else { return };
    for text in list.iter().filter(|text| text.is_empty() || text.contains(char::is_whitespace)) {
        let message = format!("{} cannot be an element of a list", quoted(text));
        let error = walk.error(Code::WrongForm, &text.span, message);
        error.hints.push(
            "steps see the list joined by spaces, so no element can contain a space or be empty"
                .into(),
        );
    }
}
