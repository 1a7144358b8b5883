//! Hunks put on the lines of a file: where each fits, or what stands there instead.

use crate::diff::{Hunk, Side};
use crate::report::{HunkFit, HunkReport, Mismatch};

/// Most lines up or down that are searched for the place that a hunk nearly fits, and most lines of such a hunk.
const NEAR: usize = 2000;
const NEAR_LINES: usize = 200;

/// Most lines of a mismatch that are kept.
const SHOWN: usize = 12;

/// Puts hunks on a file; gives what it is afterwards, with the hunks that fit, and how each fits.
///
/// A hunk fits where all its old lines stand one after the other, behind the hunk before it, next to the line that it
/// names shifted as the hunk before was.
pub(crate) fn put(content: &[u8], hunks: &[Hunk]) -> (Vec<u8>, Vec<HunkReport>) {
    let lines: Vec<&[u8]> = split(content);
    let mut out = Vec::with_capacity(content.len());
    let mut reports = Vec::new();
    let (mut done, mut drift) = (0, 0);
    for (number, hunk) in hunks.iter().enumerate() {
        let old: Vec<&[u8]> = hunk.old_lines().collect();
        let named = if old.is_empty() { hunk.old_start } else { hunk.old_start.saturating_sub(1) };
        let expected = named.saturating_add_signed(drift);
        let report = |fit| HunkReport { number: number + 1, line: hunk.line, fit };
        let Some((place, elsewhere)) = find(&lines, &old, done, expected) else {
            reports.push(report(fails(&lines, hunk, &old, done, expected)));
            continue;
        };
        lines[done..place].iter().for_each(|line| out.extend_from_slice(line));
        hunk.new_lines().for_each(|line| out.extend_from_slice(line));
        done = place + old.len();
        drift = place.cast_signed() - named.cast_signed();
        // Lines in front and none behind: the change was at the end of the file when the patch was made.
        let at_end = hunk.leading() > 0 && hunk.trailing() == 0;
        reports.push(report(HunkFit::Fits {
            at: place + 1,
            offset: i64::try_from(drift).unwrap_or(i64::MAX),
            elsewhere,
            not_at_end: at_end && done < lines.len(),
        }));
    }
    lines[done.min(lines.len())..].iter().for_each(|line| out.extend_from_slice(line));
    (out, reports)
}

/// Lines with their ends.
fn split(content: &[u8]) -> Vec<&[u8]> {
    content.split_inclusive(|byte| *byte == b'\n').collect()
}

/// Finds the place of some lines that is next to the expected one, the later of two that are equally near; and how many
/// others there are.
fn find(lines: &[&[u8]], old: &[&[u8]], from: usize, expected: usize) -> Option<(usize, usize)> {
    if old.is_empty() {
        // Nothing says where it belongs but its number.
        return (from <= expected && expected <= lines.len()).then_some((expected, 0));
    }
    let places = occurrences(lines.get(from..)?, old);
    let nearest = places.iter().map(|place| place + from);
    let nearest = nearest.min_by_key(|place| (place.abs_diff(expected), *place < expected))?;
    Some((nearest, places.len() - 1))
}

/// All places of `needle` in `hay`, in linear time whatever they hold (Knuth, Morris and Pratt).
fn occurrences(hay: &[&[u8]], needle: &[&[u8]]) -> Vec<usize> {
    let mut border = vec![0; needle.len()];
    let mut length = 0;
    for at in 1..needle.len() {
        while length > 0 && needle[at] != needle[length] {
            length = border[length - 1];
        }
        length += usize::from(needle[at] == needle[length]);
        border[at] = length;
    }
    let mut places = Vec::new();
    let mut length = 0;
    for (at, line) in hay.iter().enumerate() {
        while length > 0 && (length == needle.len() || *line != needle[length]) {
            length = border[length - 1];
        }
        length += usize::from(!needle.is_empty() && *line == needle[length]);
        if length == needle.len() {
            places.push(at + 1 - length);
        }
    }
    places
}

/// Describes a hunk that does not fit.
fn fails(lines: &[&[u8]], hunk: &Hunk, old: &[&[u8]], from: usize, expected: usize) -> HunkFit {
    let new: Vec<&[u8]> = hunk.new_lines().collect();
    let already = hunk.lines.iter().any(|line| line.side == Side::New)
        && !occurrences(lines, &new).is_empty();
    HunkFit::Fails {
        expected: expected + 1,
        already,
        mismatch: mismatch(lines, old, from, expected),
    }
}

/// Shows how a hunk differs from the place of the file that is most like it.
fn mismatch(lines: &[&[u8]], old: &[&[u8]], from: usize, expected: usize) -> Mismatch {
    let equal = |place: usize| {
        let here = lines.get(place..).unwrap_or_default();
        here.iter().zip(old).filter(|(one, other)| one == other && one.len() > 2).count()
    };
    let near = old.len() <= NEAR_LINES;
    let window = if near { expected.saturating_sub(NEAR)..expected + NEAR } else { 0..0 };
    let places = window.filter(|place| *place >= from && *place < lines.len());
    let best = places.max_by_key(|place| (equal(*place), usize::MAX - place.abs_diff(expected)));
    let place = best.unwrap_or(expected).min(lines.len());
    let here = &lines[place..lines.len().min(place + old.len())];
    let same = |one: &&[u8], other: &&[u8]| one == other;
    let front = here.iter().zip(old).take_while(|(one, other)| same(one, other)).count();
    let (here_rest, old_rest) = (&here[front..], &old[front..]);
    let back = if here.len() == old.len() {
        let pairs = here_rest.iter().rev().zip(old_rest.iter().rev());
        pairs.take_while(|(one, other)| same(one, other)).count()
    } else {
        0
    };
    let (found, wanted) =
        (&here_rest[..here_rest.len() - back], &old_rest[..old_rest.len() - back]);
    let blanks = !wanted.is_empty()
        && wanted.len() == found.len()
        && wanted.iter().zip(found).all(|(one, other)| words(one).eq(words(other)));
    Mismatch {
        at: place + front + 1,
        expected: shown(wanted),
        found: shown(found),
        blanks,
        left_out: wanted.len().max(found.len()).saturating_sub(SHOWN),
    }
}

fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

fn shown(lines: &[&[u8]]) -> Vec<String> {
    let text = |line: &&[u8]| {
        let (line, end) = match line.strip_suffix(b"\n") {
            Some(line) => (line, ""),
            None => (*line, "  (no newline at the end)"),
        };
        let (line, cr) =
            line.strip_suffix(b"\r").map_or((line, ""), |line| (line, "  (ends in CR LF)"));
        let text: String = String::from_utf8_lossy(line).chars().take(200).collect();
        format!("{text}{cr}{end}")
    };
    lines.iter().take(SHOWN).map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_places_are_found() {
        let lines = |text: &'static str| text.as_bytes().chunks(1).collect::<Vec<_>>();
        assert_eq!(occurrences(&lines("abababab"), &lines("abab")), [0, 2, 4]);
        assert_eq!(occurrences(&lines("aaaa"), &lines("a")), [0, 1, 2, 3]);
        assert_eq!(occurrences(&lines("aab"), &lines("aabb")), [0; 0]);
        assert_eq!(occurrences(&lines("aabaab"), &lines("b")), [2, 5]);
    }

    #[test]
    fn the_nearest_place_counts_and_the_later_of_two() {
        let file = "x.a..a....a";
        let lines: Vec<&[u8]> = file.as_bytes().chunks(1).collect();
        let find = |expected, from| find(&lines, &[b"a"], from, expected);
        assert_eq!(find(5, 0), Some((5, 2)));
        assert_eq!(find(3, 0), Some((2, 2)));
        assert_eq!(find(8, 0), Some((10, 2)));
        assert_eq!(find(0, 6), Some((10, 0)));
        assert_eq!(find(0, 11), None);
    }
}
