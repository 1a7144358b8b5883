//! Dependencies between packages, as control fields write them.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::version::Version;

/// Tells why a dependency field could not be read.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("dependency `{text}`: {problem}")]
pub struct DependencyError {
    /// The dependency as written.
    pub text: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

/// How a version must compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `<<`
    Earlier,
    /// `<=`
    EarlierOrEqual,
    /// `=`
    Equal,
    /// `>=`
    LaterOrEqual,
    /// `>>`
    Later,
}

/// A bound on a version, such as `>= 2.36`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionConstraint {
    /// The comparison.
    pub operator: Operator,
    /// The version on its right-hand side.
    pub version: Version,
}

impl VersionConstraint {
    /// Tells whether `version` fulfils the bound.
    pub fn accepts(&self, version: &Version) -> bool {
        match self.operator {
            Operator::Earlier => version < &self.version,
            Operator::EarlierOrEqual => version <= &self.version,
            Operator::Equal => version == &self.version,
            Operator::LaterOrEqual => version >= &self.version,
            Operator::Later => version > &self.version,
        }
    }
}

impl fmt::Display for VersionConstraint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operator = match self.operator {
            Operator::Earlier => "<<",
            Operator::EarlierOrEqual => "<=",
            Operator::Equal => "=",
            Operator::LaterOrEqual => ">=",
            Operator::Later => ">>",
        };
        write!(formatter, "{operator} {}", self.version)
    }
}

/// One package that a dependency names, such as `perl:any (>= 5.36) [amd64] <!nocheck>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// Name of a package or of a virtual package.
    pub package: String,
    /// What follows the colon: `any`, `native` or an architecture.
    pub qualifier: Option<String>,
    /// Bound on the version.
    pub version: Option<VersionConstraint>,
    /// Architectures it is for, `!` in front where it is for all others; empty means all.
    pub architectures: Vec<String>,
    /// Build profile formulas: one of the lists must hold whole; `!` negates a name; empty means always.
    pub profiles: Vec<Vec<String>>,
}

impl Relation {
    /// Returns a relation to any version of a package.
    pub fn named(package: &str) -> Self {
        Self {
            package: package.to_owned(),
            qualifier: None,
            version: None,
            architectures: Vec::new(),
            profiles: Vec::new(),
        }
    }

    /// Tells whether the relation counts when building for `architecture` with the build profiles `profiles`.
    pub fn applies(&self, architecture: &str, profiles: &[&str]) -> bool {
        let positive = |name: &str| matches_architecture(name, architecture);
        let fits = if self.architectures.is_empty() {
            true
        } else if self.architectures.iter().all(|name| name.starts_with('!')) {
            !self.architectures.iter().any(|name| positive(&name[1..]))
        } else {
            self.architectures.iter().any(|name| positive(name))
        };
        let holds = |formula: &[String]| {
            formula.iter().all(|name| match name.strip_prefix('!') {
                Some(name) => !profiles.contains(&name),
                None => profiles.contains(&name.as_str()),
            })
        };
        fits && (self.profiles.is_empty() || self.profiles.iter().any(|formula| holds(formula)))
    }
}

/// Matches an architecture with a wildcard: `any`, `linux-any`, `any-amd64`.
fn matches_architecture(pattern: &str, architecture: &str) -> bool {
    pattern == architecture
        || pattern == "any"
        || pattern == "linux-any"
        || pattern.strip_prefix("any-").is_some_and(|cpu| cpu == architecture)
}

impl fmt::Display for Relation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.package)?;
        if let Some(qualifier) = &self.qualifier {
            write!(formatter, ":{qualifier}")?;
        }
        if let Some(version) = &self.version {
            write!(formatter, " ({version})")?;
        }
        if !self.architectures.is_empty() {
            write!(formatter, " [{}]", self.architectures.join(" "))?;
        }
        for formula in &self.profiles {
            write!(formatter, " <{}>", formula.join(" "))?;
        }
        Ok(())
    }
}

impl FromStr for Relation {
    type Err = DependencyError;

    fn from_str(text: &str) -> Result<Self, DependencyError> {
        let error = |problem| DependencyError { text: text.trim().to_owned(), problem };
        let trimmed = text.trim();
        let name_end =
            trimmed.find(|c: char| c.is_whitespace() || "([<".contains(c)).unwrap_or(trimmed.len());
        let (name, mut rest) = trimmed.split_at(name_end);
        let (package, qualifier) = match name.split_once(':') {
            Some((package, qualifier)) => (package, Some(qualifier)),
            None => (name, None),
        };
        if !is_name(package) {
            return Err(error("no valid package name"));
        }
        if qualifier.is_some_and(|qualifier| !is_name(qualifier)) {
            return Err(error("no valid architecture after the colon"));
        }
        let mut relation = Self::named(package);
        relation.qualifier = qualifier.map(str::to_owned);
        loop {
            rest = rest.trim_start();
            let Some(open) = rest.chars().next() else { return Ok(relation) };
            let close = match open {
                '(' => ')',
                '[' => ']',
                '<' => '>',
                _ => return Err(error("the text after the name is not a version bound")),
            };
            let Some((inside, after)) = rest[1..].split_once(close) else {
                return Err(error("a bracket is not closed"));
            };
            rest = after;
            let words = || inside.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            match open {
                '(' if relation.version.is_none() => {
                    relation.version = Some(constraint(inside).map_err(error)?);
                }
                '[' if relation.architectures.is_empty() => relation.architectures = words(),
                '<' => relation.profiles.push(words()),
                _ => return Err(error("a bound is given twice")),
            }
        }
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte))
}

fn constraint(inside: &str) -> Result<VersionConstraint, &'static str> {
    let inside = inside.trim();
    // The one-letter forms are obsolete spellings of "or equal" (policy 7.1).
    let table = [
        ("<<", Operator::Earlier),
        ("<=", Operator::EarlierOrEqual),
        (">=", Operator::LaterOrEqual),
        (">>", Operator::Later),
        ("=", Operator::Equal),
        ("<", Operator::EarlierOrEqual),
        (">", Operator::LaterOrEqual),
    ];
    let (rest, operator) = table
        .iter()
        .find_map(|(sign, operator)| inside.strip_prefix(sign).map(|rest| (rest, *operator)))
        .ok_or("no comparison before the version")?;
    if rest.trim().is_empty() {
        return Err("no version after the comparison");
    }
    Ok(VersionConstraint { operator, version: Version::new(rest) })
}

/// Alternatives of which one must be met, in the order of preference; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// The alternatives.
    pub alternatives: Vec<Relation>,
}

impl fmt::Display for Dependency {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, relation) in self.alternatives.iter().enumerate() {
            let bar = if place == 0 { "" } else { " | " };
            write!(formatter, "{bar}{relation}")?;
        }
        Ok(())
    }
}

/// Reads a field such as `Depends`: dependencies parted by commas, alternatives by bars.
///
/// # Errors
/// [`DependencyError`] with the alternative that could not be read. Empty items (a trailing comma) are allowed.
pub fn parse_dependencies(field: &str) -> Result<Vec<Dependency>, DependencyError> {
    field
        .split(',')
        .filter(|item| !item.trim().is_empty())
        .map(|item| {
            let alternatives = item.split('|').map(str::parse).collect::<Result<_, _>>()?;
            Ok(Dependency { alternatives })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_part_is_read() {
        let list = parse_dependencies(
            "libc6 (>= 2.36), debconf (>= 0.5)|debconf-2.0,\n perl:any,a(= 1:2-3)[amd64 !arm64]<!nocheck a> <b>, ",
        )
        .unwrap();
        let shown: Vec<String> = list.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "libc6 (>= 2.36)",
                "debconf (>= 0.5) | debconf-2.0",
                "perl:any",
                "a (= 1:2-3) [amd64 !arm64] <!nocheck a> <b>"
            ]
        );
        assert_eq!(
            list[3].alternatives[0].profiles,
            [vec!["!nocheck".to_owned(), "a".to_owned()], vec!["b".to_owned()]]
        );
        assert_eq!(parse_dependencies("").unwrap(), []);
    }

    #[test]
    fn odd_dependencies_are_errors() {
        for text in [
            "a (>= 1",
            "a (1)",
            "a (>=)",
            "a b",
            "|a",
            "a |",
            "(>= 1)",
            "a:(>= 1)",
            "a (= 1) (= 2)",
            "a [x] [y]",
            "é",
        ] {
            assert!(parse_dependencies(text).is_err(), "{text}");
        }
    }

    #[test]
    fn bounds() {
        let table = [
            ("a (<< 2)", [true, false, false]),
            ("a (<= 2)", [true, true, false]),
            ("a (= 2)", [false, true, false]),
            ("a (>= 2)", [false, true, true]),
            ("a (>> 2)", [false, false, true]),
            ("a (< 2)", [true, true, false]),
            ("a (> 2)", [false, true, true]),
        ];
        for (text, expected) in table {
            let bound = text.parse::<Relation>().unwrap().version.unwrap();
            let found = ["1", "2", "3"].map(|version| bound.accepts(&Version::new(version)));
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn architectures_and_profiles() {
        let table: [(&str, &[&str], bool); 9] = [
            ("a", &[], true),
            ("a [amd64]", &[], true),
            ("a [arm64 i386]", &[], false),
            ("a [!amd64]", &[], false),
            ("a [!arm64]", &[], true),
            ("a [linux-any]", &[], true),
            ("a [any-arm64]", &[], false),
            ("a <!nocheck>", &["nocheck"], false),
            ("a <!nocheck> <cross>", &["nocheck", "cross"], true),
        ];
        for (text, profiles, expected) in table {
            assert_eq!(
                text.parse::<Relation>().unwrap().applies("amd64", profiles),
                expected,
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_ends_without_panic(text in "[a-c:()<>=|,! \\[\\]1é]{0,40}") {
            let _ = parse_dependencies(&text);
        }

        #[test]
        fn shown_dependencies_are_read_back(text in "[a-z]{1,3}(:any)?( \\((<<|<=|=|>=|>>) [0-9.]{1,3}\\))?( \\| [a-z]{1,3})?") {
            let list = parse_dependencies(&text).unwrap();
            prop_assert_eq!(list[0].to_string(), text);
        }
    }
}
