//! Reads patches, applies them without fuzz, and says how each one fits.
//!
//! The flow: the text of a file becomes [`Patch`]es ([`Patch::parse`]; a mailbox holds several), a quilt list names
//! files and options ([`series`]), and [`classify`] puts a row of patches on a [`Source`], each on what the earlier
//! ones left: every one is *clean*, at an *offset*, *already in the source*, or in *conflict*. What comes out is a
//! report and the files as they are afterwards; nothing is read but through the source, and no file is written.
//! The other way round, [`write`] makes the text of a patch from files before and after a change.
//!
//! Patches come from others. A name that leaves the source is an error when the patch is read, and nothing is ever
//! looked up or changed through a symbolic link.

mod apply;
mod binary;
mod diff;
mod hunk;
mod name;
mod parse;
mod problem;
mod prose;
mod report;
mod row;
mod series;
mod text;
mod tree;
mod write;

pub use diff::Patch;
pub use problem::{ParseError, Problem};
pub use report::{
    BINARY, Class, FileProblem, FileReport, HunkFit, HunkReport, Mismatch, PatchReport, Waived,
    conflicts, summary, text,
};
pub use row::{Allowance, Outcome, Queued, classify};
pub use series::{SeriesEntry, SeriesError, series};
pub use text::packed;
pub use tree::{Found, Node, Source};
pub use write::{Pair, Unsaid, Written, write};
