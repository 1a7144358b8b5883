//! Places in an image.

use std::borrow::Borrow;
use std::fmt;

/// The place of a node in an image: bytes relative to its root, without a leading slash.
///
/// Every value is sound: components are 1 to 255 bytes long, none is `.` or `..`, none has a NUL,
/// and the whole is at most 4095 bytes, the longest that Linux takes. The root is the empty path.
/// The order is that of the bytes, so a folder always comes before what is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImagePath(Vec<u8>);

/// What makes bytes unfit to be the place of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// There are no bytes at all.
    #[error("path is empty")]
    Empty,
    /// The path begins with a slash.
    #[error("path begins with `/`; paths are relative to the image's root")]
    Absolute,
    /// Two slashes meet, or the path ends with one.
    #[error("path has an empty component (`//` or a `/` at the end)")]
    EmptyComponent,
    /// A component is `.` or `..`.
    #[error("path has a `.` or `..` component")]
    Dots,
    /// The path has a NUL byte.
    #[error("path has a NUL byte")]
    Nul,
    /// A component has more than 255 bytes.
    #[error("path has a component of more than 255 bytes")]
    LongComponent,
    /// The path has more than 4095 bytes.
    #[error("path has more than 4095 bytes")]
    Long,
}

impl ImagePath {
    /// The most bytes a path or a symlink target can have (`PATH_MAX` less its NUL).
    pub const MAX_BYTES: usize = 4095;

    /// The most bytes a component can have (`NAME_MAX`).
    pub const MAX_COMPONENT_BYTES: usize = 255;

    /// Returns the root of the image.
    pub fn root() -> Self {
        Self::default()
    }

    /// Checks `bytes` and makes a path of them. The root has no such form: see [`Self::root`].
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, PathError> {
        let bytes = bytes.into();
        if bytes.is_empty() {
            return Err(PathError::Empty);
        }
        if bytes[0] == b'/' {
            return Err(PathError::Absolute);
        }
        if bytes.len() > Self::MAX_BYTES {
            return Err(PathError::Long);
        }
        if bytes.contains(&0) {
            return Err(PathError::Nul);
        }
        for component in bytes.split(|&byte| byte == b'/') {
            match component {
                b"" => return Err(PathError::EmptyComponent),
                b"." | b".." => return Err(PathError::Dots),
                long if long.len() > Self::MAX_COMPONENT_BYTES => {
                    return Err(PathError::LongComponent);
                }
                _ => {}
            }
        }
        Ok(Self(bytes))
    }

    /// Returns the bytes, empty for the root.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Tells whether this is the root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the folder that holds this node; the root has none.
    pub fn parent(&self) -> Option<ImagePath> {
        if self.is_root() {
            return None;
        }
        let end = self.0.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
        Some(Self(self.0[..end].to_vec()))
    }

    /// Returns the last component, empty for the root.
    pub fn file_name(&self) -> &[u8] {
        self.0.rsplit(|&byte| byte == b'/').next().unwrap_or(&[])
    }

    /// Returns the components from the root down; the root has none.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|&byte| byte == b'/').filter(|component| !component.is_empty())
    }

    /// Makes the path of `name` in this folder.
    pub fn join(&self, name: &[u8]) -> Result<ImagePath, PathError> {
        if self.is_root() {
            return Self::new(name);
        }
        Self::new([self.as_bytes(), b"/", name].concat())
    }

    /// Tells whether this is `folder` itself or lies anywhere below it.
    pub fn is_within(&self, folder: &ImagePath) -> bool {
        folder.is_root()
            || self
                .0
                .strip_prefix(folder.as_bytes())
                .is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    }
}

impl Borrow<[u8]> for ImagePath {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl TryFrom<&str> for ImagePath {
    type Error = PathError;

    fn try_from(text: &str) -> Result<Self, PathError> {
        Self::new(text)
    }
}

impl fmt::Display for ImagePath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() { out.write_str(".") } else { write!(out, "{}", Shown(&self.0)) }
    }
}

/// Shows bytes as text: control characters and what is not UTF-8 are escaped.
pub(crate) struct Shown<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                if character.is_control() {
                    write!(out, "{}", character.escape_default())?;
                } else {
                    write!(out, "{character}")?;
                }
            }
            for byte in chunk.invalid() {
                write!(out, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsound_paths_are_refused() {
        let long = "a/".repeat(2048);
        let table = [
            ("", PathError::Empty),
            ("/bin", PathError::Absolute),
            ("bin//sh", PathError::EmptyComponent),
            ("bin/", PathError::EmptyComponent),
            (".", PathError::Dots),
            ("bin/../etc", PathError::Dots),
            ("./bin", PathError::Dots),
            ("bin/s\0h", PathError::Nul),
            (&"a".repeat(256), PathError::LongComponent),
            (&long, PathError::Long),
        ];
        for (text, error) in table {
            assert_eq!(ImagePath::new(text), Err(error), "{text:?}");
        }
        assert!(ImagePath::new("a".repeat(255)).is_ok());
        assert!(ImagePath::new("...").is_ok());
    }

    #[test]
    fn families() {
        let path = ImagePath::new("usr/bin/env").unwrap();
        assert_eq!(path.parent().unwrap().as_bytes(), b"usr/bin");
        assert_eq!(path.file_name(), b"env");
        assert_eq!(ImagePath::new("usr").unwrap().parent(), Some(ImagePath::root()));
        assert_eq!(ImagePath::root().parent(), None);
        assert_eq!(ImagePath::root().components().count(), 0);
        assert!(path.is_within(&ImagePath::new("usr").unwrap()));
        assert!(path.is_within(&path));
        assert!(path.is_within(&ImagePath::root()));
        assert!(!path.is_within(&ImagePath::new("us").unwrap()));
        assert_eq!(ImagePath::root().join(b"etc").unwrap().as_bytes(), b"etc");
        assert_eq!(path.join(b".."), Err(PathError::Dots));
    }

    #[test]
    fn shown_as_text() {
        let path = ImagePath::new(&b"a\xffb\n\xc3\xa9"[..]).unwrap();
        assert_eq!(path.to_string(), "a\\xffb\\né");
        assert_eq!(ImagePath::root().to_string(), ".");
    }
}
