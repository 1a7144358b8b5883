//! URLs: where a redirect leads, which path a `file://` URL means, what of a URL may be shown.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use ureq::http::Uri;

use crate::cause::Cause;

/// Parses an absolute `http` or `https` URL with a host. A fragment is dropped.
pub(crate) fn web(url: &str) -> Result<Uri, Cause> {
    let bare = url.split('#').next().unwrap_or(url);
    let uri: Uri = bare.parse().map_err(|error| Cause::BadUrl(format!("{error}")))?;
    match uri.scheme_str() {
        Some("http" | "https") if uri.host().is_some_and(|host| !host.is_empty()) => Ok(uri),
        Some("http" | "https") => Err(Cause::BadUrl("no host".into())),
        Some(other) => Err(Cause::BadUrl(format!("unknown scheme {other:?}"))),
        None => Err(Cause::BadUrl("no scheme".into())),
    }
}

/// Resolves a `Location` header against the URL that gave it (RFC 3986, section 5.2), and refuses
/// to leave https for http: what was asked for under TLS must not come without it.
pub(crate) fn redirect(from: &Uri, location: &str) -> Result<Uri, Cause> {
    let scheme = from.scheme_str().unwrap_or("http");
    let authority = from.authority().map_or("", |authority| authority.as_str());
    let location = location.trim();
    let target = if has_scheme(location) {
        location.to_owned()
    } else if let Some(rest) = location.strip_prefix("//") {
        format!("{scheme}://{rest}")
    } else {
        let reference = location.split('#').next().unwrap_or_default();
        let (path, query) = match reference.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (reference, None),
        };
        let path = match path {
            "" => from.path().to_owned(),
            absolute if absolute.starts_with('/') => without_dots(absolute),
            relative => {
                let folder = from.path().rsplit_once('/').map_or("", |(folder, _)| folder);
                without_dots(&format!("{folder}/{relative}"))
            }
        };
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        format!("{scheme}://{authority}{path}{query}")
    };
    let uri = web(&target).map_err(|_| Cause::RedirectRefused(shown(location)))?;
    if scheme == "https" && uri.scheme_str() != Some("https") {
        return Err(Cause::RedirectRefused(shown(&target)));
    }
    Ok(uri)
}

fn has_scheme(reference: &str) -> bool {
    reference.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    })
}

/// Removes `.` and `..` segments of an absolute path (RFC 3986, section 5.2.4).
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut folder = false;
    for segment in path.split('/').skip(1) {
        folder = matches!(segment, "." | "..");
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            other => kept.push(other),
        }
    }
    if folder {
        kept.push("");
    }
    format!("/{}", kept.join("/"))
}

/// Gives the local path of a `file:///path` or `file://localhost/path` URL, `None` for another
/// scheme. Percent-encoded bytes are decoded.
pub fn local(url: &str) -> Option<Result<PathBuf, Cause>> {
    let rest =
        url.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("file://")).map(|_| &url[7..])?;
    let path = rest.strip_prefix("localhost").unwrap_or(rest);
    if !path.starts_with('/') {
        return Some(Err(Cause::BadUrl("a file url needs an absolute path".into())));
    }
    let mut bytes = Vec::with_capacity(path.len());
    let mut left = path.as_bytes();
    while let Some((&first, rest)) = left.split_first() {
        let code = (first == b'%').then(|| rest.get(..2)).flatten();
        match code
            .and_then(|code| std::str::from_utf8(code).ok())
            .map(|code| u8::from_str_radix(code, 16))
        {
            Some(Ok(byte)) => {
                bytes.push(byte);
                left = &rest[2..];
            }
            _ => {
                bytes.push(first);
                left = rest;
            }
        }
    }
    if bytes.contains(&0) {
        return Some(Err(Cause::BadUrl("a path cannot contain a zero byte".into())));
    }
    Some(Ok(OsString::from_vec(bytes).into()))
}

/// Gives the URL without user name and password, for messages and records.
pub(crate) fn shown(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}://{}", &rest[at + 1..]),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn redirects_resolve_as_the_rfc_says() {
        let cases = [
            ("http://a/b/c/d?q", "g", "http://a/b/c/g"),
            ("http://a/b/c/d?q", "./g", "http://a/b/c/g"),
            ("http://a/b/c/d?q", "/g", "http://a/g"),
            ("http://a/b/c/d?q", "//g/x", "http://g/x"),
            ("http://a/b/c/d?q", "?y", "http://a/b/c/d?y"),
            ("http://a/b/c/d?q", "../g", "http://a/b/g"),
            ("http://a/b/c/d?q", "../../../g", "http://a/g"),
            ("http://a/b/c/d?q", "..", "http://a/b/"),
            ("http://a:81/b", "g?x=1/../2#f", "http://a:81/g?x=1/../2"),
            ("http://a/b", "https://other/y", "https://other/y"),
            ("https://a/b", "//c/d", "https://c/d"),
        ];
        for (from, location, expected) in cases {
            let got = redirect(&from.parse().unwrap(), location).unwrap();
            assert_eq!(got.to_string(), expected, "{from} + {location}");
        }
    }

    #[test]
    fn redirects_never_leave_tls_or_http() {
        for (from, location) in [
            ("https://a/b", "http://a/b"),
            ("https://a/b", "HTTP://a/b"),
            ("http://a/b", "file:///etc/passwd"),
            ("http://a/b", "ftp://a/b"),
            ("http://a/b", "http:///x"),
            ("http://a/b", "javascript:alert(1)"),
        ] {
            let got = redirect(&from.parse().unwrap(), location);
            assert!(matches!(got, Err(Cause::RedirectRefused(_))), "{from} + {location}: {got:?}");
        }
    }

    #[test]
    fn file_urls_become_paths() {
        let path = |url| local(url).map(|path| path.unwrap().to_string_lossy().into_owned());
        assert_eq!(path("file:///a/b").as_deref(), Some("/a/b"));
        assert_eq!(path("FILE://localhost/a%20b%2").as_deref(), Some("/a b%2"));
        assert_eq!(path("http://a/b"), None);
        assert!(local("file://host/a").unwrap().is_err());
        assert!(local("file:///a%00b").unwrap().is_err());
    }

    #[test]
    fn secrets_are_not_shown() {
        assert_eq!(shown("http://me:pw@host/x@y"), "http://host/x@y");
        assert_eq!(shown("http://host/x@y"), "http://host/x@y");
        assert_eq!(shown("http://me:p@w@host?x"), "http://host?x");
    }

    proptest! {
        #[test]
        fn no_location_panics_or_loses_tls(location in "\\PC{0,40}") {
            let from: Uri = "https://host/a/b".parse().unwrap();
            if let Ok(to) = redirect(&from, &location) {
                prop_assert_eq!(to.scheme_str(), Some("https"));
            }
            let _ = (local(&location), local(&format!("file:///{location}")), shown(&location), web(&location));
        }
    }
}
