//! Patterns over paths of files.

/// Whether a relative path fits a pattern.
///
/// `?` stands for one character and `*` for any number of them, both within one folder; `**` as a whole
/// part of the pattern stands for any number of folders, none included, and as the last part for all that
/// lies below. Everything else stands for itself. A leading point needs no pattern of its own.
pub fn glob_matches(pattern: &str, path: &str) -> bool {
    let pattern: Vec<&str> = pattern.split('/').collect();
    let path: Vec<&str> = path.split('/').collect();
    // Below, a later star is the only one that ever needs another try, so the cost is a product, never a power.
    let (mut at, mut in_path) = (0, 0);
    let mut retry = None;
    while in_path < path.len() {
        match pattern.get(at) {
            Some(&"**") if at + 1 == pattern.len() => return true,
            Some(&"**") => {
                retry = Some((at, in_path));
                at += 1;
                continue;
            }
            Some(part) if part_matches(part, path[in_path]) => {
                at += 1;
                in_path += 1;
                continue;
            }
            _ => {}
        }
        let Some((star, from)) = retry else { return false };
        retry = Some((star, from + 1));
        at = star + 1;
        in_path = from + 1;
    }
    at == pattern.len()
}

/// Whether a pattern can fit something below a folder.
pub fn glob_reaches_below(pattern: &str, folder: &str) -> bool {
    let mut pattern = pattern.split('/');
    for name in folder.split('/') {
        match pattern.next() {
            Some("**") => return true,
            Some(part) if part_matches(part, name) => {}
            _ => return false,
        }
    }
    pattern.next().is_some()
}

fn part_matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let (mut at, mut in_name) = (0, 0);
    let mut retry = None;
    while in_name < name.len() {
        match pattern.get(at) {
            Some('*') => {
                retry = Some((at, in_name));
                at += 1;
            }
            Some(letter) if *letter == '?' || *letter == name[in_name] => {
                at += 1;
                in_name += 1;
            }
            _ => {
                let Some((star, from)) = retry else { return false };
                retry = Some((star, from + 1));
                at = star + 1;
                in_name = from + 1;
            }
        }
    }
    pattern[at..].iter().all(|letter| *letter == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_within_and_across_folders() {
        for (pattern, path, expected) in [
            ("patches/*.patch", "patches/01-a.patch", true),
            ("patches/*.patch", "patches/old/01-a.patch", false),
            ("usr/include/**", "usr/include/a/b.h", true),
            ("usr/include/**", "usr/include", false),
            ("usr/lib/**/*.a", "usr/lib/libz.a", true),
            ("usr/lib/**/*.a", "usr/lib/x/y/libz.a", true),
            ("usr/lib/**/*.a", "usr/lib/x/y/libz.so", false),
            ("**", "a/b", true),
            ("**/a/**/b", "x/a/y/a/z/b", true),
            ("**/a/b", "a/a/b", true),
            ("conf/?.c", "conf/a.c", true),
            ("conf/?.c", "conf/ab.c", false),
            ("a*b*c", "aXbXbXc", true),
            ("[a]", "a", false),
            ("é?", "éü", true),
            ("a", "a/b", false),
            ("a/b", "a", false),
        ] {
            assert_eq!(glob_matches(pattern, path), expected, "{pattern} {path}");
        }
        for (pattern, folder, expected) in [
            ("patches/*.patch", "patches", true),
            ("patches/*.patch", "src", false),
            ("patches/*.patch", "patches/old", false),
            ("*.config", "src", false),
            ("*/*.config", "src", true),
            ("**/*.config", "src/a/b", true),
            ("conf/**", "conf/a/b", true),
            ("conf/**", "src", false),
        ] {
            assert_eq!(glob_reaches_below(pattern, folder), expected, "{pattern} {folder}");
        }
        let path = "a".repeat(5000);
        assert!(!glob_matches(&("a*".repeat(100) + "b"), &path));
    }
}
