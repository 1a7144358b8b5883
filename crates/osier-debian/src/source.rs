//! Source packages: the `.dsc` file and Debian's patches.

use std::collections::BTreeMap;
use std::io::{self, Read};

use thiserror::Error;

use crate::compression::{DecompressError, decompress};
use crate::control::{ControlError, Paragraph, Paragraphs};
use crate::index::{SourceFile, source_files};
use crate::version::Version;

/// Tells why a `.dsc` could not be read.
#[derive(Debug, Error)]
pub enum DscError {
    /// It is no control file.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// A field is missing or has another form.
    #[error("field `{field}` is missing or cannot be read")]
    BadField {
        /// Name of the field.
        field: &'static str,
    },
}

/// What a file of a source package is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceFileKind {
    /// The original archive: `NAME_VERSION.orig.tar.xz`.
    Orig,
    /// A further original archive, to be unpacked into the folder of that name: `NAME_VERSION.orig-cli.tar.xz`.
    OrigComponent(String),
    /// Debian's folder, with the patches: `NAME_VERSION-1.debian.tar.xz`.
    DebianTar,
    /// Debian's changes as one patch, of format 1.0: `NAME_VERSION-1.diff.gz`.
    DebianDiff,
    /// The whole source of a package made for Debian: `NAME_VERSION.tar.xz`.
    Native,
    /// A signature of one of the others.
    Signature,
    /// Anything else.
    Other,
}

/// The content of a `.dsc` file.
///
/// Its own signature is not looked at: the file is trusted by its SHA-256 in the signed index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dsc {
    /// Name of the source package.
    pub source: String,
    /// Its version.
    pub version: Version,
    /// Format of the source package, such as `3.0 (quilt)`.
    pub format: String,
    /// The files with what each is, in the order of the `.dsc`.
    pub files: Vec<(SourceFileKind, SourceFile)>,
}

impl Dsc {
    /// Reads a `.dsc`, with or without a signature around it.
    ///
    /// # Errors
    /// [`DscError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, DscError> {
        for paragraph in Paragraphs::new(bytes)? {
            match paragraph {
                Ok(paragraph) if paragraph.get("Source").is_some() => return Self::of(paragraph),
                Ok(_) => {}
                // The line that opens the signed text is no field; what follows is a paragraph of its own.
                Err(ControlError::NotAField { line: 1, text })
                    if text.starts_with("-----BEGIN PGP SIGNED") =>
                {
                    let start = bytes
                        .iter()
                        .position(|byte| *byte == b'\n')
                        .map_or(bytes.len(), |end| end + 1);
                    return Self::parse(&bytes[start..]);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(DscError::BadField { field: "Source" })
    }

    fn of(paragraph: Paragraph<'_>) -> Result<Self, DscError> {
        let field = |field| paragraph.get(field).ok_or(DscError::BadField { field });
        let format = field("Format")?.to_owned();
        let checksums = field("Checksums-Sha256")?;
        let files = source_files(checksums)
            .map_err(|_| DscError::BadField { field: "Checksums-Sha256" })?;
        let files = files.into_iter().map(|file| (kind(&file.name), file)).collect();
        Ok(Self {
            source: field("Source")?.to_owned(),
            version: Version::new(field("Version")?),
            format,
            files,
        })
    }

    /// Returns the first file of a kind.
    pub fn file(&self, kind: &SourceFileKind) -> Option<&SourceFile> {
        self.files.iter().find(|(found, _)| found == kind).map(|(_, file)| file)
    }
}

fn kind(name: &str) -> SourceFileKind {
    if [".asc", ".sig", ".sign"].iter().any(|end| name.ends_with(end)) {
        return SourceFileKind::Signature;
    }
    if name.ends_with(".diff.gz") {
        return SourceFileKind::DebianDiff;
    }
    let Some((stem, _)) = name.rsplit_once(".tar.") else { return SourceFileKind::Other };
    if stem.ends_with(".debian") {
        return SourceFileKind::DebianTar;
    }
    if stem.ends_with(".orig") {
        return SourceFileKind::Orig;
    }
    match stem.rsplit_once(".orig-") {
        Some((_, component)) if !component.is_empty() => {
            SourceFileKind::OrigComponent(component.to_owned())
        }
        _ => SourceFileKind::Native,
    }
}

/// One patch of a series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    /// Path below `debian/patches`.
    pub name: String,
    /// How many leading folders of the paths in the patch are to be left out: 1, unless the series says otherwise.
    pub strip: u32,
    /// The patch.
    pub bytes: Vec<u8>,
}

/// Tells why the patches could not be read.
#[derive(Debug, Error)]
pub enum SeriesError {
    /// The archive is damaged.
    #[error(transparent)]
    Decompress(#[from] DecompressError),
    /// The tar archive is damaged.
    #[error("the archive of Debian's folder is damaged")]
    Damaged(#[source] io::Error),
    /// The series names a patch that is not there.
    #[error("line {line} of the series names the patch `{name}`, which is not in debian/patches")]
    Missing {
        /// Line number, counted from 1.
        line: usize,
        /// The patch.
        name: String,
    },
    /// The series has an option that is not understood.
    #[error("line {line} of the series has the unknown option `{option}`")]
    Option {
        /// Line number, counted from 1.
        line: usize,
        /// The option.
        option: String,
    },
}

/// Reads Debian's patches from a `debian.tar`, in the order in which they are to be applied.
///
/// The list is that of `debian/patches/debian.series`, else of `debian/patches/series`; a package without one has
/// no patches (<https://manpages.debian.org/dpkg-source>, format 3.0 quilt).
///
/// # Errors
/// [`SeriesError`].
pub fn series(debian_tar: &[u8]) -> Result<Vec<Patch>, SeriesError> {
    let mut patches =
        patch_files(&decompress("debian.tar", debian_tar)?).map_err(SeriesError::Damaged)?;
    let list =
        patches.remove("debian.series").or_else(|| patches.remove("series")).unwrap_or_default();
    let mut series = Vec::new();
    for (number, line) in String::from_utf8_lossy(&list).lines().enumerate() {
        let line_number = number + 1;
        let mut words = line.split_whitespace();
        let Some(name) = words.next().filter(|name| !name.starts_with('#')) else { continue };
        let mut strip = 1;
        for option in words.take_while(|word| !word.starts_with('#')) {
            strip = match option
                .strip_prefix("-p")
                .map(|level| level.parse().or(if level == "ab" { Ok(1) } else { Err(()) }))
            {
                Some(Ok(level)) => level,
                _ => {
                    return Err(SeriesError::Option {
                        line: line_number,
                        option: option.to_owned(),
                    });
                }
            };
        }
        let missing = || SeriesError::Missing { line: line_number, name: name.to_owned() };
        let bytes = patches.get(name).ok_or_else(missing)?.clone();
        series.push(Patch { name: name.to_owned(), strip, bytes });
    }
    Ok(series)
}

/// Reads the regular files below `debian/patches`.
fn patch_files(tar: &[u8]) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    let mut archive = tar::Archive::new(tar);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let path = path.strip_prefix("./").unwrap_or(&path);
        if let Some(name) = path.strip_prefix("debian/patches/")
            && entry.header().entry_type().is_file()
        {
            let size = entry.size();
            let mut bytes = Vec::new();
            if entry.read_to_end(&mut bytes)? as u64 != size {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            files.insert(name.to_owned(), bytes);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compression::Compression;
    use crate::compression::tests::compress;
    use proptest::prelude::*;

    const SHA: &str = "3a2118df47bf3f04285649f0455c2fc6fe2dc7f0b237073038aa00af41f0d5f2";

    fn dsc(files: &[&str]) -> String {
        let lines: String = files.iter().map(|name| format!(" {SHA} 7 {name}\n")).collect();
        format!(
            "Format: 3.0 (quilt)\nSource: docker.io\nVersion: 1:20.10-1\nFiles:\n 12 7 x\nChecksums-Sha256:\n{lines}"
        )
    }

    #[test]
    fn files_are_told_apart() {
        let table = [
            ("docker.io_20.10.orig.tar.gz", SourceFileKind::Orig),
            ("docker.io_20.10.orig-cli.tar.xz", SourceFileKind::OrigComponent("cli".to_owned())),
            ("docker.io_20.10.orig.tar.gz.asc", SourceFileKind::Signature),
            ("docker.io_20.10-1.debian.tar.xz", SourceFileKind::DebianTar),
            ("docker.io_20.10-1.diff.gz", SourceFileKind::DebianDiff),
            ("docker.io_20.10.tar.xz", SourceFileKind::Native),
            ("docker.io_20.10.zip", SourceFileKind::Other),
        ];
        let text = dsc(&table.iter().map(|(name, _)| *name).collect::<Vec<_>>());
        let armored = format!(
            "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n{text}\n-----BEGIN PGP SIGNATURE-----\n\nxx\n-----END PGP SIGNATURE-----\n"
        );
        for text in [text, armored] {
            let found = Dsc::parse(text.as_bytes()).unwrap();
            assert_eq!((found.source.as_str(), found.version.as_str()), ("docker.io", "1:20.10-1"));
            assert_eq!(found.format, "3.0 (quilt)");
            for ((name, kind), (found_kind, file)) in table.iter().zip(&found.files) {
                assert_eq!((*name, kind), (file.name.as_str(), found_kind));
            }
            assert_eq!(found.file(&SourceFileKind::Orig).unwrap().size, 7);
        }
    }

    #[test]
    fn odd_dsc_files_are_errors() {
        let good = dsc(&["a_1.tar.xz"]);
        for bad in [
            String::new(),
            "-----BEGIN PGP SIGNED MESSAGE-----".to_owned(),
            "no field\n".to_owned(),
            good.replace("Format: 3.0 (quilt)\n", ""),
            good.replace("Checksums-Sha256", "Checksums-Sha1"),
            good.replace(SHA, "12"),
            good.replace("a_1", "../a_1"),
            good.replace("Version", "X"),
        ] {
            assert!(Dsc::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    fn debian_tar(files: &[(&str, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, text) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, path, text.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn patches_come_in_the_order_of_the_series() {
        let tar = debian_tar(&[
            ("debian/patches/a.patch", "A"),
            ("debian/patches/sub/b.patch", "B"),
            ("debian/patches/unused.patch", "U"),
            ("debian/patches/series", "# first\n\nsub/b.patch -p1 # why\n  a.patch -p0\n"),
            ("debian/rules", "x"),
        ]);
        let patch = |name: &str, strip, bytes: &[u8]| Patch {
            name: name.to_owned(),
            strip,
            bytes: bytes.to_vec(),
        };
        let expected = [patch("sub/b.patch", 1, b"B"), patch("a.patch", 0, b"A")];
        for compression in [Compression::Xz, Compression::Gzip, Compression::None] {
            assert_eq!(series(&compress(compression, &tar)).unwrap(), expected);
        }
        assert_eq!(series(&debian_tar(&[("debian/rules", "x")])).unwrap(), []);
        let vendor = debian_tar(&[
            ("debian/patches/a", "A"),
            ("debian/patches/series", "b\n"),
            ("debian/patches/debian.series", "a\n"),
        ]);
        assert_eq!(series(&vendor).unwrap(), [patch("a", 1, b"A")]);
    }

    #[test]
    fn odd_series_are_errors() {
        let with = |list: &str| {
            series(&debian_tar(&[("debian/patches/a", "A"), ("debian/patches/series", list)]))
        };
        assert!(
            matches!(with("a\nb\n"), Err(SeriesError::Missing { line: 2, name }) if name == "b")
        );
        assert!(
            matches!(with("a -R\n"), Err(SeriesError::Option { line: 1, option }) if option == "-R")
        );
        let tar = debian_tar(&[("debian/patches/series", "a\n")]);
        let xz = compress(Compression::Xz, &tar);
        assert!(matches!(series(&xz[..xz.len() / 2]), Err(SeriesError::Decompress(_))));
        assert!(matches!(series(&tar[..513]), Err(SeriesError::Damaged(_))));
    }

    proptest! {
        #[test]
        fn any_bytes_end_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = Dsc::parse(&bytes);
            let _ = series(&bytes);
        }
    }
}
