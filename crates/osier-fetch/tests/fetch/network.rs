//! Statuses, redirects, proxies, TLS: what the network side may answer.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use osier_fetch::{Cause, FetchError, Fetcher, Proxy, Settings, SettingsError};

use crate::server::{Fault, Framing, Reply, Server, serve};
use crate::{SIZE, Space, bytes, fetcher, settings, want};

/// Fetches from one place that must fail, and gives the cause.
fn cause_at(place: &str, settings: Settings) -> Cause {
    let want = want(b"never", vec![place.into()]);
    let space = Space::new();
    let result =
        Fetcher::new(settings).unwrap().fetch(&want, &space.folder(), &space.deliver(), &|_| {});
    assert!(!space.deliver().exists());
    match result {
        Err(FetchError::AllPlacesFailed { mut failures, name }) => {
            assert_eq!((name.as_str(), failures.len()), ("file", 1));
            failures.remove(0).1
        }
        other => panic!("{place}: {other:?}"),
    }
}

#[test]
fn statuses() {
    for (status, requests) in
        [(404, 1), (410, 1), (403, 1), (500, 3), (503, 3), (429, 3), (204, 1), (206, 1)]
    {
        let server = Server::start(move |_, _| Reply::new(status, "<html>"));
        let cause = cause_at(&server.url("/x"), settings());
        match status {
            404 | 410 => assert!(matches!(cause, Cause::NotFound), "{cause}"),
            _ => assert!(matches!(cause, Cause::Status(found) if found == status), "{cause}"),
        }
        assert_eq!(server.requests().len(), requests, "{status}");
    }
}

#[test]
fn not_found_everywhere_is_told_apart() {
    let (missing, broken) =
        (Server::start(|_, _| Reply::new(404, "")), Server::start(|_, _| Reply::new(403, "")));
    for (places, expected) in [
        (vec![missing.url("/a"), missing.url("/b")], true),
        (vec![missing.url("/a"), broken.url("/b")], false),
    ] {
        let error = Space::new().fetch(&want(b"x", places.clone())).unwrap_err();
        assert_eq!(error.is_not_found(), expected);
        let shown = error.to_string();
        assert!(places.iter().all(|place| shown.contains(place)), "{shown}");
    }
    assert!(matches!(Space::new().fetch(&want(b"x", vec![])), Err(FetchError::NoPlace { .. })));
}

#[test]
fn server_error_in_passing_is_tried_again() {
    let (body, space) = (bytes(1), Space::new());
    let server = Server::start({
        let body = body.clone();
        move |number, request| {
            if number == 0 { Reply::new(503, "") } else { serve(request, &body, None) }
        }
    });
    space.fetch(&want(&body, vec![server.url("/x")])).unwrap();
    space.assert_delivered(&body);
}

#[test]
fn redirects_are_followed_and_ranges_go_along() {
    let (body, space) = (bytes(1), Space::new());
    let target = Server::of(&body, Some("\"a\""));
    let server = Server::start({
        let to = target.url("/pool/x");
        move |_, request| match request.target.as_str() {
            "/deep/a" => Reply::new(302, "moved").with("Location", "../b?c=d"),
            "/b?c=d" => Reply::new(307, "moved").framing(Framing::Chunked).with("Location", &to),
            _ => Reply::new(404, ""),
        }
    });
    let want = want(&body, vec![server.url("/deep/a")]);
    // The validator belongs to the URL after redirects.
    let origin = format!(
        "{{\"url\":\"{}\",\"validator\":\"\\\"a\\\"\",\"length\":null}}",
        target.url("/pool/x")
    );
    space.leave(&want, &body[..50_000], Some(&origin));
    assert_eq!(space.fetch(&want).unwrap().bytes_moved, 150_000);
    assert_eq!(server.requests().len(), 2);
    assert!(server.requests().iter().all(|request| request.header("if-range").is_none()));
    assert_eq!(target.requests()[0].header("if-range"), Some("\"a\""));
    space.assert_delivered(&body);
}

#[test]
fn redirects_without_end_or_sense() {
    let server = Server::start(|_, request| match request.target.as_str() {
        "/file" => Reply::new(302, "").with("Location", "file:///etc/hostname"),
        "/bad" => Reply::new(302, "").with("Location", "http://a b/"),
        "/none" => Reply::new(302, ""),
        _ => Reply::new(301, "").with("Location", "/again"),
    });
    let cause = cause_at(&server.url("/loop"), settings());
    assert!(matches!(cause, Cause::RedirectLoop(10)), "{cause}");
    assert_eq!(server.requests().len(), 11);
    for path in ["/file", "/bad"] {
        let cause = cause_at(&server.url(path), settings());
        assert!(matches!(cause, Cause::RedirectRefused(_)), "{cause}");
    }
    assert!(matches!(cause_at(&server.url("/none"), settings()), Cause::Status(302)));
}

#[test]
fn nobody_there() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let cause = cause_at(&format!("http://{closed}/x"), settings());
    assert!(matches!(cause, Cause::Refused(_)), "{cause}");
    let cause = cause_at("http://no-such-host.invalid/x", settings());
    assert!(matches!(cause, Cause::Dns), "{cause}");
    for place in
        ["", "x", "ftp://a/b", "http://", "http:///x", "http://a b/", "file:x", "file://host/x"]
    {
        let cause = cause_at(place, settings());
        assert!(matches!(cause, Cause::BadUrl(_)), "{place}: {cause}");
    }
}

#[test]
fn silence_while_connecting_is_a_timeout() {
    // Accepts by its backlog and never speaks, so the TLS handshake hangs.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = Settings {
        connect_timeout: Duration::from_millis(200),
        stall_timeout: Duration::from_secs(60),
        tries_per_place: 1,
        ..settings()
    };
    let start = Instant::now();
    let cause = cause_at(&format!("https://{}/x", silent.local_addr().unwrap()), settings);
    assert!(matches!(cause, Cause::Timeout(_)), "{cause}");
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[test]
fn silence_before_the_answer_is_a_stall() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = Settings { tries_per_place: 1, ..settings() };
    let cause = cause_at(&format!("http://{}/x", silent.local_addr().unwrap()), settings);
    assert!(matches!(cause, Cause::Stalled { at: 0, .. }), "{cause}");
}

#[test]
fn slow_is_not_stalled() {
    let (body, space) = (bytes(1), Space::new());
    let body = body[..20_000].to_vec();
    // In all longer than the stall time-out, but never silent for so long.
    let server = Server::start({
        let body = body.clone();
        move |_, request| serve(request, &body, None).pace(Duration::from_millis(50))
    });
    let start = Instant::now();
    let stall_timeout = Duration::from_millis(800);
    let fetcher = Fetcher::new(Settings { stall_timeout, ..settings() }).unwrap();
    fetcher
        .fetch(&want(&body, vec![server.url("/x")]), &space.folder(), &space.deliver(), &|_| {})
        .unwrap();
    assert!(start.elapsed() > stall_timeout);
    assert_eq!(server.requests().len(), 1);
    space.assert_delivered(&body);
}

#[test]
fn not_http_and_not_tls() {
    let once = || Settings { tries_per_place: 1, ..settings() };
    for (spoken, scheme) in
        [("SSH-2.0-x\r\n", "http"), ("HTTP/1.1 400 Bad Request\r\n\r\n", "https")]
    {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let place = format!("{scheme}://{}/x", listener.local_addr().unwrap());
        let speaker = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(spoken.as_bytes()).unwrap();
            // Reads on, as closing with unread bytes would reset the connection.
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let cause = cause_at(&place, once());
        match scheme {
            "http" => assert!(matches!(cause, Cause::Protocol(_)), "{cause}"),
            _ => assert!(matches!(cause, Cause::Tls(_)), "{cause}"),
        }
        speaker.join().unwrap();
    }
    let server = Server::start(|_, _| Reply::new(200, "x").with("Content-Length", "nonsense"));
    assert!(matches!(cause_at(&server.url("/x"), once()), Cause::Protocol(_)));
}

#[test]
fn plain_proxy_gets_the_absolute_form() {
    let (body, space) = (bytes(1), Space::new());
    let proxy = Server::start({
        let body = body.clone();
        move |number, request| {
            serve(request, &body, None).fault(if number == 0 {
                Fault::CutAfter(50_000)
            } else {
                Fault::None
            })
        }
    });
    let http = Some(format!("http://me:p%40ss@{}", proxy.address()));
    let settings = Settings { proxy: Proxy { http, ..Proxy::default() }, ..settings() };
    let fetcher = Fetcher::new(settings).unwrap();
    // A name that only the proxy could resolve.
    let want = want(&body, vec!["http://mirror.invalid:8080/pool/x?y".into()]);
    let fetched = fetcher.fetch(&want, &space.folder(), &space.deliver(), &|_| {}).unwrap();
    assert_eq!(fetched.bytes_moved, SIZE as u64);
    space.assert_delivered(&body);
    assert_eq!(fetcher.get("http://other.invalid/z", 1_000_000).unwrap(), body);
    let requests = proxy.requests();
    let targets: Vec<_> = requests.iter().map(|request| request.target.as_str()).collect();
    let first = "http://mirror.invalid:8080/pool/x?y";
    assert_eq!(targets, [first, first, "http://other.invalid/z"]);
    for request in &requests {
        assert_eq!(request.header("proxy-authorization"), Some("Basic bWU6cEBzcw=="));
    }
    assert_eq!(requests[1].header("range"), Some("bytes=50000-"));
    assert_eq!(requests[0].header("host"), Some("mirror.invalid:8080"));
}

#[test]
fn proxy_for_tls_gets_connect() {
    let proxy = Server::start(|_, _| Reply::new(403, ""));
    let https = Some(format!("http://{}", proxy.address()));
    let settings = Settings { proxy: Proxy { https, ..Proxy::default() }, ..settings() };
    let cause = cause_at("https://mirror.invalid/x", settings);
    assert!(
        matches!(&cause, Cause::Proxy { proxy, reason } if proxy.contains("127.0.0.1") && reason.contains("403")),
        "{cause}"
    );
    let request = &proxy.requests()[0];
    assert_eq!(
        (request.method.as_str(), request.target.as_str()),
        ("CONNECT", "mirror.invalid:443")
    );
}

#[test]
fn no_proxy_goes_straight() {
    let (body, space) = (bytes(1), Space::new());
    let server = Server::of(&body, None);
    let proxy = Proxy {
        http: Some("http://127.0.0.1:1".into()),
        https: None,
        no_proxy: Some("example.org,127.0.0.0/8".into()),
    };
    let fetcher = Fetcher::new(Settings { proxy, ..settings() }).unwrap();
    fetcher
        .fetch(&want(&body, vec![server.url("/x")]), &space.folder(), &space.deliver(), &|_| {})
        .unwrap();
    space.assert_delivered(&body);
}

#[test]
fn proxy_that_fails_is_named() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let asking = Server::start(|_, _| Reply::new(407, ""));
    for address in [closed, asking.address()] {
        let http = Some(format!("http://me:secret@{address}"));
        let settings = Settings {
            proxy: Proxy { http, ..Proxy::default() },
            tries_per_place: 1,
            ..settings()
        };
        let cause = cause_at("http://mirror.invalid/x", settings);
        assert!(
            matches!(&cause, Cause::Proxy { proxy, .. } if *proxy == address.to_string()),
            "{cause}"
        );
        assert!(!cause.to_string().contains("secret"));
    }
}

#[test]
fn settings_that_cannot_work() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "no certificate").unwrap();
    for path in [folder.path().join("missing.pem"), empty] {
        let error = Fetcher::new(Settings { extra_ca_file: Some(path.clone()), ..settings() })
            .err()
            .unwrap();
        assert!(
            matches!(&error, SettingsError::CaFile { path: named, .. } if *named == path),
            "{error}"
        );
    }
    for url in ["socks5://a:1", "http://", "a b"] {
        let proxy = Proxy { http: Some(url.into()), ..Proxy::default() };
        assert!(
            matches!(Fetcher::new(Settings { proxy, ..settings() }), Err(SettingsError::Proxy(_))),
            "{url}"
        );
    }
    let error = Fetcher::new(Settings { user_agent: "a\nb".into(), ..settings() }).err();
    assert!(matches!(error, Some(SettingsError::UserAgent(_))));
}

#[test]
fn user_agent_and_identity_are_sent() {
    let server = Server::of(b"x", None);
    assert_eq!(fetcher().get(&server.url("/x"), 1).unwrap(), b"x");
    let request = &server.requests()[0];
    assert!(request.header("user-agent").unwrap().starts_with("osier/"));
    assert_eq!(request.header("accept-encoding"), Some("identity"));
}
