//! Patterns over the paths of an image.

use std::fmt;

use crate::path::{ImagePath, PathError};

/// A path, or several: `*` stands for any bytes within a component, `?` for one character, and a
/// component `**` for any number of components, none included.
///
/// A backslash makes a blank, a tab, `#`, `=`, `*`, `?` or a backslash stand for itself. The
/// pattern `.` is the root. Matching takes time in proportion to pattern times path, whatever the
/// pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    parts: Vec<Part>,
    literal: Option<ImagePath>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    AnyDepth,
    Component(Vec<Glob>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Glob {
    Byte(u8),
    One,
    Run,
}

/// What makes a text no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// The path is unsound.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A backslash is followed by something that needs none, or by nothing.
    #[error("a backslash can only precede a space, a tab, `#`, `=`, `*`, `?` or a backslash")]
    Escape,
    /// `**` shares its component with something else.
    #[error("`**` must be a whole name in the path")]
    AnyDepth,
}

/// Splits escapes from what they protect: each character with whether it stands for itself.
pub(crate) fn unescape(text: &str) -> Result<Vec<(char, bool)>, PatternError> {
    let mut characters = Vec::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        if character != '\\' {
            characters.push((character, false));
            continue;
        }
        match rest.next() {
            Some(escaped @ (' ' | '\t' | '#' | '=' | '*' | '?' | '\\')) => {
                characters.push((escaped, true));
            }
            _ => return Err(PatternError::Escape),
        }
    }
    Ok(characters)
}

impl Pattern {
    /// Reads a pattern.
    pub fn new(text: &str) -> Result<Pattern, PatternError> {
        let characters = unescape(text)?;
        let plain: String = characters.iter().map(|&(character, _)| character).collect();
        let is_wild =
            |&(character, escaped): &(char, bool)| matches!(character, '*' | '?' if !escaped);
        if plain == "." {
            let literal = Some(ImagePath::root());
            return Ok(Pattern { text: text.into(), parts: Vec::new(), literal });
        }
        // Wildcards are characters of a name here, so that `//`, `..` and the like are found.
        let path = ImagePath::new(plain)?;
        if !characters.iter().any(is_wild) {
            return Ok(Pattern { text: text.into(), parts: Vec::new(), literal: Some(path) });
        }
        let parts = characters
            .split(|&(character, _)| character == '/')
            .map(|component| match component {
                [('*', false), ('*', false)] => Ok(Part::AnyDepth),
                _ if component.windows(2).any(|pair| pair == [('*', false), ('*', false)]) => {
                    Err(PatternError::AnyDepth)
                }
                _ => Ok(Part::Component(globs(component))),
            })
            .collect::<Result<_, _>>()?;
        Ok(Pattern { text: text.into(), parts, literal: None })
    }

    /// Returns the one path that a pattern without wildcards stands for.
    pub fn literal(&self) -> Option<&ImagePath> {
        self.literal.as_ref()
    }

    /// Tells whether the pattern stands for `path`. Wildcards never stand for the root.
    pub fn matches(&self, path: &ImagePath) -> bool {
        if let Some(literal) = &self.literal {
            return literal == path;
        }
        let names: Vec<&[u8]> = path.components().collect();
        // The classic walk with one point of return: what the last `**` has swallowed can grow by
        // a component, and no earlier one needs to.
        let (mut part, mut name) = (0, 0);
        let mut retry = None;
        while name < names.len() || self.parts.get(part) == Some(&Part::AnyDepth) {
            match self.parts.get(part) {
                Some(Part::AnyDepth) => {
                    part += 1;
                    retry = Some((part, name));
                    // A `**` at the end stands for what is below a folder, not the folder itself.
                    if part == self.parts.len() {
                        return name < names.len();
                    }
                }
                Some(Part::Component(globs)) if matches_component(globs, names[name]) => {
                    part += 1;
                    name += 1;
                }
                _ => match retry {
                    Some((after, from)) => {
                        retry = Some((after, from + 1));
                        (part, name) = (after, from + 1);
                    }
                    None => return false,
                },
            }
        }
        part == self.parts.len() && name == names.len() && !names.is_empty()
    }

    /// Returns the leading bytes that every match has; empty where a wildcard comes first.
    pub(crate) fn fixed_prefix(&self) -> Vec<u8> {
        let mut prefix = Vec::new();
        for part in &self.parts {
            let Part::Component(globs) = part else { break };
            for glob in globs {
                let Glob::Byte(byte) = glob else { return prefix };
                prefix.push(*byte);
            }
            prefix.push(b'/');
        }
        prefix
    }
}

fn globs(component: &[(char, bool)]) -> Vec<Glob> {
    let mut globs = Vec::new();
    let mut buffer = [0; 4];
    for &(character, escaped) in component {
        match character {
            '*' if !escaped => globs.push(Glob::Run),
            '?' if !escaped => globs.push(Glob::One),
            _ => globs.extend(character.encode_utf8(&mut buffer).bytes().map(Glob::Byte)),
        }
    }
    globs
}

fn matches_component(globs: &[Glob], name: &[u8]) -> bool {
    let (mut glob, mut at) = (0, 0);
    let mut retry = None;
    while at < name.len() {
        match globs.get(glob) {
            Some(Glob::Run) => {
                glob += 1;
                retry = Some((glob, at));
            }
            Some(Glob::One) => {
                glob += 1;
                at += character_bytes(&name[at..]);
            }
            Some(Glob::Byte(byte)) if *byte == name[at] => {
                glob += 1;
                at += 1;
            }
            _ => match retry {
                Some((after, from)) => {
                    retry = Some((after, from + 1));
                    (glob, at) = (after, from + 1);
                }
                None => return false,
            },
        }
    }
    globs[glob..].iter().all(|glob| *glob == Glob::Run)
}

/// Returns how many bytes the first character has: one where it is not UTF-8.
fn character_bytes(bytes: &[u8]) -> usize {
    let first = bytes.utf8_chunks().next().and_then(|chunk| chunk.valid().chars().next());
    first.map_or(1, char::len_utf8)
}

impl fmt::Display for Pattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, path: &str) -> bool {
        Pattern::new(pattern).unwrap().matches(&ImagePath::new(path).unwrap())
    }

    #[test]
    fn what_matches() {
        let table = [
            ("bin/sh", "bin/sh", true),
            ("bin/sh", "bin/sh2", false),
            ("bin/*", "bin/sh", true),
            ("bin/*", "bin/a/b", false),
            ("bin/*", "bin", false),
            ("*", ".hidden", true),
            ("lib*.so*", "libz.so.1", true),
            ("lib*.so", "libz.so.1", false),
            ("a?c", "abc", true),
            ("a?c", "aéc", true),
            ("a?c", "ac", false),
            ("**", "a/b/c", true),
            ("usr/**", "usr", false),
            ("usr/**", "usr/a", true),
            ("usr/**", "usr/a/b", true),
            ("usr/**", "usrx/a", false),
            ("**/x", "x", true),
            ("**/x", "a/b/x", true),
            ("**/x", "a/b/x/y", false),
            ("a/**/b", "a/b", true),
            ("a/**/b", "a/1/2/b", true),
            ("a/**/b/**/c", "a/b/1/b/2/c", true),
            ("a/**/b/**/c", "a/1/c", false),
            ("**/**/x", "x", true),
            ("**/a/**", "b/a", false),
            ("**/a/**", "b/a/c", true),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            ("a\\*?", "a*b", true),
            ("a\\ b", "a b", true),
            ("a\\\\b", "a\\b", true),
            ("*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
        ];
        for (pattern, path, expected) in table {
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        }
        let bytes = ImagePath::new(&b"a\xffc"[..]).unwrap();
        assert!(Pattern::new("a?c").unwrap().matches(&bytes));
        assert!(Pattern::new(".").unwrap().matches(&ImagePath::root()));
        assert!(!Pattern::new("**").unwrap().matches(&ImagePath::root()));
    }

    #[test]
    fn what_is_refused() {
        let table = [
            ("", PatternError::Path(PathError::Empty)),
            ("/bin", PatternError::Path(PathError::Absolute)),
            ("*/../x", PatternError::Path(PathError::Dots)),
            ("*//x", PatternError::Path(PathError::EmptyComponent)),
            ("a**", PatternError::AnyDepth),
            ("***", PatternError::AnyDepth),
            ("a\\n", PatternError::Escape),
            ("a\\", PatternError::Escape),
        ];
        for (text, error) in table {
            assert_eq!(Pattern::new(text), Err(error), "{text}");
        }
    }

    #[test]
    fn prefixes() {
        let prefix = |text| Pattern::new(text).unwrap().fixed_prefix();
        assert_eq!(prefix("usr/lib/lib*.so"), b"usr/lib/lib");
        assert_eq!(prefix("usr/**/x"), b"usr/");
        assert_eq!(prefix("**"), b"");
    }

    /// Matches by definition: every way to split is tried.
    fn slow(parts: &[&str], names: &[&str]) -> bool {
        fn component(glob: &[u8], name: &[u8]) -> bool {
            match (glob, name) {
                ([], []) => true,
                ([b'*', rest @ ..], _) => (0..=name.len()).any(|n| component(rest, &name[n..])),
                ([b'?', rest @ ..], [_, others @ ..]) => component(rest, others),
                ([a, rest @ ..], [b, others @ ..]) => a == b && component(rest, others),
                _ => false,
            }
        }
        match (parts, names) {
            ([], []) => true,
            (["**"], _) => !names.is_empty(),
            (["**", rest @ ..], _) => (0..=names.len()).any(|n| slow(rest, &names[n..])),
            ([part, rest @ ..], [name, others @ ..]) => {
                component(part.as_bytes(), name.as_bytes()) && slow(rest, others)
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn same_as_by_definition(
            parts in prop::collection::vec("\\*\\*|[ab?]{1,3}|[ab?]{0,2}\\*[ab?]{0,2}", 1..5),
            names in prop::collection::vec("[ab]{1,4}", 1..6),
        ) {
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            prop_assert_eq!(matches(&parts.join("/"), &names.join("/")), slow(&parts, &names));
        }

        #[test]
        fn never_panics(text in any::<String>(), path in "[a-c*/]{1,9}") {
            if let (Ok(pattern), Ok(path)) = (Pattern::new(&text), ImagePath::new(path)) {
                pattern.matches(&path);
            }
        }
    }
}
