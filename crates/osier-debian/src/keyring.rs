//! OpenPGP keys that may sign an archive.

use std::time::{Duration, SystemTime};

use pgp::composed::{Deserializable, SignedPublicKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{PublicKey, PublicSubkey, Signature, SignatureType};
use pgp::types::{KeyDetails, Tag};
use thiserror::Error;

/// Tells why keys could not be taken into a keyring.
#[derive(Debug, Error)]
pub enum KeyringError {
    /// The text is no armored OpenPGP public key.
    #[error("key number {number} cannot be read")]
    Unreadable {
        /// Place in the list, counted from 1.
        number: usize,
        /// The library's words.
        #[source]
        source: Box<pgp::errors::Error>,
    },
    /// A key has no part that may sign: revoked, not self-signed, or for other uses.
    #[error("key {fingerprint} has no valid signing key")]
    CannotSign {
        /// Fingerprint of its primary key.
        fingerprint: String,
    },
}

/// Debian's archive keys as committed in `keys/`: file and fingerprint of the primary key.
///
/// When a key is added, compare its fingerprint with the one on the keys page of Debian's FTP masters.
pub const DEBIAN_FINGERPRINTS: [(&str, &str); 9] = [
    ("debian-archive-bullseye-automatic.asc", "1F89983E0081FDE018F3CC9673A4F27B8DD47936"),
    ("debian-archive-bullseye-security-automatic.asc", "AC530D520F2F3269F5E98313A48449044AAD5C5D"),
    ("debian-archive-bullseye-stable.asc", "A4285295FC7B1A81600062A9605C66F00D6C9793"),
    ("debian-archive-bookworm-automatic.asc", "B8B80B5B623EAB6AD8775C45B7C5D7D6350947F8"),
    ("debian-archive-bookworm-security-automatic.asc", "05AB90340C0C5E797F44A8C8254CF3B5AEC0A8F0"),
    ("debian-archive-bookworm-stable.asc", "4D64FEC119C2029067D6E791F8D2585B8783D481"),
    ("debian-archive-trixie-automatic.asc", "04B54C3CDCA79751B16BC6B5225629DF75B188BD"),
    ("debian-archive-trixie-security-automatic.asc", "5E04A1E3223A19A20706E20F9904613D4CCE68C6"),
    ("debian-archive-trixie-stable.asc", "41587F7DB8C774BCCF131416762F67A0B2C39DE4"),
];

const DEBIAN_KEYS: [&[u8]; 9] = [
    include_bytes!("../keys/debian-archive-bullseye-automatic.asc"),
    include_bytes!("../keys/debian-archive-bullseye-security-automatic.asc"),
    include_bytes!("../keys/debian-archive-bullseye-stable.asc"),
    include_bytes!("../keys/debian-archive-bookworm-automatic.asc"),
    include_bytes!("../keys/debian-archive-bookworm-security-automatic.asc"),
    include_bytes!("../keys/debian-archive-bookworm-stable.asc"),
    include_bytes!("../keys/debian-archive-trixie-automatic.asc"),
    include_bytes!("../keys/debian-archive-trixie-security-automatic.asc"),
    include_bytes!("../keys/debian-archive-trixie-stable.asc"),
];

/// The keys whose signatures are believed.
///
/// Only keys that may sign are in it: primary keys by their own self-signature, subkeys by a binding that the
/// primary key made and that the subkey confirmed, none of them revoked. How long each is valid is kept beside it.
#[derive(Debug)]
pub struct Keyring {
    keys: Vec<SigningKey>,
}

#[derive(Debug)]
struct SigningKey {
    key: KeyPacket,
    /// Fingerprint of the primary key it belongs to.
    primary: String,
    created: SystemTime,
    expires: Option<SystemTime>,
}

#[derive(Debug)]
enum KeyPacket {
    Primary(PublicKey),
    Subkey(PublicSubkey),
}

/// What a keyring says about one signature.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Made by a key of the keyring, over this text.
    Good {
        /// Fingerprint of the primary key.
        primary: String,
    },
    /// No key of the keyring is its issuer.
    UnknownKey,
    /// The issuer was not valid when the signature was made, or the signature has run out.
    Expired,
    /// Its hash algorithm is too weak or unknown.
    WeakHash(String),
    /// The text or the signature was changed, or it is no signature over a document.
    Bad,
}

impl Keyring {
    /// Returns Debian's archive keys from bullseye to trixie.
    ///
    /// # Errors
    /// None in fact: the keys are committed and a test reads them.
    pub fn debian() -> Result<Self, KeyringError> {
        Self::from_armored(&DEBIAN_KEYS)
    }

    /// Reads ASCII-armored public keys, one or more in each text.
    ///
    /// # Errors
    /// [`KeyringError`]. A key that cannot sign is an error too, since nobody puts one in on purpose.
    pub fn from_armored(texts: &[&[u8]]) -> Result<Self, KeyringError> {
        let mut keys = Vec::new();
        for (place, text) in texts.iter().enumerate() {
            let unreadable =
                |source| KeyringError::Unreadable { number: place + 1, source: Box::new(source) };
            let (certificates, _) = SignedPublicKey::from_armor_many(*text).map_err(unreadable)?;
            for certificate in certificates {
                let certificate = certificate.map_err(unreadable)?;
                let found = signing_keys(&certificate);
                if found.is_empty() {
                    return Err(KeyringError::CannotSign { fingerprint: hex(&certificate) });
                }
                keys.extend(found);
            }
        }
        Ok(Self { keys })
    }

    /// Judges one signature over `signed`.
    pub(crate) fn judge(&self, signature: &Signature, signed: &[u8], now: SystemTime) -> Verdict {
        if !matches!(signature.typ(), Some(SignatureType::Text | SignatureType::Binary)) {
            return Verdict::Bad;
        }
        if let Some(weak) = weak_hash(signature) {
            return Verdict::WeakHash(weak);
        }
        let Some(created) = signature.created().map(SystemTime::from) else { return Verdict::Bad };
        let mut verdict = Verdict::UnknownKey;
        for key in self.keys.iter().filter(|key| key.is_issuer(signature)) {
            let verified = match &key.key {
                KeyPacket::Primary(packet) => signature.verify(packet, signed),
                KeyPacket::Subkey(packet) => signature.verify(packet, signed),
            };
            if verified.is_err() {
                verdict = Verdict::Bad;
                continue;
            }
            let ends = signature
                .signature_expiration_time()
                .and_then(|life| after(created, life.as_secs()));
            let key_valid =
                created >= key.created && key.expires.is_none_or(|expires| created < expires);
            if !key_valid || ends.is_some_and(|ends| now >= ends) {
                verdict = Verdict::Expired;
                continue;
            }
            return Verdict::Good { primary: key.primary.clone() };
        }
        verdict
    }
}

impl SigningKey {
    /// Tells whether the signature names this key; one that names none was made by nobody we know.
    fn is_issuer(&self, signature: &Signature) -> bool {
        let (fingerprint, id) = match &self.key {
            KeyPacket::Primary(packet) => (packet.fingerprint(), packet.legacy_key_id()),
            KeyPacket::Subkey(packet) => (packet.fingerprint(), packet.legacy_key_id()),
        };
        let fingerprints = signature.issuer_fingerprint();
        if fingerprints.is_empty() {
            return signature.issuer_key_id().contains(&&id);
        }
        fingerprints.contains(&&fingerprint)
    }
}

/// Returns the name of the hash where it is weaker than SHA-256 or unknown.
fn weak_hash(signature: &Signature) -> Option<String> {
    match signature.hash_alg() {
        Some(
            HashAlgorithm::Sha256
            | HashAlgorithm::Sha384
            | HashAlgorithm::Sha512
            | HashAlgorithm::Sha3_256
            | HashAlgorithm::Sha3_512,
        ) => None,
        Some(weak) => Some(weak.to_string()),
        None => Some("unknown".to_owned()),
    }
}

/// Finds the parts of a certificate that may sign documents, with the time for which they may.
fn signing_keys(certificate: &SignedPublicKey) -> Vec<SigningKey> {
    let primary = &certificate.primary_key;
    // A revocation that verifies ends the key for good: what it signed before cannot be told from later forgeries.
    let revoked = certificate
        .details
        .revocation_signatures
        .iter()
        .any(|signature| signature.verify_key(primary).is_ok());
    if revoked {
        return Vec::new();
    }
    let certifications = certificate.details.users.iter().flat_map(|user| {
        user.signatures.iter().filter(|signature| {
            signature.typ() != Some(SignatureType::CertRevocation)
                && signature.verify_certification(primary, Tag::UserId, &user.id).is_ok()
        })
    });
    let direct = certificate
        .details
        .direct_signatures
        .iter()
        .filter(|signature| signature.verify_key(primary).is_ok());
    // Debian's keys have direct signatures that only name who may revoke them; uses and expiry stand at the user id.
    let Some(own) = newest(certifications).or_else(|| newest(direct)) else { return Vec::new() };
    let fingerprint = hex(primary);
    let created = SystemTime::from(primary.created_at());
    let expires = expiry(created, own);
    let mut keys = Vec::new();
    if own.key_flags().sign() {
        let key = KeyPacket::Primary(primary.clone());
        keys.push(SigningKey { key, primary: fingerprint.clone(), created, expires });
    }
    for subkey in &certificate.public_subkeys {
        let verified = |wanted: SignatureType| {
            subkey.signatures.iter().filter(move |signature| {
                signature.typ() == Some(wanted)
                    && signature.verify_subkey_binding(primary, &subkey.key).is_ok()
            })
        };
        if verified(SignatureType::SubkeyRevocation).next().is_some() {
            continue;
        }
        let Some(binding) = newest(verified(SignatureType::SubkeyBinding)) else { continue };
        // The subkey must confirm the binding, or anyone could claim another's signatures as their own.
        let confirmed = binding.embedded_signature().is_some_and(|back| {
            weak_hash(back).is_none()
                && back.verify_primary_key_binding(&subkey.key, primary).is_ok()
        });
        if !binding.key_flags().sign() || !confirmed {
            continue;
        }
        let created = SystemTime::from(subkey.key.created_at());
        let expires = match (expiry(created, binding), expires) {
            (Some(own), Some(primary)) => Some(own.min(primary)),
            (own, primary) => own.or(primary),
        };
        keys.push(SigningKey {
            key: KeyPacket::Subkey(subkey.key.clone()),
            primary: fingerprint.clone(),
            created,
            expires,
        });
    }
    keys
}

/// Returns the newest of the signatures that use a strong hash.
fn newest<'a>(signatures: impl Iterator<Item = &'a Signature>) -> Option<&'a Signature> {
    signatures
        .filter(|signature| weak_hash(signature).is_none())
        .max_by_key(|signature| signature.created())
}

fn expiry(created: SystemTime, signature: &Signature) -> Option<SystemTime> {
    signature.key_expiration_time().and_then(|life| after(created, life.as_secs()))
}

/// Adds a lifetime in seconds; zero means for ever.
fn after(start: SystemTime, seconds: u32) -> Option<SystemTime> {
    (seconds != 0).then(|| start + Duration::from_secs(u64::from(seconds)))
}

fn hex(key: &impl KeyDetails) -> String {
    key.fingerprint().to_string().to_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn committed_keys_are_those_of_the_table() {
        for (text, (file, fingerprint)) in DEBIAN_KEYS.iter().zip(DEBIAN_FINGERPRINTS) {
            let (certificate, _) = SignedPublicKey::from_armor_single(*text).unwrap();
            assert_eq!(hex(&certificate), fingerprint, "{file}");
            assert!(!signing_keys(&certificate).is_empty(), "{file} cannot sign");
        }
        // Six automatic keys sign with primary and subkey, three release keys with the primary alone.
        assert_eq!(Keyring::debian().unwrap().keys.len(), 15);
    }

    #[test]
    fn debian_keys_expire() {
        for key in Keyring::debian().unwrap().keys {
            let years = key.expires.unwrap().duration_since(key.created).unwrap().as_secs()
                / (365 * 86_400);
            assert!((6..=10).contains(&years), "{}: {years} years", key.primary);
        }
    }

    #[test]
    fn damaged_keys_are_errors() {
        let text = DEBIAN_KEYS[0];
        for bad in [&b""[..], b"no key", &text[..300]] {
            assert!(matches!(
                Keyring::from_armored(&[bad]),
                Err(KeyringError::Unreadable { number: 1, .. })
            ));
        }
    }
}
