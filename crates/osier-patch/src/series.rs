//! The list of a quilt series.

/// One patch of a series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeriesEntry {
    /// The patch's file, relative to the folder of the list.
    pub name: String,
    /// How many leading folders of the names in the patch are left off.
    pub strip: u32,
    /// Whether the patch is taken back instead of applied (`-R`).
    pub reverse: bool,
    /// The line of the list, counted from 1.
    pub line: usize,
}

/// Why a list could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct SeriesError {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: String,
}

/// Reads a quilt list: a name in each line, options such as `-p0` and `-R` behind it, comments behind `#`.
///
/// Without an option one leading folder is left off. A name that leaves the folder, or an option that quilt does not
/// have, is an error.
pub fn series(text: &[u8]) -> Result<Vec<SeriesEntry>, SeriesError> {
    if text.contains(&0) {
        let problem = "the list is not plain text; save it as UTF-8".to_owned();
        return Err(SeriesError { line: 1, problem });
    }
    let text = String::from_utf8_lossy(text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text));
    let mut entries: Vec<SeriesEntry> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line_number = number + 1;
        let wrong = |problem: String| SeriesError { line: line_number, problem };
        // A `#` inside a name is part of it.
        let words = line.split_whitespace().take_while(|word| !word.starts_with('#'));
        let words: Vec<&str> = words.collect();
        let Some((name, mut options)) = words.split_first().map(|(one, rest)| (*one, rest)) else {
            continue;
        };
        if name.starts_with('/') || name.split('/').any(|part| part == "..") {
            return Err(wrong(format!("`{name}` leaves the folder of the list")));
        }
        let mut entry = SeriesEntry {
            name: name.split('/').filter(|part| *part != ".").collect::<Vec<_>>().join("/"),
            strip: 1,
            reverse: false,
            line: line_number,
        };
        while let Some((option, rest)) = options.split_first() {
            options = rest;
            match *option {
                "-R" => entry.reverse = true,
                "-pab" => entry.strip = 1,
                "-p" => {
                    let number = options.first().and_then(|word| word.parse().ok());
                    entry.strip = number.ok_or_else(|| wrong("`-p` needs a number".into()))?;
                    options = &options[1..];
                }
                _ => {
                    let number = option.strip_prefix("-p").and_then(|number| number.parse().ok());
                    entry.strip = number.ok_or_else(|| {
                        wrong(format!("`{option}` is not an option of a patch; use -pN or -R"))
                    })?;
                }
            }
        }
        if let Some(first) = entries.iter().find(|first| first.name == entry.name) {
            let line = first.line;
            return Err(wrong(format!("`{name}` is already in line {line}")));
        }
        entries.push(entry);
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_have_options_and_comments() {
        let text = "# first\n\nsub/b.patch -p1 # why\n  a.patch   -p0\nc#1.patch -R -p 2\n./d.patch -pab\n#e.patch\n";
        let entry = |name: &str, strip, reverse, line| SeriesEntry {
            name: name.into(),
            strip,
            reverse,
            line,
        };
        let expected = [
            entry("sub/b.patch", 1, false, 3),
            entry("a.patch", 0, false, 4),
            entry("c#1.patch", 2, true, 5),
            entry("d.patch", 1, false, 6),
        ];
        assert_eq!(series(text.as_bytes()).unwrap(), expected);
        assert_eq!(series(b"").unwrap(), []);
        let windows = format!("\u{feff}{}", text.replace('\n', "\r\n"));
        assert_eq!(series(windows.as_bytes()).unwrap().len(), expected.len());
    }

    #[test]
    fn wrong_lists_name_the_line() {
        for (text, line, word) in [
            ("a.patch\n../b.patch\n", 2, "leaves"),
            ("/etc/passwd\n", 1, "leaves"),
            ("a\0.\0p\0\n\0", 1, "UTF-8"),
            ("a.patch -z\n", 1, "not an option"),
            ("a.patch -px\n", 1, "not an option"),
            ("a.patch -p\n", 1, "needs a number"),
            ("a.patch\nb.patch\na.patch\n", 3, "already in line 1"),
        ] {
            let error = series(text.as_bytes()).unwrap_err();
            assert!(error.line == line && error.problem.contains(word), "{text}: {error}");
        }
    }
}
