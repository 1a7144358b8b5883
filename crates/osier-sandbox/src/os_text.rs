//! Serialises names and paths so that bytes which are not UTF-8 survive: a string where it is one, else an array of bytes.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

struct Borrowed<'a>(&'a OsStr);

impl Serialize for Borrowed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.to_str() {
            Some(text) => serializer.serialize_str(text),
            None => serializer.collect_seq(self.0.as_bytes()),
        }
    }
}

struct Owned(OsString);

impl<'de> Deserialize<'de> for Owned {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Owned;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string or an array of bytes")
            }

            fn visit_str<E>(self, text: &str) -> Result<Owned, E> {
                Ok(Owned(OsString::from(text)))
            }

            fn visit_string<E>(self, text: String) -> Result<Owned, E> {
                Ok(Owned(OsString::from(text)))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut bytes: A) -> Result<Owned, A::Error> {
                let mut all = Vec::new();
                while let Some(byte) = bytes.next_element()? {
                    all.push(byte);
                }
                Ok(Owned(OsString::from_vec(all)))
            }
        }
        deserializer.deserialize_any(Text)
    }
}

/// One name or path.
pub(crate) mod one {
    use super::{
        Borrowed, Deserialize, Deserializer, OsStr, OsString, Owned, Serialize, Serializer,
    };

    pub(crate) fn serialize<T: AsRef<OsStr>, S: Serializer>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        Borrowed(value.as_ref()).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, T: From<OsString>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        Owned::deserialize(deserializer).map(|owned| T::from(owned.0))
    }
}

/// A list of names or paths.
pub(crate) mod list {
    use super::{Borrowed, Deserialize, Deserializer, OsStr, OsString, Owned, Serializer};

    pub(crate) fn serialize<T: AsRef<OsStr>, S: Serializer>(
        values: &[T],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.iter().map(|value| Borrowed(value.as_ref())))
    }

    pub(crate) fn deserialize<'de, T: From<OsString>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<T>, D::Error> {
        let all = Vec::<Owned>::deserialize(deserializer)?;
        Ok(all.into_iter().map(|owned| T::from(owned.0)).collect())
    }
}

/// A list of pairs of names and values.
pub(crate) mod pairs {
    use super::{Borrowed, Deserialize, Deserializer, OsString, Owned, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        pairs: &[(OsString, OsString)],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(pairs.iter().map(|(name, value)| (Borrowed(name), Borrowed(value))))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<(OsString, OsString)>, D::Error> {
        let all = Vec::<(Owned, Owned)>::deserialize(deserializer)?;
        Ok(all.into_iter().map(|(name, value)| (name.0, value.0)).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    use std::path::PathBuf;

    use crate::{Mount, Root, Spec};

    #[test]
    fn bytes_that_are_not_utf8_survive() {
        let odd = OsString::from_vec(vec![b'/', 0xff, b'"', b'\\', 0x80, b'\n']);
        let mut spec = Spec::new(
            Root::Overlay {
                lowers: vec![PathBuf::from(&odd)],
                upper: "/é".into(),
                work: PathBuf::from(&odd),
            },
            vec![odd.clone(), OsString::new(), "plain".into()],
        );
        spec.environment = vec![(odd.clone(), odd.clone()), ("A".into(), OsString::new())];
        spec.folder = PathBuf::from(&odd);
        spec.devices = vec![PathBuf::from(&odd)];
        spec.mounts = vec![
            Mount::Bind {
                source: PathBuf::from(&odd),
                target: PathBuf::from(&odd),
                writable: true,
            },
            Mount::Layers { lowers: vec![PathBuf::from(&odd)], target: "/x".into() },
            Mount::Tmpfs { target: PathBuf::from(&odd), size: u64::MAX },
        ];
        let text = serde_json::to_vec(&spec).unwrap();
        assert_eq!(serde_json::from_slice::<Spec>(&text).unwrap(), spec);
    }

    #[test]
    fn a_wrong_type_is_refused() {
        let text =
            serde_json::to_string(&Spec::new(Root::Folder { path: "/r".into() }, vec!["x".into()]))
                .unwrap();
        for (from, to) in [("\"/r\"", "7"), ("\"/r\"", "[256]"), ("[\"x\"]", "\"x\"")] {
            let wrong = text.replacen(from, to, 1);
            assert_ne!(wrong, text);
            assert!(serde_json::from_str::<Spec>(&wrong).is_err(), "{wrong}");
        }
    }
}
