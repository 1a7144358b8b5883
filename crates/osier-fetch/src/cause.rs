//! Why one place failed to give a file.

use std::fmt;
use std::io;
use std::time::Duration;

/// Says why one place failed. The place itself stands beside it in the error that holds it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// The place answered 404 or 410, or the local file does not exist.
    #[error("not found")]
    NotFound,
    /// The place answered with a status that is neither success nor "not found".
    #[error("server answered with status {0}")]
    Status(u16),
    /// Nothing listens there, or the network cannot be reached.
    #[error("connection refused or host not reachable: {0}")]
    Refused(io::Error),
    /// The host name has no address.
    #[error("host name could not be resolved")]
    Dns,
    /// Resolving, connecting or the TLS handshake took longer than the connect time-out.
    #[error("no connection within {} s", seconds(.0))]
    Timeout(Duration),
    /// No byte came for the stall time-out. `at` is the offset reached in the file.
    #[error("no byte for {} s at offset {at}", seconds(.after))]
    Stalled {
        /// The stall time-out.
        after: Duration,
        /// Bytes of the file held when it stalled.
        at: u64,
    },
    /// The connection ended before the file did. `at` is the offset reached in the file.
    #[error("connection cut at offset {at}")]
    Cut {
        /// Bytes of the file held when it was cut.
        at: u64,
    },
    /// More redirects than the limit.
    #[error("more than {0} redirects")]
    RedirectLoop(usize),
    /// A redirect led from https to a plain connection, or to something that is not HTTP.
    #[error("redirect to {0} refused")]
    RedirectRefused(String),
    /// The file is larger than the limit for files whose size is not known.
    #[error("larger than the limit of {limit} bytes")]
    TooBig {
        /// The limit, in bytes.
        limit: u64,
    },
    /// The place has a file of another size.
    #[error("size is {found} bytes, expected {expected}")]
    WrongSize {
        /// Bytes expected.
        expected: u64,
        /// Bytes announced or received.
        found: u64,
    },
    /// The place gave a whole file with another content.
    #[error("sha256 is {}, expected {}", Hex(.found), Hex(.expected))]
    HashMismatch {
        /// SHA-256 expected.
        expected: [u8; 32],
        /// SHA-256 of what came.
        found: [u8; 32],
    },
    /// TLS failed: unknown issuer, wrong name, expired, or no TLS at all on the other side.
    #[error("tls: {0}")]
    Tls(String),
    /// The proxy could not be reached, or refused.
    #[error("proxy {proxy}: {reason}")]
    Proxy {
        /// Host and port of the proxy.
        proxy: String,
        /// What went wrong there.
        reason: String,
    },
    /// The place is not an `http`, `https` or `file` URL.
    #[error("bad url: {0}")]
    BadUrl(String),
    /// The server broke HTTP.
    #[error("bad http answer: {0}")]
    Protocol(String),
    /// A `file://` place could not be read.
    #[error("could not be read: {0}")]
    Unreadable(io::Error),
}

impl Cause {
    /// Says whether the same place might answer otherwise a moment later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Refused(_)
            | Self::Dns
            | Self::Timeout(_)
            | Self::Stalled { .. }
            | Self::Cut { .. }
            | Self::Proxy { .. }
            | Self::Protocol(_) => true,
            Self::Status(code) => *code >= 500 || matches!(code, 408 | 425 | 429),
            _ => false,
        }
    }
}

fn seconds(duration: &Duration) -> f64 {
    duration.as_secs_f64()
}

/// Shows bytes as lower-case hexadecimal digits.
pub(crate) struct Hex<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
