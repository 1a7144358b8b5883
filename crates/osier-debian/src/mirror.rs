//! Where a Debian mirror is: from osier's configuration or from apt's.

use std::fs;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::apt_conf::AptConf;
use crate::control::Paragraphs;

/// Tells why no mirror is known.
#[derive(Debug, Error)]
pub enum MirrorError {
    /// Neither the configuration nor apt names a Debian mirror.
    #[error(
        "no Debian mirror is known: none is configured, and {} names none; set OSIER_DEBIAN_MIRROR to the base URL of one (the folder that contains `dists` and `pool`)",
        .apt_folder.display()
    )]
    NotFound {
        /// The apt folder that was searched.
        apt_folder: PathBuf,
    },
    /// A configured address is no URL.
    #[error(
        "the configured Debian mirror `{address}` is not a URL; set OSIER_DEBIAN_MIRROR to one such as http://HOST/debian"
    )]
    NotAUrl {
        /// The address as given.
        address: String,
    },
}

/// Base URLs of Debian mirrors, best first, and the proxy that apt would use for them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mirrors {
    /// Base URLs of the main archive, without a slash at the end; never empty.
    pub archive: Vec<String>,
    /// Base URLs of the security archive.
    pub security: Vec<String>,
    /// Proxy URL.
    pub proxy: Option<String>,
}

/// Releases of Debian whose names a `sources.list` may use.
const SUITES: [&str; 14] = [
    "stretch",
    "buster",
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "duke",
    "sid",
    "stable",
    "oldstable",
    "oldoldstable",
    "testing",
    "unstable",
    "experimental",
];

/// Finds mirrors: those configured (parted by blanks) win; else those that apt's configuration in `apt_folder`
/// (`/etc/apt` as a rule) names.
///
/// Entries for other archives (third parties, other distributions) are passed over, as are lines that apt would
/// refuse. No address is built in.
///
/// # Errors
/// [`MirrorError`].
pub fn discover(apt_folder: &Path, configured: Option<&str>) -> Result<Mirrors, MirrorError> {
    let conf = AptConf::read(apt_folder);
    let mut mirrors = Mirrors::default();
    let configured = configured.unwrap_or_default();
    for address in configured.split_whitespace() {
        if !is_url(address) {
            return Err(MirrorError::NotAUrl { address: address.to_owned() });
        }
        push_new(&mut mirrors.archive, address);
    }
    if mirrors.archive.is_empty() {
        for entry in entries(apt_folder) {
            entry.add_to(&mut mirrors);
        }
        // Among several, one whose folder bears the archive's own name is the least likely to be something else.
        for list in [&mut mirrors.archive, &mut mirrors.security] {
            list.sort_by_key(|url| {
                !matches!(url.rsplit('/').next(), Some("debian" | "debian-security"))
            });
        }
    }
    let Some(first) = mirrors.archive.first() else {
        return Err(MirrorError::NotFound { apt_folder: apt_folder.to_owned() });
    };
    mirrors.proxy = conf.proxy(first);
    Ok(mirrors)
}

fn is_url(text: &str) -> bool {
    ["http://", "https://", "file:///"]
        .iter()
        .any(|scheme| text.starts_with(scheme) && text.len() > scheme.len())
}

fn push_new(list: &mut Vec<String>, url: &str) {
    let url = url.trim_end_matches('/');
    if !list.iter().any(|known| known == url) {
        list.push(url.to_owned());
    }
}

/// One source that apt is told of, in either format.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    uris: Vec<String>,
    suites: Vec<String>,
    components: Vec<String>,
}

impl Entry {
    fn add_to(&self, mirrors: &mut Mirrors) {
        if !self.components.iter().any(|component| component == "main") {
            return;
        }
        let names: Vec<&str> =
            self.suites.iter().map(|suite| suite.trim_end_matches('/')).collect();
        let security = names.iter().any(|suite| is_security(suite));
        let archive = names.iter().any(|suite| !is_security(suite) && is_debian(suite));
        for uri in self.uris.iter().flat_map(|uri| resolve(uri)) {
            let path = uri
                .split_once("://")
                .and_then(|(_, rest)| rest.split_once('/'))
                .map_or("", |(_, path)| path);
            if !is_url(&uri) || !path.contains("debian") {
                continue;
            }
            if archive {
                push_new(&mut mirrors.archive, &uri);
            }
            if security {
                push_new(&mut mirrors.security, &uri);
            }
        }
    }
}

fn is_security(suite: &str) -> bool {
    let base = suite.strip_suffix("-security").or_else(|| suite.strip_suffix("/updates"));
    base.is_some_and(|base| SUITES.contains(&base))
}

fn is_debian(suite: &str) -> bool {
    let parts = ["", "-updates", "-backports", "-backports-sloppy", "-proposed-updates"];
    parts.iter().any(|part| suite.strip_suffix(part).is_some_and(|base| SUITES.contains(&base)))
}

/// Returns the URLs that an URI stands for: itself, or the lines of a mirror list on this machine.
fn resolve(uri: &str) -> Vec<String> {
    let Some(path) = uri.strip_prefix("mirror+file:") else { return vec![uri.to_owned()] };
    let path = format!("/{}", path.trim_start_matches('/'));
    let text = fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&text)
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|word| !word.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

fn entries(apt_folder: &Path) -> Vec<Entry> {
    let mut files = vec![apt_folder.join("sources.list")];
    let parts = fs::read_dir(apt_folder.join("sources.list.d")).into_iter().flatten().flatten();
    let mut parts: Vec<PathBuf> = parts.map(|file| file.path()).collect();
    parts.sort();
    files.extend(parts);
    let mut entries = Vec::new();
    for file in files {
        // What cannot be read cannot name a mirror; the error for "none found" names the folder.
        let Ok(bytes) = fs::read(&file) else { continue };
        let text = String::from_utf8_lossy(&bytes);
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("list") => entries.extend(text.lines().filter_map(one_line)),
            Some("sources") => entries.extend(deb822(&text)),
            _ => {}
        }
    }
    entries
}

/// Reads `deb [options] URI SUITE COMPONENT…` (sources.list(5)).
fn one_line(line: &str) -> Option<Entry> {
    let line = line.split('#').next()?.trim();
    let rest = line.strip_prefix("deb-src").or_else(|| line.strip_prefix("deb"))?;
    if !rest.starts_with([' ', '\t']) {
        return None;
    }
    let mut rest = rest.trim_start();
    if let Some(options) = rest.strip_prefix('[') {
        rest = options.split_once(']')?.1;
    }
    let mut words = rest.split_whitespace().map(str::to_owned);
    Some(Entry {
        uris: vec![words.next()?],
        suites: vec![words.next()?],
        components: words.collect(),
    })
}

/// Reads a `.sources` file; a paragraph that is switched off or lacks a field gives nothing.
fn deb822(text: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    for paragraph in Paragraphs::of_text(text).map_while(Result::ok) {
        let words = |field| -> Vec<String> {
            paragraph.get(field).unwrap_or_default().split_whitespace().map(str::to_owned).collect()
        };
        let off = ["no", "false", "without", "off", "disable", "0"];
        if paragraph
            .get("Enabled")
            .is_some_and(|value| off.contains(&value.to_ascii_lowercase().as_str()))
        {
            continue;
        }
        entries.push(Entry {
            uris: words("URIs"),
            suites: words("Suites"),
            components: words("Components"),
        });
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Writes files below a new folder and discovers mirrors there.
    fn found(files: &[(&str, &str)], configured: Option<&str>) -> Result<Mirrors, MirrorError> {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().to_str().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text.replace("@", base)).unwrap();
        }
        discover(folder.path(), configured)
    }

    fn archive(files: &[(&str, &str)]) -> Vec<String> {
        found(files, None).map_or(Vec::new(), |mirrors| mirrors.archive)
    }

    #[test]
    fn one_line_sources() {
        let list = "# deb http://no.test/debian bookworm main\n\
            deb http://a.test/debian/ bookworm main contrib # note\n\
            deb-src\t[ arch=amd64 signed-by=/x ] https://b.test/debian bookworm-updates main\n\
            deb http://a.test/debian-security bookworm-security main\n\
            deb http://old.test/debian-security buster/updates main\n\
            deb http://third.test/linux/debian bookworm stable\n\
            deb http://third.test/debian bookworm-pgdg main\n\
            deb http://third.test/php bookworm main\n\
            deb http://ubuntu.test/debian noble main\n\
            deb cdrom:[Debian GNU/Linux 12] bookworm main\n\
            debx http://no.test/debian bookworm main\ndeb\ndeb [\ndeb http://a.test/debian\n\u{0}\n";
        let mirrors = found(&[("sources.list", list)], None).unwrap();
        assert_eq!(mirrors.archive, ["http://a.test/debian", "https://b.test/debian"]);
        assert_eq!(
            mirrors.security,
            ["http://a.test/debian-security", "http://old.test/debian-security"]
        );
        assert_eq!(mirrors.proxy, None);
    }

    #[test]
    fn deb822_sources() {
        let text = "Types: deb\n# snapshot\nURIs: http://a.test/debian http://b.test/mirror/debian-x\nSuites: trixie trixie-updates\n\
            Components: main\n\nTypes: deb\nURIs: http://c.test/debian\nSuites: trixie\nComponents: main\nEnabled: no\n\n\
            Types: deb\nURIs: http://a.test/debian-security\nSuites: trixie-security\nComponents: main\nSigned-By:\n -----BEGIN\n .\n x\n\n\
            Types: deb\nURIs: https://node.test/node_20.x\nSuites: nodistro\nComponents: main\n";
        let mirrors = found(&[("sources.list.d/debian.sources", text)], None).unwrap();
        assert_eq!(mirrors.archive, ["http://a.test/debian", "http://b.test/mirror/debian-x"]);
        assert_eq!(mirrors.security, ["http://a.test/debian-security"]);
    }

    #[test]
    fn files_of_other_names_do_not_count() {
        let line = "deb http://a.test/debian bookworm main\n";
        assert_eq!(archive(&[("sources.list.d/a.list.disabled", line)]), [""; 0]);
        assert_eq!(archive(&[("sources.list.d/a.list", line)]), ["http://a.test/debian"]);
        assert_eq!(archive(&[("sources.list.d/a.sources", line)]), [""; 0]);
    }

    #[test]
    fn plain_names_come_first() {
        let list = "deb http://a.test/debian-mirror-x bookworm main\ndeb http://b.test/debian bookworm main\n";
        assert_eq!(
            archive(&[("sources.list", list)]),
            ["http://b.test/debian", "http://a.test/debian-mirror-x"]
        );
    }

    #[test]
    fn mirror_lists_are_read() {
        let files = [
            (
                "mirrors/debian.list",
                "# all\nhttps://a.test/debian/\tpriority:1\n\nhttp://b.test/debian\n",
            ),
            (
                "sources.list.d/debian.sources",
                "Types: deb\nURIs: mirror+file:@/mirrors/debian.list\nSuites: bookworm\nComponents: main\n",
            ),
        ];
        assert_eq!(archive(&files), ["https://a.test/debian", "http://b.test/debian"]);
    }

    #[test]
    fn configured_mirrors_win() {
        let apt = [
            ("sources.list", "deb http://a.test/debian bookworm main\n"),
            ("apt.conf", "Acquire::http::Proxy \"http://p.test:3128\";"),
        ];
        let mirrors = found(&apt, Some(" http://x.test/debian/  file:///srv/debian ")).unwrap();
        assert_eq!(mirrors.archive, ["http://x.test/debian", "file:///srv/debian"]);
        assert_eq!(mirrors.proxy.as_deref(), Some("http://p.test:3128"));
        assert!(
            matches!(found(&apt, Some("x.test/debian")), Err(MirrorError::NotAUrl { address }) if address == "x.test/debian")
        );
        assert_eq!(found(&apt, Some(" ")).unwrap().archive, ["http://a.test/debian"]);
    }

    #[test]
    fn none_found_says_what_to_set() {
        for files in [&[][..], &[("sources.list", "deb http://third.test/x stable main\n")]] {
            let error = found(files, None).unwrap_err();
            assert!(matches!(error, MirrorError::NotFound { .. }));
            assert!(error.to_string().contains("OSIER_DEBIAN_MIRROR"));
        }
    }

    proptest! {
        #[test]
        fn any_line_ends_without_panic(line in "(deb|deb-src| |\\[|\\]|http://a/debian|bookworm|main|#|é){0,12}") {
            let _ = one_line(&line);
        }
    }
}
