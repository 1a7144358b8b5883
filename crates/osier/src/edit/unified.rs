//! Changes written as a patch: unified, with git's headers for what lines cannot say (modes, new, deleted and renamed files).

use std::fmt::Write as _;

use similar::{Algorithm, DiffOp, capture_diff_slices, group_diff_ops};

/// How many lines around a change are shown.
const CONTEXT: usize = 3;

/// A file or link on one side of a patch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Side {
    pub(super) kind: Kind,
    /// The bytes of a file, the target of a link.
    pub(super) content: Vec<u8>,
}

/// What a patch can say that something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Plain,
    Executable,
    Symlink,
}

/// A changed path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) path: Vec<u8>,
    pub(super) old: Option<Side>,
    pub(super) new: Option<Side>,
}

/// Something that a patch cannot say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unsaid {
    pub(super) path: Vec<u8>,
    pub(super) why: &'static str,
}

/// What a patch does with a file, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) word: &'static str,
    pub(super) path: String,
}

impl Kind {
    fn mode(self) -> &'static str {
        match self {
            Self::Plain => "100644",
            Self::Executable => "100755",
            Self::Symlink => "120000",
        }
    }
}

/// Writes changes as a patch, in the order of their paths; also says in words what it does, one line a file.
///
/// Everything that cannot be said in a patch is reported, and then there is none.
pub(super) fn write(pairs: &[Pair]) -> Result<(Vec<u8>, Vec<Line>), Vec<Unsaid>> {
    let unsaid: Vec<Unsaid> = pairs.iter().filter_map(unsaid).collect();
    if !unsaid.is_empty() {
        return Err(unsaid);
    }
    let (mut patch, mut lines) = (Vec::new(), Vec::new());
    let renames = renames(pairs);
    for (number, pair) in pairs.iter().enumerate() {
        let shown = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
        let mut line = |word| lines.push(Line { word, path: shown(&pair.path) });
        if renames.iter().any(|(from, _)| *from == number) {
            continue;
        }
        if let Some((from, _)) = renames.iter().find(|(_, to)| *to == number) {
            let from = &pairs[*from];
            if let (Some(old), Some(new)) = (&from.old, &pair.new) {
                rename(&mut patch, (&from.path, old), (&pair.path, new));
                let path = format!("{} to {}", shown(&from.path), shown(&pair.path));
                lines.push(Line { word: "renamed", path });
            }
            continue;
        }
        match (&pair.old, &pair.new) {
            (Some(old), Some(new)) if old.kind == Kind::Symlink || new.kind == Kind::Symlink => {
                // Lines of a link cannot be changed, nor can a link become a file.
                line("changed");
                delete(&mut patch, &pair.path, old);
                create(&mut patch, &pair.path, new);
            }
            (Some(old), Some(new)) => {
                line(if old.content == new.content { "mode of" } else { "changed" });
                change(&mut patch, &pair.path, old, new);
            }
            (None, Some(new)) => {
                line("new");
                create(&mut patch, &pair.path, new);
            }
            (Some(old), None) => {
                line("deleted");
                delete(&mut patch, &pair.path, old);
            }
            (None, None) => {}
        }
    }
    Ok((patch, lines))
}

/// Says what of a change a patch cannot say.
fn unsaid(pair: &Pair) -> Option<Unsaid> {
    let why = |why| Some(Unsaid { path: pair.path.clone(), why });
    if pair.path.iter().any(|byte| *byte < b' ' || *byte == 0x7f) {
        return why("its name has a control character");
    }
    let is_binary = |side: &Option<Side>| {
        side.as_ref().is_some_and(|side| side.kind != Kind::Symlink && side.content.contains(&0))
    };
    let same = match (&pair.old, &pair.new) {
        (Some(old), Some(new)) => old.content == new.content,
        _ => false,
    };
    if !same && (is_binary(&pair.old) || is_binary(&pair.new)) {
        return why("it is binary, and a patch has lines of text");
    }
    None
}

/// Finds files that have only another name now; gives the numbers of the old and the new one.
fn renames(pairs: &[Pair]) -> Vec<(usize, usize)> {
    let mut found: Vec<(usize, usize)> = Vec::new();
    for (to, pair) in pairs.iter().enumerate() {
        let (None, Some(new)) = (&pair.old, &pair.new) else { continue };
        if new.kind == Kind::Symlink || new.content.is_empty() {
            continue;
        }
        let from = pairs.iter().enumerate().position(|(from, other)| {
            let taken = found.iter().any(|(known, _)| *known == from);
            let gone = other.new.is_none() && !taken;
            gone && other
                .old
                .as_ref()
                .is_some_and(|old| old.kind != Kind::Symlink && old.content == new.content)
        });
        found.extend(from.map(|from| (from, to)));
    }
    found
}

fn text(patch: &mut Vec<u8>, line: impl AsRef<[u8]>) {
    patch.extend_from_slice(line.as_ref());
    patch.push(b'\n');
}

/// Writes a name as git does: in quotes where it has a quote or a backslash.
fn named(prefix: &str, path: &[u8]) -> Vec<u8> {
    let mut name = prefix.as_bytes().to_vec();
    name.extend_from_slice(path);
    if !path.iter().any(|byte| matches!(byte, b'"' | b'\\')) {
        return name;
    }
    let mut quoted = vec![b'"'];
    for byte in name {
        if matches!(byte, b'"' | b'\\') {
            quoted.push(b'\\');
        }
        quoted.push(byte);
    }
    quoted.push(b'"');
    quoted
}

fn header(patch: &mut Vec<u8>, old: &[u8], new: &[u8]) {
    text(patch, [b"diff --git ", &*named("a/", old), b" ", &*named("b/", new)].concat());
}

/// Writes the two lines before the hunks; a name with a blank is ended by a tab.
fn names(patch: &mut Vec<u8>, old: Option<&[u8]>, new: Option<&[u8]>) {
    for (word, prefix, path) in [("--- ", "a/", old), ("+++ ", "b/", new)] {
        let name = path.map_or_else(|| b"/dev/null".to_vec(), |path| named(prefix, path));
        let end: &[u8] = if name.contains(&b' ') { b"\t" } else { b"" };
        text(patch, [word.as_bytes(), &name, end].concat());
    }
}

fn modes(patch: &mut Vec<u8>, old: &Side, new: &Side) {
    if old.kind != new.kind {
        text(patch, format!("old mode {}", old.kind.mode()));
        text(patch, format!("new mode {}", new.kind.mode()));
    }
}

fn change(patch: &mut Vec<u8>, path: &[u8], old: &Side, new: &Side) {
    header(patch, path, path);
    modes(patch, old, new);
    if old.content != new.content {
        names(patch, Some(path), Some(path));
        hunks(patch, &old.content, &new.content);
    }
}

fn create(patch: &mut Vec<u8>, path: &[u8], new: &Side) {
    header(patch, path, path);
    text(patch, format!("new file mode {}", new.kind.mode()));
    if !new.content.is_empty() {
        names(patch, None, Some(path));
        hunks(patch, b"", &new.content);
    }
}

fn delete(patch: &mut Vec<u8>, path: &[u8], old: &Side) {
    header(patch, path, path);
    text(patch, format!("deleted file mode {}", old.kind.mode()));
    if !old.content.is_empty() {
        names(patch, Some(path), None);
        hunks(patch, &old.content, b"");
    }
}

fn rename(patch: &mut Vec<u8>, (from, old): (&[u8], &Side), (to, new): (&[u8], &Side)) {
    header(patch, from, to);
    modes(patch, old, new);
    text(patch, "similarity index 100%");
    text(patch, [b"rename from ", &*named("", from)].concat());
    text(patch, [b"rename to ", &*named("", to)].concat());
}

/// Writes what differs between two texts.
fn hunks(patch: &mut Vec<u8>, old: &[u8], new: &[u8]) {
    let (old, new) = (lines(old), lines(new));
    let changes = capture_diff_slices(Algorithm::Myers, &old, &new);
    for group in group_diff_ops(changes, CONTEXT) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { continue };
        let mut at = String::from("@@");
        for (sign, from, to) in [
            ('-', first.old_range().start, last.old_range().end),
            ('+', first.new_range().start, last.new_range().end),
        ] {
            // A side without lines names the line before.
            let start = if from == to { from } else { from + 1 };
            let _ = write!(at, " {sign}{start},{}", to - from);
        }
        text(patch, format!("{at} @@"));
        for change in &group {
            let (gone, come) = match change {
                DiffOp::Equal { .. } => {
                    rows(patch, b' ', &old[change.old_range()]);
                    continue;
                }
                _ => (change.old_range(), change.new_range()),
            };
            rows(patch, b'-', &old[gone]);
            rows(patch, b'+', &new[come]);
        }
    }
}

fn rows(patch: &mut Vec<u8>, sign: u8, lines: &[&[u8]]) {
    for line in lines {
        patch.push(sign);
        patch.extend_from_slice(line);
        if !line.ends_with(b"\n") {
            patch.extend_from_slice(b"\n\\ No newline at end of file\n");
        }
    }
}

/// Splits a text into lines, each with its end.
fn lines(text: &[u8]) -> Vec<&[u8]> {
    text.split_inclusive(|byte| *byte == b'\n').collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn side(text: &str) -> Option<Side> {
        let (kind, text) = match (text.strip_prefix("->"), text.strip_prefix('!')) {
            (Some(target), _) => (Kind::Symlink, target),
            (None, Some(text)) => (Kind::Executable, text),
            (None, None) => (Kind::Plain, text),
        };
        Some(Side { kind, content: text.as_bytes().to_vec() })
    }

    fn pair(path: &str, old: Option<&str>, new: Option<&str>) -> Pair {
        Pair { path: path.into(), old: old.and_then(side), new: new.and_then(side) }
    }

    #[test]
    fn everything_that_a_patch_can_say() {
        let long: String = (1..=20).map(|number| format!("line {number}\n")).collect();
        let changed = long.replace("line 3\n", "line three\n").replace("line 18\n", "");
        let pairs = [
            pair("a file", Some("one\n"), Some("two\n")),
            pair("bin/run", Some("x\n"), Some("!x\n")),
            pair("empty", None, Some("")),
            pair("gone", Some("last\n"), None),
            pair("link", Some("->a"), Some("->b")),
            pair("long", Some(&long), Some(&changed)),
            pair("new", None, Some("!first\nsecond")),
            pair("old/name", Some("the same\n"), None),
            pair("other/name", None, Some("the same\n")),
            pair("quo\"te", Some("q\n"), Some("r\n")),
            pair("was-file", Some("text\n"), Some("->target")),
        ];
        let (patch, lines) = write(&pairs).unwrap();
        insta::assert_snapshot!(String::from_utf8(patch).unwrap());
        let lines: Vec<String> =
            lines.iter().map(|line| format!("{} {}", line.word, line.path)).collect();
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn what_a_patch_cannot_say_is_told_with_its_name() {
        let pairs = [
            pair("good", Some("a\n"), Some("b\n")),
            pair("picture", None, Some("\0\u{1}")),
            pair("new\nline", None, Some("x\n")),
            // Only its mode is changed, and that can be said.
            pair("program", Some("\0"), Some("!\0")),
        ];
        let unsaid = write(&pairs).unwrap_err();
        let names: Vec<_> = unsaid.iter().map(|one| String::from_utf8_lossy(&one.path)).collect();
        assert_eq!(names, ["picture", "new\nline"]);
    }

    /// Applies the hunks of one file by their numbers alone, and checks every line that they name.
    fn applied(old: &[u8], patch: &str) -> Vec<u8> {
        let mut out: Vec<u8> = Vec::new();
        let old = lines(old);
        let mut next = 0;
        let mut rows = patch.split_inclusive('\n').peekable();
        while let Some(row) = rows.next() {
            if let Some(head) = row.strip_prefix("@@ -") {
                let (start, rest) = head.split_once(',').unwrap();
                let start: usize = start.parse().unwrap();
                let count: usize = rest.split(' ').next().unwrap().parse().unwrap();
                let from = if count == 0 { start } else { start - 1 };
                out.extend(old[next..from].concat());
                next = from;
                continue;
            }
            let (sign, mut line) = row.split_at(1);
            if rows.peek() == Some(&"\\ No newline at end of file\n") {
                line = line.strip_suffix('\n').unwrap();
            }
            match sign {
                " " | "-" => {
                    assert_eq!(old[next], line.as_bytes());
                    next += 1;
                    if sign == " " {
                        out.extend(line.as_bytes());
                    }
                }
                "+" => out.extend(line.as_bytes()),
                _ => {}
            }
        }
        out.extend(old[next..].concat());
        out
    }

    proptest! {
        #[test]
        fn hunks_make_one_text_of_the_other(
            old in prop::collection::vec("[ab]{0,2}", 0..25),
            new in prop::collection::vec("[ab]{0,2}", 0..25),
            ends in (any::<bool>(), any::<bool>()),
        ) {
            let text = |lines: &[String], end| {
                let text = lines.join("\n");
                if end && !lines.is_empty() { text + "\n" } else { text }
            };
            let (old, new) = (text(&old, ends.0), text(&new, ends.1));
            let mut patch = Vec::new();
            hunks(&mut patch, old.as_bytes(), new.as_bytes());
            let patch = String::from_utf8(patch).unwrap();
            prop_assert_eq!(applied(old.as_bytes(), &patch), new.as_bytes(), "{}", patch);
        }
    }
}
