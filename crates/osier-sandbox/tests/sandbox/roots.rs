//! Roots, layers and mounts.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::PathBuf;

use osier_sandbox::{Mount, Root, SpawnError, Stage, Status};
use rustix::io::Errno;

use crate::host::Host;

fn names(folder: PathBuf) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn changes_land_in_upper_alone() {
    let host = Host::new();
    host.write("layer/old", "old");
    assert_eq!(host.step(&["exit", "0"]), "");
    assert_eq!(names(host.path("upper")), Vec::<String>::new(), "mount points leave no trace");
    host.step(&["write", "/new", "new"]);
    host.step(&["write", "/old", "changed"]);
    assert_eq!(names(host.path("upper")), ["new", "old"]);
    assert_eq!(fs::read_to_string(host.path("upper/old")).unwrap(), "changed");
    assert_eq!(fs::read_to_string(host.path("layer/old")).unwrap(), "old");
    assert_eq!(fs::metadata(host.path("upper/new")).unwrap().mode() & 0o7777, 0o644);
    assert_eq!(
        fs::metadata(host.path("upper/new")).unwrap().uid(),
        rustix::process::geteuid().as_raw()
    );
    assert_eq!(host.step(&["cat", "/old"]), "changed");
    // What is in memory is gone with the sandbox.
    host.step(&["write", "/tmp/x", "x"]);
    assert_eq!(host.step(&["list", "/tmp"]), "");
    assert_eq!(names(host.path("layer/tmp")), Vec::<String>::new());
}

#[test]
fn a_removed_file_is_a_whiteout() {
    let host = Host::new();
    host.write("layer/old", "old");
    host.step(&["remove", "/old"]);
    let whiteout = fs::symlink_metadata(host.path("upper/old")).unwrap();
    assert!(whiteout.file_type().is_char_device() && whiteout.rdev() == 0);
    assert!(!host.step(&["list", "/"]).contains("old"));
}

#[test]
fn a_folder_of_a_layer_can_be_made_anew() {
    let host = Host::new();
    host.write("layer/folder/file", "x");
    host.step(&["remake", "/folder", "/folder/file"]);
    assert_eq!(host.step(&["list", "/folder"]), "");
    let mut value = [0; 8];
    let length =
        rustix::fs::getxattr(host.path("upper/folder"), "user.overlay.opaque", &mut value[..])
            .unwrap();
    assert_eq!(&value[..length], b"y", "the mark is one that every user can read");
}

#[test]
fn many_layers_make_one_root() {
    let host = Host::new();
    for count in [120, 499] {
        let mut lowers = Vec::new();
        for number in 0..count {
            // Far longer together than the one page of options, with all that options would trip over.
            let name = format!("many/{number}-{},:\\ =\u{e9}", "x".repeat(200));
            host.write(&format!("{name}/file-{number}"), "x");
            host.write(&format!("{name}/top"), &number.to_string());
            lowers.push(host.path(&name));
        }
        lowers.push(host.path("layer"));
        let mut spec = host.spec(&["step", "cat", "/top"]);
        let overlay = Root::Overlay {
            lowers: lowers.clone(),
            upper: host.path("upper"),
            work: host.path("work"),
        };
        for root in [overlay, Root::ReadOnly { lowers }] {
            spec.root = root;
            let done = host.run(&spec);
            done.expect_success();
            assert_eq!(done.out, "0", "the first layer is the topmost");
            spec.command = vec!["step".into(), "cat".into(), format!("/file-{}", count - 1).into()];
            assert_eq!(host.run(&spec).out, "x");
            spec.command = vec!["step".into(), "cat".into(), "/top".into()];
        }
    }
}

#[test]
fn a_read_only_root_stays_as_it_is() {
    let host = Host::new();
    host.write("second/file", "second");
    for lowers in [vec![host.path("layer")], vec![host.path("second"), host.path("layer")]] {
        let mut spec = host.spec(&["step", "write", "/new", "x"]);
        spec.root = Root::ReadOnly { lowers };
        let done = host.run(&spec);
        assert_eq!(
            (done.exit.status, done.out),
            (Status::Code(1), format!("/new: errno {}\n", libc::EROFS))
        );
        spec.command = vec!["step".into(), "write".into(), "/tmp/new".into(), "x".into()];
        host.run(&spec).expect_success();
        assert_eq!(names(host.path("layer")), ["bin", "dev", "proc", "tmp"]);
    }
}

#[test]
fn a_plain_folder_is_changed_in_place() {
    let host = Host::new();
    let mut spec = host.spec(&["step", "write", "/new", "x"]);
    spec.root = Root::Folder { path: host.path("layer") };
    host.run(&spec).expect_success();
    assert_eq!(fs::read_to_string(host.path("layer/new")).unwrap(), "x");
}

#[test]
fn a_missing_mount_point_is_made_or_named() {
    let host = Host::new();
    let mut spec = host.spec(&["step", "write", "/deep/down/here/file", "x"]);
    spec.mounts.push(Mount::Tmpfs { target: "/deep/down/here".into(), size: 1 << 20 });
    host.run(&spec).expect_success();
    assert_eq!(names(host.path("upper/deep/down/here")), Vec::<String>::new());

    spec.root = Root::ReadOnly { lowers: vec![host.path("layer")] };
    match host.try_run(&spec) {
        Err(SpawnError::Stage { stage, path, errno }) => {
            assert_eq!(stage, Stage::MountPoint);
            assert_eq!(path, PathBuf::from("/deep/down/here"));
            assert_eq!(Errno::from_raw_os_error(errno), Errno::NOENT);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn host_folders_and_files_are_bound() {
    let host = Host::new();
    host.write("source/inner/file", "from the host");
    let file = host.write("one-file", "alone");
    let bind = |source: PathBuf, target: &str, writable| Mount::Bind {
        source,
        target: target.into(),
        writable,
    };
    let mounts = vec![
        bind(host.path("source"), "/read", false),
        bind(host.path("source"), "/write", true),
        bind(file, "/etc/alone", false),
    ];
    for (command, status, out) in [
        (vec!["step", "cat", "/read/inner/file"], 0, "from the host"),
        (vec!["step", "cat", "/etc/alone"], 0, "alone"),
        (vec!["step", "write", "/read/x", "x"], 1, "/read/x: errno 30\n"),
        (vec!["step", "write", "/etc/alone", "x"], 1, "/etc/alone: errno 30\n"),
        (vec!["step", "write", "/write/new", "x"], 0, ""),
        (vec!["step", "cat", "/read/new"], 0, "x"),
    ] {
        let mut spec = host.spec(&command);
        spec.mounts = mounts.clone();
        let done = host.run(&spec);
        assert_eq!(
            (done.exit.status, done.out.as_str()),
            (Status::Code(status), out),
            "{command:?}"
        );
    }
    assert_eq!(fs::read_to_string(host.path("source/new")).unwrap(), "x");
}

#[test]
fn several_folders_are_shown_as_one() {
    let host = Host::new();
    host.write("one/a", "a of one");
    host.write("two/a", "a of two");
    host.write("two/b", "b of two");
    for (lowers, a) in [
        (vec![host.path("one"), host.path("two")], "a of one"),
        (vec![host.path("two"), host.path("one")], "a of two"),
        (vec![host.path("two")], "a of two"),
    ] {
        let mut spec = host.spec(&["step", "cat", "/all/a"]);
        spec.mounts.push(Mount::Layers { lowers, target: "/all".into() });
        assert_eq!(host.run(&spec).out, a);
        spec.command = vec!["step".into(), "cat".into(), "/all/b".into()];
        assert_eq!(host.run(&spec).out, "b of two");
        spec.command = vec!["step".into(), "write".into(), "/all/c".into(), "x".into()];
        assert_eq!(host.run(&spec).out, "/all/c: errno 30\n");
    }
}

#[test]
fn mounts_of_the_host_below_a_bound_folder_are_read_only_too() {
    let host = Host::new();
    // The host's root has mounts below it everywhere; a sandbox may not uncover what lies under them, so they come along.
    let mut spec = host.spec(&["step", "write", "/host/dev/shm/osier-test", "x"]);
    spec.mounts.push(Mount::Bind { source: "/".into(), target: "/host".into(), writable: false });
    let done = host.run(&spec);
    assert_eq!(
        (done.exit.status, done.out),
        (Status::Code(1), "/host/dev/shm/osier-test: errno 30\n".into())
    );
}
