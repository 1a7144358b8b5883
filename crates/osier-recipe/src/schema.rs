//! What a TOML table may hold, as data.
//!
//! The tables themselves stand in [`crate::tables`]. Reading, the reference page and the JSON schemas
//! all follow them, so a key that is not in a table cannot be read and a key that is in one is documented.

use crate::Code;

/// One TOML table: its keys and what they mean.
#[derive(Debug)]
pub struct Table {
    /// The table's name in headings and messages, such as `step`.
    pub name: &'static str,
    /// What the table is for, as Markdown.
    pub doc: &'static str,
    /// The keys, in the order of the reference page; at most 64.
    pub keys: &'static [Key],
    /// Keys of which exactly one must be given; empty where there is no such choice.
    pub exactly_one: &'static [&'static str],
    /// The type of keys that are not listed; `None` where no others are allowed.
    pub open: Option<&'static Type>,
    /// Keys that people try and that do not exist, each with what to do instead.
    pub refused: &'static [(&'static str, &'static str)],
}

/// One key of a [`Table`].
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// The key.
    pub name: &'static str,
    /// What its value must be.
    pub kind: Type,
    /// Whether the table must have it; with `beside`, whether it must stand beside that key.
    pub required: bool,
    /// Keys of which one must be given for this one to be allowed; empty for a key that is always allowed.
    pub beside: &'static [&'static str],
    /// What it means and what holds without it, as Markdown.
    pub doc: &'static str,
    /// A valid value, as TOML.
    pub example: &'static str,
}

impl Key {
    /// An optional key.
    pub const fn new(
        name: &'static str,
        kind: Type,
        doc: &'static str,
        example: &'static str,
    ) -> Self {
        Self { name, kind, required: false, beside: &[], doc, example }
    }

    /// The same key, required.
    pub const fn required(self) -> Self {
        Self { required: true, ..self }
    }

    /// The same key, allowed beside one of `keys` alone.
    pub const fn beside(self, keys: &'static [&'static str]) -> Self {
        Self { beside: keys, ..self }
    }
}

/// The type of a value.
#[derive(Debug, Clone, Copy)]
pub enum Type {
    /// Any string without a NUL.
    Text,
    /// A string of a certain form.
    Form(&'static Form),
    /// One of these strings.
    Choice(&'static [&'static str]),
    /// A whole number between these, both included.
    Integer(i64, i64),
    /// `true` or `false`.
    Boolean,
    /// `true`: the key says all.
    True,
    /// A string, a whole number, a boolean or an array of strings.
    Value,
    /// An array.
    Array(&'static Type),
    /// An array of strings that are all different.
    Set(&'static Type),
    /// One value or an array of them.
    OneOrMore(&'static Type),
    /// A table.
    Table(&'static Table),
    /// A table with free keys of a form and values of a type.
    Map(&'static Form, &'static Type),
}

/// The form of a string.
#[derive(Debug)]
pub struct Form {
    /// The form's noun with its article, such as "a SHA-256".
    pub what: &'static str,
    /// How such a string looks, in words.
    pub looks: &'static str,
    /// The form as a regular expression of JSON schema; `accepts` may be stricter.
    pub pattern: &'static str,
    /// Whether a string has the form.
    pub accepts: fn(&str) -> bool,
    /// What to write instead, where that can be told; a hint for a string that is not accepted.
    pub advice: fn(&str) -> Option<String>,
    /// The code of the error.
    pub code: Code,
}

impl Table {
    /// A table with these keys and no other rule.
    pub const fn new(name: &'static str, doc: &'static str, keys: &'static [Key]) -> Self {
        Self { name, doc, keys, exactly_one: &[], open: None, refused: &[] }
    }

    /// Finds a key.
    pub fn key(&self, name: &str) -> Option<(usize, &'static Key)> {
        self.keys.iter().enumerate().find(|(_, key)| key.name == name)
    }
}

/// One of the files that osier reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// `recipes/NAME.toml` or `recipes/NAME/recipe.toml`.
    Recipe,
    /// `kinds/NAME.toml`.
    Kind,
    /// `systems/NAME/system.toml`.
    System,
    /// `machines/NAME.toml`.
    Machine,
    /// `osier.toml` at the root of a project.
    Project,
    /// `osier.lock` beside it.
    Lock,
}

impl FileKind {
    /// All kinds of files, in the order of the reference page.
    pub const ALL: [Self; 6] =
        [Self::Recipe, Self::Kind, Self::System, Self::Machine, Self::Project, Self::Lock];
}
