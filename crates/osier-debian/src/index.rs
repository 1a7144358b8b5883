//! `Packages` and `Sources`: what a suite offers.

use std::collections::BTreeMap;

use thiserror::Error;

use crate::control::{ControlError, Paragraph, Paragraphs};
use crate::version::Version;

/// Tells why an index could not be read.
#[derive(Debug, Error)]
pub enum IndexError {
    /// The text is no control file.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// A paragraph has no such field.
    #[error("package `{package}`: no field `{field}`")]
    MissingField {
        /// The package, or the empty text where its name is missing.
        package: String,
        /// Name of the field.
        field: &'static str,
    },
    /// A field has a value of another form.
    #[error("package `{package}`: field `{field}` has the bad value `{value}`")]
    BadField {
        /// The package.
        package: String,
        /// Name of the field.
        field: &'static str,
        /// Its value, shortened.
        value: String,
    },
}

/// One version of one binary package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageEntry {
    /// Name of the package.
    pub package: String,
    /// Its version.
    pub version: Version,
    /// Its architecture, or `all`.
    pub architecture: String,
    /// Name of the source package it was built from.
    pub source: String,
    /// Path of the `.deb` below the mirror's base, such as `pool/main/b/bash/bash_5.2.15-2+b7_amd64.deb`; safe to
    /// join, as it has no `..` and is not absolute.
    pub filename: String,
    /// Size of the `.deb` in bytes.
    pub size: u64,
    /// SHA-256 of the `.deb`, 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// Size when unpacked, in KiB, as the maintainer's tools estimated it; 0 if not given.
    pub installed_size: u64,
    /// The field `Depends`, unparsed.
    pub depends: String,
    /// The field `Pre-Depends`, unparsed.
    pub pre_depends: String,
    /// The field `Provides`, unparsed.
    pub provides: String,
    /// The field `Conflicts`, unparsed.
    pub conflicts: String,
    /// The field `Breaks`, unparsed.
    pub breaks: String,
    /// True for the packages that others may rely on without a dependency.
    pub essential: bool,
}

/// One file of a source package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Name without folder; safe to join.
    pub name: String,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256, 64 lower-case hexadecimal digits.
    pub sha256: String,
}

/// One version of one source package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceEntry {
    /// Name of the package.
    pub package: String,
    /// Its version.
    pub version: Version,
    /// Folder of its files below the mirror's base; safe to join.
    pub directory: String,
    /// The `.dsc`, the original archives, the Debian archive.
    pub files: Vec<SourceFile>,
    /// `Build-Depends` and `Build-Depends-Arch`, unparsed, joined by a comma.
    pub build_depends: String,
}

impl SourceEntry {
    /// Returns the path of one of the files below the mirror's base.
    pub fn path(&self, file: &SourceFile) -> String {
        format!("{}/{}", self.directory, file.name)
    }

    /// Returns the `.dsc` file.
    pub fn dsc(&self) -> Option<&SourceFile> {
        self.files.iter().find(|file| file.name.ends_with(".dsc"))
    }
}

/// The binary packages of a suite, one architecture and one component.
///
/// Several versions of a name can be present; a mirror may list versions that it does not serve any more.
#[derive(Debug, Default)]
pub struct PackageIndex {
    /// Sorted by name, then newest first.
    entries: Vec<PackageEntry>,
    /// Virtual package to the entries that provide it, in the order of `entries`.
    providers: BTreeMap<String, Vec<usize>>,
}

impl PackageIndex {
    /// Reads the text of a `Packages` file.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn parse(text: &[u8]) -> Result<Self, IndexError> {
        let mut entries = Vec::new();
        for paragraph in Paragraphs::new(text)? {
            entries.push(package_entry(paragraph?)?);
        }
        entries.sort_by(|a, b| a.package.cmp(&b.package).then_with(|| b.version.cmp(&a.version)));
        let mut providers: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (place, entry) in entries.iter().enumerate() {
            for provided in entry.provides.split(',') {
                let end = provided.find(['(', ':', '[']).unwrap_or(provided.len());
                let name = provided[..end].trim();
                if !name.is_empty() {
                    match providers.get_mut(name) {
                        Some(places) => places.push(place),
                        None => drop(providers.insert(name.to_owned(), vec![place])),
                    }
                }
            }
        }
        Ok(Self { entries, providers })
    }

    /// Returns all entries, sorted by name, then newest first.
    pub fn entries(&self) -> &[PackageEntry] {
        &self.entries
    }

    /// Returns the versions of a package, newest first; empty for unknown and for virtual packages.
    pub fn candidates(&self, package: &str) -> &[PackageEntry] {
        range_of(&self.entries, package, |entry| &entry.package)
    }

    /// Returns the entries whose `Provides` names the virtual package, sorted by name, then newest first.
    pub fn providers<'a>(
        &'a self,
        package: &str,
    ) -> impl Iterator<Item = &'a PackageEntry> + use<'a> {
        self.providers.get(package).into_iter().flatten().map(|place| &self.entries[*place])
    }

    /// Returns the names nearest to one that is not in the index, best first, at most three.
    pub fn near_misses(&self, package: &str) -> Vec<String> {
        let most = (package.len() / 3).max(1);
        let names = self.entries.iter().map(|entry| &entry.package).chain(self.providers.keys());
        let mut near: Vec<(usize, &String)> = names
            .filter(|name| name.len().abs_diff(package.len()) <= most)
            .map(|name| (distance(name.as_bytes(), package.as_bytes()), name))
            .filter(|(distance, _)| *distance <= most)
            .collect();
        near.sort();
        near.dedup();
        near.into_iter().take(3).map(|(_, name)| name.clone()).collect()
    }
}

/// The source packages of a suite and one component.
#[derive(Debug, Default)]
pub struct SourceIndex {
    entries: Vec<SourceEntry>,
}

impl SourceIndex {
    /// Reads the text of a `Sources` file.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn parse(text: &[u8]) -> Result<Self, IndexError> {
        let mut entries = Vec::new();
        for paragraph in Paragraphs::new(text)? {
            entries.push(source_entry(paragraph?)?);
        }
        entries.sort_by(|a, b| a.package.cmp(&b.package).then_with(|| b.version.cmp(&a.version)));
        Ok(Self { entries })
    }

    /// Returns all entries, sorted by name, then newest first.
    pub fn entries(&self) -> &[SourceEntry] {
        &self.entries
    }

    /// Returns the versions of a source package, newest first.
    pub fn candidates(&self, package: &str) -> &[SourceEntry] {
        range_of(&self.entries, package, |entry| &entry.package)
    }
}

/// Returns the entries of one name from a list sorted by name.
fn range_of<'a, T>(entries: &'a [T], name: &str, name_of: impl Fn(&T) -> &String) -> &'a [T] {
    let start = entries.partition_point(|entry| name_of(entry).as_str() < name);
    let length = entries[start..].partition_point(|entry| name_of(entry) == name);
    &entries[start..start + length]
}

fn package_entry(paragraph: Paragraph<'_>) -> Result<PackageEntry, IndexError> {
    let mut entry = PackageEntry {
        package: String::new(),
        version: Version::new(""),
        architecture: String::new(),
        source: String::new(),
        filename: String::new(),
        size: 0,
        sha256: String::new(),
        installed_size: 0,
        depends: String::new(),
        pre_depends: String::new(),
        provides: String::new(),
        conflicts: String::new(),
        breaks: String::new(),
        essential: false,
    };
    let mut size = "";
    for (name, value) in paragraph.fields() {
        // The archive's own tools write the names in this case of letters, and it saves a lot of comparing.
        match name {
            "Package" => value.clone_into(&mut entry.package),
            "Version" => entry.version = Version::new(value),
            "Architecture" => value.clone_into(&mut entry.architecture),
            "Source" => {
                value.split([' ', '(']).next().unwrap_or(value).clone_into(&mut entry.source);
            }
            "Filename" => value.clone_into(&mut entry.filename),
            "Size" => size = value,
            "SHA256" => value.clone_into(&mut entry.sha256),
            "Installed-Size" => entry.installed_size = value.parse().unwrap_or(0),
            "Depends" => value.clone_into(&mut entry.depends),
            "Pre-Depends" => value.clone_into(&mut entry.pre_depends),
            "Provides" => value.clone_into(&mut entry.provides),
            "Conflicts" => value.clone_into(&mut entry.conflicts),
            "Breaks" => value.clone_into(&mut entry.breaks),
            "Essential" => entry.essential = value == "yes",
            _ => {}
        }
    }
    for (field, value) in [
        ("Package", entry.package.as_str()),
        ("Version", entry.version.as_str()),
        ("Architecture", &entry.architecture),
        ("Filename", &entry.filename),
        ("Size", size),
        ("SHA256", &entry.sha256),
    ] {
        if value.is_empty() {
            return Err(IndexError::MissingField { package: entry.package.clone(), field });
        }
    }
    if entry.source.is_empty() {
        entry.source.clone_from(&entry.package);
    }
    let bad = |field, value: &str| bad_field(&entry.package, field, value);
    entry.size = size.parse().map_err(|_| bad("Size", size))?;
    if !is_relative(&entry.filename) {
        return Err(bad("Filename", &entry.filename));
    }
    if !is_sha256(&entry.sha256) {
        return Err(bad("SHA256", &entry.sha256));
    }
    Ok(entry)
}

fn source_entry(paragraph: Paragraph<'_>) -> Result<SourceEntry, IndexError> {
    let (mut package, mut version, mut directory, mut checksums) = ("", "", "", None);
    let mut build_depends = String::new();
    for (name, value) in paragraph.fields() {
        match name {
            "Package" => package = value,
            "Version" => version = value,
            "Directory" => directory = value,
            "Checksums-Sha256" => checksums = Some(value),
            "Build-Depends" | "Build-Depends-Arch" => {
                if !build_depends.is_empty() {
                    build_depends.push_str(", ");
                }
                build_depends.push_str(value);
            }
            _ => {}
        }
    }
    for (field, value) in [("Package", package), ("Version", version), ("Directory", directory)] {
        if value.is_empty() {
            return Err(IndexError::MissingField { package: package.to_owned(), field });
        }
    }
    if !is_relative(directory) {
        return Err(bad_field(package, "Directory", directory));
    }
    let field = "Checksums-Sha256";
    let checksums =
        checksums.ok_or_else(|| IndexError::MissingField { package: package.to_owned(), field })?;
    let files = source_files(checksums).map_err(|line| bad_field(package, field, line))?;
    Ok(SourceEntry {
        package: package.to_owned(),
        version: Version::new(version),
        directory: directory.to_owned(),
        files,
        build_depends,
    })
}

/// Reads `Checksums-Sha256`; the error is the line that could not be read.
pub(crate) fn source_files(checksums: &str) -> Result<Vec<SourceFile>, &str> {
    let mut files = Vec::new();
    for line in checksums.lines().filter(|line| !line.trim().is_empty()) {
        let mut words = line.split_whitespace();
        let (Some(sha256), Some(size), Some(name), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(line);
        };
        if !is_sha256(sha256) || !is_relative(name) || name.contains('/') {
            return Err(line);
        }
        let size = size.parse().map_err(|_| line)?;
        files.push(SourceFile { name: name.to_owned(), size, sha256: sha256.to_owned() });
    }
    Ok(files)
}

fn bad_field(package: &str, field: &'static str, value: &str) -> IndexError {
    IndexError::BadField {
        package: package.to_owned(),
        field,
        value: value.chars().take(80).collect(),
    }
}

/// Tells whether a path can be joined to a base without leaving it.
pub(crate) fn is_relative(path: &str) -> bool {
    !path.is_empty() && path.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
}

/// Tells whether a text is a SHA-256 in lower-case hexadecimal digits.
pub(crate) fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Returns the Levenshtein distance.
fn distance(left: &[u8], right: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let cost = (diagonal + usize::from(a != b)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = row[j + 1];
            row[j + 1] = cost;
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SHA: &str = "3a2118df47bf3f04285649f0455c2fc6fe2dc7f0b237073038aa00af41f0d5f2";

    fn paragraph(package: &str, version: &str, more: &str) -> String {
        format!(
            "Package: {package}\nVersion: {version}\nArchitecture: amd64\nFilename: pool/{package}.deb\nSize: 12\nSHA256: {SHA}\n{more}\n"
        )
    }

    #[test]
    fn entries_are_read_and_sorted() {
        let text = paragraph("bash", "5.1", "")
            + &paragraph(
                "zsh",
                "1",
                "Provides: shell (= 3), sh:any\nSource: z (1.2)\nEssential: yes\nInstalled-Size: 7\n",
            )
            + &paragraph(
                "bash",
                "5.2~rc1",
                "Depends: libc6 (>= 2.36),\n libtinfo6\nProvides: shell\n",
            )
            + &paragraph("bash", "5.2", "");
        let index = PackageIndex::parse(text.as_bytes()).unwrap();
        let versions: Vec<&str> =
            index.candidates("bash").iter().map(|entry| entry.version.as_str()).collect();
        assert_eq!(versions, ["5.2", "5.2~rc1", "5.1"]);
        assert_eq!(index.candidates("bash")[1].depends, "libc6 (>= 2.36),\n libtinfo6");
        let zsh = &index.candidates("zsh")[0];
        assert_eq!((zsh.source.as_str(), zsh.essential, zsh.installed_size), ("z", true, 7));
        let shells: Vec<&str> =
            index.providers("shell").map(|entry| entry.package.as_str()).collect();
        assert_eq!(shells, ["bash", "zsh"]);
        assert_eq!(index.providers("sh").count(), 1);
        assert!(index.candidates("fish").is_empty());
        assert_eq!(index.near_misses("bahs"), Vec::<String>::new());
        assert_eq!(index.near_misses("bas"), ["bash"]);
    }

    #[test]
    fn bad_packages_are_errors() {
        let good = paragraph("bash", "5.2", "");
        let table = [
            (good.replace("Size: 12\n", ""), "package `bash`: no field `Size`"),
            (
                good.replace("Size: 12", "Size: x"),
                "package `bash`: field `Size` has the bad value `x`",
            ),
            (
                good.replace("pool/", "../"),
                "package `bash`: field `Filename` has the bad value `../bash.deb`",
            ),
            (
                good.replace("pool/", "/"),
                "package `bash`: field `Filename` has the bad value `/bash.deb`",
            ),
            (good.replace(SHA, "abc"), "package `bash`: field `SHA256` has the bad value `abc`"),
            (good.replace("Package: bash\n", ""), "package ``: no field `Package`"),
            (good.replace("Version", "nothing"), "package `bash`: no field `Version`"),
        ];
        for (text, message) in table {
            assert_eq!(PackageIndex::parse(text.as_bytes()).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn sources_are_read() {
        let text = format!(
            "Package: gcc-12\nVersion: 12.2.0-14\nDirectory: pool/main/g/gcc-12\nBuild-Depends: a, b\nBuild-Depends-Arch: c\n\
             Files:\n 123 4 gcc-12_12.2.0-14.dsc\nChecksums-Sha256:\n {SHA} 4 gcc-12_12.2.0-14.dsc\n {SHA} 5 gcc-12_12.2.0.orig.tar.gz\n"
        );
        let index = SourceIndex::parse(text.as_bytes()).unwrap();
        let entry = &index.candidates("gcc-12")[0];
        assert_eq!(entry.dsc().unwrap().name, "gcc-12_12.2.0-14.dsc");
        assert_eq!(entry.path(&entry.files[1]), "pool/main/g/gcc-12/gcc-12_12.2.0.orig.tar.gz");
        assert_eq!((entry.files[1].size, entry.build_depends.as_str()), (5, "a, b, c"));
        for bad in [
            text.replace(" 5 ", " 5 ../"),
            text.replace(" 5 ", " five "),
            text.replace("pool/", "/pool/"),
        ] {
            assert!(
                matches!(SourceIndex::parse(bad.as_bytes()), Err(IndexError::BadField { .. })),
                "{bad}"
            );
        }
        let none = text.replace("Checksums-Sha256", "Checksums-Sha1");
        assert!(matches!(
            SourceIndex::parse(none.as_bytes()),
            Err(IndexError::MissingField { .. })
        ));
    }

    proptest! {
        #[test]
        fn any_text_ends_without_panic(text in "((Package|Size|Version|Filename|Provides): ?[a-c0-9,(:]{0,5}\n|\n| x\n){0,20}") {
            let _ = PackageIndex::parse(text.as_bytes());
            let _ = SourceIndex::parse(text.as_bytes());
        }

        #[test]
        fn distances_are_metric(a in "[ab]{0,5}", b in "[ab]{0,5}", c in "[ab]{0,5}") {
            let (a, b, c) = (a.as_bytes(), b.as_bytes(), c.as_bytes());
            prop_assert_eq!(distance(a, b), distance(b, a));
            prop_assert_eq!(distance(a, b) == 0, a == b);
            prop_assert!(distance(a, c) <= distance(a, b) + distance(b, c));
        }
    }
}
