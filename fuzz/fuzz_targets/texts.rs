//! Smaller texts of others: redirects and URLs, proxies, apt's configuration, logs of steps, and what a terminal is shown.
#![no_main]
#![allow(dead_code)]
use libfuzzer_sys::fuzz_target;
use osier_build::{first_error, patch_fits};

#[path = "../../crates/osier-fetch/src/cause.rs"]
mod cause;
#[path = "../../crates/osier/src/report/escape.rs"]
mod escape;
#[path = "../../crates/osier-fetch/src/location.rs"]
mod location;

fuzz_target!(|bytes: &[u8]| {
    let text = &*String::from_utf8_lossy(bytes);
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    let from =
        location::web(first).unwrap_or_else(|_| ureq::http::Uri::from_static("https://host/a/b"));
    if let Ok(to) = location::redirect(&from, rest) {
        assert!(
            from.scheme_str() != Some("https") || to.scheme_str() == Some("https"),
            "{from} {to}"
        );
    }
    let _ = (location::local(first), location::shown(first));

    let shown = escape::printable(text);
    assert_eq!(escape::printable(&shown), shown);
    assert!(!shown.contains('\x1b') && !shown.replace("\r\n", "").contains('\r'));
    let log = escape::coloured(bytes);
    assert!(log.split('\x1b').skip(1).all(|part| part.starts_with('[')), "{log:?}");
    let value = serde_json::Value::String(text.to_owned());
    let json = escape::json(value.to_string());
    assert_eq!(serde_json::from_str::<serde_json::Value>(&json).ok(), Some(value));
    assert_eq!(escape::printable(&json), json);

    let _ = (first_error(text), patch_fits(first, rest, "1.0"));
    if !text.contains("mirror+file:") {
        for name in ["sources.list.d/a.sources", "sources.list", "apt.conf"] {
            osier_fuzz::write(name, bytes);
        }
        let _ = osier_debian::discover(osier_fuzz::folder(), None);
    }
});
