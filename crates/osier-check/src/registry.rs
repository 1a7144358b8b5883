//! All that can be found: code, level, title and page of each, as data.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Worth knowing; often it is meant.
    Note,
    /// Mostly a mistake.
    Warning,
    /// What was asked for is not what came out.
    Error,
}

macro_rules! registry {
    ($($name:ident = $text:literal, $level:ident, $title:literal, $page:literal;)*) => {
        /// Names one kind of finding for good: a code is never given a second meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Code {
            $(#[doc = $title] $name,)*
        }

        impl Code {
            /// All there are, in the order of their texts.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The code as a person sees it, such as `N001`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// How much it weighs.
            pub fn level(self) -> Level {
                match self { $(Self::$name => Level::$level,)* }
            }

            /// What it stands for, in one line.
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }

            /// Why it happens, and what to do.
            pub fn page(self) -> &'static str {
                match self { $(Self::$name => $page,)* }
            }
        }
    };
}

registry! {
    NotDelivered = "N001", Note, "no line of the manifest delivers some files of a component",
        "An image contains only the files that lines of the manifest name. Often you want to leave the others out: headers, static libraries, manual pages. `osier log SYSTEM/_root:compose` lists every file that is left out. To deliver one, add a line for it to the manifest.";
    Replaced = "N002", Note, "an overlay replaces files of a component or of a later overlay",
        "osier takes a file from the first overlay that has it, in the order of the system's `overlays`, and only then from a component. `osier log SYSTEM/_root:compose` lists every replaced file. To deliver the other file, remove the overlay's.";
    NotHonoured = "N003", Error, "the final configuration does not have a symbol as a fragment asks for it",
        "Kconfig silently drops a symbol if something that it depends on is off, if its value is out of range, or if another symbol selects it. If several lines set one symbol, the last one counts, within a fragment and across all of them in the order of `fragments`. Of a choice, the last member that is `y` counts. To see what a symbol depends on, search for it in `osier config COMPONENT`; then set that in a fragment too.";
    ForeignFragment = "N004", Error, "a fragment is for another architecture",
        "The fragment sets the symbol of another architecture than this configuration is for, and its other symbols are missing for the same reason. Move the fragment to the recipe's `[target.TARGET.with]`, for each target that it is for.";
}

impl Code {
    /// Finds a code by its text, in either case.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str().eq_ignore_ascii_case(text))
    }
}

impl Level {
    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom(format!("there is no finding {text}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_numbered_without_gaps_and_found_again() {
        for (at, code) in Code::ALL.iter().enumerate() {
            assert_eq!(code.as_str(), format!("N{:03}", at + 1));
            assert_eq!(Code::parse(&code.as_str().to_lowercase()), Some(*code));
            assert!(!code.title().ends_with('.') && code.page().ends_with('.'), "{code}");
        }
        assert_eq!(Code::parse("N000"), None);
    }

    #[test]
    fn levels_are_ordered_by_weight() {
        assert!(Level::Note < Level::Warning && Level::Warning < Level::Error);
    }
}
