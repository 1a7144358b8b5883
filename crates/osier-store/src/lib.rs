//! Content-addressed blobs, trees, layers and results on disk.
//!
//! One folder, owned by one user, safe for several processes at once:
//!
//! ```text
//! format          the layout's version: what makes the folder a store
//! blobs/ab/HEX    bytes by SHA-256: downloads, outputs, tree manifests, images
//! layers/KEY      what one step changed, as it lay on disk (an overlayfs upper folder)
//! roots/KEY       unpacked build environments
//! areas/DIGEST    output trees laid out as files, for the proto areas of other steps
//! logs/KEY.log    the console of each step
//! failed/KEY/     the layer of a failed step, and its record
//! index.db        which keys are done, and with which outputs; what SQLite keeps lies beside it
//! uses/NAME       what each build used last; gc goes by it
//! folders/DIGEST  what a source folder looked like when it was last read, by the digest of its path
//! ingredients/    what components and systems were made of, for `osier why`
//! parts/          downloads under way
//! aside/          damaged blobs and folders
//! leases/         what live processes rely on, each locked by its process
//! lock            held for moments, between builds that look something up and gc that removes
//! fetch-rate, kvm what was measured of this machine
//! degraded/       a store of its own, of results of the degraded mode
//! work/           everything half-done; nothing in it is ever taken as done
//! ```
//!
//! osier takes nothing else in the folder for its own (`layout.rs` has the names), and leaves it as it is.
//!
//! Nothing is written in place: a file or folder is made under `work/`, then renamed, then recorded. A record in the
//! index that was not yet synced when the machine stopped is thrown away at the next start, and what no record
//! speaks for is read before it is used, or made again.

mod aside;
mod blob;
mod claim;
mod contents;
mod database;
mod digest;
mod durable;
mod file_error;
mod folder;
mod gc;
mod index;
mod layers;
mod layout;
mod lease;
mod locked;
mod measure;
mod open;
pub mod overlay;
mod placed;
mod record;
mod remove;
mod remove_all;
mod reserved;
mod seen;
mod source_folder;
mod store;
mod tree;
mod verify;

pub use contents::Left;
pub use digest::{Digest, Hasher, Key, KeyBuilder, ParseDigestError};
pub use durable::{flush_file_system, settle, sync_folder, write_durably};
pub use file_error::{FileError, IoContext};
pub use gc::{GcLimits, GcReport};
pub use index::{Index, Remembered};
pub use layers::{LONGEST_PATH, LayerEntry, LayerKind, LayerStack, fits};
pub use lease::Look;
pub use locked::unlock;
pub use measure::free_bytes;
pub use open::OpenError;
pub use record::Record;
pub use remove::remove_tree;
pub use reserved::{Reserved, Surroundings};
pub use store::{BlobError, Scratch, Store};
pub use tree::{Tree, TreeEntry, TreeError, TreeNode, parents};
pub use verify::{Damage, VerifyReport};
