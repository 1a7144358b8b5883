//! Archives made byte by byte: every form that GNU tar reads well.

pub(super) const TIME: i64 = 1_000_000_000;

/// A header of POSIX with its checksum, to be changed by the test before it is sealed.
pub(super) struct Header(pub(super) [u8; 512]);

impl Header {
    pub(super) fn new(name: &[u8], kind: u8, size: u64) -> Self {
        let mut header = Self([0; 512]);
        header.put(0, &name[..name.len().min(100)]);
        header.put(100, if kind == b'5' { b"0000755" } else { b"0000644" });
        header.put(108, b"0001750\x000001750");
        header.put(124, format!("{size:011o}").as_bytes());
        header.put(136, format!("{TIME:011o}").as_bytes());
        header.put(156, &[kind]);
        header.put(257, b"ustar\x0000");
        header
    }

    pub(super) fn put(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    pub(super) fn with(mut self, at: usize, bytes: &[u8]) -> Self {
        self.put(at, bytes);
        self
    }

    pub(super) fn link(self, target: &[u8]) -> Self {
        self.with(157, target)
    }

    pub(super) fn gnu(self) -> Self {
        self.with(257, b"ustar  \0")
    }

    pub(super) fn v7(self) -> Self {
        self.with(257, &[0; 8])
    }

    pub(super) fn sealed(self, content: &[u8]) -> Vec<u8> {
        let mut header = self.with(148, b"        ");
        let sum: u32 = header.0.iter().map(|byte| u32::from(*byte)).sum();
        header.put(148, format!("{sum:06o}\0 ").as_bytes());
        let mut bytes = [&header.0[..], content].concat();
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }
}

pub(super) fn file(name: &[u8], content: &[u8]) -> Vec<u8> {
    Header::new(name, b'0', content.len() as u64).sealed(content)
}

pub(super) fn folder(name: &[u8]) -> Vec<u8> {
    Header::new(name, b'5', 0).sealed(b"")
}

pub(super) fn link(name: &[u8], target: &[u8]) -> Vec<u8> {
    Header::new(name, b'2', 0).link(target).sealed(b"")
}

pub(super) fn hard(name: &[u8], target: &[u8]) -> Vec<u8> {
    Header::new(name, b'1', 0).link(target).sealed(b"")
}

/// An entry that says more of the next one.
pub(super) fn before(kind: u8, content: &[u8]) -> Vec<u8> {
    let header = Header::new(b"././@LongLink", kind, content.len() as u64);
    let header = if matches!(kind, b'L' | b'K') { header.gnu() } else { header };
    header.sealed(content)
}

pub(super) fn records(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let digits = |length: usize| length.to_string().len();
        let mut length = rest + digits(rest);
        length = rest + digits(length);
        bytes.extend(format!("{length} {key}=").bytes());
        bytes.extend(*value);
        bytes.push(b'\n');
    }
    bytes
}

pub(super) fn pax(list: &[(&str, &[u8])]) -> Vec<u8> {
    before(b'x', &records(list))
}

/// Joins entries to an archive with its end.
pub(super) fn archive(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = entries.concat();
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

/// Sparse files in each form have this content: bytes, a hole, bytes, and a hole at the end.
pub(super) fn with_holes() -> Vec<u8> {
    let mut content = vec![0; 20_000];
    content[..3].copy_from_slice(b"one");
    content[8192..8195].copy_from_slice(b"two");
    content
}

pub(super) fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

pub(super) fn old_sparse(pieces: &[(u64, u64)], size: &[u8], data: &[u8]) -> Vec<u8> {
    let number = |value: u64| match value {
        0..0o100_000_000_000 => format!("{value:011o}\0").into_bytes(),
        _ => [&b"\x80\0\0\0"[..], &value.to_be_bytes()].concat(),
    };
    let pairs: Vec<Vec<u8>> =
        pieces.iter().map(|(offset, length)| [number(*offset), number(*length)].concat()).collect();
    let (here, more) = pairs.split_at(pairs.len().min(4));
    let mut header = Header::new(b"t/holes", b'S', data.len() as u64)
        .gnu()
        .with(386, &here.concat())
        .with(483, size);
    header.0[482] = u8::from(!more.is_empty());
    let mut bytes = header.sealed(b"");
    let blocks = more.chunks(21).count();
    for (number, chunk) in more.chunks(21).enumerate() {
        let mut block = chunk.concat();
        block.resize(512, 0);
        block[504] = u8::from(number + 1 < blocks);
        bytes.extend(block);
    }
    bytes.extend(padded(data));
    bytes
}

/// Every form that GNU tar reads well, by name.
#[expect(clippy::too_many_lines, reason = "one table")]
pub(super) fn forms() -> Vec<(&'static str, Vec<u8>)> {
    let long = [b"t/".to_vec(), b"folder-of-a-long-name/".repeat(12), b"file".to_vec()].concat();
    let deep = [b"t/".to_vec(), b"d/".repeat(900), b"file".to_vec()].concat();
    let data = [padded(b"one"), padded(b"two")].concat();
    let mut many: Vec<(u64, u64)> = (0..60).map(|number| (number * 1024, 512)).collect();
    many.push((61_440, 0));
    let digits = |value: u64| value.to_string().into_bytes();
    let listed =
        |list: &[u64]| list.iter().map(u64::to_string).collect::<Vec<_>>().join(",").into_bytes();
    let front = [padded(b"3\n0\n512\n8192\n512\n20000\n0\n"), data.clone()].concat();
    let latin = b"t/f\xfcnf";
    let mut signed = Header::new(latin, b'0', 0).with(148, b"        ");
    let sum: i64 = signed.0.iter().map(|byte| i64::from(byte.cast_signed())).sum();
    signed.put(148, format!("{sum:06o}\0 ").as_bytes());
    let other = |header: Header| header.sealed(b"hello");
    let f = |name: &[u8]| file(name, b"hello");
    vec![
        (
            "v7",
            archive(&[
                Header::new(b"t/dir/", 0, 0).v7().with(100, b"0000755").sealed(b""),
                other(Header::new(b"t/dir/a", 0, 5).v7()),
                Header::new(b"t/l", b'2', 0).v7().link(b"dir/a").sealed(b""),
            ]),
        ),
        (
            "ustar with a prefix",
            archive(&[other(Header::new(b"file", b'0', 5).with(345, b"t/a/prefix"))]),
        ),
        ("a name of 100 bytes", archive(&[f(&[&b"t/"[..], &[b'n'; 98]].concat())])),
        (
            "GNU's long names",
            archive(&[
                before(b'L', &[&long[..], b"\0"].concat()),
                other(Header::new(&long, b'0', 5).gnu()),
                before(b'K', &[&b"x/".repeat(80)[..], b"\0"].concat()),
                before(b'L', &[&long[..], b"2\0"].concat()),
                Header::new(b"t/short", b'2', 0).gnu().link(b"x").sealed(b""),
            ]),
        ),
        ("a deep path", archive(&[before(b'L', &deep), other(Header::new(&deep, b'0', 5).gnu())])),
        (
            "pax paths",
            archive(&[
                pax(&[("path", &long), ("comment", b"a\nb"), ("hdrcharset", b"BINARY")]),
                f(b"t/short"),
                pax(&[("linkpath", &b"y/".repeat(70)), ("mtime", b"12.5")]),
                link(b"t/l", b"y"),
            ]),
        ),
        (
            "pax sizes",
            archive(&[
                pax(&[("size", b"5")]),
                Header::new(b"t/a", b'0', 0).sealed(b"hello"),
                f(b"t/b"),
            ]),
        ),
        (
            "pax times",
            archive(&[
                pax(&[("mtime", b"1234567890.123456789"), ("atime", b"1")]),
                f(b"t/a"),
                pax(&[("mtime", b"-1.5")]),
                f(b"t/b"),
                pax(&[("mtime", b"-7")]),
                f(b"t/c"),
            ]),
        ),
        (
            "pax global headers",
            archive(&[
                before(b'g', &records(&[("comment", b"0123456789abcdef0123456789abcdef01234567")])),
                before(b'g', &records(&[("mtime", b"17")])),
                f(b"t/a"),
                pax(&[("mtime", b"18")]),
                f(b"t/b"),
            ]),
        ),
        (
            "a name with a line feed",
            archive(&[pax(&[("path", b"t/a\nb")]), f(b"t/x"), f(b"t/c\nd\x1b")]),
        ),
        ("names that are no text", archive(&[f(latin), f(b"t/\xff\xfe")])),
        (
            "old holes",
            archive(&[
                old_sparse(&[(0, 512), (8192, 512), (20_000, 0)], b"00000047040\0", &data),
                f(b"t/b"),
            ]),
        ),
        (
            "many old holes",
            archive(&[old_sparse(&many, b"00000170000\0", &b"x".repeat(60 * 512)), f(b"t/b")]),
        ),
        (
            "holes of more than 8 GiB",
            archive(&[
                old_sparse(
                    &[(0, 512), (9 << 30, 0)],
                    b"\x80\0\0\0\0\0\0\x02\x40\0\0\0",
                    &padded(b"one"),
                ),
                f(b"t/b"),
            ]),
        ),
        (
            "pax holes 0.0",
            archive(&[
                pax(&[
                    ("GNU.sparse.size", b"20000"),
                    ("GNU.sparse.numblocks", b"3"),
                    ("GNU.sparse.offset", b"0"),
                    ("GNU.sparse.numbytes", b"512"),
                    ("GNU.sparse.offset", b"8192"),
                    ("GNU.sparse.numbytes", b"512"),
                    ("GNU.sparse.offset", b"20000"),
                    ("GNU.sparse.numbytes", b"0"),
                ]),
                file(b"t/holes", &data),
                f(b"t/b"),
            ]),
        ),
        (
            "pax holes 0.1",
            archive(&[
                pax(&[
                    ("GNU.sparse.size", b"20000"),
                    ("GNU.sparse.numblocks", b"3"),
                    ("GNU.sparse.name", b"t/holes"),
                    ("GNU.sparse.map", &listed(&[0, 512, 8192, 512, 20_000, 0])),
                ]),
                file(b"t/GNUSparseFile.7/holes", &data),
                f(b"t/b"),
            ]),
        ),
        (
            "pax holes 1.0",
            archive(&[
                pax(&[
                    ("GNU.sparse.major", b"1"),
                    ("GNU.sparse.minor", b"0"),
                    ("GNU.sparse.name", b"t/holes"),
                    ("GNU.sparse.realsize", &digits(20_000)),
                ]),
                file(b"t/GNUSparseFile.7/holes", &front),
                f(b"t/b"),
            ]),
        ),
        (
            "a volume's label",
            archive(&[Header::new(b"LABEL", b'V', 0).gnu().sealed(b""), f(b"t/a")]),
        ),
        (
            "a dump's folder",
            archive(&[
                Header::new(b"t/d/", b'D', 4).gnu().with(100, b"0000755").sealed(b"Ya\0\0"),
                f(b"t/d/a"),
            ]),
        ),
        ("Solaris' headers", archive(&[before(b'X', &records(&[("path", b"t/a")])), f(b"t/x")])),
        (
            "star's prefix",
            archive(&[other(
                Header::new(b"file", b'0', 5)
                    .with(345, b"t/star")
                    .with(476, b"07346545000 07346545000 ")
                    .with(508, b"tar\0"),
            )]),
        ),
        (
            "times before 1970, in base 256",
            archive(&[other(
                Header::new(b"t/a", b'0', 5)
                    .with(136, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xf0"),
            )]),
        ),
        (
            "a size in base 256",
            archive(&[other(
                Header::new(b"t/a", b'0', 5).with(124, b"\x80\0\0\0\0\0\0\0\0\0\0\x05"),
            )]),
        ),
        ("a checksum of signed bytes", archive(&[signed.0.to_vec(), f(b"t/b")])),
        (
            "blanks around numbers",
            archive(&[other(
                Header::new(b"t/a", b'0', 5)
                    .with(100, b"   644 \0")
                    .with(124, b"          5 ")
                    .with(136, b" 7346545000\0"),
            )]),
        ),
        (
            "special bits",
            archive(&[
                Header::new(b"t/a", b'0', 0).with(100, b"0004755").sealed(b""),
                Header::new(b"t/d/", b'5', 0).with(100, b"0002775").sealed(b""),
                Header::new(b"t/e/", b'5', 0).with(100, b"0001777").sealed(b""),
            ]),
        ),
        ("a hard link", archive(&[f(b"t/a"), hard(b"t/b", b"t/a"), hard(b"t/d/c", b"t/a")])),
        (
            "a hard link to a symbolic one",
            archive(&[link(b"t/l", b"nowhere"), hard(b"t/m", b"t/l")]),
        ),
        (
            "a hard link with a size alone",
            archive(&[
                f(b"t/a"),
                Header::new(b"t/b", b'1', 5).gnu().link(b"t/a").sealed(b""),
                f(b"t/c"),
                Header::new(b"t/d", b'1', 5).v7().link(b"t/a").sealed(b""),
                f(b"t/e"),
                Header::new(b"t/f", b'1', 5).link(b"t/a").sealed(b""),
                f(b"t/g"),
            ]),
        ),
        ("a hard link to itself", archive(&[f(b"t/a"), hard(b"t/a", b"t/a")])),
        (
            "a folder and a link with a size",
            archive(&[
                Header::new(b"t/d/", b'5', 4096).sealed(b""),
                f(b"t/d/a"),
                Header::new(b"t/l", b'2', 9).link(b"d").sealed(b""),
                f(b"t/b"),
            ]),
        ),
        (
            "contiguous and unknown files",
            archive(&[
                other(Header::new(b"t/a", b'7', 5)),
                other(Header::new(b"t/b", b'Q', 5)),
                f(b"t/c"),
            ]),
        ),
        ("what follows a block of zeros", archive(&[f(b"t/a"), vec![0; 512], f(b"t/b")])),
        ("what follows the end", [archive(&[f(b"t/a")]), f(b"t/b")].concat()),
        ("no end", f(b"t/a")),
        ("noise behind the end", [archive(&[f(b"t/a")]), b"noise".to_vec()].concat()),
        (
            "dots and slashes",
            archive(&[folder(b"./"), folder(b"./t/"), f(b"./t//d/./a"), f(b"t/d/b")]),
        ),
        ("no folders", archive(&[f(b"t/a/b/c"), f(b"t/a/d")])),
        (
            "the last of one name",
            archive(&[
                f(b"t/a"),
                hard(b"t/b", b"t/a"),
                file(b"t/a", b"later"),
                link(b"t/c", b"a"),
                f(b"t/c"),
                f(b"t/d"),
                link(b"t/d", b"a"),
            ]),
        ),
        ("a file, then a folder", archive(&[f(b"t/a"), folder(b"t/a/"), f(b"t/a/b")])),
        (
            "an empty folder, then a file or a link",
            archive(&[
                folder(b"t/a/"),
                f(b"t/a"),
                folder(b"t/b/"),
                link(b"t/b", b".."),
                folder(b"t/c/"),
                hard(b"t/c", b"t/a"),
            ]),
        ),
        (
            "a link, then a folder",
            archive(&[folder(b"t/d/"), link(b"t/l", b"d"), folder(b"t/l/"), f(b"t/l/a")]),
        ),
    ]
}
