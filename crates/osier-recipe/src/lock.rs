//! The lock: every source and every package of the build environments, pinned.

use std::collections::BTreeMap;

use crate::diagnostic::quoted;
use crate::schema::FileKind;
use crate::walk::{self, Node, Walk};
use crate::{Code, Diagnostic, Spanned, tables};

/// The pins of a project, sorted; each entry is there once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lock {
    /// By name, version and architecture.
    packages: BTreeMap<(String, String, String), LockedPackage>,
    /// By suite, architecture and sorted request.
    environments: BTreeMap<(String, String, Vec<String>), LockedEnvironment>,
    /// By recipe and source.
    sources: BTreeMap<(String, String), LockedSource>,
}

/// A Debian binary package.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LockedPackage {
    /// The package.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture, which can be `all`.
    pub architecture: String,
    /// The suite that it was found in.
    pub suite: String,
    /// The path below a mirror.
    pub path: String,
    /// The size in bytes.
    pub size: u64,
    /// The SHA-256, in lower-case hexadecimal.
    pub sha256: String,
}

/// A list of packages that recipes ask for, and its closure.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LockedEnvironment {
    /// The suite.
    pub suite: String,
    /// The architecture.
    pub architecture: String,
    /// What is asked for, sorted.
    pub request: Vec<String>,
    /// What that brings: name and version, sorted.
    pub packages: Vec<(String, String)>,
}

/// The pins of one source of a recipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedSource {
    /// The recipe.
    pub recipe: String,
    /// The source.
    pub name: String,
    /// What is pinned.
    pub pin: Pin,
    /// The files, in the order in which they were pinned.
    pub files: Vec<LockedFile>,
}

/// What a source is pinned to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pin {
    /// A version of a Debian source package.
    Debian {
        /// The package.
        package: String,
        /// The version.
        version: String,
        /// The suite that it was found in.
        suite: String,
    },
    /// A file of a known hash.
    Url {
        /// The first place, as it stands in the recipe.
        url: String,
    },
    /// A commit.
    Git {
        /// The repository's address.
        address: String,
        /// The commit.
        commit: String,
    },
}

/// One file of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedFile {
    /// The file's name.
    pub name: String,
    /// Where it lies.
    pub place: Place,
    /// The size in bytes.
    pub size: u64,
    /// The SHA-256, in lower-case hexadecimal.
    pub sha256: String,
}

/// Where a locked file lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The path below a Debian mirror.
    Pool(String),
    /// Places that all hold it.
    Urls(Vec<String>),
    /// Nowhere: it is made from a git commit.
    Made,
}

impl Lock {
    /// The version of the format.
    pub const VERSION: i64 = 1;

    /// Reads a lock.
    ///
    /// Fails with every error of the file, in the order of the text; for a lock of another version with that alone.
    pub fn parse(file: &str, text: &str) -> Result<Self, Vec<Diagnostic>> {
        match Self::read_written(text) {
            Some(lock) => Ok(lock),
            None => Self::parse_toml(file, text),
        }
    }

    /// Reads a lock as the TOML that it is: what somebody else has written or changed.
    pub(crate) fn parse_toml(file: &str, text: &str) -> Result<Self, Vec<Diagnostic>> {
        let mut read = Reading::default();
        let (mut walk, root) = Walk::open(file, text);
        walk.root(&root, FileKind::Lock, &mut read, Reading::read);
        if let Some(version) =
            read.version.as_ref().filter(|version| version.value != Self::VERSION)
        {
            walk.forget();
            let message = format!(
                "the lock has version {}; this osier reads version {}",
                version.value,
                Self::VERSION
            );
            let error = walk.error(Code::LockVersion, &version.span, message);
            error.hints.push(
                "use the osier that wrote it, or remove the file and run `osier update`".into(),
            );
        }
        read.check_environments(&mut walk);
        walk.finish(read.lock)
    }

    /// All packages, sorted by name, version and architecture.
    pub fn packages(&self) -> impl Iterator<Item = &LockedPackage> {
        self.packages.values()
    }

    /// All environments, sorted by suite, architecture and request.
    pub fn environments(&self) -> impl Iterator<Item = &LockedEnvironment> {
        self.environments.values()
    }

    /// All sources, sorted by recipe and name.
    pub fn sources(&self) -> impl Iterator<Item = &LockedSource> {
        self.sources.values()
    }

    /// Finds a package for an architecture: its own or `all`.
    pub fn package(&self, name: &str, version: &str, architecture: &str) -> Option<&LockedPackage> {
        let key =
            |architecture: &str| (name.to_owned(), version.to_owned(), architecture.to_owned());
        self.packages.get(&key(architecture)).or_else(|| self.packages.get(&key("all")))
    }

    /// Finds the environment of a request, in any order.
    pub fn environment(
        &self,
        suite: &str,
        architecture: &str,
        request: &[&str],
    ) -> Option<&LockedEnvironment> {
        let request = sorted(request.iter().map(|name| (*name).to_owned()).collect());
        self.environments.get(&(suite.to_owned(), architecture.to_owned(), request))
    }

    /// The packages of an environment; none where the lock lacks one of them.
    pub fn closure(&self, environment: &LockedEnvironment) -> Option<Vec<&LockedPackage>> {
        let pinned = environment.packages.iter();
        pinned
            .map(|(name, version)| self.package(name, version, &environment.architecture))
            .collect()
    }

    /// Finds the pins of a recipe's source.
    pub fn source(&self, recipe: &str, name: &str) -> Option<&LockedSource> {
        self.sources.get(&(recipe.to_owned(), name.to_owned()))
    }

    /// Adds a package; gives back the one that it replaces.
    pub fn add_package(&mut self, package: LockedPackage) -> Option<LockedPackage> {
        let key = (package.name.clone(), package.version.clone(), package.architecture.clone());
        self.packages.insert(key, package)
    }

    /// Adds an environment, whose lists are sorted here; gives back the one that it replaces.
    pub fn add_environment(
        &mut self,
        mut environment: LockedEnvironment,
    ) -> Option<LockedEnvironment> {
        environment.request = sorted(environment.request);
        environment.packages = sorted(environment.packages);
        let LockedEnvironment { suite, architecture, request, .. } = &environment;
        self.environments
            .insert((suite.clone(), architecture.clone(), request.clone()), environment)
    }

    /// Adds the pins of a source; gives back those that they replace.
    pub fn add_source(&mut self, source: LockedSource) -> Option<LockedSource> {
        self.sources.insert((source.recipe.clone(), source.name.clone()), source)
    }

    /// Keeps the environments that `keep` takes, and of the packages those that an environment still names.
    pub fn retain_environments(&mut self, mut keep: impl FnMut(&LockedEnvironment) -> bool) {
        self.environments.retain(|_, environment| keep(environment));
        let used: Vec<_> = self
            .environments
            .values()
            .filter_map(|environment| self.closure(environment))
            .collect();
        let used: Vec<_> = used.into_iter().flatten().cloned().collect();
        self.packages.clear();
        for package in used {
            self.add_package(package);
        }
    }
}

fn sorted<T: Ord>(mut list: Vec<T>) -> Vec<T> {
    list.sort();
    list.dedup();
    list
}

/// A lock that is being read.
#[derive(Default)]
struct Reading {
    lock: Lock,
    version: Option<Spanned<i64>>,
    /// The packages of each environment with their places, for errors.
    pinned: Vec<(String, Vec<Spanned<String>>)>,
}

impl Reading {
    fn read(&mut self, walk: &mut Walk, key: &'static str, node: &Node<'_>) {
        match key {
            "version" => {
                self.version =
                    walk::integer(node).map(|version| Spanned::new(version, node.span()));
            }
            "package" => self.read_packages(walk, node),
            "environment" => self.read_environments(walk, node),
            "source" => self.read_sources(walk, node),
            _ => walk::unread("lock", key),
        }
    }

    fn read_packages(&mut self, walk: &mut Walk, node: &Node<'_>) {
        for (table, span) in walk::tables(node) {
            let mut package = LockedPackage::default();
            walk.table(
                table,
                &span,
                &tables::LOCKED_PACKAGE,
                &mut package,
                |package, _, key, node| match key {
                    "name" => package.name = string(node),
                    "version" => package.version = string(node),
                    "architecture" => package.architecture = string(node),
                    "suite" => package.suite = string(node),
                    "path" => package.path = string(node),
                    "size" => package.size = walk::unsigned(node),
                    "sha256" => package.sha256 = string(node),
                    _ => walk::unread("package", key),
                },
            );
            if let Some(old) = self.lock.add_package(package) {
                let message = format!("the package {} is locked twice", quoted(&old.name));
                walk.error(Code::DuplicateName, &span, message);
            }
        }
    }

    fn read_environments(&mut self, walk: &mut Walk, node: &Node<'_>) {
        for (table, span) in walk::tables(node) {
            let mut read = (LockedEnvironment::default(), Vec::new());
            walk.table(
                table,
                &span,
                &tables::LOCKED_ENVIRONMENT,
                &mut read,
                |(env, pinned), _, key, node| match key {
                    "suite" => env.suite = string(node),
                    "architecture" => env.architecture = string(node),
                    "request" => env.request = strings(node),
                    "packages" => *pinned = walk::texts(node),
                    _ => walk::unread("environment", key),
                },
            );
            let (mut environment, pinned) = read;
            environment.packages = pinned.iter().filter_map(|text| split_pin(text)).collect();
            self.pinned.push((environment.architecture.clone(), pinned));
            if self.lock.add_environment(environment).is_some() {
                walk.error(Code::DuplicateName, &span, "the environment is locked twice");
            }
        }
    }

    fn read_sources(&mut self, walk: &mut Walk, node: &Node<'_>) {
        #[derive(Default)]
        struct Keys {
            recipe: String,
            name: String,
            debian: Option<String>,
            url: Option<String>,
            git: Option<String>,
            version: String,
            suite: String,
            commit: String,
            files: Vec<LockedFile>,
        }
        for (table, span) in walk::tables(node) {
            let mut keys = Keys::default();
            walk.table(table, &span, &tables::LOCKED_SOURCE, &mut keys, |keys, walk, key, node| {
                match key {
                    "recipe" => keys.recipe = string(node),
                    "name" => keys.name = string(node),
                    "debian" => keys.debian = Some(string(node)),
                    "url" => keys.url = Some(string(node)),
                    "git" => keys.git = Some(string(node)),
                    "version" => keys.version = string(node),
                    "suite" => keys.suite = string(node),
                    "commit" => keys.commit = string(node),
                    "files" => keys.files = files(walk, node),
                    _ => walk::unread("source", key),
                }
            });
            let Keys { recipe, name, version, suite, commit, files, .. } = keys;
            let pin = match (keys.debian, keys.url, keys.git) {
                (Some(package), ..) => Pin::Debian { package, version, suite },
                (_, Some(url), _) => Pin::Url { url },
                (_, _, Some(address)) => Pin::Git { address, commit },
                _ => continue,
            };
            if let Some(old) = self.lock.add_source(LockedSource { recipe, name, pin, files }) {
                let message = format!(
                    "the source {} of {} is locked twice",
                    quoted(&old.name),
                    quoted(&old.recipe)
                );
                walk.error(Code::DuplicateName, &span, message);
            }
        }
    }

    /// Reports packages of environments that the lock does not have.
    fn check_environments(&self, walk: &mut Walk) {
        for (architecture, pinned) in &self.pinned {
            for text in pinned {
                let Some((name, version)) = split_pin(text) else { continue };
                if self.lock.package(&name, &version, architecture).is_none() {
                    let message = format!(
                        "no `[[package]]` is {} for {}",
                        quoted(text),
                        quoted(architecture)
                    );
                    let error = walk.error(Code::LockBroken, &text.span, message);
                    error.hints.push(
                        "remove this `[[environment]]` and run osier again; it adds what is missing"
                            .into(),
                    );
                }
            }
        }
    }
}

fn files(walk: &mut Walk, node: &Node<'_>) -> Vec<LockedFile> {
    let mut files = Vec::new();
    for (table, span) in walk::tables(node) {
        let mut file =
            LockedFile { name: String::new(), place: Place::Made, size: 0, sha256: String::new() };
        walk.table(
            table,
            &span,
            &tables::LOCKED_FILE,
            &mut file,
            |file, walk, key, node| match key {
                "name" => file.name = string(node),
                "path" => file.place = Place::Pool(string(node)),
                "urls" if matches!(file.place, Place::Pool(_)) => {
                    walk.error(Code::Conflict, &span, "`path` and `urls` cannot be used together");
                }
                "urls" => file.place = Place::Urls(strings(node)),
                "size" => file.size = walk::unsigned(node),
                "sha256" => file.sha256 = string(node),
                _ => walk::unread("files", key),
            },
        );
        files.push(file);
    }
    files
}

fn split_pin(text: &str) -> Option<(String, String)> {
    let (name, version) = text.split_once('=')?;
    Some((name.to_owned(), version.to_owned()))
}

fn string(node: &Node<'_>) -> String {
    walk::text(node).value
}

fn strings(node: &Node<'_>) -> Vec<String> {
    walk::texts(node).into_iter().map(|text| text.value).collect()
}
