//! Changes written as a patch: unified, with git's headers for what lines cannot say (modes, new, deleted, renamed files).

use std::collections::HashSet;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use similar::{Algorithm, DiffOp, capture_diff_slices_deadline, group_diff_ops};

use crate::tree::Node;

/// How many lines around a change are shown.
const CONTEXT: usize = 3;

/// How long the lines of one file are compared.
const PATIENCE: Duration = Duration::from_secs(5);

/// What stands at a path before and after a change. It is a change only where they differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The path below the source's folder; relative, without `..`.
    pub path: PathBuf,
    /// What was there.
    pub old: Option<Node>,
    /// What is there now.
    pub new: Option<Node>,
}

/// A patch as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The patch, whose names have one leading folder.
    pub text: Vec<u8>,
    /// What it does, one line for each file.
    pub files: Vec<String>,
}

/// Something that a patch cannot say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsaid {
    /// Where.
    pub path: PathBuf,
    /// Why not.
    pub why: &'static str,
}

/// Writes changes as one patch, in the order of their paths. [`classify`](crate::classify) puts it on the old side as a
/// clean one, and makes the new side of it; of a mode only whether a file can be run is said.
///
/// # Errors
/// All that cannot be said: changes of bytes that are not lines, a folder that became a file.
pub fn write(pairs: &[Pair]) -> Result<Written, Vec<Unsaid>> {
    let differs = |pair: &&Pair| match (&pair.old, &pair.new) {
        (Some(old), Some(new)) => mode(old) != mode(new) || bytes(old) != bytes(new),
        (old, new) => old.is_some() || new.is_some(),
    };
    let mut pairs: Vec<&Pair> = pairs.iter().filter(differs).collect();
    pairs.sort_by(|one, other| one.path.cmp(&other.path));
    let unsaid: Vec<Unsaid> = pairs.iter().filter_map(|pair| unsaid(pair, &pairs)).collect();
    if !unsaid.is_empty() {
        return Err(unsaid);
    }
    let mut written = Written { text: Vec::new(), files: Vec::new() };
    let renames = renames(&pairs);
    for (number, pair) in pairs.iter().enumerate() {
        if renames.iter().any(|(from, _)| *from == number) {
            continue;
        }
        let text = &mut written.text;
        let mut said = |what: &str| written.files.push(format!("{what} {}", shown(&pair.path)));
        let from = renames.iter().find(|(_, to)| *to == number).map(|(from, _)| pairs[*from]);
        match (from, &pair.old, &pair.new) {
            (Some(from), _, _) => {
                said(&format!("renamed {} to", shown(&from.path)));
                rename(text, &from.path, &pair.path);
            }
            (None, Some(old), Some(new)) if is_link(old) || is_link(new) => {
                // Lines of a link cannot be changed, nor can a link become a file.
                said("changed");
                delete(text, &pair.path, old);
                create(text, &pair.path, new);
            }
            (None, Some(old), Some(new)) => {
                said(if bytes(old) == bytes(new) { "mode of" } else { "changed" });
                change(text, &pair.path, old, new);
            }
            (None, None, Some(new)) => {
                said("new");
                create(text, &pair.path, new);
            }
            (None, Some(old), None) => {
                said("deleted");
                delete(text, &pair.path, old);
            }
            (None, None, None) => {}
        }
    }
    Ok(written)
}

fn shown(path: &Path) -> String {
    let name = path.to_string_lossy();
    if name.chars().any(char::is_control) { format!("{name:?}") } else { name.into_owned() }
}

fn is_link(node: &Node) -> bool {
    matches!(node, Node::Symlink { .. })
}

fn bytes(node: &Node) -> &[u8] {
    match node {
        Node::File { content, .. } => content,
        Node::Symlink { target } => target,
    }
}

fn mode(node: &Node) -> &'static str {
    match node {
        Node::Symlink { .. } => "120000",
        Node::File { mode, .. } if mode & 0o111 == 0 => "100644",
        Node::File { .. } => "100755",
    }
}

/// Says what of a change a patch cannot say.
fn unsaid(pair: &Pair, pairs: &[&Pair]) -> Option<Unsaid> {
    let because = |why| Some(Unsaid { path: pair.path.clone(), why });
    let is_binary = |side: &Option<Node>| {
        side.as_ref().is_some_and(|node| !is_link(node) && bytes(node).contains(&0))
    };
    let same = pair.old.as_ref().map(bytes) == pair.new.as_ref().map(bytes);
    if !same && (is_binary(&pair.old) || is_binary(&pair.new)) {
        return because("it is binary, but a patch consists of lines of text");
    }
    let was_below = |other: &&&Pair| {
        other.old.is_some() && other.path != pair.path && other.path.starts_with(&pair.path)
    };
    if pair.new.is_some() && pairs.iter().any(|other| was_below(&other)) {
        return because("it was a folder, which a patch cannot replace by a file");
    }
    None
}

/// Finds files that have only another name now; gives the numbers of the old and the new one.
fn renames(pairs: &[&Pair]) -> Vec<(usize, usize)> {
    let mut found: Vec<(usize, usize)> = Vec::new();
    for (to, pair) in pairs.iter().enumerate() {
        let (None, Some(new)) = (&pair.old, &pair.new) else { continue };
        if is_link(new) || bytes(new).is_empty() {
            continue;
        }
        let from = pairs.iter().enumerate().position(|(from, other)| {
            let taken = found.iter().any(|(known, _)| *known == from);
            !taken && other.new.is_none() && other.old.as_ref() == Some(new)
        });
        found.extend(from.map(|from| (from, to)));
    }
    found
}

fn line(text: &mut Vec<u8>, line: impl AsRef<[u8]>) {
    text.extend_from_slice(line.as_ref());
    text.push(b'\n');
}

/// Writes a name as git does: in quotes where it could be read as another one.
fn named(prefix: &str, path: &Path) -> Vec<u8> {
    let name = [prefix.as_bytes(), path.as_os_str().as_bytes()].concat();
    let is_plain = |byte: &u8| !matches!(byte, b'"' | b'\\' | 0..b' ' | 0x7f);
    if name.iter().all(is_plain) && name.trim_ascii() == name {
        return name;
    }
    let mut quoted = vec![b'"'];
    for byte in name {
        match byte {
            b'"' | b'\\' => quoted.extend([b'\\', byte]),
            0..b' ' | 0x7f => quoted.extend(format!("\\{byte:03o}").into_bytes()),
            _ => quoted.push(byte),
        }
    }
    quoted.push(b'"');
    quoted
}

fn header(text: &mut Vec<u8>, old: &Path, new: &Path) {
    line(text, [b"diff --git ", &*named("a/", old), b" ", &*named("b/", new)].concat());
}

/// Writes the two lines before the hunks; a name with a blank is ended by a tab, as other programs expect it.
fn names(text: &mut Vec<u8>, old: Option<&Path>, new: Option<&Path>) {
    for (word, prefix, path) in [("--- ", "a/", old), ("+++ ", "b/", new)] {
        let name = path.map_or_else(|| b"/dev/null".to_vec(), |path| named(prefix, path));
        let end: &[u8] = if name.contains(&b' ') && name[0] != b'"' { b"\t" } else { b"" };
        line(text, [word.as_bytes(), &name, end].concat());
    }
}

fn change(text: &mut Vec<u8>, path: &Path, old: &Node, new: &Node) {
    header(text, path, path);
    if mode(old) != mode(new) {
        line(text, format!("old mode {}", mode(old)));
        line(text, format!("new mode {}", mode(new)));
    }
    if bytes(old) != bytes(new) {
        names(text, Some(path), Some(path));
        hunks(text, bytes(old), bytes(new));
    }
}

fn create(text: &mut Vec<u8>, path: &Path, new: &Node) {
    header(text, path, path);
    line(text, format!("new file mode {}", mode(new)));
    if !bytes(new).is_empty() {
        names(text, None, Some(path));
        hunks(text, b"", bytes(new));
    }
}

fn delete(text: &mut Vec<u8>, path: &Path, old: &Node) {
    header(text, path, path);
    line(text, format!("deleted file mode {}", mode(old)));
    if !bytes(old).is_empty() {
        names(text, Some(path), None);
        hunks(text, bytes(old), b"");
    }
}

fn rename(text: &mut Vec<u8>, from: &Path, to: &Path) {
    header(text, from, to);
    line(text, "similarity index 100%");
    line(text, [b"rename from ", &*named("", from)].concat());
    line(text, [b"rename to ", &*named("", to)].concat());
}

/// Writes what differs between two texts.
fn hunks(text: &mut Vec<u8>, old: &[u8], new: &[u8]) {
    let (old, new) = (lines(old), lines(new));
    for group in group_diff_ops(changes(&old, &new), CONTEXT) {
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
        line(text, format!("{at} @@"));
        for change in &group {
            if let DiffOp::Equal { .. } = change {
                rows(text, b' ', &old[change.old_range()]);
            } else {
                rows(text, b'-', &old[change.old_range()]);
                rows(text, b'+', &new[change.new_range()]);
            }
        }
    }
}

/// Finds what has to be done to old lines to make new ones of them.
fn changes(old: &[&[u8]], new: &[&[u8]]) -> Vec<DiffOp> {
    // Comparing takes as long as there are lines times differences. Lines of one side alone are never equal to another, and
    // without them a file that was written anew has no lines to compare.
    let (in_old, in_new): (HashSet<&[u8]>, HashSet<&[u8]>) =
        (old.iter().copied().collect(), new.iter().copied().collect());
    let common = |lines: &[&[u8]], other: &HashSet<&[u8]>| {
        (0..lines.len()).filter(|at| other.contains(lines[*at])).collect::<Vec<usize>>()
    };
    let (from, to) = (common(old, &in_new), common(new, &in_old));
    let left: Vec<&[u8]> = from.iter().map(|at| old[*at]).collect();
    let right: Vec<&[u8]> = to.iter().map(|at| new[*at]).collect();
    // What is found by then makes a patch that is right, if longer than it could be.
    let deadline = Some(Instant::now() + PATIENCE);
    let found = capture_diff_slices_deadline(Algorithm::Myers, &left, &right, deadline);

    let pairs = found.into_iter().flat_map(|op| match op {
        DiffOp::Equal { old_index, new_index, len } => {
            from[old_index..old_index + len].iter().zip(&to[new_index..new_index + len])
        }
        _ => from[..0].iter().zip(&to[..0]),
    });

    // Equal lines, one after the other, and what stands between them on either side.
    let mut ops: Vec<DiffOp> = Vec::new();
    let (mut old_index, mut new_index) = (0, 0);
    for (&left, &right) in pairs.chain([(&old.len(), &new.len())]) {
        let (old_len, new_len) = (left - old_index, right - new_index);
        if old_len > 0 || new_len > 0 {
            ops.push(DiffOp::Replace { old_index, old_len, new_index, new_len });
        }
        match ops.last_mut() {
            _ if left == old.len() => {}
            Some(DiffOp::Equal { len, .. }) => *len += 1,
            _ => ops.push(DiffOp::Equal { old_index: left, new_index: right, len: 1 }),
        }
        (old_index, new_index) = (left + 1, right + 1);
    }
    ops
}

fn rows(text: &mut Vec<u8>, sign: u8, lines: &[&[u8]]) {
    for line in lines {
        text.push(sign);
        text.extend_from_slice(line);
        if !line.ends_with(b"\n") {
            text.extend_from_slice(b"\n\\ No newline at end of file\n");
        }
    }
}

/// Splits a text into lines, each with its end.
fn lines(text: &[u8]) -> Vec<&[u8]> {
    text.split_inclusive(|byte| *byte == b'\n').collect()
}
