//! How files are fetched: proxies, roots, limits.

use std::path::PathBuf;
use std::time::Duration;

use crate::proxy::Proxy;

/// Settings of a [`crate::Fetcher`].
#[derive(Debug, Clone)]
pub struct Settings {
    /// Files fetched at once by [`crate::Fetcher::fetch_all`].
    pub parallel: usize,
    /// Proxies.
    pub proxy: Proxy,
    /// PEM file of further trusted roots, beside those of the host.
    pub extra_ca_file: Option<PathBuf>,
    /// Limit for resolving a name, and again for connecting with the TLS handshake.
    pub connect_timeout: Duration,
    /// Limit for one read: how long a place may send nothing at all.
    pub stall_timeout: Duration,
    /// Failures that move almost nothing before a place is given up.
    pub tries_per_place: u32,
    /// Name told to servers.
    pub user_agent: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            parallel: 4,
            proxy: Proxy::default(),
            extra_ca_file: None,
            connect_timeout: Duration::from_secs(15),
            stall_timeout: Duration::from_secs(30),
            tries_per_place: 3,
            user_agent: concat!("osier/", env!("CARGO_PKG_VERSION")).into(),
        }
    }
}

/// Says which setting a [`crate::Fetcher`] cannot work with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// Not a proxy URL of scheme `http` or `https`.
    #[error("{0:?} is not an http proxy")]
    Proxy(String),
    /// The file of roots cannot be read or holds none.
    #[error("certificate file {}: {reason}", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The user agent cannot be sent in a header.
    #[error("user agent {0:?} contains characters that an HTTP header cannot contain")]
    UserAgent(String),
}
