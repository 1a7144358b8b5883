//! What stands between diffs: words, mostly, and lines of diffs that nothing would be done of.

use crate::problem::Problem;
use crate::text::field;

/// The colours of a terminal begin with these bytes.
const ESCAPE: &[u8] = b"\x1b[";

/// Blanks that are no ASCII, as web pages have them, and the mark of UTF-8.
const WIDE_BLANKS: [&str; 5] = ["\u{a0}", "\u{200b}", "\u{2060}", "\u{3000}", "\u{feff}"];

/// What the lines of git's header begin with that name a file.
const MOVES: [&str; 4] = ["rename from ", "rename to ", "copy from ", "copy to "];

/// What its other lines begin with.
const HEADER: [&str; 7] = [
    "old mode ",
    "new mode ",
    "new file mode ",
    "deleted file mode ",
    "similarity index ",
    "dissimilarity index ",
    "index ",
];

/// Most lines between the head of a commit and its message.
const HEAD: usize = 20;

/// Most lines that an `ed` puts in at one place.
const PUT_IN: usize = 1000;

/// Where the words of a mail end that begins at a line: at its line `---`. Lines of diffs may be quoted there.
pub(crate) fn letter(lines: &[&[u8]], at: usize) -> Option<usize> {
    let line = lines.get(at)?;
    let is_letter = line.starts_with(b"From ")
        || field(line).is_some_and(|name| {
            ["From", "Subject", "Message-ID", "Date"]
                .iter()
                .any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
        });
    let end = lines[at..].iter().position(|line| line.trim_ascii_end() == b"---");
    end.filter(|_| is_letter).map(|length| at + length)
}

/// Where the message of a commit ends that `git log` or `git show` writes from here on: at a line that is not indented.
pub(crate) fn message(lines: &[&[u8]], at: usize) -> Option<usize> {
    let commit = lines[at].strip_prefix(b"commit ")?;
    let id = commit.split(|byte| *byte == b' ').next().unwrap_or_default().trim_ascii_end();
    if !is_hex(id, 40) {
        return None;
    }
    let is_indented = |line: &&[u8]| line.starts_with(b"    ");
    let begin = at + 1 + lines[at + 1..].iter().take(HEAD).position(is_indented)?;
    let left = |line: &&[u8]| !is_indented(line) && !line.trim_ascii().is_empty();
    let end = begin + lines[begin..].iter().position(left)?;
    // A change that begins without `diff --git` may belong to what is indented above it.
    (!begins(lines[end], &["--- ", "+++ ", "@@"])).then_some(end)
}

/// Finds what a line between diffs says that would get lost. In `words` above a change lines of a diff are none.
pub(crate) fn overlooked(lines: &[&[u8]], at: usize, words: bool) -> Option<Problem> {
    let line = lines[at].trim_ascii_end();
    if let Some(problem) = encoded(lines, at).or_else(|| form(lines, at)) {
        return Some(problem);
    }
    if words {
        return None;
    }
    let (before, bare) = bare(line);
    if is_submodule(bare) {
        return Some(Problem::Submodule);
    }
    if !is_header(lines, at, bare) {
        return None;
    }
    let text = shown(bare);
    Some(match before {
        Some(before) => Problem::Moved { text, before },
        None => Problem::Orphan { text },
    })
}

/// A line of a mail's header that says that the lines below are not written as they are.
fn encoded(lines: &[&[u8]], at: usize) -> Option<Problem> {
    // Only two fields matter, and few lines begin like them.
    if !lines[at].get(..8).is_some_and(|start| start.eq_ignore_ascii_case(b"content-")) {
        return None;
    }
    let folded = |line: &&&[u8]| line.starts_with(b" ") || line.starts_with(b"\t");
    let more = lines[at + 1..].iter().take_while(folded).copied();
    let whole: Vec<u8> = std::iter::once(lines[at]).chain(more).flatten().copied().collect();
    let whole = String::from_utf8_lossy(&whole).to_ascii_lowercase();
    let (name, value) = whole.split_once(':')?;
    let value = value.trim().trim_matches('"');
    match name {
        "content-transfer-encoding" if !matches!(value, "7bit" | "8bit" | "binary") => {
            Some(Problem::Encoded { encoding: value.to_owned() })
        }
        "content-type" if value.replace([' ', '"'], "").contains("format=flowed") => {
            Some(Problem::Flowed)
        }
        _ => None,
    }
}

/// Another form of diff than the unified one.
fn form(lines: &[&[u8]], at: usize) -> Option<Problem> {
    let line = lines[at].trim_ascii_end();
    let next = lines.get(at + 1).copied().unwrap_or_default().trim_ascii_end();
    let form = |form| Some(Problem::Form { form });
    if line.starts_with(b"@@@ -")
        || line.starts_with(b"diff --cc ")
        || line.starts_with(b"diff --combined ")
    {
        return form("combined");
    }
    let range = |line: &[u8]| {
        let rest = line.strip_prefix(b"*** ").and_then(|rest| rest.strip_suffix(b" ****"));
        rest.is_some_and(|rest| {
            !rest.is_empty() && rest.iter().all(|byte| byte.is_ascii_digit() || *byte == b',')
        })
    };
    if line == b"***************" || (line.starts_with(b"***************") && range(next)) {
        return form("context");
    }
    match (command(line), next.first()) {
        (Some((_, true)), Some(b'<' | b'>')) if next.get(1) == Some(&b' ') => form("normal"),
        // What an `ed` puts in ends with a dot.
        (Some((b'a' | b'c', false)), _)
            if lines[at + 1..].iter().take(PUT_IN).any(|line| line.trim_ascii_end() == b".") =>
        {
            form("ed")
        }
        _ => None,
    }
}

/// Reads `5,7c8` or `5d`: gives the letter, and whether lines of the other file are named.
fn command(line: &[u8]) -> Option<(u8, bool)> {
    let is_range = |text: &[u8]| {
        let sound = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
        text.splitn(2, |byte| *byte == b',').all(sound)
    };
    let at = line.iter().position(|byte| matches!(byte, b'a' | b'c' | b'd'))?;
    let (left, right) = (&line[..at], &line[at + 1..]);
    (is_range(left) && (right.is_empty() || is_range(right)))
        .then_some((line[at], !right.is_empty()))
}

/// Takes off what stands before a line that somebody quoted, indented or coloured; says what that is.
fn bare(line: &[u8]) -> (Option<&'static str>, &[u8]) {
    let (mut rest, mut before) = (line, None);
    loop {
        let wide = WIDE_BLANKS.iter().find_map(|blank| rest.strip_prefix(blank.as_bytes()));
        rest = match rest {
            [b' ' | b'\t', more @ ..] => {
                before = before.or(Some("spaces"));
                more
            }
            [b'>' | b'|', more @ ..] => {
                before = Some("quote marks");
                more
            }
            _ if rest.starts_with(ESCAPE) => {
                before = Some("colour codes (`git diff --no-color` writes none)");
                let end = rest.iter().position(|byte| *byte == b'm').unwrap_or(rest.len() - 1);
                &rest[end + 1..]
            }
            _ => match wide {
                Some(more) => {
                    before = before.or(Some("spaces"));
                    more
                }
                None => return (before, rest),
            },
        }
    }
}

/// Whether a line is one of a diff's, and none of words.
fn is_header(lines: &[&[u8]], at: usize, line: &[u8]) -> bool {
    let mode = |word: &str| {
        let mode = line.strip_prefix(word.as_bytes());
        mode.is_some_and(|mode| {
            mode.len() == 6 && mode.iter().all(|byte| (b'0'..b'8').contains(byte))
        })
    };
    let alike = |word: &str| {
        let number = line.strip_prefix(word.as_bytes()).and_then(|rest| rest.strip_suffix(b"%"));
        number.is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit))
    };
    if ["old mode ", "new mode ", "new file mode ", "deleted file mode "].into_iter().any(mode)
        || ["similarity index ", "dissimilarity index "].into_iter().any(alike)
        || line == b"GIT binary patch"
        || is_binary(line)
    {
        return true;
    }
    let next = bare(lines.get(at + 1).copied().unwrap_or_default().trim_ascii_end()).1;
    if let Some(names) = line.strip_prefix(b"diff --git ") {
        return is_git(names);
    }
    if line.starts_with(b"--- ") {
        let third = bare(lines.get(at + 2).copied().unwrap_or_default()).1;
        return next.starts_with(b"+++ ") && is_hunk(third);
    }
    if [&b"literal "[..], b"delta "].iter().any(|word| {
        line.strip_prefix(*word)
            .is_some_and(|size| !size.is_empty() && size.iter().all(u8::is_ascii_digit))
    }) {
        return crate::binary::is_line(next);
    }
    is_hunk(line) || is_move(lines, at, line)
}

/// Whether a file's header of git begins at a line, and no sentence about `diff --git`.
pub(crate) fn is_git_file(lines: &[&[u8]], at: usize) -> bool {
    let next = lines.get(at + 1).copied().unwrap_or_default();
    let names = lines[at].strip_prefix(b"diff --git ");
    names.is_some_and(|names| is_git(names) || begins(next, &MOVES) || begins(next, &HEADER))
}

fn begins(line: &[u8], words: &[&str]) -> bool {
    words.iter().any(|word| line.starts_with(word.as_bytes()))
}

/// Whether the two names of `diff --git` stand here: with folders, in quotes, or equal.
fn is_git(names: &[u8]) -> bool {
    let names = names.trim_ascii();
    let half = names.len() / 2;
    names.contains(&b'/')
        || names.starts_with(b"\"")
        || (names.get(half) == Some(&b' ') && names[..half] == names[half + 1..])
}

/// Whether this says that two files differ, and not how.
pub(crate) fn is_binary(line: &[u8]) -> bool {
    let between = |first: &str, last: &str| {
        let rest = line.strip_prefix(first.as_bytes());
        rest.is_some_and(|rest| rest.ends_with(last.as_bytes()))
    };
    let two = between("Binary files ", " differ") || between("Files ", " differ");
    (two && line.windows(5).any(|word| word == b" and ")) || between("Binary file ", " has changed")
}

/// Whether a hunk begins here, however many blanks are in its header.
pub(crate) fn is_hunk(line: &[u8]) -> bool {
    let Some(rest) = line.strip_prefix(b"@@") else { return false };
    matches!(rest.trim_ascii_start(), [b'-', rest @ ..] if rest.trim_ascii_start().first().is_some_and(u8::is_ascii_digit))
}

/// Whether a line moves or copies a file. In words such a line has more of them, and no line of a header beside it.
fn is_move(lines: &[&[u8]], at: usize, line: &[u8]) -> bool {
    let name = MOVES.iter().find_map(|word| line.strip_prefix(word.as_bytes()));
    let Some(name) = name.map(<[u8]>::trim_ascii) else { return false };
    // The summary of `git format-patch` has such lines of files with these names.
    if name.windows(2).any(|arrow| arrow == b"=>") {
        return false;
    }
    let beside = [at.checked_sub(1), Some(at + 1)];
    let beside = beside.into_iter().flatten().filter_map(|at| lines.get(at));
    let mut beside = beside.map(|line| bare(line).1);
    name.starts_with(b"\"")
        || !name.iter().any(u8::is_ascii_whitespace)
        || beside.any(|line| {
            begins(line, &MOVES)
                || begins(line, &HEADER)
                || begins(line, &["diff --git ", "--- ", "+++ "])
        })
}

/// Whether a line changes the commit of a submodule, in one of git's ways to say it.
pub(crate) fn is_submodule(line: &[u8]) -> bool {
    let commit = line.strip_prefix(b"-").or_else(|| line.strip_prefix(b"+")).unwrap_or(line);
    if let Some(id) = commit.strip_prefix(b"Subproject commit ") {
        return is_hex(id.strip_suffix(b"-dirty").unwrap_or(id), 7);
    }
    let Some(rest) = line.strip_prefix(b"Submodule ") else { return false };
    let word = rest.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    let mut ends = word.split(|byte| *byte == b'.').filter(|part| !part.is_empty());
    rest.ends_with(b" contains modified content")
        || rest.ends_with(b" contains untracked content")
        || (word.windows(2).any(|dots| dots == b"..")
            && ends.all(|end| is_hex(end.trim_ascii_end().strip_suffix(b":").unwrap_or(end), 7)))
}

fn is_hex(text: &[u8], least: usize) -> bool {
    text.len() >= least && text.iter().all(u8::is_ascii_hexdigit)
}

fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(text).trim_end().chars().take(80).collect()
}
