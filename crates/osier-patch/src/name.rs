//! Names of files in patches: how they are written, and that they stay inside the source.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::problem::Problem;

/// Reads the name behind `---` or `+++`; nothing for `/dev/null`.
///
/// Without a tab in front of the date a name ends at the first blank, but for git, which writes no date.
pub(crate) fn of_header(rest: &[u8], git: bool) -> Result<Option<Vec<u8>>, Problem> {
    let rest = trim(rest);
    let name = if rest.starts_with(b"\"") {
        unquoted(rest)?.0
    } else if let Some(tab) = rest.iter().position(|byte| *byte == b'\t') {
        rest[..tab].to_vec()
    } else if git {
        rest.to_vec()
    } else {
        rest.split(u8::is_ascii_whitespace).next().unwrap_or_default().to_vec()
    };
    Ok((name != b"/dev/null").then_some(name))
}

/// Reads the name behind `rename from` and the like.
pub(crate) fn of_line(rest: &[u8]) -> Result<Vec<u8>, Problem> {
    let rest = trim(rest);
    if rest.starts_with(b"\"") { Ok(unquoted(rest)?.0) } else { Ok(rest.to_vec()) }
}

/// Reads the two names of `diff --git`, which say something only where they are one file.
pub(crate) fn of_git(rest: &[u8], strip: u32) -> Result<Option<Vec<u8>>, Problem> {
    let rest = trim(rest);
    let same = |left: &[u8], right: &[u8]| {
        let (one, other) = (without_leading(left, strip), without_leading(right, strip));
        one.is_some() && one == other
    };
    if rest.starts_with(b"\"") {
        let (left, behind) = unquoted(rest)?;
        let right = of_line(behind.strip_prefix(b" ").unwrap_or(behind))?;
        return Ok(same(&left, &right).then_some(left));
    }
    let blanks = rest.iter().enumerate().filter(|(_, byte)| **byte == b' ');
    let halves = blanks.map(|(at, _)| (&rest[..at], &rest[at + 1..]));
    Ok(halves.into_iter().find(|(left, right)| same(left, right)).map(|(left, _)| left.to_vec()))
}

/// Takes leading folders off a name, and refuses one that would leave the source.
pub(crate) fn inside(name: &[u8], strip: u32) -> Result<PathBuf, Problem> {
    let shown = || String::from_utf8_lossy(name).into_owned();
    if name.first() == Some(&b'/') {
        return Err(Problem::Hostile { name: shown(), what: "is absolute" });
    }
    if name.contains(&0) {
        return Err(Problem::Hostile { name: shown(), what: "contains a NUL" });
    }
    let Some(parts) = without_leading(name, strip) else {
        return Err(Problem::TooShort { name: shown(), strip });
    };
    if parts.contains(&b"..".as_slice()) {
        return Err(Problem::Hostile { name: shown(), what: "has `..` in it" });
    }
    Ok(parts.into_iter().map(OsStr::from_bytes).collect())
}

/// The parts of a name behind its leading folders; nothing where nothing is left.
fn without_leading(name: &[u8], strip: u32) -> Option<Vec<&[u8]>> {
    let parts = name.split(|byte| *byte == b'/').filter(|part| !part.is_empty());
    let parts: Vec<&[u8]> = parts
        .skip(usize::try_from(strip).unwrap_or(usize::MAX))
        .filter(|part| *part != b".")
        .collect();
    (!parts.is_empty()).then_some(parts)
}

fn trim(rest: &[u8]) -> &[u8] {
    rest.trim_ascii_end().trim_ascii_start()
}

/// Reads a name in double quotes, as C writes it, and gives what stands behind it.
fn unquoted(text: &[u8]) -> Result<(Vec<u8>, &[u8]), Problem> {
    let wrong = || Problem::Quotes { name: String::from_utf8_lossy(text).into_owned() };
    let mut name = Vec::new();
    let mut at = 1;
    loop {
        match (text.get(at), text.get(at + 1)) {
            (Some(b'"'), _) => return Ok((name, &text[at + 1..])),
            (Some(b'\\'), Some(digit @ b'0'..=b'3')) => {
                let digits = text.get(at + 2..at + 4).ok_or_else(wrong)?;
                let octal =
                    |byte: u8| (b'0'..=b'7').contains(&byte).then(|| byte - b'0').ok_or_else(wrong);
                name.push((digit - b'0') * 64 + octal(digits[0])? * 8 + octal(digits[1])?);
                at += 4;
            }
            (Some(b'\\'), Some(letter)) => {
                name.push(match letter {
                    b'a' => 7,
                    b'b' => 8,
                    b't' => b'\t',
                    b'n' => b'\n',
                    b'v' => 11,
                    b'f' => 12,
                    b'r' => b'\r',
                    b'"' | b'\\' => *letter,
                    _ => return Err(wrong()),
                });
                at += 2;
            }
            (Some(byte), _) => {
                name.push(*byte);
                at += 1;
            }
            (None, _) => return Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_diff_and_git_write_them() {
        let cases: &[(&str, bool, Option<&str>)] = &[
            (" a/x.c\t2020-01-01 00:00:00\n", false, Some("a/x.c")),
            (" a/with blank.c\t2020-01-01\r\n", false, Some("a/with blank.c")),
            (" a/x.c Mon Jan  6 2020\n", false, Some("a/x.c")),
            (" a/with blank\n", true, Some("a/with blank")),
            (" /dev/null\n", false, None),
            (" /dev/null\tThu Jan 1 1970\n", false, None),
            (" \"a/\\303\\244\\t\\\"\"\n", true, Some("a/ä\t\"")),
        ];
        for (text, git, name) in cases {
            let read = of_header(text.as_bytes(), *git).unwrap();
            assert_eq!(read.as_deref(), name.map(str::as_bytes), "{text}");
        }
        assert!(of_header(b" \"a/\\9\"", true).is_err());
        assert!(of_header(b" \"a", true).is_err());
        assert_eq!(of_git(b" a/x y b/x y\n", 1).unwrap().as_deref(), Some(&b"a/x y"[..]));
        assert_eq!(of_git(b" x y x y\n", 0).unwrap().as_deref(), Some(&b"x y"[..]));
        assert_eq!(of_git(b" \"a/\\t\" \"b/\\t\"\n", 1).unwrap().as_deref(), Some(&b"a/\t"[..]));
        assert_eq!(of_git(b" a/x b/y\n", 1).unwrap(), None);
    }

    #[test]
    fn names_stay_inside_the_source() {
        let path = |name: &str, strip| inside(name.as_bytes(), strip);
        assert_eq!(path("a/src/x.c", 1).unwrap(), PathBuf::from("src/x.c"));
        assert_eq!(path("./x.c", 1).unwrap(), PathBuf::from("x.c"));
        assert_eq!(path("a//src/./x.c", 1).unwrap(), PathBuf::from("src/x.c"));
        assert_eq!(path("../old/x.c", 2).unwrap(), PathBuf::from("x.c"));
        assert!(matches!(path("x.c", 1), Err(Problem::TooShort { strip: 1, .. })));
        for hostile in ["/etc/passwd", "a/../../etc/passwd", "a/..", "a/x\0y", "//etc/passwd"] {
            assert!(matches!(path(hostile, 1), Err(Problem::Hostile { .. })), "{hostile}");
        }
        assert!(matches!(path("../x", 0), Err(Problem::Hostile { .. })));
    }
}
