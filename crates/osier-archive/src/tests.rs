//! Archives other than tar, made byte by byte or by their own writer.

use std::io::{Cursor, Read, Write};

use crate::compression::tests::compress;
use crate::{Compression, Entry, Kind, OpenError, Opened, ReadError, open};

/// Reads a file whole: its entries with their contents, or the one file in it, or what went wrong.
fn read(name: &str, format: Option<&str>, bytes: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, String> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    let mut entries = Vec::new();
    match open(file, name, format).map_err(|error: OpenError| error.to_string())? {
        Opened::Archive(archive) => {
            let read = archive.read(|entry, content| {
                let mut bytes = Vec::new();
                content.read_to_end(&mut bytes)?;
                entries.push((entry.clone(), bytes));
                Ok::<(), ReadError>(())
            });
            read.map_err(|error| match error {
                ReadError::Refused { entry, problem } => {
                    format!("{} {problem}", String::from_utf8_lossy(&entry))
                }
                ReadError::Damaged(error) => format!("damaged: {error}"),
            })?;
        }
        Opened::File { name, mut reader } => {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).map_err(|error| format!("damaged: {error}"))?;
            let (path, size) = (name.into_bytes(), bytes.len() as u64);
            let entry =
                Entry { path, kind: Kind::File, mode: 0, mtime: crate::Time::default(), size };
            entries.push((entry, bytes));
        }
    }
    Ok(entries)
}

fn shown(name: &str, format: Option<&str>, bytes: &[u8]) -> Result<Vec<String>, String> {
    let lines = read(name, format, bytes)?.into_iter().map(|(entry, content)| {
        let path = String::from_utf8_lossy(&entry.path).into_owned();
        let kind = match entry.kind {
            Kind::File => format!("file {:o}", entry.mode),
            Kind::Folder => format!("folder {:o}", entry.mode),
            Kind::Symlink { target } => format!("link {}", String::from_utf8_lossy(&target)),
            Kind::HardLink { target } => format!("hard {}", String::from_utf8_lossy(&target)),
            Kind::Special(problem) => problem.to_owned(),
        };
        format!("{path}: {kind} {} {}", entry.mtime.seconds, String::from_utf8_lossy(&content))
    });
    Ok(lines.collect())
}

/// A cpio archive in one of its forms: path, mode, inode, links, content.
fn cpio(form: &str, entries: &[(&str, u32, u32, u32, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    let trailer: (&str, u32, u32, u32, &[u8]) = ("TRAILER!!!", 0, 0, 1, b"");
    for (path, mode, inode, links, content) in entries.iter().chain([&trailer]) {
        let (name, size) = (path.len() + 1, content.len());
        let time = 1_000_000_000_u32;
        let align = match form {
            "newc" => {
                out.extend(b"070701");
                for value in [
                    *inode,
                    *mode,
                    0,
                    0,
                    *links,
                    time,
                    u32::try_from(size).unwrap(),
                    8,
                    1,
                    0,
                    0,
                    u32::try_from(name).unwrap(),
                    0,
                ] {
                    out.extend(format!("{value:08X}").bytes());
                }
                4
            }
            "odc" => {
                out.extend(format!("070707{:06o}{inode:06o}{mode:06o}{:06o}{:06o}{links:06o}{:06o}{time:011o}{name:06o}{size:011o}", 1, 0, 0, 0).bytes());
                1
            }
            _ => {
                let half = |value: u32| u16::try_from(value & 0xffff).unwrap();
                let words = [
                    0o070_707,
                    1,
                    half(*inode),
                    half(*mode),
                    0,
                    0,
                    half(*links),
                    0,
                    half(time >> 16),
                    half(time),
                    u16::try_from(name).unwrap(),
                    0,
                    u16::try_from(size).unwrap(),
                ];
                for word in words {
                    out.extend(if form == "big" { word.to_be_bytes() } else { word.to_le_bytes() });
                }
                2
            }
        };
        out.extend(path.bytes());
        out.push(0);
        out.resize(out.len().next_multiple_of(align), 0);
        out.extend(*content);
        out.resize(out.len().next_multiple_of(align), 0);
    }
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

#[test]
fn cpio_in_all_its_forms() {
    for form in ["newc", "odc", "little", "big"] {
        let bytes = cpio(
            form,
            &[
                ("t", 0o040_755, 1, 2, b""),
                ("t/a", 0o100_755, 2, 1, b"hello"),
                ("t/one", 0o100_644, 3, 2, b""),
                ("t/two", 0o100_644, 3, 2, b"linked"),
                ("t/l", 0o120_777, 4, 1, b"a"),
            ],
        );
        let wanted = [
            "t: folder 755 1000000000 ",
            "t/a: file 755 1000000000 hello",
            "t/one: file 644 1000000000 ",
            "t/two: hard t/one 1000000000 linked",
            "t/l: link a 1000000000 ",
        ];
        assert_eq!(shown("x", None, &bytes).unwrap(), wanted, "{form}");
        let packed = compress(Compression::Gzip, &bytes);
        assert_eq!(shown("x", None, &packed).unwrap(), wanted, "{form}");
        for cut in [30, 200] {
            assert!(shown("x.cpio", None, &bytes[..cut]).is_err(), "{form} {cut}");
        }
    }
    let device = cpio("newc", &[("dev", 0o020_644, 1, 1, b"")]);
    assert_eq!(shown("x", None, &device).unwrap(), ["dev: is a character device 1000000000 "]);
}

fn member(name: &str, content: &[u8]) -> Vec<u8> {
    let mut bytes =
        format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 17, 0, 0, 100_600, content.len())
            .into_bytes();
    bytes.extend(content);
    if content.len() % 2 == 1 {
        bytes.push(b'\n');
    }
    bytes
}

#[test]
fn ar_with_the_long_names_of_gnu_and_bsd() {
    let bytes = [
        b"!<arch>\n".to_vec(),
        member("/", b"symbols"),
        member("//", b"a-name-of-more-than-16-bytes.o/\nanother-long-name.o/\n"),
        member("short.o/", b"one"),
        member("/0", b"two"),
        member("/32", b"three"),
        member("#1/20", b"a name of BSD.o\0\0\0\0\0four"),
        member("plain", b"five"),
    ]
    .concat();
    let wanted = [
        "short.o: file 600 17 one",
        "a-name-of-more-than-16-bytes.o: file 600 17 two",
        "another-long-name.o: file 600 17 three",
        "a name of BSD.o: file 600 17 four",
        "plain: file 600 17 five",
    ];
    assert_eq!(shown("x.a", None, &bytes).unwrap(), wanted);
    assert!(shown("x.a", None, &bytes[..bytes.len() - 3]).is_err());
    let bad = [&b"!<arch>\n"[..], &member("/99", b"x")].concat();
    assert!(shown("x.a", None, &bad).unwrap_err().starts_with("damaged"));
}

#[test]
fn packages_of_rpm() {
    let header = |entries: u32, store: u32| {
        let mut bytes = b"\x8e\xad\xe8\x01\0\0\0\0".to_vec();
        bytes.extend(entries.to_be_bytes());
        bytes.extend(store.to_be_bytes());
        bytes.resize(bytes.len() + (entries * 16 + store) as usize, 7);
        bytes
    };
    let payload = cpio("newc", &[("./usr/a", 0o100_644, 1, 1, b"hello")]);
    for compression in [Compression::Gzip, Compression::Xz, Compression::Zstd, Compression::Lzma] {
        let mut bytes = b"\xed\xab\xee\xdb".to_vec();
        bytes.resize(96, 0);
        bytes.extend(header(2, 5));
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes.extend(header(1, 3));
        bytes.extend(compress(compression, &payload));
        assert_eq!(shown("x.rpm", None, &bytes).unwrap(), ["./usr/a: file 644 1000000000 hello"]);
        assert!(shown("x.rpm", None, &bytes[..150]).is_err());
    }
}

fn zip(method: zip::CompressionMethod, large: bool) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let time = zip::DateTime::from_date_and_time(2001, 9, 9, 1, 46, 40).unwrap();
    let options = zip::write::SimpleFileOptions::default()
        .compression_method(method)
        .last_modified_time(time)
        .large_file(large);
    writer.add_directory("t/", options.unix_permissions(0o750)).unwrap();
    writer.start_file("t/run", options.unix_permissions(0o755)).unwrap();
    writer.write_all(&b"hello ".repeat(40)).unwrap();
    writer.add_symlink("t/l", "run", options).unwrap();
    writer.finish().unwrap().into_inner()
}

#[test]
fn zip_stored_and_deflated_and_of_64_bits() {
    let hello = "hello ".repeat(40);
    let wanted = [
        "t/: folder 750 1000000000 ".to_owned(),
        format!("t/run: file 755 1000000000 {hello}"),
        "t/l: link run 1000000000 ".to_owned(),
    ];
    for method in [zip::CompressionMethod::Stored, zip::CompressionMethod::Deflated] {
        for large in [false, true] {
            let bytes = zip(method, large);
            assert_eq!(shown("download", None, &bytes).unwrap(), wanted, "{method:?} {large}");
            let behind = [&b"#!/bin/sh\nexit\n"[..], &bytes].concat();
            assert_eq!(shown("x", Some("zip"), &behind).unwrap(), wanted, "something before it");
            assert!(shown("x", None, &bytes[..bytes.len() - 30]).is_err());
        }
    }
    let mut wrong = zip(zip::CompressionMethod::Stored, false);
    let at = wrong.windows(5).position(|bytes| bytes == b"hello").unwrap();
    wrong[at] = b'j';
    assert!(shown("x", None, &wrong).unwrap_err().starts_with("damaged"));
}

/// A stored member as an old program of DOS or Windows writes it, by hand: with backslashes, or encrypted.
fn dos(name: &str, flags: u16, method: u16) -> Vec<u8> {
    let content = b"hello";
    let mut sum = flate2::Crc::new();
    sum.update(content);
    let mut common = 20_u16.to_le_bytes().to_vec();
    for half in [flags, method, 0x0dcd, 0x2b29] {
        common.extend(half.to_le_bytes());
    }
    for word in [sum.sum(), 5, 5] {
        common.extend(word.to_le_bytes());
    }
    common.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
    common.extend([0, 0]);
    let local = [b"PK\x03\x04", &common[..], name.as_bytes(), content].concat();
    let mut central = [b"PK\x01\x02", &[20, 0][..], &common].concat();
    central.extend([0; 14]);
    central.extend(name.bytes());
    let mut end = b"PK\x05\x06\0\0\0\0\x01\0\x01\0".to_vec();
    end.extend(u32::try_from(central.len()).unwrap().to_le_bytes());
    end.extend(u32::try_from(local.len()).unwrap().to_le_bytes());
    end.extend([0, 0]);
    [local, central, end].concat()
}

#[test]
fn zip_of_dos_and_what_is_refused_of_it() {
    let plain = shown("x", None, &dos("t\\dir\\a.txt", 0, 0)).unwrap();
    assert_eq!(plain, ["t/dir/a.txt: file 644 999999986 hello"]);
    let encrypted = shown("x", None, &dos("t/a", 1, 0)).unwrap_err();
    assert_eq!(encrypted, "t/a is encrypted");
    let odd = shown("x", None, &dos("t/a", 0, 14)).unwrap_err();
    assert!(odd.starts_with("t/a is not compressed with deflate"), "{odd}");
}

#[test]
fn content_tells_and_names_do_not() {
    let tar = crate::tar::tests::tar();
    let wanted = shown("x.tar", None, &tar).unwrap();
    assert_eq!(wanted, ["t/a: file 644 1000000000 hello"]);
    for compression in crate::compression::tests::ALL {
        let packed = compress(compression, &tar);
        for name in ["x.tar.gz", "x.zip", "download", "x.tar", "x.patch.xz", "x"] {
            assert_eq!(shown(name, None, &packed).unwrap(), wanted, "{name} {compression}");
        }
        assert_eq!(shown("download", Some("tar"), &packed).unwrap(), wanted, "{compression}");
    }
    // One compressed file, whatever it holds, where that is said.
    let packed = compress(Compression::Gzip, &tar);
    let one = read("x.tar.gz", Some("gz"), &packed).unwrap();
    assert_eq!((one[0].0.path.as_slice(), &one[0].1), (&b"x.tar"[..], &tar));
    let text = compress(Compression::Xz, b"text");
    assert_eq!(read("fix.patch.xz", None, &text).unwrap()[0].0.path, b"fix.patch");
    assert_eq!(read("download", None, &text).unwrap()[0].0.path, b"download");
}

#[test]
fn what_is_not_as_it_is_said_is_an_error_that_names_both() {
    let tar = crate::tar::tests::tar();
    let packed = compress(Compression::Xz, &tar);
    let text = compress(Compression::Gzip, b"some text");
    let table: [(&str, Option<&str>, &[u8], &str); 12] = [
        (
            "x",
            Some("tar.gz"),
            &packed,
            "should be tar, compressed with gzip, but is compressed with xz",
        ),
        ("x", Some("tar.gz"), &tar, "should be tar, compressed with gzip, but is not compressed"),
        ("x", Some("zip"), &packed, "should be zip, but is tar, compressed with xz"),
        ("x", Some("tar"), b"PK\x05\x06", "should be tar, but is zip"),
        ("x", Some("cpio"), &tar, "should be cpio, but is tar"),
        (
            "x.tar.gz",
            None,
            &text,
            "should be tar, compressed with gzip, but is something else, compressed with gzip",
        ),
        (
            "x.tar.gz",
            None,
            b"text",
            "should be tar, compressed with gzip, but is neither an archive nor compressed",
        ),
        ("x.txt", None, b"text", "is neither an archive nor a compressed file that osier knows"),
        ("x.tar.gz", None, b"", "is empty"),
        (
            "x.tar.gz",
            None,
            b" <!DOCTYPE html><title>",
            "is an HTML page instead of the file, which osier does not unpack",
        ),
        ("x.7z", None, b"7z\xbc\xaf\x27\x1c..", "is a 7-Zip archive, which osier does not unpack"),
        ("x", None, b"Rar!\x1a\x07\x01\0", "is a RAR archive, which osier does not unpack"),
    ];
    for (name, format, bytes, problem) in table {
        let found = shown(name, format, bytes).unwrap_err();
        assert_eq!(found, problem, "{name} {format:?}");
    }
    let mut iso = vec![0; 40_000];
    iso[32_769..32_774].copy_from_slice(b"CD001");
    assert!(shown("x.iso", None, &iso).unwrap_err().contains("ISO 9660"));
}

/// `cargo xtask fuzz` starts from these.
#[test]
#[ignore = "writes files to the folder that OSIER_SEEDS names"]
fn seeds_of_archives() {
    let folder = std::path::PathBuf::from(std::env::var_os("OSIER_SEEDS").unwrap());
    let seed = |name: String, bytes: &[u8]| {
        // The target's first byte says what the recipe says: nothing.
        std::fs::write(folder.join(name), [b"\0", bytes].concat()).unwrap();
    };
    for form in ["newc", "odc", "little", "big"] {
        let entries: [(&str, u32, u32, u32, &[u8]); 2] =
            [("t/a", 0o100_644, 1, 2, b""), ("t/b", 0o100_644, 1, 2, b"hello")];
        seed(format!("cpio-{form}"), &cpio(form, &entries));
    }
    for compression in crate::compression::tests::ALL {
        seed(format!("tar-{compression}"), &compress(compression, &crate::tar::tests::tar()));
    }
    seed("zip".into(), &zip(zip::CompressionMethod::Deflated, true));
    seed("zip-dos".into(), &dos("t\\a", 0, 0));
    let ar = [&b"!<arch>\n"[..], &member("//", b"name/\n"), &member("/0", b"x")].concat();
    seed("ar".into(), &ar);
}

proptest::proptest! {
    #[test]
    fn nothing_panics(kind in 0..6_usize, place in 0..2000_usize, byte: u8, cut in 0..2000_usize) {
        let mut bytes = match kind {
            0 => cpio("newc", &[("t/a", 0o100_644, 1, 2, b"hello"), ("t/b", 0o100_644, 1, 2, b"x")]),
            1 => [&b"!<arch>\n"[..], &member("//", b"name/\n"), &member("/0", b"x")].concat(),
            2 => zip(zip::CompressionMethod::Deflated, true),
            3 => compress(Compression::Compress, &b"some text that repeats, that repeats".repeat(30)),
            4 => compress(Compression::Lzip, b"text"),
            _ => crate::tar::tests::tar(),
        };
        let at = place % bytes.len();
        bytes[at] = byte;
        let _ = read("x", None, &bytes);
        let _ = read("x", None, &bytes[..cut.min(bytes.len())]);
    }
}
