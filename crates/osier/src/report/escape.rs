//! Foreign text made safe to show: what a terminal would obey, or what would hide or reorder a
//! line, is written as Rust writes it in a string. Pure; `screen.rs` beside it applies it to all that osier prints.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The longest SGR sequence that is believed to set colours.
const LONGEST_COLOUR: usize = 40;

/// Text as a person may see it: `\u{1b}` stands for an escape character, `\u{202e}` for a mark that
/// turns the direction of the text. Tabs, line ends and the CR of a CRLF stay.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    put(text, &mut out);
    Cow::Owned(out)
}

/// A log as a person may see it: like [`printable`], but colours stay and end with the log, and
/// bytes that are no text are written as `\xNN`.
pub(crate) fn coloured(log: &[u8]) -> String {
    let mut out = String::with_capacity(log.len() + 16);
    let mut is_coloured = false;
    for chunk in log.utf8_chunks() {
        let mut rest = chunk.valid();
        while let Some(at) = rest.find('\x1b') {
            put(&rest[..at], &mut out);
            rest = &rest[at..];
            if let Some(length) = colour(rest) {
                out.push_str(&rest[..length]);
                is_coloured = true;
                rest = &rest[length..];
            } else if let Some(after) = erased(rest) {
                rest = after;
            } else {
                out.extend('\x1b'.escape_default());
                rest = &rest[1..];
            }
        }
        put(rest, &mut out);
        for byte in chunk.invalid() {
            // Writing to a string does not fail.
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    if is_coloured {
        out.push_str("\x1b[0m");
    }
    out
}

/// JSON text with the same data, in which everything that a terminal would obey is one of JSON's own escapes.
pub(crate) fn json(text: String) -> String {
    // Control characters below 0x20 stand in JSON text between values only, as white space.
    let is_obeyed = |letter: char| letter >= ' ' && is_obeyed(letter);
    if !text.chars().any(is_obeyed) {
        return text;
    }
    let mut out = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        if is_obeyed(letter) {
            for unit in letter.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(letter);
        }
    }
    out
}

fn put(text: &str, out: &mut String) {
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\r' if letters.peek() == Some(&'\n') => out.push(letter),
            _ if !is_obeyed(letter) => out.push(letter),
            _ => out.extend(letter.escape_default()),
        }
    }
}

/// Whether a terminal does something else with a character than to draw it where it stands.
///
/// The joiners U+200C and U+200D are part of ordinary words and stay.
fn is_obeyed(letter: char) -> bool {
    match letter {
        '\t' | '\n' => false,
        // C0 with escape, backspace and carriage return, DEL, and C1 with its one-byte CSI and OSC.
        letter if letter.is_control() => true,
        // Marks, overrides and isolates of direction; line and paragraph separators.
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{206f}' => {
            true
        }
        // What cannot be seen at all, so that two names look alike.
        '\u{ad}'
        | '\u{200b}'
        | '\u{2060}'..='\u{2065}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{fffe}'
        | '\u{ffff}' => true,
        '\u{e0000}'..='\u{e007f}' => true,
        _ => false,
    }
}

/// The length of the colour that `text` begins with: `ESC [`, numbers, `m` (SGR of ECMA-48).
fn colour(text: &str) -> Option<usize> {
    let numbers = text.strip_prefix("\x1b[")?;
    let length = numbers.find(|letter: char| !matches!(letter, '0'..='9' | ';' | ':'))?;
    (length <= LONGEST_COLOUR && numbers[length..].starts_with('m')).then_some(length + 3)
}

/// What follows an order to erase the rest of the line, which compilers print with each colour. It does
/// nothing at the end of a text, and a log that cannot move the cursor is always there.
fn erased(text: &str) -> Option<&str> {
    text.strip_prefix("\x1b[K").or_else(|| text.strip_prefix("\x1b[0K"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{coloured, json, printable};

    /// Each trick, and how it is shown.
    const TRICKS: &[(&str, &str)] = &[
        ("\x1b]0;owned\x07", "\\u{1b}]0;owned\\u{7}"),
        ("\x1b]52;c;ZXZpbA==\x1b\\", "\\u{1b}]52;c;ZXZpbA==\\u{1b}\\"),
        ("\x1b[2J\x1b[H", "\\u{1b}[2J\\u{1b}[H"),
        ("\x1b[1A\x1b[5;5H\x1b[?1049h\x1bc", "\\u{1b}[1A\\u{1b}[5;5H\\u{1b}[?1049h\\u{1b}c"),
        ("\x1bP+q544e\x1b\\", "\\u{1b}P+q544e\\u{1b}\\"),
        ("\u{9b}2J\u{9d}0;x\u{9c}\u{85}", "\\u{9b}2J\\u{9d}0;x\\u{9c}\\u{85}"),
        ("ok\rbad", "ok\\rbad"),
        ("ok\u{8}\u{8}no", "ok\\u{8}\\u{8}no"),
        ("\u{7f}\u{0}\u{b}\u{c}\u{7}", "\\u{7f}\\u{0}\\u{b}\\u{c}\\u{7}"),
        ("a\u{202e}b\u{2066}c\u{200f}", "a\\u{202e}b\\u{2066}c\\u{200f}"),
        ("a\u{200b}b\u{feff}\u{e0041}", "a\\u{200b}b\\u{feff}\\u{e0041}"),
    ];

    #[test]
    fn what_a_terminal_would_obey_is_written_out() {
        for (text, shown) in TRICKS {
            assert_eq!(printable(text), *shown);
            assert_eq!(coloured(text.as_bytes()), *shown);
        }
        let plain = "a\tb\nc\r\nä €\u{200d} \\u{1b}";
        assert_eq!(printable(plain), plain);
        assert_eq!(printable("\x1b[31mred\x1b[0m"), "\\u{1b}[31mred\\u{1b}[0m");
        assert_eq!(printable("a\r\r\n\r"), "a\\r\r\n\\r");
    }

    #[test]
    fn colours_of_a_log_stay_and_end_with_it() {
        assert_eq!(coloured(b"\x1b[1;31mred\r\n"), "\x1b[1;31mred\r\n\x1b[0m");
        assert_eq!(coloured(b"\x1b[38:2::1:2:3mred"), "\x1b[38:2::1:2:3mred\x1b[0m");
        // As gcc prints them.
        assert_eq!(coloured(b"\x1b[01m\x1b[Ka.c:\x1b[m\x1b[K"), "\x1b[01ma.c:\x1b[m\x1b[0m");
        // No colours: private modes, intermediates, an unfinished one, one without end.
        for text in ["\x1b[>4;2m", "\x1b[?1m", "\x1b[1 m", "\x1b[1", "\x1b[", "\x1b"] {
            assert!(!coloured(text.as_bytes()).contains('\x1b'), "{text:?}");
        }
        assert!(!coloured(format!("\x1b[{}m", "1;".repeat(40)).as_bytes()).contains('\x1b'));
        // A lone byte of C1 is no text, and an 8-bit terminal would obey it.
        assert_eq!(coloured(b"a\x9b2Jb\xff"), "a\\x9b2Jb\\xff");
    }

    #[test]
    fn json_keeps_its_data_in_its_own_escapes() {
        for (text, _) in TRICKS {
            let value = serde_json::json!({"name": text, *text: [text]});
            for written in [value.to_string(), format!("{value:#}")] {
                let shown = json(written);
                assert_eq!(printable(&shown), shown.as_str());
                assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
            }
        }
    }

    proptest! {
        /// Whatever the text, nothing is left that a terminal obeys, save colours in a log.
        #[test]
        fn nothing_that_is_obeyed_is_left(
            parts in prop::collection::vec(prop_oneof![
                any::<char>().prop_map(String::from),
                Just("\x1b[".to_owned()), Just("31m".to_owned()), Just("\r".to_owned()),
                Just("\n".to_owned()), Just("K".to_owned()),
            ], 0..30),
            bytes in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let text = parts.concat();
            let once = printable(&text).into_owned();
            prop_assert!(once.chars().all(|c| !c.is_control() || "\n\t\r".contains(c)));
            prop_assert!(!once.replace("\r\n", "").contains('\r'));
            prop_assert_eq!(printable(&once), once.as_str());
            for shown in [coloured(text.as_bytes()), coloured(&bytes)] {
                for part in shown.split('\x1b').skip(1) {
                    let end = part.find('m').unwrap();
                    prop_assert!(part[1..end].chars().all(|c| "0123456789;:".contains(c)));
                    prop_assert!(part.starts_with('['));
                }
                let rest = shown.replace('\x1b', "");
                prop_assert_eq!(printable(&rest), rest.as_str());
            }
        }
    }
}
