//! Downloads that resume across runs and end verified.
//!
//! A [`Want`] names the same bytes in several places. [`Fetcher::fetch`] brings them to one path:
//!
//! ```text
//! deliver there and right? ── yes ─▶ done
//!        │ no
//! lock the part file ─▶ hash what it holds ─▶ ask a place for the rest ─▶ hash, write ─▶ verify ─▶ rename
//!                                                   ▲        │ cut, stalled: next place, same offset
//!                                                   └────────┘ joined file is wrong: once more from zero
//! ```
//!
//! | file | owns |
//! | --- | --- |
//! | `fetcher.rs` | [`Fetcher`] and what goes in and out of it |
//! | `run.rs` | one fetch: order of places, tries, joining, the verdict |
//! | `part.rs` | the part file on disk: lock, hash, validator, delivery |
//! | `web.rs` | one HTTP request: redirects, proxies, TLS roots, time limits |
//! | `forward.rs` | plain-HTTP proxying, which ureq lacks |
//! | `location.rs` | URLs: redirect targets, `file://` paths, what may be shown |
//! | `proxy.rs` | which proxy serves which host |
//! | `cause.rs`, `error.rs` | why one place failed, and why a file was not fetched |
//! | `want.rs`, `settings.rs` | what is wanted and how it came; proxies, roots and limits |
//!
//! Nothing here prints, reads the environment or knows a default address.

mod cause;
mod error;
mod fetcher;
mod forward;
mod location;
mod part;
mod proxy;
mod run;
mod settings;
mod want;
mod web;

pub use cause::Cause;
pub use error::FetchError;
pub use fetcher::Fetcher;
pub use location::local as local_path;
pub use part::hash_file;
pub use proxy::Proxy;
pub use settings::{Settings, SettingsError};
pub use want::{Fetched, Progress, Want};
