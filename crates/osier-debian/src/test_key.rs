//! Keys and signatures made for tests, with every property that a test may want to be wrong.

use pgp::composed::{
    ArmorOptions, DetachedSignature, KeyType, SignedKeyDetails, SignedPublicKey, SignedPublicSubKey,
};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{
    KeyFlags, PubKeyInner, PublicKey, PublicSubkey, SecretKey, SecretSubkey, Signature,
    SignatureConfig, SignatureType, Subpacket, SubpacketData, UserId,
};
use pgp::types::{
    Duration, KeyDetails, KeyVersion, Password, SignedUser, SigningKey, Tag, Timestamp,
};
use rand::SeedableRng;
use rand::rngs::StdRng;

/// 2020-01-01: when the test keys are made.
pub(crate) const CREATED: u32 = 1_577_836_800;
/// One day in seconds.
pub(crate) const DAY: u32 = 86_400;

/// How a test key is to be made.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) rsa: bool,
    /// Seconds from creation; 0 for ever.
    pub(crate) lifetime: u32,
    pub(crate) subkey_lifetime: u32,
    pub(crate) subkey_can_sign: bool,
    pub(crate) subkey_confirms: bool,
    pub(crate) binding_hash: HashAlgorithm,
    pub(crate) revoked: bool,
    pub(crate) subkey_revoked: bool,
}

impl Plan {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            rsa: false,
            lifetime: 0,
            subkey_lifetime: 0,
            subkey_can_sign: true,
            subkey_confirms: true,
            binding_hash: HashAlgorithm::Sha256,
            revoked: false,
            subkey_revoked: false,
        }
    }

    pub(crate) fn make(self) -> TestKey {
        let mut rng = StdRng::seed_from_u64(self.seed);
        let kind = if self.rsa { KeyType::Rsa(2048) } else { KeyType::Ed25519Legacy };
        let mut inner = || {
            let (public, secret) = kind.generate(&mut rng).unwrap();
            let created = Timestamp::from_secs(CREATED);
            (
                PubKeyInner::new(KeyVersion::V4, kind.to_alg(), created, None, public).unwrap(),
                secret,
            )
        };
        let (public, secret) = inner();
        let primary = SecretKey::new(PublicKey::from_inner(public).unwrap(), secret).unwrap();
        let (public, secret) = inner();
        let subkey = SecretSubkey::new(PublicSubkey::from_inner(public).unwrap(), secret).unwrap();
        TestKey { plan: self, primary, subkey }
    }
}

pub(crate) struct TestKey {
    plan: Plan,
    primary: SecretKey,
    subkey: SecretSubkey,
}

fn config(
    key: &impl SigningKey,
    kind: SignatureType,
    hash: HashAlgorithm,
    created: u32,
) -> SignatureConfig {
    let mut config = SignatureConfig::v4(kind, key.algorithm(), hash);
    for data in [
        SubpacketData::SignatureCreationTime(Timestamp::from_secs(created)),
        SubpacketData::IssuerFingerprint(key.fingerprint()),
    ] {
        config.hashed_subpackets.push(Subpacket::regular(data).unwrap());
    }
    config
}

fn add(config: &mut SignatureConfig, data: SubpacketData) {
    config.hashed_subpackets.push(Subpacket::regular(data).unwrap());
}

impl TestKey {
    pub(crate) fn fingerprint(&self) -> String {
        self.primary.fingerprint().to_string().to_uppercase()
    }

    /// The public certificate in armor.
    pub(crate) fn certificate(&self) -> Vec<u8> {
        let (plan, primary, subkey) = (self.plan, &self.primary, &self.subkey);
        let password = Password::empty();
        let signing = || {
            let mut flags = KeyFlags::default();
            flags.set_sign(true);
            SubpacketData::KeyFlags(flags)
        };
        let lifetime = |seconds| SubpacketData::KeyExpirationTime(Duration::from_secs(seconds));

        let user = UserId::from_str(Default::default(), "Test Archive").unwrap();
        let mut own = config(primary, SignatureType::CertPositive, plan.binding_hash, CREATED);
        add(&mut own, signing());
        add(&mut own, lifetime(plan.lifetime));
        let own = own
            .sign_certification(primary, primary.public_key(), &password, Tag::UserId, &user)
            .unwrap();

        let mut binding = config(primary, SignatureType::SubkeyBinding, plan.binding_hash, CREATED);
        if plan.subkey_can_sign {
            add(&mut binding, signing());
        }
        add(&mut binding, lifetime(plan.subkey_lifetime));
        if plan.subkey_confirms {
            let back = config(subkey, SignatureType::KeyBinding, HashAlgorithm::Sha256, CREATED)
                .sign_primary_key_binding(
                    subkey,
                    subkey.public_key(),
                    &password,
                    primary.public_key(),
                )
                .unwrap();
            add(&mut binding, SubpacketData::EmbeddedSignature(Box::new(back)));
        }
        let bind = |config: SignatureConfig| {
            config
                .sign_subkey_binding(primary, primary.public_key(), &password, subkey.public_key())
                .unwrap()
        };
        let mut subkey_signatures = vec![bind(binding)];
        if plan.subkey_revoked {
            subkey_signatures.push(bind(config(
                primary,
                SignatureType::SubkeyRevocation,
                HashAlgorithm::Sha256,
                CREATED + DAY,
            )));
        }
        let revocations = if plan.revoked {
            let config =
                config(primary, SignatureType::KeyRevocation, HashAlgorithm::Sha256, CREATED + DAY);
            vec![config.sign_key(primary, &password, primary.public_key()).unwrap()]
        } else {
            Vec::new()
        };
        SignedPublicKey {
            primary_key: primary.public_key().clone(),
            details: SignedKeyDetails::new(
                revocations,
                vec![],
                vec![SignedUser::new(user, vec![own])],
                vec![],
            ),
            public_subkeys: vec![SignedPublicSubKey::new(
                subkey.public_key().clone(),
                subkey_signatures,
            )],
        }
        .to_armored_bytes(ArmorOptions::default())
        .unwrap()
    }

    fn sign(
        &self,
        key: &impl SigningKey,
        text: &str,
        hash: HashAlgorithm,
        created: u32,
        life: u32,
    ) -> Signature {
        let mut config = config(key, SignatureType::Text, hash, created);
        if life != 0 {
            add(&mut config, SubpacketData::SignatureExpirationTime(Duration::from_secs(life)));
        }
        config.sign(key, &Password::empty(), text.as_bytes()).unwrap()
    }

    /// A signature by the primary key, made the given seconds after the key.
    pub(crate) fn by_primary(
        &self,
        text: &str,
        hash: HashAlgorithm,
        age: u32,
        life: u32,
    ) -> Signature {
        self.sign(&self.primary, text, hash, CREATED + age, life)
    }

    /// A signature by the subkey.
    pub(crate) fn by_subkey(&self, text: &str, age: u32) -> Signature {
        self.sign(&self.subkey, text, HashAlgorithm::Sha256, CREATED + age, 0)
    }
}

/// Writes a clear-signed message with signatures over `text`, which must end in a newline.
pub(crate) fn clear_signed(text: &str, signatures: &[Signature]) -> Vec<u8> {
    use pgp::packet::PacketTrait;
    struct All<'a>(&'a [Signature]);
    impl pgp::ser::Serialize for All<'_> {
        fn to_writer<W: std::io::Write>(&self, writer: &mut W) -> pgp::errors::Result<()> {
            self.0.iter().try_for_each(|signature| signature.to_writer_with_header(writer))
        }
        fn write_len(&self) -> usize {
            self.0.iter().map(PacketTrait::write_len_with_header).sum()
        }
    }
    let mut message = b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n".to_vec();
    for line in text.lines() {
        if line.starts_with('-') {
            message.extend(b"- ");
        }
        message.extend(line.as_bytes());
        message.push(b'\n');
    }
    match signatures {
        [one] => DetachedSignature::new(one.clone())
            .to_armored_writer(&mut message, ArmorOptions::default())
            .unwrap(),
        all => {
            pgp::armor::write(
                &All(all),
                pgp::armor::BlockType::Signature,
                &mut message,
                None,
                true,
            )
            .unwrap();
        }
    }
    message
}

/// What a signature over `text` covers: no newline at the end.
pub(crate) fn signed_form(text: &str) -> &str {
    text.strip_suffix('\n').unwrap_or(text)
}
