//! What steps leave on the disk, and what osier itself lays there: sources, patches, edits, copies of roots.

pub(crate) mod copied;
pub(crate) mod edited;
pub(crate) mod patch_file;
pub(crate) mod patching;
pub(crate) mod reuse;
pub(crate) mod unpack;
pub(crate) mod upper;

pub use copied::copy_out;
pub use patch_file::{OtherVersion, patch_fits};
pub use patching::patch_reports;
pub use unpack::{Packed, UnpackError, unpack_archive};

/// The time that steps see as that of the sources, and that proto areas and images carry: 2020-01-01, seconds since 1970.
pub const SOURCE_DATE: u32 = 1_577_836_800;

/// The folder of a step's root that the installed output is taken from.
pub(crate) const OUTPUT: &str = "output";
