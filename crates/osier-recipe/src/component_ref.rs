//! How one component names another.

use std::fmt;

/// A component, or one of its outputs: `zlib`, `musl:dev`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ComponentRef {
    /// The component.
    pub name: String,
    /// The output; none for what the one who asks takes for all or for `main`.
    pub output: Option<String>,
}

impl ComponentRef {
    /// Reads `NAME` or `NAME:OUTPUT`.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, output) = match text.split_once(':') {
            Some((name, output)) => (name, Some(output.to_owned())),
            None => (text, None),
        };
        Some(Self { name: name.to_owned(), output })
    }
}

impl fmt::Display for ComponentRef {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.name)?;
        match &self.output {
            Some(output) => write!(out, ":{output}"),
            None => Ok(()),
        }
    }
}
