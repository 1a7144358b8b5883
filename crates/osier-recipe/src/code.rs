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
    UnknownKey = "R003", "A key is not one that this table has.";
    WrongType = "R004", "A value has another type than its key asks for.";
    MissingKey = "R005", "A key that this table must have is not there.";
    WrongForm = "R006", "A value has the right type and is still not what its key asks for.";
    DuplicateKey = "R007", "One key is given twice.";
    Conflict = "R008", "Keys are given together that exclude one another, or none of which one is needed.";
    NameMismatch = "R009", "The name in the file and the name of the file differ.";
    MissingHash = "R010", "A source that is fetched from a URL has no SHA-256.";
    UnknownTarget = "R011", "A target is not one that osier knows.";
    UnknownVariable = "R012", "A value is given to a variable that the kind does not declare.";
    MissingVariable = "R013", "A variable that the kind requires has no value.";
    WrongVariable = "R014", "A variable's value has another type than the kind declares.";
    UnknownStep = "R015", "A step is named that does not exist.";
    UnknownKind = "R016", "A kind is named that does not exist.";
    UnknownComponent = "R017", "A component is named for which there is no recipe.";
    Cycle = "R018", "Components need one another in a circle.";
    MissingFile = "R019", "A file or folder that is named does not exist.";
    DuplicateName = "R020", "Two things of one kind have the same name.";
    GitAddress = "R021", "The address is not one that git can fetch from.";
    LeavesFolder = "R022", "A path is absolute or leaves the folder that it must stay in.";
    LockVersion = "R023", "The lock is of a version that this osier does not know.";
    LockBroken = "R024", "The lock contradicts itself.";
    UnknownOutput = "R025", "A component has no output of that name.";
    UnsupportedTarget = "R026", "A component is asked for on a target that its recipe does not support.";
    UnknownName = "R027", "A name is used that is declared nowhere.";
    WrongPatch = "R028", "A patch, or a list of patches, cannot be read or used.";
    WrongTune = "R029", "A level of a processor is asked for that the target, or the machine that builds or boots, does not have.";
    TooLarge = "R030", "Something is larger, or there is more of it, than the kernel or the file system can take.";
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
