//! Near misses for hints.

/// Finds the candidate that is at most two edits from `wanted`, the closest one, the first of equals.
pub(crate) fn nearest<'a>(
    wanted: &[u8],
    candidates: impl IntoIterator<Item = &'a [u8]>,
) -> Option<&'a [u8]> {
    candidates
        .into_iter()
        .filter(|candidate| candidate.len().abs_diff(wanted.len()) <= 2)
        .map(|candidate| (edits(wanted, candidate), candidate))
        .filter(|&(edits, candidate)| edits <= 2 && edits < candidate.len())
        .min_by_key(|&(edits, _)| edits)
        .map(|(_, candidate)| candidate)
}

/// Counts the bytes to insert, delete or replace between two words (Levenshtein's distance).
fn edits(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(left != right);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_and_far() {
        let words: [&[u8]; 4] = [b"daemon", b"root", b"rood", b"a"];
        assert_eq!(nearest(b"roto", words), Some(&b"root"[..]));
        assert_eq!(nearest(b"deamon", words), Some(&b"daemon"[..]));
        assert_eq!(nearest(b"nobody", words), None);
        assert_eq!(nearest(b"b", words), None);
        assert_eq!(edits(b"kitten", b"sitting"), 3);
    }
}
