//! Values of a kind's variables.

use std::fmt;

use crate::Spanned;

/// The value of a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A string.
    String(String),
    /// A whole number.
    Integer(i64),
    /// A boolean.
    Boolean(bool),
    /// A list of strings.
    List(Vec<Spanned<String>>),
}

/// The type of a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueType {
    /// A string.
    String,
    /// A whole number.
    Integer,
    /// A boolean.
    Boolean,
    /// An array of strings without blanks.
    List,
}

impl Value {
    /// The value's type.
    pub fn kind(&self) -> ValueType {
        match self {
            Self::String(_) => ValueType::String,
            Self::Integer(_) => ValueType::Integer,
            Self::Boolean(_) => ValueType::Boolean,
            Self::List(_) => ValueType::List,
        }
    }

    /// The value as steps see it: a list joined by blanks, a boolean as `yes` or as nothing.
    pub fn to_environment(&self) -> String {
        match self {
            Self::String(text) => text.clone(),
            Self::Integer(number) => number.to_string(),
            Self::Boolean(value) => if *value { "yes" } else { "" }.to_owned(),
            Self::List(list) => list.iter().map(|text| text.as_str()).collect::<Vec<_>>().join(" "),
        }
    }
}

impl ValueType {
    /// Reads a type's name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::String, Self::Integer, Self::Boolean, Self::List]
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }

    /// The type's name in a kind.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Integer => "integer",
            Self::Boolean => "boolean",
            Self::List => "list",
        }
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}
