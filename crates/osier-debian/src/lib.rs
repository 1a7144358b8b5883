//! Debian's archive: signed indexes, dependency closure, packages unpacked without dpkg.
//!
//! The way from a suite's name to a root folder:
//!
//! ```text
//! Mirrors ─ Transport ─▶ Release (signed) ─▶ PackageIndex, SourceIndex
//!                                                 │ closure
//!                                                 ▼
//!                        .deb files ─ unpack_root ─▶ build environment root
//!                        .dsc ─▶ Dsc
//! ```
//!
//! Nothing here opens a socket or reads the environment: downloads go through [`Transport`], which the caller
//! gives, and every folder is an argument.

mod apt_conf;
mod archive;
mod calendar;
mod cleartext;
mod closure;
mod compression;
mod control;
mod deb;
mod dependency;
mod fixup;
mod index;
mod keyring;
mod mirror;
mod release;
mod root;
mod source;
#[cfg(test)]
mod test_key;
mod tree;
mod version;

pub use archive::{Archive, ArchiveError, Transport, TransportError};
pub use closure::{ClosureError, Wanted, closure, closure_without};
pub use compression::{DecompressError, decompress};
pub use control::{ControlError, Paragraph, Paragraphs};
pub use deb::{DebError, open_data};
pub use dependency::{
    Dependency, DependencyError, Operator, Relation, VersionConstraint, parse_dependencies,
};
pub use index::{IndexError, PackageEntry, PackageIndex, SourceEntry, SourceFile, SourceIndex};
pub use keyring::{DEBIAN_FINGERPRINTS, Keyring, KeyringError};
pub use mirror::{MirrorError, Mirrors, discover};
pub use release::{IndexFile, Release, ReleaseError};
pub use root::{RootReport, Trim, UnpackError, UnpackOptions, unpack_root};
pub use source::{Dsc, DscError, SourceFileKind};
pub use tree::EntryError;
pub use version::Version;
