//! Turns what components deliver into a root file system, and that into image bytes.
//!
//! The flow: [`Area`]s (overlays and components) and a [`Manifest`] go through [`compose`] and
//! become an [`FsTree`], which [`CpioWriter`] writes through a [`Compressor`]. For disk images
//! [`write_tar`] hands the tree to the tools that make file systems; [`write_btrfs`] makes one.
//!
//! Everything here is a function of its arguments: no process, no clock, no randomness, no
//! environment. The content of files is a handle `C` of the caller's choice (a digest, a path,
//! the bytes themselves) that a callback opens when the bytes are wanted.

mod accounts;
mod btrfs;
mod compose;
mod compression;
mod content;
mod cpio;
mod ext4;
mod manifest;
mod nearest;
mod path;
mod pattern;
mod record;
mod tar;
mod tree;

pub use accounts::{AccountError, AccountProblem, Accounts};
pub use btrfs::{BTRFS_VERSION, BtrfsError, BtrfsIdentity, write_btrfs};
pub use compose::{
    Area, ComposeError, ComposeOptions, Composition, Difference, Entry, Origin, OverlayDelivery,
    Place, Role, Shadowed, Undelivered, compose,
};
pub use compression::{Compression, CompressionLevelError, Compressor};
pub use content::ContentError;
pub use cpio::{
    CpioEntry, CpioError, CpioReadError, CpioReader, CpioWriter, NEWC_VERSION, append_archive,
    read_tree,
};
pub use ext4::Ext4Size;
pub use manifest::{Line, Manifest, ManifestError, ManifestProblem, Owner, Rule};
pub use path::{ImagePath, PathError};
pub use pattern::{Pattern, PatternError};
pub use record::{RECORD_VERSION, RecordError, read_record, write_record};
pub use tar::{TAR_VERSION, write_tar};
pub use tree::{Attributes, DeviceKind, FsTree, Node, Resolution, TreeError};
