//! Plain-HTTP proxying in absolute form.
//!
//! ureq speaks to every HTTP proxy through CONNECT, even for `http` URLs. Package caches and the
//! usual proxy rules refuse CONNECT to port 80, so for `http` URLs the request goes to the proxy as
//! `GET http://host/path` (RFC 9112, section 3.2.2). ureq offers no switch for that; its connector
//! chain lets us resolve every host to the proxy's address and rewrite the request line on its way
//! out. Only requests without a body pass here, so whatever starts with a method is a head.

use std::io;

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};

/// Resolves every URL to the address of the proxy.
#[derive(Debug)]
pub(crate) struct ProxyAddress {
    pub(crate) proxy: Uri,
    pub(crate) resolver: DefaultResolver,
}

impl Resolver for ProxyAddress {
    fn resolve(
        &self,
        _: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        self.resolver.resolve(&self.proxy, config, timeout)
    }
}

/// Wraps a connection to the proxy so that request lines leave in absolute form.
#[derive(Debug)]
pub(crate) struct Forward {
    /// A whole header line with its line end, or nothing.
    pub(crate) authorization: String,
}

impl<In: Transport> Connector<In> for Forward {
    type Out = Forwarded<In>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        // A pooled connection serves one scheme and authority only, so they can be fixed here.
        let authority = details.uri.authority().map_or("", |authority| authority.as_str());
        let host = authority.rsplit('@').next().unwrap_or(authority);
        Ok(chained.map(|inner| Forwarded {
            inner,
            origin: format!("http://{host}"),
            authorization: self.authorization.clone(),
        }))
    }
}

#[derive(Debug)]
pub(crate) struct Forwarded<T> {
    inner: T,
    origin: String,
    authorization: String,
}

impl<T: Transport> Transport for Forwarded<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let head = &self.inner.buffers().output()[..amount];
        let Some(head) = absolute(head, &self.origin, &self.authorization) else {
            return self.inner.transmit_output(amount, timeout);
        };
        let output = self.inner.buffers().output();
        let Some(room) = output.get_mut(..head.len()) else {
            return Err(Error::Io(io::Error::other("request head larger than the buffer")));
        };
        room.copy_from_slice(&head);
        self.inner.transmit_output(head.len(), timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }
}

/// Rewrites the head of a GET request; `None` for anything else.
fn absolute(head: &[u8], origin: &str, authorization: &str) -> Option<Vec<u8>> {
    let rest = head.strip_prefix(b"GET ").filter(|rest| rest.starts_with(b"/"))?;
    let line = rest.windows(2).position(|pair| pair == b"\r\n")? + 2;
    let (line, headers) = rest.split_at(line);
    Some([b"GET ", origin.as_bytes(), line, authorization.as_bytes(), headers].concat())
}

/// Gives the header line for a proxy that asks for a name and a password (RFC 7617).
pub(crate) fn authorization(proxy: &ureq::Proxy) -> String {
    if proxy.username().is_none() && proxy.password().is_none() {
        return String::new();
    }
    let pair = format!(
        "{}:{}",
        proxy.username().unwrap_or_default(),
        proxy.password().unwrap_or_default()
    );
    format!("Proxy-Authorization: Basic {}\r\n", base64(pair.as_bytes()))
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_usize, |word, byte| word << 8 | usize::from(*byte))
            << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            let shown = digit <= chunk.len();
            text.push(if shown { char::from(DIGITS[word >> (18 - 6 * digit) & 63]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_the_rfc() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn only_heads_are_rewritten() {
        let head =
            absolute(b"GET /a HTTP/1.1\r\nhost: h\r\n\r\n", "http://h:1", "X: y\r\n").unwrap();
        assert_eq!(head, b"GET http://h:1/a HTTP/1.1\r\nX: y\r\nhost: h\r\n\r\n");
        assert_eq!(absolute(b"\x16\x03\x01", "http://h", ""), None);
        assert_eq!(absolute(b"GET /a", "http://h", ""), None);
    }
}
