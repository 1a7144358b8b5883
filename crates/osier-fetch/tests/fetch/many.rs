//! Many files, many threads, many processes, and processes that are killed.

use std::env;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use osier_fetch::{Cause, FetchError, Fetcher, Progress, Settings, Want};

use crate::server::{Reply, Server, serve};
use crate::{SIZE, Space, bytes, fetcher, settings, sha256, want};

#[test]
fn all_are_fetched_in_order_and_bounded() {
    let server = Server::start(|_, request| match request.target.strip_prefix("/f") {
        Some("7") | None => Reply::new(404, ""),
        Some(seed) => serve(request, &bytes(seed.parse().unwrap())[..30_000], None)
            .pace(Duration::from_millis(3)),
    });
    let space = Space::new();
    let wants: Vec<_> = (0..12)
        .map(|seed| {
            let deliver = space.deliver().with_file_name(format!("f{seed}"));
            (want(&bytes(seed)[..30_000], vec![server.url(&format!("/f{seed}"))]), deliver)
        })
        .collect();
    let seen = Mutex::new(vec![0; wants.len()]);
    let fetcher = Fetcher::new(Settings { parallel: 3, ..settings() }).unwrap();
    let results = fetcher.fetch_all(&wants, &space.folder(), &|index, event| {
        if let Progress::Held { held, total, .. } = event {
            assert_eq!(total, Some(30_000));
            seen.lock().unwrap()[index] = held;
        }
    });
    for (index, result) in results.iter().enumerate() {
        if index == 7 {
            assert!(result.as_ref().unwrap_err().is_not_found());
            continue;
        }
        assert_eq!(result.as_ref().unwrap().sha256, wants[index].0.sha256.unwrap());
        assert_eq!(sha256(&fs::read(&wants[index].1).unwrap()), wants[index].0.sha256.unwrap());
        assert_eq!(seen.lock().unwrap()[index], 30_000);
    }
    assert_eq!(server.busiest(), 3);
    assert!(fetcher.fetch_all(&[], &space.folder(), &|_, _| {}).is_empty());
}

#[test]
fn threads_that_want_one_file_fetch_it_once() {
    let (body, space) = (bytes(1), Space::new());
    let server = Server::start({
        let body = body.clone();
        move |_, request| serve(request, &body, None).pace(Duration::from_millis(2))
    });
    for hash in [true, false] {
        let mut want = want(&body, vec![server.url("/x")]);
        want.sha256 = want.sha256.filter(|_| hash);
        let before = server.requests().len();
        let wants = vec![(want, space.deliver()); 4];
        let results = fetcher().fetch_all(&wants, &space.folder(), &|_, _| {});
        let mut moved: Vec<_> =
            results.into_iter().map(|result| result.unwrap().bytes_moved).collect();
        moved.sort_unstable();
        assert_eq!(moved, [0, 0, 0, SIZE as u64]);
        assert_eq!(server.requests().len(), before + 1);
        space.assert_delivered(&body);
        fs::remove_file(space.deliver()).unwrap();
    }
}

/// Not a test of its own: the program of the child processes below.
#[test]
#[ignore = "run by other tests as a child process"]
fn child() {
    let [url, folder, deliver] =
        ["CHILD_URL", "CHILD_FOLDER", "CHILD_DELIVER"].map(|name| env::var(name).unwrap());
    let fetched = fetcher().fetch(
        &want(&bytes(1), vec![url]),
        Path::new(&folder),
        Path::new(&deliver),
        &|_| {},
    );
    fetched.unwrap();
}

fn spawn(want: &Want, space: &Space) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "many::child", "--ignored"])
        .env("CHILD_URL", &want.places[0])
        .env("CHILD_FOLDER", space.folder())
        .env("CHILD_DELIVER", space.deliver())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn processes_that_want_one_file_fetch_it_once() {
    let (body, space) = (bytes(1), Space::new());
    let server = Server::start({
        let body = body.clone();
        move |_, request| serve(request, &body, None).pace(Duration::from_millis(2))
    });
    let want = want(&body, vec![server.url("/x")]);
    let children: Vec<_> = (0..3).map(|_| spawn(&want, &space)).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(server.requests().len(), 1);
    space.assert_delivered(&body);
}

#[test]
fn killed_processes_leave_a_part_that_resumes() {
    let (body, space) = (bytes(1), Space::new());
    let server = Server::start({
        let body = body.clone();
        move |_, request| serve(request, &body, Some("\"a\"")).pace(Duration::from_millis(4))
    });
    let want = want(&body, vec![server.url("/x")]);
    let mut held = 0;
    for _ in 0..3 {
        let mut child = spawn(&want, &space);
        let deadline = Instant::now() + Duration::from_secs(30);
        while fs::metadata(space.part(&want)).map_or(0, |part| part.len()) < held + 20_000 {
            assert!(Instant::now() < deadline, "the child makes no progress");
            thread::sleep(Duration::from_millis(2));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        held = fs::metadata(space.part(&want)).unwrap().len();
        assert!(!space.deliver().exists());
    }
    let fetched = space.fetch(&want).unwrap();
    assert_eq!((fetched.resumed_at, fetched.bytes_moved), (held, SIZE as u64 - held));
    assert_eq!(server.requests().last().unwrap().header("if-range"), Some("\"a\""));
    space.assert_delivered(&body);
}

#[test]
fn waiting_is_told() {
    let (body, space) = (bytes(1), Space::new());
    let server = Server::of(&body, None);
    let want = want(&body, vec![server.url("/x")]);
    space.leave(&want, b"", None);
    let holder = fs::File::open(space.part(&want)).unwrap();
    holder.lock().unwrap();
    let waits = Mutex::new(0);
    thread::scope(|scope| {
        let run = scope.spawn(|| {
            fetcher().fetch(&want, &space.folder(), &space.deliver(), &|event| {
                if matches!(event, Progress::Waiting) {
                    *waits.lock().unwrap() += 1;
                }
            })
        });
        while *waits.lock().unwrap() == 0 {
            thread::sleep(Duration::from_millis(2));
        }
        assert!(server.requests().is_empty());
        // The holder delivers and goes; the path now leads elsewhere.
        fs::create_dir_all(space.deliver().parent().unwrap()).unwrap();
        fs::write(space.part(&want), &body).unwrap();
        fs::rename(space.part(&want), space.deliver()).unwrap();
        drop(holder);
        assert_eq!(run.join().unwrap().unwrap().bytes_moved, 0);
    });
    assert_eq!(waits.into_inner().unwrap(), 1);
    assert!(server.requests().is_empty());
    space.assert_delivered(&body);
}

#[test]
fn lock_of_a_file_that_has_moved_on_does_not_count() {
    let (body, space) = (bytes(1), Space::new());
    let server = Server::of(&body, None);
    let want = want(&body, vec![server.url("/x")]);
    space.leave(&want, &bytes(2), None);
    let holder = fs::File::open(space.part(&want)).unwrap();
    holder.lock().unwrap();
    let elsewhere = space.deliver().with_file_name("elsewhere");
    fs::create_dir_all(space.deliver().parent().unwrap()).unwrap();
    let (waiting, waits) = mpsc::channel();
    thread::scope(|scope| {
        let run = scope.spawn(|| {
            fetcher().fetch(&want, &space.folder(), &space.deliver(), &move |event| {
                if matches!(event, Progress::Waiting) {
                    waiting.send(()).unwrap();
                }
            })
        });
        waits.recv().unwrap();
        // The holder delivers to a place of its own, and a third party starts a new part.
        fs::rename(space.part(&want), &elsewhere).unwrap();
        fs::write(space.part(&want), &body[..50_000]).unwrap();
        drop(holder);
        assert_eq!(run.join().unwrap().unwrap().resumed_at, 50_000);
    });
    assert!(fs::read(elsewhere).unwrap() == bytes(2));
    space.assert_delivered(&body);
}

#[test]
fn one_bad_mirror_does_not_stop_the_others() {
    let space = Space::new();
    let server = Server::of(b"good", None);
    let wants = [
        (want(b"good", vec![server.url("/a")]), space.deliver()),
        (want(b"fine", vec![server.url("/b")]), space.deliver().with_file_name("other")),
    ];
    let results = fetcher().fetch_all(&wants, &space.folder(), &|_, _| {});
    assert!(results[0].is_ok());
    assert!(matches!(results[1], Err(FetchError::HashMismatch { .. })));
    let mixed =
        Want { places: vec![server.url("/b"), "http://127.0.0.1:1/".into()], ..wants[1].0.clone() };
    let Err(FetchError::AllPlacesFailed { failures, .. }) =
        space.fetch(&Want { name: "m".into(), ..mixed })
    else {
        // The first fetch delivered another file there, which is replaced only by a verified one.
        panic!()
    };
    assert!(
        matches!(failures[..], [(_, Cause::HashMismatch { .. }), (_, Cause::Refused(_))]),
        "{failures:?}"
    );
    assert_eq!(fs::read(space.deliver()).unwrap(), b"good");
}
