//! What a file is before it is read as patches: its encoding, its lines, its mails.

use crate::problem::Problem;

/// The mark of UTF-8 that some editors begin a file with.
const MARK: &[u8] = "\u{feff}".as_bytes();

/// Says by what program some bytes are packed, as their first ones tell.
pub fn packed(bytes: &[u8]) -> Option<&'static str> {
    let known: [(&[u8], &str); 8] = [
        (b"\x1f\x8b", "gzip"),
        (b"\xfd7zXZ\0", "xz"),
        (b"BZh", "bzip2"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"\x5d\0\0", "lzma"),
        (b"LZIP", "lzip"),
        (b"PK\x03\x04", "zip"),
        (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
    ];
    known.iter().find(|(first, _)| bytes.starts_with(first)).map(|(_, name)| *name)
}

/// Splits a file into lines, each with its end and without a mark of UTF-8 before it: files that were joined have one
/// in the middle.
pub(crate) fn lines(text: &[u8]) -> Result<Vec<&[u8]>, Problem> {
    if let Some(by) = packed(text) {
        return Err(Problem::Packed { by });
    }
    if let Some(encoding) = wide(text) {
        return Err(Problem::Wide { encoding });
    }
    if text.contains(&b'\r') && !text.contains(&b'\n') {
        return Err(Problem::LoneReturns);
    }
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    let lines: Vec<&[u8]> = lines.map(|line| line.strip_prefix(MARK).unwrap_or(line)).collect();
    let first = lines.iter().map(|line| line.trim_ascii()).find(|line| !line.is_empty());
    let is_page = |line: &[u8]| {
        let begins = |word: &[u8]| {
            line.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
        };
        begins(b"<!doctype html") || begins(b"<html")
    };
    if first.is_some_and(is_page) { Err(Problem::Page) } else { Ok(lines) }
}

/// The name of the encoding whose characters take two bytes, if it is one: by its mark, or by the empty half of the
/// first characters.
fn wide(text: &[u8]) -> Option<&'static str> {
    match text {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some("UTF-16"),
        [1..=0xff, 0, 1..=0xff, 0, ..] => Some("UTF-16LE"),
        [0, 1..=0xff, 0, 1..=0xff, ..] => Some("UTF-16BE"),
        _ => None,
    }
}

/// The lines that mails of a mailbox begin with.
pub(crate) fn mails(lines: &[&[u8]]) -> Vec<usize> {
    (0..lines.len()).filter(|at| is_commit(lines[*at]) || is_mail(lines, *at)).collect()
}

/// Whether a mail of `git format-patch` begins with this line: `From`, a commit, a date.
fn is_commit(line: &[u8]) -> bool {
    line.strip_prefix(b"From ").is_some_and(|rest| {
        let digits = rest.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        matches!(digits, 40 | 64) && rest.get(digits) == Some(&b' ')
    })
}

/// Whether a mail of any program begins here: `From`, an address, a date with the time, and a field below.
fn is_mail(lines: &[&[u8]], at: usize) -> bool {
    let above = at.checked_sub(1).map(|above| lines[above]);
    let Some(rest) = lines[at].strip_prefix(b"From ") else { return false };
    let is_time = |word: &[u8]| {
        word.len() == 8
            && word.iter().enumerate().all(|(at, byte)| match at {
                2 | 5 => *byte == b':',
                _ => byte.is_ascii_digit(),
            })
    };
    above.is_none_or(|line| line.trim_ascii().is_empty())
        && rest.split(u8::is_ascii_whitespace).any(is_time)
        && lines.get(at + 1).is_some_and(|line| field(line).is_some())
}

/// The name of a mail's field, where a line begins with one.
pub(crate) fn field(line: &[u8]) -> Option<&[u8]> {
    let name = &line[..line.iter().position(|byte| *byte == b':')?];
    let sound = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
    (!name.is_empty() && name.iter().all(sound)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_plain_text_is_known_by_its_first_bytes() {
        let wide = |text: &str, big: bool| -> Vec<u8> {
            text.encode_utf16()
                .flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() })
                .collect()
        };
        for (bytes, encoding) in [
            (wide("\u{feff}--- a/f\n", false), "UTF-16"),
            (wide("\u{feff}--- a/f\n", true), "UTF-16"),
            (wide("diff --git", false), "UTF-16LE"),
            (wide("diff --git", true), "UTF-16BE"),
        ] {
            assert_eq!(lines(&bytes), Err(Problem::Wide { encoding }));
        }
        assert_eq!(lines(b"BZh91AY"), Err(Problem::Packed { by: "bzip2" }));
        assert_eq!(lines(b"\n <!DOCTYPE html>\n"), Err(Problem::Page));
        assert_eq!(lines(b"--- a\r+++ b\r"), Err(Problem::LoneReturns));
        let joined = "\u{feff}a\n\u{feff}b\r\n";
        assert_eq!(lines(joined.as_bytes()).unwrap(), [&b"a\n"[..], b"b\r\n"]);
    }

    #[test]
    fn mailboxes_of_every_program_are_split() {
        let text = "From mboxrd@z Thu Jan  1 00:00:00 1970\nFrom: a\n\nFrom here on 12:00:00\nit is text.\n\nFrom b@c Mon Nov 30 09:01:02 2020\nSubject: x\n";
        assert_eq!(mails(&lines(text.as_bytes()).unwrap()), [0, 6]);
    }
}
