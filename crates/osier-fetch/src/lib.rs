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
//! | `cause.rs` | why one place failed |
//!
//! Nothing here prints, reads the environment or knows a default address.

mod cause;
mod fetcher;
mod forward;
mod location;
mod part;
mod proxy;
mod run;
mod web;

pub use cause::Cause;
pub use fetcher::{FetchError, Fetched, Fetcher, Progress, Settings, SettingsError, Want};
pub use location::local as local_path;
pub use part::hash_file;
pub use proxy::Proxy;
