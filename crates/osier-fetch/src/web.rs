//! One HTTP request: redirects, proxies, TLS roots and time limits.

use std::io;
use std::path::Path;
use std::time::Duration;

use ureq::http::{HeaderMap, HeaderName, Uri, header};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{Connector, DefaultConnector};
use ureq::{Agent, Body, Error, ProxyProtocol, Timeout};

use crate::cause::Cause;
use crate::forward::{self, Forward, ProxyAddress};
use crate::location;
use crate::proxy::Proxy;
use crate::settings::{Settings, SettingsError};

/// Redirects followed before a place is taken for a loop.
const REDIRECTS: usize = 10;

/// Where distributions keep the bundle of trusted roots: Debian and Arch, Fedora, SUSE, Alpine.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The agents for the three ways out: straight, by the proxy for `http`, by the proxy for `https`.
pub(crate) struct Web {
    direct: Agent,
    http: Option<Proxied>,
    https: Option<Proxied>,
    proxy: Proxy,
    connect_timeout: Duration,
    stall_timeout: Duration,
}

struct Proxied {
    agent: Agent,
    name: String,
}

/// The bytes to leave out, and the validator under which the rest still belongs to them.
pub(crate) struct Resume<'a> {
    pub(crate) at: u64,
    /// Validator, and the only URL it may be shown to (`None`: any).
    pub(crate) validator: Option<(&'a str, Option<&'a str>)>,
}

/// An answer after redirects, whatever its status.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) url: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
}

impl Answer {
    /// Names the failure that an unwanted status is.
    pub(crate) fn refusal(&self) -> Cause {
        if matches!(self.status, 404 | 410) { Cause::NotFound } else { Cause::Status(self.status) }
    }

    /// Bytes of the body, where announced.
    pub(crate) fn length(&self) -> Option<u64> {
        self.text(header::CONTENT_LENGTH)?.parse().ok()
    }

    /// First byte and size of the whole file, from `Content-Range`.
    pub(crate) fn range(&self) -> Option<(u64, Option<u64>)> {
        parse_range(self.text(header::CONTENT_RANGE)?)
    }

    /// What `If-Range` may carry: a strong entity tag, else the date of the last change.
    pub(crate) fn validator(&self) -> Option<String> {
        let tag = self.text(header::ETAG).filter(|tag| tag.starts_with('"'));
        tag.or_else(|| self.text(header::LAST_MODIFIED)).map(str::to_owned)
    }

    fn text(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Reads first byte and total of `bytes FIRST-LAST/TOTAL` (RFC 9110, section 14.4).
fn parse_range(value: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = value.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    (first <= last && total.is_none_or(|total| last < total)).then_some((first, total))
}

impl Web {
    pub(crate) fn new(settings: &Settings) -> Result<Self, SettingsError> {
        if ureq::http::HeaderValue::from_str(&settings.user_agent).is_err() {
            return Err(SettingsError::UserAgent(settings.user_agent.clone()));
        }
        let roots =
            TlsConfig::builder().root_certs(roots(settings.extra_ca_file.as_deref())?).build();
        let config = |proxy: Option<ureq::Proxy>| {
            Agent::config_builder()
                .http_status_as_error(false)
                // Redirects are followed here, so that each hop can be refused or take another proxy.
                .max_redirects(0)
                .proxy(proxy)
                .tls_config(roots.clone())
                .user_agent(&settings.user_agent)
                .timeout_resolve(Some(settings.connect_timeout))
                .timeout_connect(Some(settings.connect_timeout))
                // These two are set on the socket and start anew with each read and write, which makes
                // them a time-out for stalls; ureq's body time-out would limit the whole file.
                .timeout_per_read(Some(settings.stall_timeout))
                .timeout_per_write(Some(settings.stall_timeout))
                .max_idle_connections_per_host(settings.parallel.max(1))
                .build()
        };
        let connect = |proxy: ureq::Proxy| Proxied {
            name: name_of(&proxy),
            agent: config(Some(proxy)).into(),
        };
        let http = match parse_proxy(settings.proxy.http.as_deref())? {
            Some(proxy) if proxy.protocol() == ProxyProtocol::Http => Some(Proxied {
                name: name_of(&proxy),
                agent: Agent::with_parts(
                    config(None),
                    DefaultConnector::new()
                        .chain(Forward { authorization: forward::authorization(&proxy) }),
                    ProxyAddress {
                        proxy: with_port(&proxy)?,
                        resolver: DefaultResolver::default(),
                    },
                ),
            }),
            other => other.map(connect),
        };
        Ok(Self {
            direct: config(None).into(),
            http,
            https: parse_proxy(settings.proxy.https.as_deref())?.map(connect),
            proxy: settings.proxy.clone(),
            connect_timeout: settings.connect_timeout,
            stall_timeout: settings.stall_timeout,
        })
    }

    /// Asks for a URL and follows redirects, at most [`REDIRECTS`] and never from https to http.
    pub(crate) fn ask(&self, url: &str, resume: Option<&Resume<'_>>) -> Result<Answer, Cause> {
        let mut uri = location::web(url)?;
        for _ in 0..=REDIRECTS {
            let answer = self.ask_once(&uri, resume)?;
            let location = answer.headers.get(header::LOCATION);
            match (answer.status, location) {
                (301 | 302 | 303 | 307 | 308, Some(location)) => {
                    let location = location.to_str().map_err(|_| {
                        Cause::RedirectRefused(format!("{:?}", location.as_bytes()))
                    })?;
                    uri = location::redirect(&uri, location)?;
                }
                _ => return Ok(answer),
            }
        }
        Err(Cause::RedirectLoop(REDIRECTS))
    }

    fn ask_once(&self, uri: &Uri, resume: Option<&Resume<'_>>) -> Result<Answer, Cause> {
        let via = self.proxy_for(uri);
        let agent = via.map_or(&self.direct, |proxied| &proxied.agent);
        let url = uri.to_string();
        // A proxy that compresses on its own would make offsets and hashes meaningless.
        let mut request = agent.get(&url).header(header::ACCEPT_ENCODING, "identity");
        if let Some(resume) = resume {
            request = request.header(header::RANGE, format!("bytes={}-", resume.at));
            if let Some((validator, only)) = resume.validator
                && only.is_none_or(|only| only == url)
            {
                request = request.header(header::IF_RANGE, validator);
            }
        }
        let held = resume.map_or(0, |resume| resume.at);
        let response = request.call().map_err(|error| self.cause(error, via, held))?;
        let (parts, body) = response.into_parts();
        let status = parts.status.as_u16();
        if status == 407
            && let Some(proxied) = via
        {
            return Err(Cause::Proxy {
                proxy: proxied.name.clone(),
                reason: "asks for a name and a password".into(),
            });
        }
        Ok(Answer { status, url, headers: parts.headers, body })
    }

    fn proxy_for(&self, uri: &Uri) -> Option<&Proxied> {
        let https = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
        let proxied = if https { &self.https } else { &self.http };
        proxied.as_ref().filter(|_| !self.proxy.is_bypassed(uri.host().unwrap_or_default(), port))
    }

    /// Says why reading a body failed with `held` bytes of the file in hand.
    pub(crate) fn cause_of_read(&self, error: io::Error, held: u64) -> Cause {
        self.cause(Error::from(error), None, held)
    }

    fn cause(&self, error: Error, via: Option<&Proxied>, held: u64) -> Cause {
        let cause = match error {
            Error::Timeout(Timeout::PerRead | Timeout::PerWrite) => {
                return Cause::Stalled { after: self.stall_timeout, at: held };
            }
            Error::Timeout(_) => Cause::Timeout(self.connect_timeout),
            Error::HostNotFound => Cause::Dns,
            Error::ConnectProxyFailed(reason) => Cause::Protocol(reason),
            Error::Tls(_) | Error::Pem(_) | Error::Rustls(_) | Error::TlsRequired => {
                return Cause::Tls(error.to_string());
            }
            Error::BadUri(reason) => return Cause::BadUrl(reason),
            Error::Io(error) => match error.kind() {
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe => return Cause::Cut { at: held },
                io::ErrorKind::ConnectionRefused
                | io::ErrorKind::HostUnreachable
                | io::ErrorKind::NetworkUnreachable
                | io::ErrorKind::NetworkDown
                | io::ErrorKind::AddrNotAvailable
                | io::ErrorKind::PermissionDenied => Cause::Refused(error),
                // rustls reports bad certificates and broken handshakes as invalid data.
                io::ErrorKind::InvalidData => return Cause::Tls(error.to_string()),
                // getaddrinfo's failures have neither an own kind nor an error number.
                _ if error.raw_os_error().is_none()
                    && error.to_string().contains("lookup address") =>
                {
                    Cause::Dns
                }
                _ => Cause::Protocol(error.to_string()),
            },
            other => return Cause::Protocol(other.to_string()),
        };
        match via {
            Some(proxied) => {
                Cause::Proxy { proxy: proxied.name.clone(), reason: cause.to_string() }
            }
            None => cause,
        }
    }
}

fn name_of(proxy: &ureq::Proxy) -> String {
    format!("{}:{}", proxy.host(), proxy.port())
}

fn with_port(proxy: &ureq::Proxy) -> Result<Uri, SettingsError> {
    let name = name_of(proxy);
    format!("http://{name}/").parse().map_err(|_| SettingsError::Proxy(name))
}

fn parse_proxy(url: Option<&str>) -> Result<Option<ureq::Proxy>, SettingsError> {
    let Some(url) = url.filter(|url| !url.is_empty()) else { return Ok(None) };
    match ureq::Proxy::new(url) {
        Ok(proxy) if matches!(proxy.protocol(), ProxyProtocol::Http | ProxyProtocol::Https) => {
            Ok(Some(proxy))
        }
        _ => Err(SettingsError::Proxy(location::shown(url))),
    }
}

/// Gathers the host's trusted roots and those of the extra file. A host without a bundle gets
/// Mozilla's roots, which ureq carries, unless an extra file is given: then only those in it.
fn roots(extra: Option<&Path>) -> Result<RootCerts, SettingsError> {
    let load = |path: &Path| rustls_native_certs::load_certs_from_paths(Some(path), None);
    let bundle = BUNDLES.iter().map(Path::new).find(|path| path.is_file());
    let mut certificates = bundle.map(|path| load(path).certs).unwrap_or_default();
    if let Some(path) = extra {
        let loaded = load(path);
        if loaded.certs.is_empty() {
            let reason =
                loaded.errors.first().map_or("no certificate in it".into(), ToString::to_string);
            return Err(SettingsError::CaFile { path: path.to_owned(), reason });
        }
        certificates.extend(loaded.certs);
    }
    if certificates.is_empty() {
        return Ok(RootCerts::WebPki);
    }
    Ok(certificates.iter().map(|der| Certificate::from_der(der).to_owned()).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn content_ranges() {
        for (value, expected) in [
            ("bytes 5-9/10", Some((5, Some(10)))),
            ("bytes 5-9/*", Some((5, None))),
            ("bytes 9-5/10", None),
            ("bytes 5-10/10", None),
            ("bytes */10", None),
            ("bytes -5/10", None),
            ("lines 5-9/10", None),
            ("bytes 5-9", None),
        ] {
            assert_eq!(parse_range(value), expected, "{value}");
        }
    }

    proptest! {
        #[test]
        fn ranges_round_trip_and_never_panic(start: u64, more in 0_u64..1000, junk in "\\PC{0,30}") {
            let end = start.saturating_add(more);
            prop_assert_eq!(parse_range(&format!("bytes {start}-{end}/*")), Some((start, None)));
            let _ = parse_range(&junk);
        }
    }
}
