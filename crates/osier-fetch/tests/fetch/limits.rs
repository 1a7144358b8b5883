//! Sizes: what is too big, what is not the announced size, small files.

use osier_fetch::{Cause, FetchError};

use crate::server::{Framing, Reply, Server, serve};
use crate::{SIZE, Space, bytes, fetcher, want};

fn only_cause(error: FetchError) -> Cause {
    match error {
        FetchError::AllPlacesFailed { mut failures, .. } => failures.remove(0).1,
        other => panic!("{other}"),
    }
}

#[test]
fn limit_holds_where_the_size_is_not_known() {
    let body = bytes(1);
    for framing in [Framing::Length, Framing::Chunked, Framing::Close] {
        let server = Server::start({
            let body = body.clone();
            move |_, request| serve(request, &body, None).framing(framing)
        });
        let mut want = want(&body, vec![server.url("/x")]);
        want.size = None;
        want.limit = SIZE as u64 - 1;
        let cause = only_cause(Space::new().fetch(&want).unwrap_err());
        assert!(matches!(cause, Cause::TooBig { limit: 199_999 }), "{framing:?}: {cause}");
        want.limit = SIZE as u64;
        let space = Space::new();
        space.fetch(&want).unwrap();
        space.assert_delivered(&body);
    }
}

#[test]
fn another_size_is_another_file() {
    let body = bytes(1);
    for (served, framing, found) in [
        ([body.clone(), vec![1]].concat(), Framing::Length, Some(SIZE as u64 + 1)),
        (body[1..].to_vec(), Framing::Length, Some(SIZE as u64 - 1)),
        ([body.clone(), vec![1]].concat(), Framing::Chunked, None),
    ] {
        let (wrong, good) = (
            Server::start(move |_, request| serve(request, &served, None).framing(framing)),
            Server::of(&body, None),
        );
        let mut want = want(&body, vec![wrong.url("/x")]);
        match only_cause(Space::new().fetch(&want).unwrap_err()) {
            Cause::WrongSize { expected, found: told } => {
                assert_eq!(expected, SIZE as u64);
                assert!(found.is_none_or(|found| found == told) && told != expected);
            }
            other => panic!("{other}"),
        }
        want.places.push(good.url("/y"));
        let space = Space::new();
        space.fetch(&want).unwrap();
        space.assert_delivered(&body);
    }
}

#[test]
fn empty_file() {
    let server = Server::of(b"", None);
    for size in [Some(0), None] {
        let space = Space::new();
        let mut want = want(b"", vec![server.url("/x")]);
        want.size = size;
        assert_eq!(space.fetch(&want).unwrap().size, 0);
        space.assert_delivered(b"");
    }
}

#[test]
fn get_small_files() {
    let body = bytes(1);
    let server = Server::start({
        let body = body.clone();
        move |number, request| match request.target.as_str() {
            "/x" => serve(request, &body, None),
            "/chunked" => serve(request, &body, None).framing(Framing::Chunked),
            "/passing" if number % 2 == 0 => serve(request, &body, None),
            "/passing" => Reply::new(502, ""),
            _ => Reply::new(404, ""),
        }
    });
    let fetcher = fetcher();
    for path in ["/x", "/chunked", "/passing"] {
        assert_eq!(fetcher.get(&server.url(path), SIZE as u64).unwrap(), body);
        let cause = only_cause(fetcher.get(&server.url(path), SIZE as u64 - 1).unwrap_err());
        assert!(matches!(cause, Cause::TooBig { .. }), "{cause}");
    }
    assert!(fetcher.get(&server.url("/none"), 1).unwrap_err().is_not_found());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a b");
    std::fs::write(&path, &body).unwrap();
    let url = format!("file://{}/a%20b", folder.path().display());
    assert_eq!(fetcher.get(&url, SIZE as u64).unwrap(), body);
    assert!(matches!(only_cause(fetcher.get(&url, 5).unwrap_err()), Cause::TooBig { limit: 5 }));
    assert!(fetcher.get("file:///no/such/file", 5).unwrap_err().is_not_found());
}

#[test]
fn whether_a_file_is_served_is_asked_without_fetching_it() {
    let body = bytes(1);
    let server = Server::start({
        let body = body.clone();
        move |number, request| match request.target.as_str() {
            "/x" => serve(request, &body, None),
            "/other" => serve(request, &body[1..], None),
            "/passing" if number % 2 == 1 => serve(request, &body, None),
            "/passing" => Reply::new(503, ""),
            "/broken" => Reply::new(403, ""),
            _ => Reply::new(404, ""),
        }
    });
    let places = |paths: &[&str]| want(&body, paths.iter().map(|path| server.url(path)).collect());
    let wants = [
        &["/x"][..],
        &["/none", "/x"],
        &["/none", "/gone"],
        &["/broken"],
        &["/other"],
        &["/passing"],
    ]
    .map(places);
    let answers = fetcher().serves(&wants);
    let told = answers.iter().map(|answer| answer.as_ref().ok().copied());
    // What a place refuses, or has as another file, is neither served nor gone.
    let expected = [Some(true), Some(true), Some(false), None, None, Some(true)];
    assert_eq!(told.collect::<Vec<_>>(), expected, "{answers:?}");
}
