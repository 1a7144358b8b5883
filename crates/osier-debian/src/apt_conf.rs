//! The few values of apt's configuration that matter here: its proxies.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Values of `apt.conf` and `apt.conf.d`, names in lower case.
#[derive(Debug, Default)]
pub(crate) struct AptConf {
    values: BTreeMap<String, String>,
}

impl AptConf {
    /// Reads the configuration below an apt folder; what cannot be read is passed over.
    pub(crate) fn read(apt_folder: &Path) -> Self {
        let parts = fs::read_dir(apt_folder.join("apt.conf.d")).into_iter().flatten().flatten();
        let mut files: Vec<PathBuf> =
            parts.map(|file| file.path()).filter(|path| is_part(path)).collect();
        files.sort();
        files.push(apt_folder.join("apt.conf"));
        let mut conf = Self::default();
        for file in files {
            conf.parse(&String::from_utf8_lossy(&fs::read(file).unwrap_or_default()));
        }
        conf
    }

    /// Returns the proxy for a URL, if one is set for its scheme; `DIRECT` means none.
    pub(crate) fn proxy(&self, url: &str) -> Option<String> {
        let (scheme, rest) = url.split_once("://")?;
        let host = rest.split(['/', ':']).next()?;
        let key = |name: &str| {
            self.values.get(&format!("acquire::{scheme}::proxy{name}").to_ascii_lowercase())
        };
        // apt lets https inherit the setting of http.
        let inherited =
            (scheme == "https").then(|| self.values.get("acquire::http::proxy")).flatten();
        let proxy = key(&format!("::{host}")).or_else(|| key("")).or(inherited)?;
        (!proxy.is_empty() && proxy != "DIRECT" && proxy != "false").then(|| proxy.clone())
    }

    /// Reads `Name "value";`, `Name { … };` and `Name::Sub "value";`, with the three kinds of comments (apt.conf(5)).
    fn parse(&mut self, text: &str) {
        let mut scopes: Vec<String> = Vec::new();
        let mut words: Vec<String> = Vec::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            if first.is_whitespace() {
                rest = &rest[first.len_utf8()..];
            } else if rest.starts_with("//") || first == '#' {
                rest = rest.split_once('\n').map_or("", |(_, after)| after);
            } else if let Some(comment) = rest.strip_prefix("/*") {
                rest = comment.split_once("*/").map_or("", |(_, after)| after);
            } else if let Some(quoted) = rest.strip_prefix('"') {
                let (word, after) = quoted.split_once('"').unwrap_or((quoted, ""));
                words.push(word.to_owned());
                rest = after;
            } else if matches!(first, '{' | '}' | ';') {
                match first {
                    '{' => {
                        scopes
                            .push(words.first().map_or(String::new(), |name| format!("{name}::")));
                    }
                    '}' => drop(scopes.pop()),
                    _ => {
                        if let [name, value] = words.as_slice() {
                            let name = format!("{}{name}", scopes.concat()).to_ascii_lowercase();
                            self.values.insert(name, value.clone());
                        }
                    }
                }
                words.clear();
                rest = &rest[1..];
            } else {
                let end = rest
                    .find(|c: char| c.is_whitespace() || "{};\"".contains(c))
                    .unwrap_or(rest.len());
                words.push(rest[..end].to_owned());
                rest = &rest[end..];
            }
        }
    }
}

/// Tells whether apt reads such a file of `apt.conf.d`: no extension or `.conf`.
fn is_part(path: &Path) -> bool {
    path.extension().is_none_or(|extension| extension == "conf")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn proxy(text: &str, url: &str) -> Option<String> {
        let mut conf = AptConf::default();
        conf.parse(text);
        conf.proxy(url)
    }

    #[test]
    fn proxies_are_found_in_every_form() {
        let (http, https) = ("http://h.test/debian", "https://h.test/debian");
        let table = [
            ("Acquire::http::Proxy \"http://p:1\";", Some("http://p:1"), Some("http://p:1")),
            ("acquire::HTTP::proxy \"http://p:1/\";", Some("http://p:1/"), Some("http://p:1/")),
            ("Acquire::https::Proxy \"http://s:1\";", None, Some("http://s:1")),
            (
                "Acquire { Retries \"3\"; http { Proxy \"http://p:1\"; }; https { Proxy \"DIRECT\"; }; };",
                Some("http://p:1"),
                None,
            ),
            (
                "// Acquire::http::Proxy \"http://p:1\";\n# x\n/* Acquire::http::Proxy \"http://p:1\"; */",
                None,
                None,
            ),
            (
                "Acquire::http::Proxy \"http://p:1\";\nAcquire::http::Proxy::h.test \"DIRECT\";",
                None,
                Some("http://p:1"),
            ),
            (
                "Acquire::http::Proxy \"http://p:1\";\nAcquire::http::Proxy \"http://q:2\";",
                Some("http://q:2"),
                Some("http://q:2"),
            ),
            ("#clear Acquire;\nAcquire::http::Proxy \"\";", None, None),
            (
                "DPkg::Post-Invoke { \"rm -f /x || true\"; };\nAcquire::http::Proxy http://p:1;",
                Some("http://p:1"),
                Some("http://p:1"),
            ),
            ("}; Acquire::http::Proxy \"http://p:1", None, None),
        ];
        for (text, plain, secure) in table {
            assert_eq!(proxy(text, http).as_deref(), plain, "{text}");
            assert_eq!(proxy(text, https).as_deref(), secure, "{text}");
        }
    }

    #[test]
    fn later_files_win_and_odd_names_do_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let parts = folder.path().join("apt.conf.d");
        fs::create_dir(&parts).unwrap();
        for (name, proxy) in
            [("10a", "http://a"), ("20b.conf", "http://b"), ("30c.bak", "http://c")]
        {
            fs::write(parts.join(name), format!("Acquire::http::Proxy \"{proxy}\";")).unwrap();
        }
        assert_eq!(AptConf::read(folder.path()).proxy("http://x/").as_deref(), Some("http://b"));
        fs::write(folder.path().join("apt.conf"), "Acquire::http::Proxy \"http://main\";").unwrap();
        assert_eq!(AptConf::read(folder.path()).proxy("http://x/").as_deref(), Some("http://main"));
    }

    proptest! {
        #[test]
        fn any_text_ends_without_panic(text in "(A|::|\"|\\{|\\}|;|/\\*|//|#|\n| |é){0,30}") {
            AptConf::default().parse(&text);
        }
    }
}
