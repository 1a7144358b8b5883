//! The codes of all messages that this crate gives.

use std::fmt;

macro_rules! codes {
    ($($name:ident = $text:literal, $meaning:literal;)*) => {
        /// Names one kind of error for good: a code is never given a second meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = $meaning] $name,)*
        }

        impl Code {
            /// The code as users see it, such as `R003`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What the code stands for, in one line.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)* }
            }
        }

        /// Every code with its meaning, in the order of the codes.
        pub const CODES: &[(Code, &str)] = &[$((Code::$name, $meaning),)*];
    };
}

codes! {
    Syntax = "R001", "The text is not TOML.";
    NotText = "R002", "The file is not UTF-8 text.";
    UnknownKey = "R003", "This table has no such key.";
    WrongType = "R004", "A value has the wrong type.";
    MissingKey = "R005", "A required key is missing.";
    WrongForm = "R006", "A value has the right type but the wrong form.";
    DuplicateKey = "R007", "A key is given twice.";
    Conflict = "R008", "Keys that exclude each other are used together, or none is used of several of which one is required.";
    NameMismatch = "R009", "The name in the file differs from the file's own name.";
    MissingHash = "R010", "A source with a URL has no SHA-256.";
    UnknownTarget = "R011", "osier knows no such target.";
    UnknownVariable = "R012", "The kind declares no such variable.";
    MissingVariable = "R013", "A variable that the kind requires has no value.";
    WrongVariable = "R014", "A variable's value has a type that the kind does not declare.";
    UnknownStep = "R015", "There is no such step.";
    UnknownKind = "R016", "There is no such kind.";
    UnknownComponent = "R017", "There is no recipe for this component.";
    Cycle = "R018", "Components or images depend on each other in a circle.";
    MissingFile = "R019", "A file or folder does not exist.";
    DuplicateName = "R020", "Two things of the same sort have the same name.";
    GitAddress = "R021", "git cannot fetch from this address.";
    LeavesFolder = "R022", "A path is absolute, or leads out of its folder.";
    LockVersion = "R023", "This osier cannot read this version of the lock.";
    LockBroken = "R024", "The lock contradicts itself.";
    UnknownOutput = "R025", "A component has no output of that name.";
    UnsupportedTarget = "R026", "The component's recipe does not support this target.";
    UnknownName = "R027", "A name is not declared anywhere.";
    WrongPatch = "R028", "A patch or a list of patches cannot be used.";
    WrongTune = "R029", "The target, the build machine or the machine to boot does not have this processor level.";
    TooLarge = "R030", "Something is too large, or there is too much of it, for the kernel or the file system.";
}

impl Code {
    /// Finds a code by its text, in either case.
    pub fn parse(text: &str) -> Option<Self> {
        CODES.iter().map(|(code, _)| *code).find(|code| code.as_str().eq_ignore_ascii_case(text))
    }
}

impl fmt::Display for Code {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_numbered_without_gaps_and_found_again() {
        for (at, (code, meaning)) in CODES.iter().enumerate() {
            assert_eq!(code.as_str(), format!("R{:03}", at + 1));
            assert_eq!(Code::parse(&code.as_str().to_lowercase()), Some(*code));
            assert!(meaning.ends_with('.') && !meaning.contains('\n'));
        }
        assert_eq!(Code::parse("R000"), None);
    }
}
