//! Users and groups by name.

use std::collections::BTreeMap;

use crate::nearest::nearest;

/// The users and groups of an image, read from its `passwd` and `group` texts.
///
/// `root` is 0 in both unless a text says otherwise. A name that is unknown has no number; there
/// is no fall-back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accounts {
    users: BTreeMap<Vec<u8>, u32>,
    groups: BTreeMap<Vec<u8>, u32>,
}

/// A line of a `passwd` or `group` text that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {problem}")]
pub struct AccountError {
    /// Which text: `passwd` or `group`.
    pub file: &'static str,
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong.
    pub problem: AccountProblem,
}

/// What is wrong with a line of a `passwd` or `group` text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccountProblem {
    /// There are too few fields.
    #[error("a line needs at least {0} fields separated by `:`")]
    Fields(usize),
    /// The name is empty.
    #[error("the name is empty")]
    Name,
    /// The number is no number from 0 to 4294967294.
    #[error("the third field is not a number from 0 to 4294967294")]
    Number,
}

impl Default for Accounts {
    fn default() -> Self {
        let root = BTreeMap::from([(b"root".to_vec(), 0)]);
        Accounts { users: root.clone(), groups: root }
    }
}

impl Accounts {
    /// Reads the two texts in the form of passwd(5) and group(5); either may be empty.
    ///
    /// Empty lines and lines that begin with `#` are skipped. Of two lines with one name the first
    /// holds, as for getpwnam(3). Every fault is reported.
    pub fn parse(passwd: &[u8], group: &[u8]) -> Result<Accounts, Vec<AccountError>> {
        let mut errors = Vec::new();
        let mut accounts = Accounts {
            users: read("passwd", 7, passwd, &mut errors),
            groups: read("group", 4, group, &mut errors),
        };
        accounts.users.entry(b"root".to_vec()).or_insert(0);
        accounts.groups.entry(b"root".to_vec()).or_insert(0);
        if errors.is_empty() { Ok(accounts) } else { Err(errors) }
    }

    /// Returns the number of a user, given by name or as a decimal number.
    pub fn user(&self, user: &str) -> Option<u32> {
        look_up(&self.users, user)
    }

    /// Returns the number of a group, given by name or as a decimal number.
    pub fn group(&self, group: &str) -> Option<u32> {
        look_up(&self.groups, group)
    }

    pub(crate) fn nearest_user(&self, user: &str) -> Option<String> {
        suggest(&self.users, user)
    }

    pub(crate) fn nearest_group(&self, group: &str) -> Option<String> {
        suggest(&self.groups, group)
    }
}

fn look_up(numbers: &BTreeMap<Vec<u8>, u32>, name: &str) -> Option<u32> {
    if name.bytes().all(|byte| byte.is_ascii_digit()) {
        return number(name.as_bytes());
    }
    numbers.get(name.as_bytes()).copied()
}

fn suggest(numbers: &BTreeMap<Vec<u8>, u32>, name: &str) -> Option<String> {
    let names = numbers.keys().map(Vec::as_slice);
    nearest(name.as_bytes(), names).map(|name| String::from_utf8_lossy(name).into_owned())
}

/// Reads a user or group number; 4294967295 is -1, "no change", and therefore none.
fn number(digits: &[u8]) -> Option<u32> {
    let digits = std::str::from_utf8(digits).ok()?;
    if digits.starts_with('+') {
        return None;
    }
    digits.parse().ok().filter(|&number| number != u32::MAX)
}

fn read(
    file: &'static str,
    fields: usize,
    text: &[u8],
    errors: &mut Vec<AccountError>,
) -> BTreeMap<Vec<u8>, u32> {
    let mut numbers = BTreeMap::new();
    for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
        if line.trim_ascii().is_empty() || line.starts_with(b"#") {
            continue;
        }
        let parts: Vec<&[u8]> = line.split(|&byte| byte == b':').collect();
        let problem = if parts.len() < fields {
            AccountProblem::Fields(fields)
        } else if parts[0].is_empty() {
            AccountProblem::Name
        } else if let Some(number) = number(parts[2]) {
            numbers.entry(parts[0].to_vec()).or_insert(number);
            continue;
        } else {
            AccountProblem::Number
        };
        errors.push(AccountError { file, line: index + 1, problem });
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        let accounts = Accounts::parse(
            b"root:x:0:0:root:/root:/bin/sh\n# c\n\nwww:x:33:34::/:\nwww:x:99:99::/:\n",
            b"daemon:x:1:\n",
        )
        .unwrap();
        assert_eq!(accounts.user("www"), Some(33));
        assert_eq!(accounts.user("1000"), Some(1000));
        assert_eq!(accounts.user("nobody"), None);
        assert_eq!(accounts.user("4294967295"), None);
        assert_eq!(accounts.user("99999999999"), None);
        assert_eq!(accounts.group("root"), Some(0));
        assert_eq!(accounts.group("daemon"), Some(1));
        assert_eq!(accounts.group("www"), None);
        assert_eq!(accounts.nearest_user("wwww"), Some("www".into()));
        assert_eq!(Accounts::default().user("root"), Some(0));
    }

    #[test]
    fn faults_are_named() {
        let errors = Accounts::parse(
            b"root:x:0:0\n:x:1:1:::\na:x:-1:1:::\nb:x:+1:1:::\nc:x:4294967295:1:::\n",
            b"\xff\n",
        )
        .unwrap_err();
        let shown: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "passwd:1: a line needs at least 7 fields separated by `:`",
                "passwd:2: the name is empty",
                "passwd:3: the third field is not a number from 0 to 4294967294",
                "passwd:4: the third field is not a number from 0 to 4294967294",
                "passwd:5: the third field is not a number from 0 to 4294967294",
                "group:1: a line needs at least 4 fields separated by `:`",
            ]
        );
    }
}
