//! Where bytes come from.

use std::ops::Range;

use crate::diagnostic::quoted;
use crate::walk::{self, Node, Walk};
use crate::{Code, Spanned, tables};

/// One source of a recipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The name, which is also the folder's: the recipe's for the first source, given for all others.
    pub name: Spanned<String>,
    /// The bytes of the table in the recipe.
    pub span: Range<usize>,
    /// Where the bytes come from.
    pub kind: SourceKind,
}

/// The places that bytes can come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceKind {
    /// A Debian source package.
    Debian {
        /// The package.
        package: Spanned<String>,
        /// The suite, where it is not the recipe's.
        suite: Option<Spanned<String>>,
        /// The version, where it is not the suite's newest.
        version: Option<Spanned<String>>,
        /// Whether Debian's own patches are applied.
        patches: bool,
    },
    /// A file with a known hash.
    Url {
        /// Places that all hold it, as they stand in the recipe: `{version}` is not yet replaced.
        urls: Vec<Spanned<String>>,
        /// Its SHA-256, in lower-case hexadecimal.
        sha256: Spanned<String>,
        /// Its size in bytes.
        size: Option<u64>,
        /// Leading folders to take off the archive's paths.
        strip: u8,
        /// Whether it is an archive to unpack.
        unpack: bool,
        /// How it is packed, where that is said.
        format: Option<String>,
    },
    /// A commit of a git repository.
    Git {
        /// The repository's address.
        address: Spanned<String>,
        /// The commit, 40 hexadecimal digits.
        commit: Spanned<String>,
    },
    /// A folder beside the recipe.
    Path {
        /// The folder.
        path: Spanned<String>,
    },
}

/// The keys of a source as they stand in the table.
#[derive(Default)]
struct Keys {
    debian: Option<Spanned<String>>,
    urls: Vec<Spanned<String>>,
    git: Option<Spanned<String>>,
    path: Option<Spanned<String>>,
    name: Option<Spanned<String>>,
    suite: Option<Spanned<String>>,
    version: Option<Spanned<String>>,
    patches: bool,
    sha256: Option<Spanned<String>>,
    size: Option<u64>,
    strip: Option<u8>,
    unpack: Option<bool>,
    format: Option<String>,
    commit: Option<Spanned<String>>,
}

impl Keys {
    fn read(&mut self, _: &mut Walk, key: &'static str, node: &Node<'_>) {
        match key {
            "debian" => self.debian = Some(walk::text(node)),
            "url" => self.urls = walk::texts(node),
            "git" => self.git = Some(walk::text(node)),
            "path" => self.path = Some(walk::text(node)),
            "name" => self.name = Some(walk::text(node)),
            "suite" => self.suite = Some(walk::text(node)),
            "version" => self.version = Some(walk::text(node)),
            "patches" => self.patches = walk::boolean(node),
            "sha256" => self.sha256 = Some(walk::text(node)),
            "size" => self.size = Some(walk::unsigned(node)),
            "strip" => self.strip = u8::try_from(walk::unsigned(node)).ok(),
            "unpack" => self.unpack = Some(walk::boolean(node)),
            "format" => self.format = Some(walk::text(node).value),
            "commit" => self.commit = Some(walk::text(node)),
            _ => walk::unread("source", key),
        }
    }

    /// None where the walk has reported what is missing.
    fn kind(self) -> Option<SourceKind> {
        if let Some(package) = self.debian {
            let Self { suite, version, patches, .. } = self;
            return Some(SourceKind::Debian { package, suite, version, patches });
        }
        if let Some(address) = self.git {
            return Some(SourceKind::Git { address, commit: self.commit? });
        }
        if let Some(path) = self.path {
            return Some(SourceKind::Path { path });
        }
        let Self { urls, size, format, .. } = self;
        let (sha256, strip, unpack) =
            (self.sha256?, self.strip.unwrap_or(1), self.unpack.unwrap_or(true));
        Some(SourceKind::Url { urls, sha256, size, strip, unpack, format })
    }
}

/// Reads `source`. The name of the first is left empty where it is not given.
pub(crate) fn sources(walk: &mut Walk, node: &Node<'_>) -> Vec<Source> {
    let mut sources: Vec<Source> = Vec::with_capacity(walk::count(node));
    for (at, (table, span)) in walk::tables(node).enumerate() {
        let mut keys = Keys::default();
        walk.table(table, &span, &tables::SOURCE, &mut keys, Keys::read);
        if at > 0 && !table.contains_key("name") {
            let error = walk.error(
                Code::MissingKey,
                &span,
                "every source but the first needs the key `name`",
            );
            error.hints.push("the name is also the folder that the source is unpacked into".into());
        }
        if keys.urls.is_empty() && node_is_empty_list(table.get("url")) {
            walk.error(Code::WrongForm, &span, "`url` has no address");
        }
        for url in &keys.urls {
            placeholders(walk, url);
        }
        if keys.unpack == Some(false) && keys.format.is_some() {
            let message =
                "`format` says how to unpack the file, and `unpack = false` says not to unpack it";
            walk.error(Code::WrongForm, &span, message).hints.push("leave one of them out".into());
        }
        let name = keys.name.take().unwrap_or_else(|| Spanned::new(String::new(), span.clone()));
        if let Some(kind) = keys.kind() {
            sources.push(Source { name, span, kind });
        }
    }
    sources
}

fn node_is_empty_list(node: Option<&Node<'_>>) -> bool {
    node.and_then(|node| node.get_ref().as_array()).is_some_and(|array| array.is_empty())
}

/// Reports braces of an address that are not `{version}`.
fn placeholders(walk: &mut Walk, url: &Spanned<String>) {
    let rest = url.replace("{version}", "");
    if let Some(at) = rest.find(['{', '}']) {
        let shown = rest[at..].split_inclusive('}').next().unwrap_or_default();
        let message = format!("{} is not a placeholder that osier knows", quoted(shown));
        walk.error(Code::WrongForm, &url.span, message)
            .hints
            .push("an address can contain only `{version}`".into());
    }
}

impl Source {
    /// The places of a [`SourceKind::Url`] with `{version}` replaced; none for the others.
    pub fn urls(&self, version: &str) -> Vec<String> {
        match &self.kind {
            SourceKind::Url { urls, .. } => {
                urls.iter().map(|url| url.replace("{version}", version)).collect()
            }
            _ => Vec::new(),
        }
    }
}
