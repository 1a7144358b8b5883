//! Reading a lock as osier has written it, line by line: every command reads the lock first, and this costs it a tenth of
//! what a reader of all TOML does.
//!
//! What differs from osier's own writing by a blank, and whatever is wrong, is left to [`Lock::parse`], which tells it.

use crate::forms::{
    ARCHITECTURE, COMMIT, DEBIAN_NAME, FILE_NAME, GIT, NAME, PATH, SHA256, SUITE, URL, VERSION,
};
use crate::lock_write::HEAD;
use crate::schema::Form;
use crate::{Lock, LockedEnvironment, LockedFile, LockedPackage, LockedSource, Pin, Place};

impl Lock {
    /// Reads what [`Lock::to_text`] has written; nothing where the text could be anything else.
    pub(crate) fn read_written(text: &str) -> Option<Self> {
        let mut lines = Lines(text.strip_suffix('\n')?.split('\n').peekable());
        let mut lock = Self::default();
        lines.line(HEAD)?;
        (lines.number("version")? == Self::VERSION.unsigned_abs()).then_some(())?;
        while let Some(blank) = lines.0.next() {
            blank.is_empty().then_some(())?;
            // Each entry is there once.
            match lines.0.next()? {
                "[[source]]" => lock.add_source(lines.source()?).is_none(),
                "[[environment]]" => lock.add_environment(lines.environment()?).is_none(),
                "[[package]]" => lock.add_package(lines.package()?).is_none(),
                _ => false,
            }
            .then_some(())?;
        }
        let is_whole = lock.environments().all(|environment| lock.closure(environment).is_some());
        is_whole.then_some(lock)
    }
}

/// The lines that are left of a lock.
struct Lines<'t>(std::iter::Peekable<std::str::Split<'t, char>>);

impl<'t> Lines<'t> {
    fn line(&mut self, text: &str) -> Option<()> {
        (self.0.next()? == text).then_some(())
    }

    /// Takes `KEY = "TEXT"`.
    fn text(&mut self, key: &str, form: &Form) -> Option<&'t str> {
        let value = value(self.0.next()?, key)?;
        plain(value.strip_prefix('"')?.strip_suffix('"')?, form)
    }

    /// Takes `KEY = NUMBER`.
    fn number(&mut self, key: &str) -> Option<u64> {
        number(value(self.0.next()?, key)?)
    }

    /// Takes the lines up to `]`.
    fn list<T>(&mut self, key: &str, read: impl Fn(&'t str) -> Option<T>) -> Option<Vec<T>> {
        (value(self.0.next()?, key)? == "[").then_some(())?;
        let mut list = Vec::new();
        loop {
            match self.0.next()? {
                "]" => return Some(list),
                line => list.push(read(line.strip_prefix("  ")?.strip_suffix(',')?)?),
            }
        }
    }

    fn package(&mut self) -> Option<LockedPackage> {
        Some(LockedPackage {
            name: self.text("name", &DEBIAN_NAME)?.to_owned(),
            version: self.text("version", &VERSION)?.to_owned(),
            architecture: self.text("architecture", &ARCHITECTURE)?.to_owned(),
            suite: self.text("suite", &SUITE)?.to_owned(),
            path: self.text("path", &PATH)?.to_owned(),
            size: self.number("size")?,
            sha256: self.text("sha256", &SHA256)?.to_owned(),
        })
    }

    fn environment(&mut self) -> Option<LockedEnvironment> {
        let quoted = |text: &'t str| text.strip_prefix('"')?.strip_suffix('"');
        let name = |text| Some(plain(text, &DEBIAN_NAME)?.to_owned());
        let environment = LockedEnvironment {
            suite: self.text("suite", &SUITE)?.to_owned(),
            architecture: self.text("architecture", &ARCHITECTURE)?.to_owned(),
            request: self.list("request", |text| name(quoted(text)?))?,
            packages: self.list("packages", |text| {
                let (package, version) = quoted(text)?.split_once('=')?;
                Some((name(package)?, plain(version, &VERSION)?.to_owned()))
            })?,
        };
        let is_sorted = environment.request.is_sorted_by(|one, two| one < two)
            && environment.packages.is_sorted_by(|one, two| one < two);
        is_sorted.then_some(environment)
    }

    fn source(&mut self) -> Option<LockedSource> {
        let recipe = self.text("recipe", &NAME)?.to_owned();
        let name = self.text("name", &NAME)?.to_owned();
        let (kind, _) = self.0.peek()?.split_once(' ')?;
        let pin = match kind {
            "debian" => Pin::Debian {
                package: self.text("debian", &DEBIAN_NAME)?.to_owned(),
                version: self.text("version", &VERSION)?.to_owned(),
                suite: self.text("suite", &SUITE)?.to_owned(),
            },
            "url" => Pin::Url { url: self.text("url", &URL)?.to_owned() },
            "git" => Pin::Git {
                address: self.text("git", &GIT)?.to_owned(),
                commit: self.text("commit", &COMMIT)?.to_owned(),
            },
            _ => return None,
        };
        Some(LockedSource { recipe, name, pin, files: self.list("files", file)? })
    }
}

/// Reads `{ name = "NAME", path = "PATH", size = SIZE, sha256 = "HASH" }`, or with `urls` or nothing in place of `path`.
fn file(line: &str) -> Option<LockedFile> {
    let rest = line.strip_prefix("{ name = \"")?;
    let (name, rest) = rest.split_once("\", ")?;
    let (place, rest) = if let Some(rest) = rest.strip_prefix("path = \"") {
        let (path, rest) = rest.split_once("\", ")?;
        (Place::Pool(plain(path, &PATH)?.to_owned()), rest)
    } else if let Some(rest) = rest.strip_prefix("urls = [\"") {
        let (urls, rest) = rest.split_once("\"], ")?;
        let urls = urls.split("\", \"").map(|url| Some(plain(url, &URL)?.to_owned()));
        (Place::Urls(urls.collect::<Option<_>>()?), rest)
    } else {
        (Place::Made, rest)
    };
    let (size, rest) = rest.strip_prefix("size = ")?.split_once(", ")?;
    let sha256 = rest.strip_prefix("sha256 = \"")?.strip_suffix("\" }")?;
    Some(LockedFile {
        name: plain(name, &FILE_NAME)?.to_owned(),
        place,
        size: number(size)?,
        sha256: plain(sha256, &SHA256)?.to_owned(),
    })
}

fn value<'t>(line: &'t str, key: &str) -> Option<&'t str> {
    line.strip_prefix(key)?.strip_prefix(" = ")
}

/// Gives a text that stands for itself between quotes, if it is of a form.
fn plain<'t>(text: &'t str, form: &Form) -> Option<&'t str> {
    let stands_for_itself =
        |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    (text.as_bytes().iter().all(stands_for_itself) && (form.accepts)(text)).then_some(text)
}

/// Reads a whole number as osier writes it, up to the largest that TOML has.
fn number(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    let is_written_so = text == "0" || !text.starts_with(['0', '+']);
    (is_written_so && i64::try_from(number).is_ok()).then_some(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LOCK: &str = include_str!("../examples/osier.lock");

    #[test]
    fn what_osier_writes_is_read_as_the_toml_that_it_is() {
        for text in [LOCK, include_str!("../../../osier.lock")] {
            let read = Lock::read_written(text).unwrap();
            assert_eq!(read, Lock::parse_toml("osier.lock", text).unwrap());
            assert_eq!(read.to_text(), text);
        }
    }

    #[test]
    fn what_is_written_otherwise_is_left_to_toml() {
        for (from, to) in [("size = 2", "size=2"), ("]\n\n", "]\n"), ("version = 1", "version = 2")]
        {
            let text = LOCK.replacen(from, to, 1);
            assert_ne!(text, LOCK, "{from}");
            assert_eq!(Lock::read_written(&text), None, "{from}");
        }
        for (number, line) in LOCK.lines().enumerate().filter(|(_, line)| !line.is_empty()) {
            let without = LOCK.lines().enumerate().filter(|(at, _)| *at != number);
            let without: String = without.map(|(_, line)| format!("{line}\n")).collect();
            let quick = Lock::read_written(&without);
            assert!(quick.is_none() || quick == Lock::parse_toml("", &without).ok(), "{line}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// Whatever becomes of a lock, both readers agree on what they take.
        #[test]
        fn a_changed_lock_is_read_alike(
            changes in prop::collection::vec(
                (0..LOCK.len(), 0..4_usize, prop::sample::select(vec![
                    "", "\"", "\\", "\n", " ", ",", "]", "=", "0", "a", "-", "#", "\t", "é", "size = 1\n", "[[package]]\n",
                ])),
                1..3,
            )
        ) {
            let mut text = LOCK.as_bytes().to_vec();
            for (at, removed, added) in changes {
                let at = at.min(text.len());
                let end = (at + removed).min(text.len());
                text.splice(at..end, added.bytes());
            }
            if let Ok(text) = String::from_utf8(text)
                && let Some(quick) = Lock::read_written(&text)
            {
                prop_assert_eq!(Lock::parse_toml("osier.lock", &text), Ok(quick), "{}", text);
            }
        }
    }
}
