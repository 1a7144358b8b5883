//! The file system's side: local places, import, full disks, missing rights.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use osier_fetch::{Cause, FetchError, hash_file};

use crate::server::Server;
use crate::{SIZE, Space, bytes, fetcher, sha256, want};

fn url(path: &Path) -> String {
    format!("file://{}", path.display())
}

#[test]
fn local_mirrors() {
    let (body, space) = (bytes(1), Space::new());
    let mirror = tempfile::tempdir().unwrap();
    let (good, wrong) = (mirror.path().join("good"), mirror.path().join("wrong"));
    fs::write(&good, &body).unwrap();
    fs::write(&wrong, bytes(2)).unwrap();
    let places =
        vec![url(&mirror.path().join("none")), url(&wrong), url(mirror.path()), url(&good)];
    let mut want = want(&body, places);
    space.leave(&want, &bytes(2)[..50_000], None);
    assert_eq!(space.fetch(&want).unwrap().place, url(&good));
    space.assert_delivered(&body);
    fs::remove_file(space.deliver()).unwrap();
    want.places.pop();
    let Err(FetchError::AllPlacesFailed { failures, .. }) = space.fetch(&want) else { panic!() };
    let [(_, Cause::NotFound), (_, Cause::HashMismatch { .. }), (_, Cause::Unreadable(_))] =
        &failures[..]
    else {
        panic!("{failures:?}")
    };
}

#[test]
fn file_already_delivered_is_taken_or_replaced() {
    let body = bytes(1);
    let server = Server::of(&body, None);
    let want = want(&body, vec![server.url("/x")]);
    for (there, requests) in [(body.clone(), 0), (bytes(2), 1), (body[1..].to_vec(), 2)] {
        let space = Space::new();
        fs::create_dir_all(space.deliver().parent().unwrap()).unwrap();
        fs::write(space.deliver(), there).unwrap();
        let fetched = space.fetch(&want).unwrap();
        assert_eq!((server.requests().len(), fetched.size), (requests, SIZE as u64));
        space.assert_delivered(&body);
    }
}

#[test]
fn delivery_to_another_file_system() {
    let Ok(shm) = tempfile::tempdir_in("/dev/shm") else { return };
    let (body, space) = (bytes(1), Space::new());
    let server = Server::of(&body, None);
    let want = want(&body, vec![server.url("/x")]);
    let deliver = shm.path().join("file");
    fetcher().fetch(&want, &space.folder(), &deliver, &|_| {}).unwrap();
    assert!(fs::read(&deliver).unwrap() == body);
    assert_eq!(fs::read_dir(space.folder()).unwrap().count(), 0);
    assert_eq!(fs::read_dir(shm.path()).unwrap().count(), 1);
}

#[test]
fn a_file_has_its_size_and_digest() {
    let body = bytes(1);
    let hand = tempfile::NamedTempFile::new().unwrap();
    fs::write(hand.path(), &body).unwrap();
    assert_eq!(hash_file(hand.path()).unwrap(), (SIZE as u64, sha256(&body)));
}

#[test]
fn a_link_in_the_place_of_a_part_is_not_written_through() {
    let (body, space) = (bytes(1), Space::new());
    let server = Server::of(&body, None);
    let want = want(&body, vec![server.url("/x")]);
    fs::create_dir_all(space.folder()).unwrap();
    let target = space.folder().join("target");
    fs::write(&target, "a person's own").unwrap();
    symlink(&target, space.part(&want)).unwrap();
    let error = space.fetch(&want).unwrap_err();
    assert!(matches!(&error, FetchError::File { .. }), "{error:?}");
    assert!(error.to_string().contains("a symbolic link is in its place"), "{error}");
    assert_eq!(fs::read_to_string(target).unwrap(), "a person's own");
}

/// Not a test of its own: runs in a mount namespace of the test below.
#[test]
#[ignore = "run by another test as a child process"]
fn child_on_a_small_disk() {
    let disk = std::path::PathBuf::from(std::env::var("SMALL_DISK").unwrap());
    let body = bytes(1);
    let mirror = disk.parent().unwrap().join("mirror");
    fs::write(&mirror, &body).unwrap();
    let want = want(&body, vec![url(&mirror)]);
    let error =
        fetcher().fetch(&want, &disk.join("parts"), &disk.join("file"), &|_| {}).unwrap_err();
    assert!(matches!(error, FetchError::NoSpace { .. }), "{error}");
    let mut part = fs::read_dir(disk.join("parts")).unwrap().map(|entry| entry.unwrap().path());
    let part = part.find(|path| path.extension().unwrap() == "part").unwrap();
    let held = fs::read(part).unwrap();
    assert!(held.len() > 50_000 && held.len() < SIZE && body.starts_with(&held), "{}", held.len());
    println!("the part stayed");
}

#[test]
fn full_disk_leaves_the_part() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let script = "mount -t tmpfs -o size=128k none \"$SMALL_DISK\" || exit 77; exec \"$0\" --exact local::child_on_a_small_disk --ignored --nocapture";
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .env("SMALL_DISK", &disk)
        .output();
    match output {
        Ok(output) if output.status.success() => {
            assert!(String::from_utf8_lossy(&output.stdout).contains("the part stayed"));
        }
        Ok(output) if output.status.code() == Some(101) => {
            panic!("{}", String::from_utf8_lossy(&output.stdout))
        }
        // No unshare or no user namespaces here.
        other => eprintln!("not tested: {other:?}"),
    }
}

#[test]
fn missing_rights_are_named() {
    let body = bytes(1);
    let server = Server::of(&body, None);
    let want = want(&body, vec![server.url("/x")]);
    let space = Space::new();
    fs::create_dir_all(space.folder()).unwrap();
    // For root, whom modes do not stop, a place where nobody may create files.
    let root = fs::metadata("/proc/self").unwrap().uid() == 0;
    fs::set_permissions(space.folder(), fs::Permissions::from_mode(0o555)).unwrap();
    let folder = if root { Path::new("/sys/kernel").to_owned() } else { space.folder() };
    let error = fetcher().fetch(&want, &folder, &space.deliver(), &|_| {}).unwrap_err();
    assert!(
        matches!(&error, FetchError::NoPermission { path, .. } if path.starts_with(&folder)),
        "{error}"
    );
    // The part stays where delivery fails.
    let space = Space::new();
    let deliver = space.folder().join("x").join("y");
    fs::create_dir_all(space.folder()).unwrap();
    fs::write(space.folder().join("x"), "a file where a folder must be").unwrap();
    let error = fetcher().fetch(&want, &space.folder(), &deliver, &|_| {}).unwrap_err();
    assert!(matches!(&error, FetchError::File { .. }), "{error}");
    assert!(fs::read(space.part(&want)).unwrap() == body);
}
