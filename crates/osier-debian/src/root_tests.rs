//! Small packages, honest and hostile, unpacked for real.

use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::*;
use crate::deb::tests::package;
use osier_archive::Compression;
use proptest::prelude::*;
use tar::EntryType;
use tempfile::TempDir;

/// An entry: type, path, mode, link target or content.
type Line<'a> = (EntryType, &'a str, u32, &'a str);

const FILE: EntryType = EntryType::Regular;
const FOLDER: EntryType = EntryType::Directory;
const SYMLINK: EntryType = EntryType::Symlink;
const LINK: EntryType = EntryType::Link;

/// Writes entries as they stand: no library would write the hostile ones.
fn archive(lines: &[Line<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (number, (kind, path, mode, text)) in lines.iter().enumerate() {
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(*mode);
        header.set_mtime(1_600_000_000 + number as u64);
        header.set_uid(12_345);
        header.set_gid(50);
        if *kind == FILE {
            header.set_size(text.len() as u64);
        } else {
            header.set_size(0);
            header.as_old_mut().linkname[..text.len()].copy_from_slice(text.as_bytes());
        }
        header.set_cksum();
        bytes.extend(header.as_bytes());
        if *kind == FILE {
            bytes.extend(text.as_bytes());
            bytes.resize(bytes.len().next_multiple_of(512), 0);
        }
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

struct Made {
    folder: TempDir,
    result: Result<RootReport, UnpackError>,
}

impl Made {
    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    fn report(&self) -> &RootReport {
        self.result.as_ref().unwrap()
    }
}

fn unpack_files(files: &[Vec<u8>], options: UnpackOptions) -> Made {
    let folder = tempfile::tempdir().unwrap();
    let debs: Vec<PathBuf> =
        (0..files.len()).map(|number| folder.path().join(format!("{number}.deb"))).collect();
    for (path, bytes) in debs.iter().zip(files) {
        fs::write(path, bytes).unwrap();
    }
    let root = folder.path().join("root");
    fs::create_dir(&root).unwrap();
    let result = unpack_root(&debs, &root, &options);
    Made { folder, result }
}

fn unpack(packages: &[&[Line<'_>]]) -> Made {
    let files: Vec<Vec<u8>> =
        packages.iter().map(|lines| package(Some(Compression::Xz), &archive(lines))).collect();
    unpack_files(&files, UnpackOptions::default())
}

/// Describes a tree, one line for each entry.
fn describe(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let name = path.strip_prefix(root).unwrap().display().to_string();
            let what = if meta.is_dir() {
                folders.push(path);
                "folder".to_owned()
            } else if meta.is_symlink() {
                fs::read_link(&path).unwrap().display().to_string()
            } else {
                format!("{:?} x{}", fs::read_to_string(&path).unwrap(), meta.nlink())
            };
            lines.push(format!("{name} {:o} {} {what}", meta.mode() & 0o7777, meta.mtime()));
        }
    }
    lines.sort();
    lines
}

#[test]
fn modes_times_and_links_are_kept() {
    let made = unpack(&[&[
        (FOLDER, "./", 0o700, ""),
        (FOLDER, "./usr/", 0o755, ""),
        (FOLDER, "./usr/games/", 0o2755, ""),
        (FILE, "./usr/games/su", 0o4755, "setuid"),
        (FILE, "./usr/games/secret", 0o000, ""),
        (LINK, "./usr/games/sudo", 0o4755, "./usr/games/su"),
        (SYMLINK, "./usr/games/link", 0o777, "../nowhere"),
        (FOLDER, "./closed/", 0o555, ""),
        (FILE, "./closed/file", 0o444, "text"),
    ]]);
    let report = made.report();
    assert_eq!((report.files, report.symlinks, report.hard_links, report.bytes), (3, 1, 1, 10));
    let root = made.root();
    fs::set_permissions(root.join("usr/games/secret"), fs::Permissions::from_mode(0o600)).unwrap();
    let lines = describe(&root);
    for line in [
        "usr 755 1600000001 folder",
        "usr/games 2755 1600000002 folder",
        "usr/games/su 4755 1600000003 \"setuid\" x2",
        "usr/games/sudo 4755 1600000003 \"setuid\" x2",
        "usr/games/link 777 1600000006 ../nowhere",
        "closed 555 1600000007 folder",
        "closed/file 444 1600000008 \"text\" x1",
        "bin 777 315532800 usr/bin",
        "tmp 1777 315532800 folder",
        "proto 755 315532800 folder",
        "etc/hostname 644 315532800 \"localhost\\n\" x1",
    ] {
        assert!(lines.iter().any(|found| found == line), "{line}\n{lines:#?}");
    }
    assert_eq!(fs::metadata(&root).unwrap().permissions().mode() & 0o7777, 0o755);
    let me = fs::metadata(&root).unwrap();
    assert_eq!(
        fs::metadata(root.join("usr/games/su")).unwrap().uid(),
        me.uid(),
        "owners are not taken over"
    );
    fs::set_permissions(root.join("closed"), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_merged_usr_stays_merged() {
    let made = unpack(&[
        &[
            (FOLDER, "./bin/", 0o755, ""),
            (FILE, "./bin/tool", 0o755, "1"),
            (FILE, "./lib/x/y", 0o644, "2"),
        ],
        &[(SYMLINK, "./bin", 0o777, "usr/bin"), (SYMLINK, "./sbin", 0o777, "elsewhere")],
        &[
            (SYMLINK, "./var/run", 0o777, "/run"),
            (FILE, "./var/run/pid", 0o644, "3"),
            (LINK, "./usr/bin/same", 0o755, "bin/tool"),
        ],
    ]);
    made.report();
    let root = made.root();
    assert_eq!(fs::read_link(root.join("bin")).unwrap(), Path::new("usr/bin"));
    assert_eq!(fs::read_link(root.join("sbin")).unwrap(), Path::new("usr/sbin"));
    for (path, text) in
        [("usr/bin/tool", "1"), ("usr/lib/x/y", "2"), ("run/pid", "3"), ("usr/bin/same", "1")]
    {
        assert_eq!(fs::read_to_string(root.join(path)).unwrap(), text, "{path}");
    }
}

#[test]
fn the_later_package_wins_and_folders_stay() {
    let made = unpack(&[
        &[
            (FILE, "./a", 0o644, "old"),
            (LINK, "./b", 0o644, "./a"),
            (FOLDER, "./d/", 0o700, ""),
            (SYMLINK, "./s", 0o777, "a"),
        ],
        &[
            (FILE, "./a", 0o600, "new"),
            (FOLDER, "./d/", 0o755, ""),
            (SYMLINK, "./d", 0o777, "a"),
            (FILE, "./s", 0o644, "file"),
        ],
    ]);
    made.report();
    let lines = describe(&made.root());
    for line in [
        "a 600 1600000000 \"new\" x1",
        "b 644 1600000000 \"old\" x1",
        "d 700 1600000002 folder",
        "s 644 1600000003 \"file\" x1",
    ] {
        assert!(lines.iter().any(|found| found == line), "{line}\n{lines:#?}");
    }
}

#[test]
fn hostile_entries_are_refused() {
    let table: [(&[Line<'_>], &str); 16] = [
        (&[(FILE, "/etc/passwd", 0o644, "x")], "the path is absolute"),
        (&[(FILE, "../x", 0o644, "x")], "the path has a part `..`"),
        (&[(FOLDER, "./a/../../x", 0o755, "")], "the path has a part `..`"),
        (&[(EntryType::Char, "./dev/null", 0o666, "")], "it is a character device"),
        (&[(EntryType::Block, "./dev/sda", 0o666, "")], "it is a block device"),
        (&[(EntryType::Fifo, "./pipe", 0o666, "")], "it is a named pipe"),
        (
            &[(SYMLINK, "./out", 0o777, "../../outside"), (FILE, "./out/x", 0o644, "x")],
            "the path goes through a symbolic link out of the root",
        ),
        (
            &[(SYMLINK, "./out", 0o777, "/../outside"), (FOLDER, "./out/x/", 0o755, "")],
            "the path goes through a symbolic link out of the root",
        ),
        (
            &[
                (SYMLINK, "./a", 0o777, "b"),
                (SYMLINK, "./b", 0o777, "a"),
                (FILE, "./a/x", 0o644, "x"),
            ],
            "the path goes through more than 40 symbolic links",
        ),
        (
            &[(FILE, "./a", 0o644, "x"), (FILE, "./a/b", 0o644, "x")],
            "`a` already exists as something else",
        ),
        (
            &[(FOLDER, "./a/", 0o755, ""), (FILE, "./a", 0o644, "x")],
            "`a` already exists as something else",
        ),
        (&[(FILE, "./bin", 0o644, "x")], "`bin` already exists as something else"),
        (
            &[(LINK, "./a", 0o644, "/etc/passwd")],
            "the hard link's target `/etc/passwd` is not a file that was unpacked earlier",
        ),
        (
            &[(LINK, "./a", 0o644, "../outside")],
            "the hard link's target `../outside` is not a file that was unpacked earlier",
        ),
        (
            &[(SYMLINK, "./s", 0o777, "../.."), (LINK, "./a", 0o644, "./s/outside")],
            "the hard link's target `./s/outside` is not a file that was unpacked earlier",
        ),
        (
            &[(LINK, "./a", 0o644, "./later"), (FILE, "./later", 0o644, "x")],
            "the hard link's target `./later` is not a file that was unpacked earlier",
        ),
    ];
    for (lines, message) in table {
        let made = unpack(&[lines]);
        let outside = made.folder.path().join("outside");
        assert!(!outside.exists(), "{message}");
        match &made.result {
            Err(UnpackError::Entry { entry, source, .. }) => {
                assert_eq!(source.to_string(), message, "{lines:?}");
                assert!(lines.iter().any(|line| line.1 == entry), "{entry}");
            }
            other => panic!("{lines:?}: {other:?}"),
        }
    }
}

#[test]
fn a_hard_link_to_a_link_is_the_link_and_not_what_it_leads_to() {
    let made = unpack(&[&[(SYMLINK, "./s", 0o777, "/etc/passwd"), (LINK, "./a", 0o644, "./s")]]);
    made.report();
    let read = fs::read_link(made.root().join("a")).unwrap();
    assert_eq!(read, Path::new("/etc/passwd"));
}

#[test]
fn a_link_out_of_the_root_is_not_followed() {
    // An absolute target means the root, whatever the kernel would make of it now.
    let made = unpack(&[&[
        (SYMLINK, "./out", 0o777, "/tmp/osier-test"),
        (FILE, "./out/file", 0o644, "x"),
    ]]);
    made.report();
    assert!(made.root().join("tmp/osier-test/file").is_file());
    assert!(!Path::new("/tmp/osier-test/file").exists());
}

#[test]
fn damaged_packages_are_refused_and_end_all_threads() {
    let lines: Vec<(EntryType, String, u32, String)> = (0..40)
        .map(|number| (FILE, format!("./file{number}"), 0o644, "text ".repeat(20_000)))
        .collect();
    let lines: Vec<Line<'_>> = lines
        .iter()
        .map(|(kind, path, mode, text)| (*kind, path.as_str(), *mode, text.as_str()))
        .collect();
    let tar = archive(&lines);
    let good = package(None, &tar);
    let threads = NonZeroUsize::new(3).unwrap();
    for compression in crate::compression::tests::ALL {
        let bytes = package(compression, &tar);
        let cut = bytes[..bytes.len() - 40].to_vec();
        let mut files = vec![cut];
        files.extend(vec![good.clone(); 10]);
        let made = unpack_files(&files, UnpackOptions { threads, ..UnpackOptions::default() });
        assert!(
            matches!(made.result, Err(UnpackError::Damaged { ref deb, .. }) if deb.ends_with("0.deb")),
            "{compression:?}: {:?}",
            made.result
        );
        if compression.is_some() {
            let mut flipped = bytes.clone();
            let middle = flipped.len() - 60;
            flipped[middle] ^= 0x55;
            let made = unpack_files(&[flipped], UnpackOptions::default());
            assert!(
                matches!(made.result, Err(UnpackError::Damaged { .. } | UnpackError::Entry { .. })),
                "{compression:?}: {:?}",
                made.result
            );
        }
    }
    let made = unpack_files(
        &[good.clone(), b"<html>".to_vec(), good],
        UnpackOptions { threads, ..UnpackOptions::default() },
    );
    assert!(
        matches!(made.result, Err(UnpackError::Deb(DebError::Io { .. } | DebError::Format { .. }))),
        "{:?}",
        made.result
    );
}

#[test]
fn a_file_that_ends_early_inside_a_whole_stream_is_an_error() {
    let tar = archive(&[(FILE, "./a", 0o644, &"x".repeat(5000))]);
    let made =
        unpack_files(&[package(Some(Compression::Xz), &tar[..2000])], UnpackOptions::default());
    assert!(matches!(made.result, Err(UnpackError::Damaged { .. })), "{:?}", made.result);
}

#[test]
fn the_root_must_be_there_and_empty() {
    let folder = tempfile::tempdir().unwrap();
    let options = UnpackOptions::default();
    assert!(matches!(
        unpack_root(&[], &folder.path().join("none"), &options),
        Err(UnpackError::Root { .. })
    ));
    fs::File::create(folder.path().join("x")).unwrap().write_all(b"x").unwrap();
    assert!(matches!(unpack_root(&[], folder.path(), &options), Err(UnpackError::NotEmpty { .. })));
}

#[test]
fn documentation_is_left_out_on_demand() {
    let lines: &[Line<'_>] = &[
        (FOLDER, "./usr/share/doc/", 0o755, ""),
        (FILE, "./usr/share/doc/a/copyright", 0o644, "x"),
        (FILE, "./usr/share/man/man1/a.1.gz", 0o644, "x"),
        (FILE, "./usr/share/mandatory", 0o644, "x"),
    ];
    let files = [package(Some(Compression::Zstd), &archive(lines))];
    let made = unpack_files(
        &files,
        UnpackOptions { trim: Trim::Documentation, ..UnpackOptions::default() },
    );
    assert_eq!((made.report().trimmed, made.report().files), (2, 1));
    assert!(
        made.root().join("usr/share/doc").is_dir()
            && made.root().join("usr/share/mandatory").is_file()
    );
    assert!(!made.root().join("usr/share/doc/a").exists());
    let made = unpack_files(&files, UnpackOptions::default());
    assert_eq!((made.report().trimmed, made.report().files), (0, 3));
}

#[test]
fn fix_ups_stand_in_for_maintainer_scripts() {
    let made = unpack(&[&[
        (FILE, "./usr/bin/mawk", 0o755, "mawk"),
        (FILE, "./usr/bin/gcc-12", 0o755, "gcc"),
        (SYMLINK, "./usr/bin/gcc", 0o777, "gcc-12"),
        (SYMLINK, "./usr/bin/g++", 0o777, "g++-12"),
        (FILE, "./usr/bin/yacc", 0o755, "own"),
        (FILE, "./usr/bin/bison.yacc", 0o755, "bison"),
        (FILE, "./usr/bin/automake-1.9", 0o755, "old"),
        (FILE, "./usr/bin/automake-1.16", 0o755, "new"),
        (FILE, "./usr/share/base-passwd/passwd.master", 0o644, "root:*:0:0::/root:/bin/bash\n"),
        (FILE, "./usr/share/ca-certificates/mozilla/B.crt", 0o644, "B"),
        (FILE, "./usr/share/ca-certificates/mozilla/A.crt", 0o644, "A\n"),
    ]]);
    let root = made.root();
    for (path, target) in [
        ("usr/bin/awk", "mawk"),
        ("usr/bin/nawk", "mawk"),
        ("usr/bin/cc", "gcc"),
        ("usr/bin/automake", "automake-1.16"),
    ] {
        assert_eq!(fs::read_link(root.join(path)).unwrap(), Path::new(target), "{path}");
    }
    for (path, text) in [
        ("usr/bin/yacc", "own"),
        ("etc/passwd", "root:*:0:0::/root:/bin/bash\n"),
        ("etc/group", "root:x:0:\nnogroup:x:65534:\n"),
        ("etc/ssl/certs/ca-certificates.crt", "A\nB\n"),
    ] {
        assert_eq!(fs::read_to_string(root.join(path)).unwrap(), text, "{path}");
    }
    assert!(fs::symlink_metadata(root.join("usr/bin/c++")).is_err(), "g++ leads nowhere");
    assert!(fs::symlink_metadata(root.join("usr/bin/which")).is_err());
    assert!(made.report().added.contains(&"usr/bin/awk".to_owned()));
    assert!(!made.report().added.contains(&"usr/bin/yacc".to_owned()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn the_tree_depends_on_the_packages_alone(
        packages in prop::collection::vec(prop::collection::vec((0..4usize, "[abc](/[abc]){0,2}", "[a-c/.]{1,4}"), 0..8), 1..5),
        threads in 1..4usize
    ) {
        let files: Vec<Vec<u8>> = packages
            .iter()
            .map(|lines| {
                let lines: Vec<Line<'_>> = lines
                    .iter()
                    .map(|(kind, path, text)| ([FILE, FOLDER, SYMLINK, LINK][*kind], path.as_str(), 0o755, text.as_str()))
                    .collect();
                package(Some(Compression::Gzip), &archive(&lines))
            })
            .collect();
        let one = unpack_files(&files, UnpackOptions::default());
        let threads = NonZeroUsize::new(threads).unwrap();
        let other = unpack_files(&files, UnpackOptions { threads, ..UnpackOptions::default() });
        prop_assert_eq!(one.result.is_ok(), other.result.is_ok());
        // What a failure leaves is in no defined state: its folders carry the time of the clock.
        if one.result.is_ok() {
            prop_assert_eq!(describe(&one.root()), describe(&other.root()));
        }
        // Whatever the links say, nothing was written beside the root.
        prop_assert_eq!(fs::read_dir(one.folder.path()).unwrap().count(), files.len() + 1);
    }
}

/// `cargo xtask fuzz` starts from these.
#[test]
#[ignore = "writes files to the folder that OSIER_SEEDS names"]
fn seeds_of_packages() {
    let folder = PathBuf::from(std::env::var_os("OSIER_SEEDS").unwrap());
    let tar = archive(&[
        (FOLDER, "./", 0o755, ""),
        (FOLDER, "./bin/", 0o755, ""),
        (FILE, "./bin/a", 0o4755, "content"),
        (LINK, "./bin/b", 0o755, "./bin/a"),
        (SYMLINK, "./usr/bin/c", 0o777, "../../bin/a"),
        (FILE, "./etc/alternatives/awk", 0o644, "x"),
        (FILE, "./usr/share/ca-certificates/mozilla/x.crt", 0o644, "x"),
    ]);
    // The target puts a frame around bytes that are no package.
    fs::write(folder.join("tar"), &tar).unwrap();
    for compression in crate::compression::tests::ALL {
        let deb = package(compression, &tar);
        fs::write(folder.join(format!("deb-{compression:?}")), deb).unwrap();
    }
}
