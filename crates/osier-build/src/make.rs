//! Steps that are done by the program itself: the parts of a product, such as a root file system or an image.

use std::fmt;
use std::path::Path;

use osier_store::{BlobError, Digest, FileError, Store};
use serde::{Deserialize, Serialize};

/// What a step makes without running a program.
///
/// It depends on its fields and on the outputs of what its component needs, and on nothing else.
pub trait Make: fmt::Debug + Send + Sync {
    /// Names the sort of work, and the version of how it is done, which is raised whenever equal inputs give other bytes.
    fn format(&self) -> (&'static str, u32);

    /// Hands out all that the result depends on beside the needs, the same each time.
    fn fields(&self, field: &mut dyn FnMut(Field<'_>));

    /// Makes it; gives what goes into the step's log.
    fn make(&self, place: &MakePlace<'_>) -> Result<String, MakeError>;
}

/// One thing that a made part depends on.
#[derive(Debug, Clone, Copy)]
pub struct Field<'a> {
    /// What it is, as a person would say it: `the manifest`.
    pub name: &'a str,
    /// Its value.
    pub value: FieldValue<'a>,
    /// Where a person changes it, as `file` or `file:line`; empty where it is osier's own. It is in no key.
    pub place: &'a str,
}

/// The value of a field.
#[derive(Debug, Clone, Copy)]
pub enum FieldValue<'a> {
    /// A few words.
    Words(&'a str),
    /// The text of a file, of which the line that changed can be told.
    Text(&'a str),
    /// A stored tree, of which the path that changed can be told.
    Tree(&'a Digest),
}

/// Where and from what something is made.
pub struct MakePlace<'a> {
    /// Holds the outputs of the needs.
    pub store: &'a Store,
    /// The outputs of the component's needs, in their order.
    pub needs: &'a [Digest],
    /// How many threads it may use.
    pub jobs: usize,
    /// A folder that steps above see as `/build`; it is there.
    pub build: &'a Path,
    /// The folder of what the component delivers; it is there.
    pub output: &'a Path,
}

/// Why something was not made.
#[derive(Debug)]
pub enum MakeError {
    /// It cannot be made of this.
    Wrong(NotMade),
    /// Stored bytes are damaged or gone.
    Blob(BlobError),
    /// A file could not be read or written.
    File(FileError),
}

/// What is wrong with something that cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotMade {
    /// Which part of the product: the root file system, or an image of it.
    pub part: ProductPart,
    /// What is wrong, in one clause.
    pub message: String,
    /// Each thing that is wrong, line by line.
    pub lines: Vec<String>,
    /// What to do.
    pub hint: Option<String>,
}

/// A sort of part of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProductPart {
    /// What is composed of components and overlays.
    Root,
    /// A file that is made of it.
    Image,
}

impl From<BlobError> for MakeError {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::File(error) => Self::File(error),
            error => Self::Blob(error),
        }
    }
}

impl From<FileError> for MakeError {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}
