//! The nearest of some known words to one that is unknown.

/// Finds the candidate that a misspelt `word` most likely means.
///
/// The distance counts inserted, dropped, changed and swapped neighbouring characters (optimal
/// string alignment); about a third of the word may be wrong. Of equally near candidates the first wins.
pub fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let word: Vec<char> = word.chars().flat_map(char::to_lowercase).collect();
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let letters: Vec<char> = candidate.chars().flat_map(char::to_lowercase).collect();
        let limit = word.len().max(letters.len()).div_ceil(3).min(word.len().saturating_sub(1));
        if word.len().abs_diff(letters.len()) > limit {
            continue;
        }
        let distance = distance(&word, &letters);
        if distance <= limit && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

fn distance(a: &[char], b: &[char]) -> usize {
    // Three rows of the matrix are enough, as a swap looks back two.
    let mut before = vec![0; b.len() + 1];
    let mut above: Vec<usize> = (0..=b.len()).collect();
    let mut row = vec![0; b.len() + 1];
    for i in 1..=a.len() {
        row[0] = i;
        for j in 1..=b.len() {
            let changed = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = changed.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        std::mem::swap(&mut before, &mut above);
        std::mem::swap(&mut above, &mut row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        let keys = ["source", "summary", "suite", "step", "needs"];
        for (word, expected) in [
            ("souce", Some("source")),
            ("soruce", Some("source")),
            ("Source", Some("source")),
            ("sources", Some("source")),
            ("step", Some("step")),
            ("need", Some("needs")),
            ("n", None),
            ("", None),
            ("zzzzzz", None),
        ] {
            assert_eq!(nearest(word, keys), expected, "{word}");
        }
        assert_eq!(nearest("ab", ["ac", "ad"]), Some("ac"));
    }
}
