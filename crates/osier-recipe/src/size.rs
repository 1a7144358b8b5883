//! Sizes as people write them.

/// Reads a size such as `256M` as bytes; the suffixes `K`, `M`, `G` and `T` count in 1024s.
///
/// None for anything else, for nought and for what does not fit.
pub fn parse_size(text: &str) -> Option<u64> {
    let factor = match text.as_bytes().last()? {
        b'K' => 1 << 10,
        b'M' => 1 << 20,
        b'G' => 1 << 30,
        b'T' => 1_u64 << 40,
        _ => return None,
    };
    let digits = &text[..text.len() - 1];
    if digits.starts_with('0') || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

/// Writes a whole number of KiB as people do.
pub(crate) fn words(bytes: u64) -> String {
    let units = [('T', 1_u64 << 40), ('G', 1 << 30), ('M', 1 << 20)];
    match units.into_iter().find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit)) {
        Some((name, unit)) => format!("{}{name}", bytes / unit),
        None => format!("{}K", bytes / 1024),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_need_a_suffix_and_fit() {
        for (text, bytes) in [
            ("256M", Some(256 << 20)),
            ("1G", Some(1 << 30)),
            ("4K", Some(4096)),
            ("2T", Some(2 << 40)),
            ("256", None),
            ("", None),
            ("M", None),
            ("0M", None),
            ("+1M", None),
            ("1.5G", None),
            ("256MB", None),
            ("1é", None),
            ("99999999999T", None),
        ] {
            assert_eq!(parse_size(text), bytes, "{text}");
            // The same size is written back with the largest unit that fits.
            assert!(bytes.is_none_or(|bytes| parse_size(&words(bytes)) == Some(bytes)), "{text}");
        }
    }
}
