//! Debian package versions and their order.

use std::cmp::Ordering;
use std::fmt;

/// A package version, ordered as dpkg orders it.
///
/// Two spellings can be equal (`1.0` and `0:1.00-0`), so equality is that of the order, not of the text
/// (<https://www.debian.org/doc/debian-policy/ch-controlfields.html#version>). Any text is taken: a mirror's
/// index is signed, and an odd version must not stop the reading of all others.
#[derive(Debug, Clone)]
pub struct Version(String);

impl Version {
    /// Takes the text of a version; blanks around it are dropped.
    pub fn new(text: &str) -> Self {
        Self(text.trim().to_owned())
    }

    /// Returns the version as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version {}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let (epoch, rest) = split(&self.0);
        let (other_epoch, other_rest) = split(&other.0);
        compare_digits(epoch, other_epoch).then_with(|| {
            let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
            let (other_upstream, other_revision) =
                other_rest.rsplit_once('-').unwrap_or((other_rest, ""));
            compare_part(upstream, other_upstream)
                .then_with(|| compare_part(revision, other_revision))
        })
    }
}

/// Splits off the epoch; a text before the colon that is not a number is no epoch.
fn split(version: &str) -> (&str, &str) {
    match version.split_once(':') {
        Some((epoch, rest))
            if !epoch.is_empty() && epoch.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            (epoch, rest)
        }
        _ => ("", version),
    }
}

/// Compares digit strings as numbers of any length.
fn compare_digits(left: &str, right: &str) -> Ordering {
    let left = left.trim_start_matches('0');
    let right = right.trim_start_matches('0');
    left.len().cmp(&right.len()).then_with(|| left.cmp(right))
}

/// Weighs a byte of a non-digit stretch: tilde before the end, letters before all others.
fn weight(byte: Option<u8>) -> i32 {
    match byte {
        Some(b'~') => -1,
        None => 0,
        Some(letter) if letter.is_ascii_alphabetic() => i32::from(letter),
        Some(other) => i32::from(other) + 256,
    }
}

/// Compares upstream versions or revisions: stretches without digits and with digits in turn.
fn compare_part(mut left: &str, mut right: &str) -> Ordering {
    loop {
        let (left_text, left_rest) = left.split_at(stretch(left, |byte| !byte.is_ascii_digit()));
        let (right_text, right_rest) =
            right.split_at(stretch(right, |byte| !byte.is_ascii_digit()));
        let (a, b) = (left_text.as_bytes(), right_text.as_bytes());
        // One place beyond the longer one decides nothing, and the end weighs as `None` there.
        for place in 0..a.len().max(b.len()) {
            let order = weight(a.get(place).copied()).cmp(&weight(b.get(place).copied()));
            if order != Ordering::Equal {
                return order;
            }
        }
        let (left_digits, left_tail) =
            left_rest.split_at(stretch(left_rest, |byte| byte.is_ascii_digit()));
        let (right_digits, right_tail) =
            right_rest.split_at(stretch(right_rest, |byte| byte.is_ascii_digit()));
        let order = compare_digits(left_digits, right_digits);
        if order != Ordering::Equal || (left_tail.is_empty() && right_tail.is_empty()) {
            return order;
        }
        (left, right) = (left_tail, right_tail);
    }
}

fn stretch(text: &str, belongs: impl Fn(u8) -> bool) -> usize {
    text.bytes().position(|byte| !belongs(byte)).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_orders() {
        let less = [
            ("1.0~rc1", "1.0"),
            ("1.0~~", "1.0~"),
            ("1.0~~a", "1.0~"),
            ("1.0", "1.0a"),
            ("1.0a", "1.0+b"),
            ("1.0-1", "1.0+b1"),
            ("1.0-1", "1.0-1+deb12u1"),
            ("1.0-1+deb12u1", "1.0-1+deb12u10"),
            ("9", "10"),
            ("1.9", "1:0.1"),
            ("1:99", "2:0"),
            ("6.1.170-3", "6.1.187-1"),
            ("1.2.3-1~bpo12+1", "1.2.3-1"),
            ("2.36-9+deb12u7", "2.36-9+deb12u13"),
            ("1-2", "1-1-1"),
            ("99999999999999999998", "99999999999999999999"),
            ("", "1"),
        ];
        for (small, large) in less {
            let (small, large) = (Version::new(small), Version::new(large));
            assert!(small < large, "{small} < {large}");
            assert!(large > small, "{large} > {small}");
        }
        for (one, other) in
            [("1.0", "1.00"), ("0:1", "1"), ("1-0", "1"), ("1.0-00", "1.0"), ("00:1", "1")]
        {
            assert_eq!(Version::new(one), Version::new(other));
        }
    }

    fn version() -> impl Strategy<Value = Version> {
        "([0-2]:)?[0-9ab.+~é-]{0,6}(-[0-9a~.+]{0,3})?".prop_map(|text| Version::new(&text))
    }

    proptest! {
        #[test]
        fn the_order_is_total(a in version(), b in version(), c in version()) {
            prop_assert_eq!(a.cmp(&a), Ordering::Equal);
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            if a <= b && b <= c {
                prop_assert!(a <= c);
            }
            if a == b {
                prop_assert_eq!(a.cmp(&c), b.cmp(&c));
            }
        }

        #[test]
        fn a_tilde_sorts_before_and_a_plus_after(text in "[0-9][0-9a.]{0,5}") {
            let (before, plain, after) = (format!("{text}~x"), Version::new(&text), format!("{text}+x"));
            prop_assert!(Version::new(&before) < plain);
            prop_assert!(plain < Version::new(&after));
        }
    }
}
