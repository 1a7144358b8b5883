//! Source packages: the `.dsc` file.

use thiserror::Error;

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
        // The line that opens the signed text is no field; what follows is a paragraph of its own.
        let opens = bytes.starts_with(b"-----BEGIN PGP SIGNED");
        let line = bytes.iter().position(|byte| *byte == b'\n').filter(|_| opens);
        for paragraph in Paragraphs::new(line.map_or(bytes, |end| &bytes[end + 1..]))? {
            let paragraph = paragraph?;
            if paragraph.get("Source").is_some() {
                return Self::of(paragraph);
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

#[cfg(test)]
mod tests {
    use super::*;
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
            // No nesting, and so no call inside a call for each of these.
            "-----BEGIN PGP SIGNED MESSAGE-----\n".repeat(200_000),
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

    proptest! {
        #[test]
        fn any_bytes_end_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = Dsc::parse(&bytes);
        }
    }
}
