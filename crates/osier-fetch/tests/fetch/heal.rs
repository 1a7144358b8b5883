//! Parts: resumed when right, healed when wrong.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use osier_fetch::{Cause, FetchError, Progress};
use proptest::prelude::*;

use crate::server::{Fault, Framing, Reply, Server, serve};
use crate::{SIZE, Space, bytes, fetcher, want};

#[test]
fn whole_file() {
    let (body, space) = (bytes(1), Space::new());
    let server = Server::of(&body, Some("\"a\""));
    let want = want(&body, vec![server.url("/x")]);
    let fetched = space.fetch(&want).unwrap();
    assert_eq!(
        (fetched.bytes_moved, fetched.resumed_at, fetched.size),
        (SIZE as u64, 0, SIZE as u64)
    );
    assert_eq!((fetched.place, fetched.sha256), (server.url("/x"), want.sha256.unwrap()));
    space.assert_delivered(&body);
}

#[test]
fn right_part_moves_only_the_missing_bytes() {
    let (body, space) = (bytes(1), Space::new());
    let server = Server::of(&body, None);
    let want = want(&body, vec![server.url("/x")]);
    space.leave(&want, &body[..50_000], None);
    let fetched = space.fetch(&want).unwrap();
    assert_eq!((fetched.bytes_moved, fetched.resumed_at), (150_000, 50_000));
    assert_eq!(server.ranges(), [Some("bytes=50000-".into())]);
    space.assert_delivered(&body);
}

#[test]
fn wrong_part_heals_in_the_same_run() {
    let body = bytes(1);
    for part in [
        bytes(2)[..50_000].to_vec(),
        bytes(2),
        [bytes(2), bytes(3)].concat(),
        [body.clone(), vec![0]].concat(),
    ] {
        for tag in [None, Some("\"a\"")] {
            let space = Space::new();
            let server = Server::of(&body, tag);
            let mut want = want(&body, vec![server.url("/x")]);
            for size in [want.size, None] {
                want.size = size;
                space.leave(&want, &part, None);
                let fetched = space.fetch(&want).unwrap();
                assert_eq!(fetched.resumed_at, 0);
                space.assert_delivered(&body);
                fs::remove_file(space.deliver()).unwrap();
            }
        }
    }
}

#[test]
fn complete_part_needs_no_request() {
    let (body, space) = (bytes(1), Space::new());
    let server = Server::of(&body, None);
    let mut want = want(&body, vec![server.url("/x")]);
    want.size = None;
    space.leave(&want, &body, None);
    let fetched = space.fetch(&want).unwrap();
    assert_eq!((fetched.bytes_moved, fetched.resumed_at), (0, SIZE as u64));
    assert!(server.requests().is_empty());
    space.assert_delivered(&body);
}

#[test]
fn validator_goes_out_and_a_200_is_never_spliced() {
    let body = bytes(1);
    for (tag, moved, resumed) in [("\"same\"", 150_000, 50_000), ("\"changed\"", SIZE as u64, 0)] {
        let space = Space::new();
        let server = Server::of(&body, Some(tag));
        let want = want(&body, vec![server.url("/x")]);
        let origin = format!(
            "{{\"url\":\"{}\",\"validator\":\"\\\"same\\\"\",\"length\":{SIZE}}}",
            server.url("/x")
        );
        space.leave(&want, &body[..50_000], Some(&origin));
        let fetched = space.fetch(&want).unwrap();
        assert_eq!((fetched.bytes_moved, fetched.resumed_at), (moved, resumed), "{tag}");
        assert_eq!(server.requests()[0].header("if-range"), Some("\"same\""));
        space.assert_delivered(&body);
    }
}

#[test]
fn validator_of_one_mirror_is_not_shown_to_another() {
    let (body, space) = (bytes(1), Space::new());
    let first = Server::start({
        let body = body.clone();
        move |_, request| serve(request, &body, Some("\"one\"")).fault(Fault::CutAfter(70_000))
    });
    let second = Server::of(&body, Some("\"two\""));
    let want = want(&body, vec![first.url("/x"), second.url("/y")]);
    let fetched = space.fetch(&want).unwrap();
    assert_eq!(fetched.bytes_moved, SIZE as u64);
    assert_eq!(fetched.place, second.url("/y"));
    let requests = second.requests();
    assert_eq!(
        (requests[0].header("range"), requests[0].header("if-range")),
        (Some("bytes=70000-"), None)
    );
    space.assert_delivered(&body);
}

#[test]
fn torn_record_costs_only_the_validator() {
    for origin in ["", "{", "[]", "{\"url\":1}", "\0\u{fffd}"] {
        let (body, space) = (bytes(1), Space::new());
        let server = Server::of(&body, None);
        let want = want(&body, vec![server.url("/x")]);
        space.leave(&want, &body[..50_000], Some(origin));
        assert_eq!(space.fetch(&want).unwrap().bytes_moved, 150_000);
        space.assert_delivered(&body);
    }
}

#[test]
fn answers_that_cannot_be_joined_restart() {
    let body = bytes(1);
    type Wrong = fn(&[u8]) -> Reply;
    let wrong: [(&str, Wrong); 5] = [
        ("another start", |body| {
            Reply::new(206, body).with("Content-Range", format!("bytes 0-{}/{SIZE}", SIZE - 1))
        }),
        ("no range", |body| Reply::new(206, &body[50_000..])),
        ("garbage range", |body| {
            Reply::new(206, &body[50_000..]).with("Content-Range", "bytes a-b/c")
        }),
        ("no range support", |body| Reply::new(200, body)),
        ("416", |_| Reply::new(416, "")),
    ];
    for (case, reply) in wrong {
        let space = Space::new();
        let server = Server::start({
            let body = body.clone();
            move |_, request| match request.header("range") {
                Some(_) => reply(&body),
                None => serve(request, &body, None),
            }
        });
        let want = want(&body, vec![server.url("/x")]);
        space.leave(&want, &body[..50_000], None);
        let fetched = space.fetch(&want).unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!((fetched.bytes_moved, fetched.resumed_at), (SIZE as u64, 0), "{case}");
        space.assert_delivered(&body);
    }
}

#[test]
fn range_of_another_total_is_another_file() {
    let (body, space) = (bytes(1), Space::new());
    let short = Server::of(&body[..150_000], None);
    let good = Server::of(&body, None);
    let want = want(&body, vec![short.url("/x"), good.url("/y")]);
    space.leave(&want, &body[..50_000], None);
    let fetched = space.fetch(&want).unwrap();
    assert_eq!((fetched.bytes_moved, fetched.place), (150_000, good.url("/y")));
    space.assert_delivered(&body);
}

#[test]
fn short_ranges_are_asked_for_until_the_end() {
    let (body, space) = (bytes(1), Space::new());
    let server = Server::start({
        let body = body.clone();
        move |_, request| {
            let start: usize = request
                .header("range")
                .map_or(0, |range| range[6..range.len() - 1].parse().unwrap());
            let end = (start + 20_000).min(SIZE);
            match start {
                0 => serve(request, &body, None).fault(Fault::CutAfter(20_000)),
                _ => Reply::new(206, &body[start..end])
                    .with("Content-Range", format!("bytes {start}-{}/{SIZE}", end - 1)),
            }
        }
    });
    let want = want(&body, vec![server.url("/x")]);
    assert_eq!(space.fetch(&want).unwrap().bytes_moved, SIZE as u64);
    assert_eq!(server.requests().len(), 10);
    space.assert_delivered(&body);
}

#[test]
fn cut_connection_resumes_at_its_offset() {
    let (body, space) = (bytes(1), Space::new());
    for framing in [Framing::Length, Framing::Chunked] {
        let server = Server::start({
            let body = body.clone();
            move |number, request| {
                let fault = if number < 2 { Fault::CutAfter(60_000) } else { Fault::None };
                serve(request, &body, Some("\"a\"")).framing(framing).fault(fault)
            }
        });
        let want = want(&body, vec![server.url("/x")]);
        assert_eq!(space.fetch(&want).unwrap().bytes_moved, SIZE as u64, "{framing:?}");
        assert_eq!(
            server.ranges(),
            [None, Some("bytes=60000-".into()), Some("bytes=120000-".into())]
        );
        space.assert_delivered(&body);
        fs::remove_file(space.deliver()).unwrap();
    }
}

#[test]
fn many_cuts_are_borne_as_long_as_the_file_grows() {
    let body = bytes(1).repeat(9);
    for ranges in [true, false] {
        let space = Space::new();
        let server = Server::start({
            let body = body.clone();
            move |_, request| {
                let mut request = request.clone();
                if !ranges {
                    request.headers.remove("range");
                }
                serve(&request, &body, None).fault(Fault::CutAfter(300_000))
            }
        });
        let result = space.fetch(&want(&body, vec![server.url("/x")]));
        if ranges {
            assert_eq!(result.unwrap().bytes_moved, body.len() as u64);
            space.assert_delivered(&body);
        } else {
            let Err(FetchError::AllPlacesFailed { failures, .. }) = result else { panic!() };
            assert!(matches!(failures[..], [(_, Cause::Cut { at: 300_000 })]), "{failures:?}");
            assert_eq!(server.requests().len(), 4);
        }
    }
}

#[test]
fn end_of_connection_as_end_of_file() {
    // A cut cannot be told from the end, but the size or the hash can tell.
    for known in [true, false] {
        let (body, space) = (bytes(1), Space::new());
        let server = Server::start({
            let body = body.clone();
            move |number, request| {
                let fault = if number == 0 { Fault::CutAfter(60_000) } else { Fault::None };
                serve(request, &body, None).framing(Framing::Close).fault(fault)
            }
        });
        let mut want = want(&body, vec![server.url("/x")]);
        want.size = known.then_some(SIZE as u64);
        space.fetch(&want).unwrap();
        space.assert_delivered(&body);
    }
}

#[test]
fn stall_goes_on_at_the_next_mirror() {
    let (body, space) = (bytes(1), Space::new());
    let stalling = Server::start({
        let body = body.clone();
        move |_, request| serve(request, &body, None).fault(Fault::StallAfter(90_000))
    });
    let good = Server::of(&body, None);
    let want = want(&body, vec![stalling.url("/x"), good.url("/y")]);
    let stalls = AtomicUsize::new(0);
    let fetched = fetcher()
        .fetch(&want, &space.folder(), &space.deliver(), &|event| {
            if let Progress::Failed { cause, .. } = event {
                assert!(matches!(cause, Cause::Stalled { at: 90_000, .. }), "{cause}");
                stalls.fetch_add(1, Ordering::Relaxed);
            }
        })
        .unwrap();
    assert_eq!((fetched.bytes_moved, fetched.place), (SIZE as u64, good.url("/y")));
    assert_eq!(stalls.into_inner(), 1);
    assert_eq!(good.ranges(), [Some("bytes=90000-".into())]);
    space.assert_delivered(&body);
}

#[test]
fn stall_is_named_and_the_part_stays() {
    let (body, space) = (bytes(1), Space::new());
    let server = Server::start({
        let body = body.clone();
        move |_, request| serve(request, &body, None).fault(Fault::StallAfter(0))
    });
    let want = want(&body, vec![server.url("/x")]);
    space.leave(&want, &body[..50_000], None);
    let Err(FetchError::AllPlacesFailed { failures, .. }) = space.fetch(&want) else { panic!() };
    assert!(matches!(failures[..], [(_, Cause::Stalled { at: 50_000, .. })]), "{failures:?}");
    assert_eq!(server.requests().len(), 3);
    assert_eq!(fs::read(space.part(&want)).unwrap(), &body[..50_000]);
}

#[test]
fn wrong_bytes_lead_to_the_next_mirror() {
    let (body, space) = (bytes(1), Space::new());
    let (wrong, good) = (Server::of(&bytes(2), None), Server::of(&body, None));
    let want = want(&body, vec![wrong.url("/x"), good.url("/y")]);
    let fetched = space.fetch(&want).unwrap();
    assert_eq!((fetched.bytes_moved, fetched.place), (2 * SIZE as u64, good.url("/y")));
    assert_eq!(wrong.requests().len(), 1);
    space.assert_delivered(&body);
}

#[test]
fn mismatch_shows_both_hashes() {
    let (body, space) = (bytes(1), Space::new());
    let server = Server::of(&bytes(2), None);
    let want = want(&body, vec![server.url("/x")]);
    space.leave(&want, &body[..50_000], None);
    let error = space.fetch(&want).unwrap_err();
    let FetchError::HashMismatch { expected, found, place, .. } = &error else { panic!("{error}") };
    assert_eq!((*expected, *found), (crate::sha256(&body), crate::sha256(&bytes(2))));
    assert_eq!(*place, server.url("/x"));
    let hex = |hash: &[u8; 32]| hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let shown = error.to_string();
    assert!(shown.contains(&hex(expected)) && shown.contains(&hex(found)), "{shown}");
    // Once joined to the part, once from zero, and no more.
    assert_eq!(server.ranges(), [Some("bytes=50000-".into()), None]);
    assert!(!space.deliver().exists());
    assert_eq!(fs::metadata(space.part(&want)).unwrap().len(), 0);
}

#[test]
fn without_a_hash_only_an_entity_tag_joins() {
    let body = bytes(1);
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    for (case, recorded, served, moved) in [
        ("same tag", Some("\"a\""), Some("\"a\""), 150_000),
        ("other tag", Some("\"a\""), Some("\"b\""), SIZE),
        ("no tag any more", Some("\"a\""), None, SIZE),
        ("weak tag", Some("W/\"a\""), Some("W/\"a\""), SIZE),
        ("date", Some(date), Some(date), SIZE),
        ("no record", None, Some("\"a\""), SIZE),
    ] {
        let space = Space::new();
        let server = Server::of(&body, served);
        let mut want = want(&body, vec![server.url("/x")]);
        want.sha256 = None;
        // Bytes of an older version: they may only stay if the server says that they are the same.
        let old = if moved == SIZE { bytes(2) } else { body.clone() };
        let origin = recorded.map(|tag| {
            let tag = tag.replace('"', "\\\"");
            format!(
                "{{\"url\":\"{}\",\"validator\":\"{tag}\",\"length\":{SIZE}}}",
                server.url("/x")
            )
        });
        space.leave(&want, &old[..50_000], origin.as_deref());
        let fetched = space.fetch(&want).unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(fetched.bytes_moved, moved as u64, "{case}");
        space.assert_delivered(&body);
    }
}

#[test]
fn without_a_hash_a_206_of_another_tag_is_refused() {
    let (body, space) = (bytes(1), Space::new());
    let server = Server::start({
        let body = body.clone();
        // Ignores If-Range.
        move |_, request| {
            let mut request = request.clone();
            request.headers.remove("if-range");
            serve(&request, &body, Some("\"new\""))
        }
    });
    let mut want = want(&body, vec![server.url("/x")]);
    want.sha256 = None;
    let origin = format!(
        "{{\"url\":\"{}\",\"validator\":\"\\\"old\\\"\",\"length\":{SIZE}}}",
        server.url("/x")
    );
    space.leave(&want, &bytes(2)[..50_000], Some(&origin));
    space.fetch(&want).unwrap();
    space.assert_delivered(&body);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever an earlier run left, and whatever two mirrors do, the fetch ends in the right bytes;
    /// and a right part is never fetched again where ranges work.
    #[test]
    fn every_part_ends_in_the_right_file(
        right in 0..=SIZE,
        wrong in 0_usize..3000,
        cut in 60_000..SIZE,
        tagged: bool,
        ranges: bool,
        chunked: bool,
        size_known: bool,
    ) {
        let (body, space) = (bytes(1), Space::new());
        let server = Server::start({
            let body = body.clone();
            move |number, request| {
                let mut request = request.clone();
                if !ranges {
                    request.headers.remove("range");
                }
                let reply = serve(&request, &body, tagged.then_some("\"a\""));
                let reply = reply.framing(if chunked { Framing::Chunked } else { Framing::Length });
                if number == 0 { reply.fault(Fault::CutAfter(cut)) } else { reply }
            }
        });
        let mut want = want(&body, vec![server.url("/x"), server.url("/y")]);
        want.size = size_known.then_some(SIZE as u64);
        let part = [&body[..right], &bytes(2)[..wrong]].concat();
        space.leave(&want, &part, None);
        let fetched = space.fetch(&want).unwrap();
        if wrong == 0 && ranges {
            prop_assert_eq!(fetched.bytes_moved, (SIZE - right) as u64);
            prop_assert_eq!(fetched.resumed_at, right as u64);
        }
        space.assert_delivered(&body);
    }
}
