//! The cleartext signature framework of OpenPGP (RFC 9580, section 7).
//!
//! Split here rather than by the OpenPGP library, for two reasons: the text that is used must be exactly the text
//! that is signed, and the split must take time in proportion to the input, whatever the input.

/// A clear-signed message in its two parts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Cleartext<'a> {
    /// What the signature covers: lines without blanks at their ends, CR LF between them, none behind the last.
    pub(crate) signed: String,
    /// The armored signature block.
    pub(crate) signature: &'a str,
}

const SIGNATURE_END: &str = "-----END PGP SIGNATURE-----";

impl<'a> Cleartext<'a> {
    /// Splits a message; `None` for anything that is not one clear-signed message from first to last byte.
    pub(crate) fn split(message: &'a str) -> Option<Self> {
        let mut position = 0;
        let mut next = || -> Option<(usize, &'a str)> {
            let start = position;
            let line = message[start..].split_inclusive('\n').next()?;
            position += line.len();
            Some((start, line.trim_end_matches([' ', '\t', '\r', '\n'])))
        };
        if next()?.1 != "-----BEGIN PGP SIGNED MESSAGE-----" {
            return None;
        }
        // Only the header `Hash` is allowed; any other could be text that looks as if it were signed.
        loop {
            let (_, line) = next()?;
            if line.is_empty() {
                break;
            }
            line.strip_prefix("Hash: ")?;
        }
        let mut signed = String::with_capacity(message.len());
        let mut first = true;
        loop {
            let (start, line) = next()?;
            let text = match line.strip_prefix('-') {
                None => line,
                Some(escaped) => match escaped.strip_prefix(' ') {
                    Some(text) => text,
                    None if line == "-----BEGIN PGP SIGNATURE-----" => {
                        let signature = &message[start..];
                        let end = signature.find(SIGNATURE_END)? + SIGNATURE_END.len();
                        let rest = &signature[end..];
                        return rest
                            .trim()
                            .is_empty()
                            .then_some(Self { signed, signature: &signature[..end] });
                    }
                    None => return None,
                },
            };
            if !first {
                signed.push_str("\r\n");
            }
            first = false;
            signed.push_str(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(text: &str) -> String {
        format!(
            "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n{text}\n-----BEGIN PGP SIGNATURE-----\n\nxx\n-----END PGP SIGNATURE-----\n"
        )
    }

    #[test]
    fn escapes_and_blanks_are_undone() {
        let text = message("A: 1 \t\n- -dash\n\n B\r");
        let split = Cleartext::split(&text).unwrap();
        assert_eq!(split.signed, "A: 1\r\n-dash\r\n\r\n B");
        assert!(
            split.signature.starts_with("-----BEGIN PGP SIG")
                && split.signature.ends_with(SIGNATURE_END)
        );
    }

    #[test]
    fn anything_else_is_refused() {
        let good = message("A: 1");
        let bad = [
            String::new(),
            "A: 1\n".to_owned(),
            format!("A: 0\n{good}"),
            format!("{good}A: 2\n"),
            format!("{good}{good}"),
            good.replace("Hash: SHA256", "Comment: A: 2"),
            good.replace("A: 1", "-A: 1"),
            good.replace("A: 1", "-----BEGIN PGP SIGNED MESSAGE-----"),
            good.replace("END PGP SIGNATURE", "END"),
            good.replace("BEGIN PGP SIGNATURE", "BEGIN"),
            good[..40].to_owned(),
        ];
        for text in bad {
            assert_eq!(Cleartext::split(&text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_ends_without_panic(text in "(-----BEGIN PGP SIGNED MESSAGE-----\n|-----BEGIN PGP SIGNATURE-----\n|-----END PGP SIGNATURE-----|Hash: x\n|- |[a-cé\r\n -]){0,20}") {
            let _ = Cleartext::split(&text);
        }
    }
}
