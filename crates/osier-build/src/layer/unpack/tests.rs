//! Archives made byte by byte, laid out by osier and by the machine's own tar, and compared.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::forms::{Header, TIME, archive, file, folder, forms, hard, link, pax, with_holes};
use super::*;

struct Unpacked {
    folder: tempfile::TempDir,
    result: Result<(), UnpackError>,
}

impl Unpacked {
    fn place(&self) -> PathBuf {
        self.folder.path().join("into")
    }

    fn error(self) -> String {
        self.result.unwrap_err().to_string()
    }
}

fn try_unpack(name: &str, bytes: &[u8], strip: u32) -> Unpacked {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("archive");
    fs::write(&file, bytes).unwrap();
    let into = folder.path().join("into");
    fs::create_dir(&into).unwrap();
    let packed = Packed { file: &file, name, format: None, reserve: 0 };
    let result = unpack_archive(&packed, strip, &into);
    Unpacked { folder, result }
}

/// What lies below a folder: kind, mode, time, links to it, content. Of folders the time counts only where an entry gave it.
fn tree(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![folder.to_path_buf()];
    let mut names: BTreeMap<u64, String> = BTreeMap::new();
    while let Some(host) = waiting.pop() {
        let mut entries: Vec<_> =
            fs::read_dir(&host).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        for host in entries {
            let metadata = fs::symlink_metadata(&host).unwrap();
            let path = host
                .strip_prefix(folder)
                .unwrap()
                .as_os_str()
                .as_bytes()
                .escape_ascii()
                .to_string();
            let time = (metadata.mtime() != i64::from(SOURCE_DATE))
                .then(|| (metadata.mtime(), metadata.mtime_nsec()));
            let looks = if metadata.is_dir() {
                waiting.push(host);
                let given = time.is_some_and(|(seconds, _)| seconds == TIME);
                format!("folder {:o} {given}", metadata.mode() & 0o7777)
            } else if metadata.is_symlink() {
                format!("link {} {time:?}", fs::read_link(&host).unwrap().display())
            } else {
                let content = if metadata.len() < 1 << 20 {
                    osier_store::Digest::of(&fs::read(&host).unwrap()).to_string()
                } else {
                    format!("large, {} blocks", metadata.blocks())
                };
                format!("file {:o} {time:?} {} {content}", metadata.mode() & 0o7777, metadata.len())
            };
            let group = match names.get(&metadata.ino()) {
                Some(first) if !metadata.is_dir() => format!(" = {first}"),
                _ => {
                    names.insert(metadata.ino(), path.clone());
                    String::new()
                }
            };
            found.insert(path, looks + &group);
        }
    }
    found
}

/// Unpacks by the machine's tar, where it is GNU tar: what it made, or nothing where it failed.
fn by_tar(bytes: &[u8], strip: u32) -> Option<Option<BTreeMap<String, String>>> {
    let version = Command::new("tar").arg("--version").output().ok()?;
    if !version.stdout.starts_with(b"tar (GNU tar)") {
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let (file, into) = (folder.path().join("archive"), folder.path().join("into"));
    fs::write(&file, bytes).unwrap();
    fs::create_dir(&into).unwrap();
    // What no entry describes it makes by the umask.
    let mut command = Command::new("sh");
    command.args(["-c", "umask 022; exec tar \"$@\"", "sh", "-x", "-p", "--no-same-owner"]);
    command.arg(format!("--strip-components={strip}")).arg("-f");
    let status = command.arg(&file).arg("-C").arg(&into).output().unwrap().status;
    Some(status.success().then(|| tree(&into)))
}

#[test]
fn every_form_is_laid_out_as_tar_lays_it_out() {
    let compressed = |bytes: &[u8]| {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    };
    let mut forms = forms();
    let (one, two) = (file(b"t/a", b"hello"), archive(&[file(b"t/b", b"again")]));
    forms.push((
        "zeros behind gzip",
        [compressed(&archive(std::slice::from_ref(&one))), vec![0; 10_240]].concat(),
    ));
    forms.push(("gzip after gzip", [compressed(&one), compressed(&two)].concat()));
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    bzip2.write_all(&two).unwrap();
    forms.push(("noise behind bzip2", [bzip2.finish().unwrap(), b"noise".to_vec()].concat()));
    let mut wrong = String::new();
    for (name, bytes) in forms {
        // tar counts `.` as a folder to leave off.
        let strip = u32::from(!name.starts_with("dots"));
        let unpacked = try_unpack("x.tar", &bytes, strip);
        if let Err(error) = &unpacked.result {
            wrong.push_str(&format!("{name}: {error}\n"));
            continue;
        }
        let ours = tree(&unpacked.place());
        assert!(!ours.is_empty(), "{name}");
        match by_tar(&bytes, strip) {
            Some(theirs) if theirs != Some(ours.clone()) => {
                wrong.push_str(&format!("{name}: {ours:#?}\ntar: {theirs:#?}\n"));
            }
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn what_libarchive_alone_reads_is_read_too() {
    let f = |name: &[u8]| file(name, b"hello");
    let with_content = |header: Header| header.link(b"t/a").sealed(b"hello");
    let table = [
        archive(&[
            f(b"t/a"),
            pax(&[("path", b"t/b"), ("size", b"5")]),
            with_content(Header::new(b"t/x", b'1', 5)),
            f(b"t/c"),
        ]),
        archive(&[f(b"t/a"), with_content(Header::new(b"t/b", b'1', 5)), f(b"t/c")]),
        archive(&[f(b"./t/a"), hard(b"./t/b", b"/t//a"), f(b"t/./c")]),
    ];
    for bytes in table {
        let unpacked = try_unpack("x", &bytes, 1);
        assert!(unpacked.result.is_ok(), "{:?}", unpacked.result);
        let found = tree(&unpacked.place());
        assert!(found.keys().eq(["a", "b", "c"]) && found["b"].ends_with(" = a"), "{found:?}");
    }
}

#[test]
fn holes_and_times_are_what_they_should_be() {
    let all: BTreeMap<&str, Vec<u8>> = forms().into_iter().collect();
    for form in ["old holes", "pax holes 0.0", "pax holes 0.1", "pax holes 1.0"] {
        let unpacked = try_unpack("x.tar", &all[form], 1);
        assert!(fs::read(unpacked.place().join("holes")).unwrap() == with_holes(), "{form}");
        assert_eq!(fs::read_dir(unpacked.place()).unwrap().count(), 2, "{form}");
    }
    let unpacked = try_unpack("x.tar", &all["holes of more than 8 GiB"], 1);
    let metadata = fs::metadata(unpacked.place().join("holes")).unwrap();
    assert_eq!(metadata.len(), 9 << 30);
    assert!(metadata.blocks() < 1000, "holes are holes");
    let unpacked = try_unpack("x.tar", &all["pax times"], 1);
    let time = |name: &str| {
        let metadata = fs::metadata(unpacked.place().join(name)).unwrap();
        (metadata.mtime(), metadata.mtime_nsec())
    };
    assert_eq!(
        [time("a"), time("b"), time("c")],
        [(1_234_567_890, 123_456_789), (-2, 500_000_000), (-7, 0)]
    );
    // What no entry describes looks the same whoever unpacks, and whenever.
    let unpacked = try_unpack("x.tar", &all["no folders"], 1);
    for folder in ["", "a", "a/b"] {
        let metadata = fs::metadata(unpacked.place().join(folder)).unwrap();
        assert_eq!(
            (metadata.mode() & 0o7777, metadata.mtime()),
            (0o755, i64::from(SOURCE_DATE)),
            "{folder}"
        );
    }
}

#[test]
fn what_tar_itself_writes_is_read_in_every_format() {
    let Some(Some(_)) = by_tar(&archive(&[file(b"t/a", b"")]), 0) else { return };
    let folder = tempfile::tempdir().unwrap();
    let top = folder.path().join("t");
    fs::create_dir_all(top.join("dir/empty")).unwrap();
    fs::write(top.join("dir/a"), "hello").unwrap();
    fs::hard_link(top.join("dir/a"), top.join("hard")).unwrap();
    std::os::unix::fs::symlink("dir/a", top.join("link")).unwrap();
    let mut holes = File::create(top.join("holes")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&holes, b"data", 3 << 16).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&holes, b"more", 9 << 16).unwrap();
    holes.set_len(900 << 10).unwrap();
    holes.flush().unwrap();
    for path in ["dir/a", "holes"] {
        let file = File::options().write(true).open(top.join(path)).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(17)).unwrap();
    }
    let content = |folder: &Path| {
        let all = tree(folder).into_iter();
        all.filter(|(_, looks)| !looks.starts_with("link")).collect::<Vec<_>>()
    };
    let wanted = content(&top);
    for format in [
        &["v7"][..],
        &["oldgnu", "--sparse"],
        &["gnu", "--sparse"],
        &["ustar"],
        &["pax"],
        &["pax", "--sparse", "--sparse-version=0.0"],
        &["pax", "--sparse", "--sparse-version=0.1"],
        &["pax", "--sparse", "--sparse-version=1.0"],
    ] {
        let mut command = Command::new("tar");
        command.args(["-c", "-C"]).arg(folder.path()).arg("-H").args(format).arg("t");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let unpacked = try_unpack("x", &output.stdout, 1);
        assert!(unpacked.result.is_ok(), "{format:?}: {:?}", unpacked.result);
        let times = |list: Vec<(String, String)>| -> Vec<(String, String)> {
            list.into_iter().filter(|(_, looks)| !looks.starts_with("folder")).collect()
        };
        assert_eq!(times(content(&unpacked.place())), times(wanted.clone()), "{format:?}");
        assert!(unpacked.place().join("dir/empty").is_dir());
        assert_eq!(fs::read_link(unpacked.place().join("link")).unwrap(), Path::new("dir/a"));
    }
}

#[test]
fn what_is_refused_is_named_and_nothing_leaves_the_folder() {
    let f = |name: &[u8]| file(name, b"x");
    let special = |kind: u8| Header::new(b"t/special", kind, 0).sealed(b"");
    let name = [&b"t/"[..], &[b'n'; 256]].concat();
    let path = [b"t/".to_vec(), b"directory/".repeat(410)].concat();
    let sparse = |map: &[u8]| {
        archive(&[
            pax(&[
                ("GNU.sparse.size", b"100"),
                ("GNU.sparse.name", b"t/holes"),
                ("GNU.sparse.map", map),
            ]),
            file(b"t/x", &[0; 60]),
        ])
    };
    let huge = pax(&[
        ("GNU.sparse.size", b"9000000000000"),
        ("GNU.sparse.name", b"t/huge"),
        ("GNU.sparse.map", b"0,1"),
    ]);
    let table: Vec<(&str, Vec<u8>)> = vec![
        ("`/t/etc/passwd` has an absolute path", archive(&[f(b"/t/etc/passwd")])),
        ("`t/../../escape` has `..`", archive(&[f(b"t/../../escape")])),
        ("`t/special` is a character device", archive(&[special(b'3')])),
        ("`t/special` is a block device", archive(&[special(b'4')])),
        ("`t/special` is a named pipe", archive(&[special(b'6')])),
        ("`t/special` continues a file of another volume", archive(&[special(b'M')])),
        (
            "`t/l/escape` goes through a symbolic link",
            archive(&[link(b"t/l", b"/"), f(b"t/l/escape")]),
        ),
        (
            "`t/l/d/escape` goes through a symbolic link",
            archive(&[link(b"t/l", b".."), f(b"t/l/d/escape")]),
        ),
        (
            "`t/m/escape` goes through a symbolic link",
            archive(&[link(b"t/l", b".."), hard(b"t/m", b"t/l"), f(b"t/m/escape")]),
        ),
        ("`t/a/b` goes through a file", archive(&[f(b"t/a"), f(b"t/a/b")])),
        ("`t/d` replaces a folder that is not empty", archive(&[f(b"t/d/a"), f(b"t/d")])),
        ("`t/d` replaces a folder that is not empty", archive(&[f(b"t/d/a"), link(b"t/d", b"..")])),
        (
            "`t/h` is a hard link to something that is not in the archive before it",
            archive(&[hard(b"t/h", b"t/a"), f(b"t/a")]),
        ),
        ("`t/h` has `..`", archive(&[hard(b"t/h", b"t/../../archive")])),
        (
            "`t/h` is a hard link through a symbolic link",
            archive(&[link(b"t/l", b".."), hard(b"t/h", b"t/l/archive")]),
        ),
        ("`t/h` is a hard link to a folder", archive(&[folder(b"t/d/"), hard(b"t/h", b"t/d")])),
        ("nnn` has a name of more than 255 bytes", archive(&[pax(&[("path", &name)]), f(b"x")])),
        (
            "has a path of more than 4095 bytes",
            archive(&[pax(&[("path", &[&path[..], b"a"].concat())]), f(b"x")]),
        ),
        (
            "`t/l` is a symbolic link with a target of more than 4095 bytes",
            archive(&[pax(&[("linkpath", &path)]), link(b"t/l", b"x")]),
        ),
        ("`t/l` is a symbolic link to nothing", archive(&[link(b"t/l", b"")])),
        ("has a NUL in its path", archive(&[pax(&[("path", b"t/a\0b")]), f(b"x")])),
        (
            "`t/\\u{1b}[2J` is a named pipe",
            archive(&[Header::new(b"t/\x1b[2J", b'6', 0).sealed(b"")]),
        ),
        ("`b` is outside `t`; write `strip = 0`", archive(&[f(b"t/a"), f(b"b")])),
        ("`a`; write `strip = 0`", archive(&[f(b"a")])),
        ("`u/a` is outside `t`; write `strip = 0`", archive(&[f(b"t/a"), f(b"u/a")])),
        ("larger than 1 TiB", archive(&[huge, file(b"t/x", b"1")])),
        ("does not fit the file", sparse(b"0,50,40,10")),
        ("does not fit the file", sparse(b"0,50,95,10")),
        ("does not fit the file", sparse(b"0,50,60,11")),
        ("cut short", sparse(b"0,50,60")),
    ];
    for (problem, bytes) in table {
        let unpacked = try_unpack("x.tar", &bytes, 1);
        let left: Vec<_> = fs::read_dir(unpacked.folder.path()).unwrap().collect();
        assert_eq!(left.len(), 2, "{problem}: {left:?}");
        assert!(
            !matches!(unpacked.result, Err(UnpackError::File(_))),
            "{problem}: {:?}",
            unpacked.result
        );
        let error = unpacked.error();
        assert!(error.contains(problem), "{error} should say {problem}");
    }
}

#[test]
fn leading_folders_are_left_off_only_where_all_is_in_them() {
    let f = |name: &[u8]| file(name, b"x");
    let several = archive(&[f(b"a/b/one"), f(b"a/c/one")]);
    assert!(try_unpack("x", &several, 1).result.is_ok());
    assert!(try_unpack("x", &several, 0).place().join("a/c/one").is_file());
    let error = try_unpack("x", &several, 2).error();
    assert!(error.contains("`a/c/one` is outside `a/b`; write `strip = 1`"), "{error}");
    let error = try_unpack("x", &archive(&[f(b"a/one"), f(b"a/b/one")]), 2).error();
    assert!(error.contains("`a/one`; write `strip = 1`"), "{error}");
    let error = try_unpack("x.tar", &archive(&[folder(b"t/")]), 1).error();
    assert!(error.contains("x.tar contains nothing below its leading 1 folder(s)"), "{error}");
    assert!(
        try_unpack("x.tar", &archive(&[folder(b"t/"), folder(b"u/")]), 1)
            .error()
            .contains("`u/` is outside `t`")
    );
    for empty in [archive(&[]), Vec::new(), vec![0; 512]] {
        let error = try_unpack("x.tar", &empty, 0).error();
        assert_eq!(error, "x.tar contains nothing");
    }
}

#[test]
fn damaged_archives_say_where() {
    let bytes = archive(&[file(b"t/a", b"hello"), file(b"t/b", &[b'x'; 700])]);
    let table = [
        (&bytes[..100], "x.tar should be tar, but is neither an archive nor compressed"),
        (&bytes[..514], "x.tar is damaged or cut short in entry `t/a`: it ends too early"),
        (&bytes[..1100], "x.tar is damaged or cut short after entry `t/a`: it ends too early"),
        (&bytes[..1700], "x.tar is damaged or cut short in entry `t/b`: it ends too early"),
    ];
    for (bytes, problem) in table {
        let error = try_unpack("x.tar", bytes, 1).error();
        assert!(error.starts_with(problem), "{error} should be {problem}");
    }
    let mut wrong = bytes.clone();
    wrong[1024 + 5] = b'x';
    let error = try_unpack("x.tar", &wrong, 1).error();
    assert_eq!(
        error,
        "x.tar is damaged or cut short after entry `t/a`: a header is missing: the checksum is wrong"
    );
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&bytes).unwrap();
    let packed = packed.finish().unwrap();
    for cut in [packed.len() / 2, packed.len() - 1] {
        let unpacked = try_unpack("x.tar.gz", &packed[..cut], 1);
        assert!(
            matches!(unpacked.result, Err(UnpackError::Damaged { .. })),
            "{cut}: {:?}",
            unpacked.result
        );
    }
    let error = try_unpack("x.tar.xz", b"this is no xz file at all", 1).error();
    assert!(error.contains("should be tar, compressed with xz, but is neither"), "{error}");
    let error = try_unpack("x.rar", b"Rar!\x1a\x07\x00", 1).error();
    assert!(error.contains("is a RAR archive") && error.contains("`unpack = false`"), "{error}");
}

#[test]
fn a_compressed_file_is_one_file_and_another_is_as_it_is() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(b"text\n").unwrap();
    let bytes = gzip.finish().unwrap();
    let unpacked = try_unpack("fix.patch.gz", &bytes, 1);
    unpacked.result.as_ref().unwrap();
    let made = unpacked.place().join("fix.patch");
    assert_eq!(fs::read(&made).unwrap(), b"text\n");
    let metadata = fs::metadata(&made).unwrap();
    assert_eq!((metadata.mode() & 0o7777, metadata.mtime()), (0o644, i64::from(SOURCE_DATE)));

    put_file(&unpacked.folder.path().join("archive"), "fix.patch.gz", &unpacked.place()).unwrap();
    assert_eq!(fs::read(unpacked.place().join("fix.patch.gz")).unwrap(), bytes);
    let cut = try_unpack("fix.patch.gz", &bytes[..bytes.len() - 6], 1).error();
    assert!(cut.starts_with("fix.patch.gz is damaged or cut short at its beginning"), "{cut}");
    let plain = try_unpack("fix.patch", b"text\n", 1).error();
    assert!(plain.contains("write `unpack = false`"), "{plain}");
}

#[test]
fn debian_sources_lose_the_folder_that_all_is_in() {
    let folder = tempfile::tempdir().unwrap();
    let unpack = |bytes: &[u8], into: &str| {
        let file = folder.path().join("archive");
        fs::write(&file, bytes).unwrap();
        let packed = Packed { file: &file, name: "x_1.orig.tar", format: None, reserve: 0 };
        let target = folder.path().join("build/x").join(into);
        unpack_source(&packed, Some(Strip::Lone), &target, &folder.path().join("build/.unpacked"))
            .unwrap();
    };
    let f = |name: &[u8]| file(name, b"x");
    unpack(&archive(&[f(b"x-1/a"), f(b"x-1/debian/old"), f(b"x-1/part/old")]), "");
    unpack(&archive(&[f(b"debian/rules")]), "debian");
    unpack(&archive(&[f(b"one"), f(b"dir/two")]), "part");
    let found: Vec<String> = tree(&folder.path().join("build")).into_keys().collect();
    let wanted = [
        "x",
        "x/a",
        "x/debian",
        "x/debian/rules",
        "x/part",
        "x/part/dir",
        "x/part/dir/two",
        "x/part/one",
    ];
    assert_eq!(found, wanted);
}

#[test]
fn unpacking_stops_before_the_disk_is_full() {
    let folder = tempfile::tempdir().unwrap();
    let (file, into) = (folder.path().join("archive"), folder.path().join("into"));
    fs::create_dir(&into).unwrap();
    // Zeros, of which much fits in little.
    let bytes = archive(&[Header::new(b"t/zeros", b'0', 70 << 20).sealed(&vec![0; 70 << 20])]);
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&bytes).unwrap();
    fs::write(&file, packed.finish().unwrap()).unwrap();
    let order = |reserve| Packed { file: &file, name: "x.tar.gz", format: None, reserve };
    unpack_archive(&order(1), 1, &into).unwrap();
    let error = unpack_archive(&order(u64::MAX), 1, &into).unwrap_err();
    assert!(error.is_disk_full() && error.to_string().contains("reserve"), "{error}");
}

/// `cargo xtask fuzz` starts from these.
#[test]
#[ignore = "writes files to the folder that OSIER_SEEDS names"]
fn seeds_of_archives() {
    let folder = PathBuf::from(std::env::var_os("OSIER_SEEDS").unwrap());
    for (name, bytes) in forms() {
        // The target's first byte says what the recipe says: nothing.
        fs::write(folder.join(name.replace([' ', '\''], "-")), [b"\0", &bytes[..]].concat())
            .unwrap();
    }
}

#[test]
fn recipes_can_say_what_is_read() {
    for format in osier_recipe::SOURCE_FORMATS {
        assert!(osier_archive::Format::parse(format).is_some(), "{format}");
    }
}

proptest::proptest! {
    #[test]
    fn no_archive_panics_or_leaves_the_folder(form in 0..40_usize, place in 0..3000_usize, byte: u8, cut in 0..4000_usize) {
        let forms = forms();
        let mut bytes = forms[form % forms.len()].1.clone();
        if bytes.len() > 100_000 {
            return Ok(());
        }
        let at = place % bytes.len();
        bytes[at] = byte;
        bytes.truncate(bytes.len().max(1).min(cut + 512));
        // The checksum is put right again, so that what is changed is read.
        for block in 0..bytes.len() / 512 {
            if bytes[block * 512 + 257..].starts_with(b"ustar") {
                let header = &mut bytes[block * 512..block * 512 + 512];
                header[148..156].fill(b' ');
                let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
                header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            }
        }
        let unpacked = try_unpack("x.tar", &bytes, 1);
        assert_eq!(fs::read_dir(unpacked.folder.path()).unwrap().count(), 2);
    }
}
