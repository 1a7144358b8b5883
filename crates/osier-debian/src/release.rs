//! `InRelease`: the signed list of a suite's indexes.

use std::collections::BTreeMap;
use std::time::SystemTime;

use pgp::composed::{Deserializable, DetachedSignature};
use thiserror::Error;

use crate::calendar::parse_date;
use crate::cleartext::Cleartext;
use crate::control::{ControlError, Paragraphs};
use crate::index::{is_relative, is_sha256};
use crate::keyring::{Keyring, Verdict};

/// Tells why a release file is not believed.
#[derive(Debug, Error)]
pub enum ReleaseError {
    /// The bytes are not one clear-signed message and nothing else.
    #[error("not a clear-signed message")]
    NotClearSigned,
    /// The signature block cannot be read.
    #[error("the signature block cannot be read")]
    UnreadableSignature(#[source] Box<pgp::errors::Error>),
    /// The message holds no signature.
    #[error("no signature")]
    Unsigned,
    /// A key of the keyring is named as the issuer, but text and signature do not fit.
    #[error("bad signature: the text or the signature was changed")]
    BadSignature,
    /// No signature is by a key of the keyring.
    #[error("signed by unknown keys only: {}", .issuers.join(", "))]
    UnknownKey {
        /// Fingerprints, or key ids where the signature has no fingerprint.
        issuers: Vec<String>,
    },
    /// The only signatures by known keys use MD5, SHA-1 or the like.
    #[error("the signature's hash {hash} is too weak")]
    WeakHash {
        /// Name of the hash.
        hash: String,
    },
    /// The key was not valid when it signed, or the signature has run out.
    #[error("the key or the signature has expired")]
    ExpiredKey,
    /// The release says that it is no longer valid.
    #[error("expired: valid until {date}")]
    Expired {
        /// The date as written.
        date: String,
    },
    /// The release is that of another suite.
    #[error("asked for suite `{wanted}`, got suite `{suite}` with codename `{codename}`")]
    WrongSuite {
        /// The suite asked for.
        wanted: String,
        /// The release's suite.
        suite: String,
        /// The release's codename.
        codename: String,
    },
    /// The signed text is no control file.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The signed text lacks a field or a field has another form.
    #[error("field `{field}` is missing or cannot be read")]
    BadField {
        /// Name of the field.
        field: &'static str,
    },
}

/// An index file that a release vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexFile {
    /// Path below the suite's folder, such as `main/binary-amd64/Packages.xz`.
    pub path: String,
    /// Path below the suite's folder under which the same bytes stay when the index is replaced, where the archive
    /// offers it.
    pub by_hash: Option<String>,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256, 64 lower-case hexadecimal digits.
    pub sha256: String,
}

/// The verified content of a suite's `InRelease`.
#[derive(Debug, Clone)]
pub struct Release {
    suite: String,
    codename: String,
    date: String,
    signed_by: Vec<String>,
    by_hash: bool,
    /// Path to size and SHA-256.
    files: BTreeMap<String, (u64, String)>,
}

impl Release {
    /// Verifies a clear-signed release and reads it; `now` decides whether it has expired.
    ///
    /// One good signature by a key of the keyring is enough. Only the text that it covers is read, and of the
    /// checksums only SHA-256.
    ///
    /// # Errors
    /// [`ReleaseError`].
    pub fn verify(
        inrelease: &[u8],
        keyring: &Keyring,
        now: SystemTime,
    ) -> Result<Self, ReleaseError> {
        let message = std::str::from_utf8(inrelease).map_err(|_| ReleaseError::NotClearSigned)?;
        let cleartext = Cleartext::split(message).ok_or(ReleaseError::NotClearSigned)?;
        let signed_by = signers(&cleartext, keyring, now)?;
        let release = Self::parse(&cleartext.signed.replace("\r\n", "\n"), signed_by, now)?;
        Ok(release)
    }

    fn parse(text: &str, signed_by: Vec<String>, now: SystemTime) -> Result<Self, ReleaseError> {
        let mut paragraphs = Paragraphs::of_text(text);
        let Some(paragraph) = paragraphs.next().transpose()? else {
            return Err(ReleaseError::BadField { field: "Codename" });
        };
        if paragraphs.next().is_some() {
            return Err(ReleaseError::NotClearSigned);
        }
        let field = |field| paragraph.get(field).ok_or(ReleaseError::BadField { field });
        if let Some(date) = paragraph.get("Valid-Until") {
            let until = parse_date(date).ok_or(ReleaseError::BadField { field: "Valid-Until" })?;
            if now > until {
                return Err(ReleaseError::Expired { date: date.to_owned() });
            }
        }
        let mut files = BTreeMap::new();
        for line in field("SHA256")?.lines().filter(|line| !line.trim().is_empty()) {
            let bad = ReleaseError::BadField { field: "SHA256" };
            let mut words = line.split_whitespace();
            let (Some(sha256), Some(size), Some(path), None) =
                (words.next(), words.next(), words.next(), words.next())
            else {
                return Err(bad);
            };
            let Ok(size) = size.parse() else { return Err(bad) };
            if !is_sha256(sha256) || !is_relative(path) {
                return Err(bad);
            }
            files.insert(path.to_owned(), (size, sha256.to_owned()));
        }
        Ok(Self {
            suite: paragraph.get("Suite").unwrap_or_default().to_owned(),
            codename: field("Codename")?.to_owned(),
            date: field("Date")?.to_owned(),
            signed_by,
            by_hash: paragraph.get("Acquire-By-Hash") == Some("yes"),
            files,
        })
    }

    /// Confirms that this is the suite that was asked for, by its name (`stable`) or codename (`bookworm`).
    ///
    /// # Errors
    /// [`ReleaseError::WrongSuite`]: a mirror must not be able to pass one suite off as another.
    pub fn require_suite(&self, wanted: &str) -> Result<(), ReleaseError> {
        if wanted == self.suite || wanted == self.codename {
            return Ok(());
        }
        Err(ReleaseError::WrongSuite {
            wanted: wanted.to_owned(),
            suite: self.suite.clone(),
            codename: self.codename.clone(),
        })
    }

    /// Returns the suite's name, such as `oldstable`; it moves on from release to release.
    pub fn suite(&self) -> &str {
        &self.suite
    }

    /// Returns the codename, such as `bookworm`.
    pub fn codename(&self) -> &str {
        &self.codename
    }

    /// Returns the date at which the suite was last changed, as written.
    pub fn date(&self) -> &str {
        &self.date
    }

    /// Returns the fingerprints of the primary keys that signed, of those in the keyring.
    pub fn signed_by(&self) -> &[String] {
        &self.signed_by
    }

    /// Returns what the release says about an index file, by its path below the suite's folder.
    pub fn index(&self, path: &str) -> Option<IndexFile> {
        let (size, sha256) = self.files.get(path)?;
        let folder =
            path.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
        Some(IndexFile {
            path: path.to_owned(),
            by_hash: self.by_hash.then(|| format!("{folder}by-hash/SHA256/{sha256}")),
            size: *size,
            sha256: sha256.clone(),
        })
    }
}

/// Returns who signed, of the keyring; at least one.
fn signers(
    cleartext: &Cleartext<'_>,
    keyring: &Keyring,
    now: SystemTime,
) -> Result<Vec<String>, ReleaseError> {
    let unreadable = |error| ReleaseError::UnreadableSignature(Box::new(error));
    let (signatures, _) =
        DetachedSignature::from_armor_many(cleartext.signature.as_bytes()).map_err(unreadable)?;
    let mut good = Vec::new();
    let mut unknown = Vec::new();
    let mut failure = None;
    let mut any = false;
    for signature in signatures {
        let signature = signature.map_err(unreadable)?.signature;
        any = true;
        // A later signature by an unknown key, as of the next release's key, says nothing against the good one.
        match keyring.judge(&signature, cleartext.signed.as_bytes(), now) {
            Verdict::Good { primary } => good.push(primary),
            Verdict::UnknownKey => unknown.push(issuer(&signature)),
            Verdict::Bad => failure = Some(ReleaseError::BadSignature),
            Verdict::WeakHash(hash) => drop(failure.get_or_insert(ReleaseError::WeakHash { hash })),
            Verdict::Expired => drop(failure.get_or_insert(ReleaseError::ExpiredKey)),
        }
    }
    if !good.is_empty() {
        return Ok(good);
    }
    if !any {
        return Err(ReleaseError::Unsigned);
    }
    Err(failure.unwrap_or(ReleaseError::UnknownKey { issuers: unknown }))
}

fn issuer(signature: &pgp::packet::Signature) -> String {
    let fingerprint = signature.issuer_fingerprint().first().map(ToString::to_string);
    let id = || signature.issuer_key_id().first().map(ToString::to_string);
    fingerprint.or_else(id).map_or_else(|| "unnamed".to_owned(), |name| name.to_uppercase())
}

#[cfg(test)]
#[path = "release_tests.rs"]
mod tests;
