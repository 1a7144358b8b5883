//! Products: the root file system of a system and the images made of it, as nodes of a build's graph.
//!
//! A system becomes a component `SYSTEM/_root@TARGET`, whose step composes overlays and components by the manifest, and one
//! component `SYSTEM/IMAGE@TARGET` for each image, which needs the root alone. They have keys, logs and results as all
//! components have; an image is not made again where the root is the same as before.

mod compose;
mod content;
mod format;
mod node;
mod plan;
#[cfg(test)]
mod tests;

pub use compose::{PartArea, Parts};
pub use plan::{FindingsError, Product, Unplanned, add, file_of, findings, is_product};
